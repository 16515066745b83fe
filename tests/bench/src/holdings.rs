//! What a process or a folder holds on to: what must not grow from one fail-over to the next.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::cost::cost;

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holdings {
    pub(crate) rss_mib: f64,
    pub(crate) files: usize,
    pub(crate) threads: usize,
}

impl fmt::Display for Holdings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.1} MiB, {} files, {} threads",
            self.rss_mib, self.files, self.threads
        )
    }
}

/// Of one process now.
pub(crate) fn holdings(pid: i32) -> Result<Holdings> {
    let count = |what: &str| -> Result<usize> {
        let folder = format!("/proc/{pid}/{what}");
        let entries = fs::read_dir(&folder).with_context(|| format!("read {folder}"))?;
        Ok(entries.count())
    };
    Ok(Holdings {
        rss_mib: cost(pid)?.rss_mib,
        files: count("fd")?,
        threads: count("task")?,
    })
}

/// What a folder takes on its disk, in bytes, with how many files. None when it is not there.
pub(crate) fn on_disk(folder: &Path) -> (u64, usize) {
    let (mut bytes, mut files) = (0, 0);
    // A file that goes while it is looked at takes nothing any more.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(data) = fs::symlink_metadata(entry.path()) else {
            continue;
        };
        if data.is_dir() {
            let (more_bytes, more_files) = on_disk(&entry.path());
            bytes += more_bytes;
            files += more_files;
        } else {
            bytes += data.blocks() * BLOCK;
            files += 1;
        }
    }
    (bytes, files)
}

/// What `st_blocks` counts in, on every Linux.
const BLOCK: u64 = 512;
