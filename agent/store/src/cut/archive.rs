//! The archive of a cut: `<lost+found>/<epoch>-<offset>/`.
//!
//! ```text
//! cut.json             the report: who cut where, why, and what that took
//! messages.jsonl       one line per message
//! commitlog/<offset>   the raw bytes; the name is the log offset of the first one
//! ```
//! Only the tail of one file is copied; later files are renamed into the archive (safety H37).

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::listing::{self, Counts};
use super::log::{LogPlan, Tail};
use crate::durable;
use crate::error::{At, StoreError};
use crate::host::Host;
use crate::segments::Segments;
use crate::sparse;

/// Free bytes that stay beside the archive, so that it does not take the last room of a nearly full volume.
const RESERVE: u64 = 16 << 20;
/// Archives with the same epoch and offset beyond this are a loop, not operation.
const MAX_SAME_NAME: u32 = 1000;

/// A folder for this cut that does not exist yet.
pub(crate) fn unused_name(
    lost_and_found: &Path,
    epoch: u64,
    to: u64,
) -> Result<PathBuf, StoreError> {
    for number in 1..=MAX_SAME_NAME {
        let suffix = match number {
            1 => String::new(),
            more => format!("-{more}"),
        };
        let dir = lost_and_found.join(format!("{epoch}-{to}{suffix}"));
        if !dir.exists() {
            return Ok(dir);
        }
    }
    Err(io::Error::other(format!(
        "there are {MAX_SAME_NAME} archives of {epoch}-{to} already; move them away"
    )))
    .at("create", lost_and_found)
}

/// Refuses if the archive and a reserve would not fit. Nothing is written before this.
pub(crate) fn check_space(
    host: &dyn Host,
    commitlog: &Path,
    archive: &Path,
    log: &LogPlan,
    listing_bytes: u64,
) -> Result<(), StoreError> {
    // The archive does not exist yet: its file system is that of the nearest folder that does.
    let place = archive
        .ancestors()
        .find(|dir| dir.is_dir())
        .unwrap_or_else(|| Path::new("."));
    let device = |dir: &Path| fs::metadata(dir).map(|meta| meta.dev()).at("read", dir);
    let renames = device(place)? == device(commitlog)?;
    let tail = log
        .tail
        .as_ref()
        .map_or(0, |tail| tail.data_end - tail.from);
    let later: u64 = log
        .later
        .iter()
        .filter(|_| !renames)
        .filter_map(|later| Some(later.data_end? - later.segment.start))
        .sum();
    let needed_bytes = tail + later + listing_bytes + RESERVE;
    let free_bytes = host.free_bytes(place).at("read free space of", place)?;
    if free_bytes < needed_bytes {
        return Err(StoreError::NoSpace {
            path: archive.to_owned(),
            needed_bytes,
            free_bytes,
        });
    }
    Ok(())
}

/// Copies the tail and writes the listing. On return both are on the disk. A half-written archive is begun again.
pub(crate) fn write(
    host: &dyn Host,
    dir: &Path,
    segments: &Segments,
    log: &LogPlan,
    from: u64,
    end_before: u64,
) -> Result<Counts, StoreError> {
    host.step("clear archive", dir).at("clear", dir)?;
    durable::remove(dir).at("clear", dir)?;
    host.step("create archive", dir).at("create", dir)?;
    let raw = raw_dir(dir);
    durable::create_dirs(&raw).at("create", &raw)?;
    if let Some(tail) = &log.tail {
        copy_tail(host, tail, &raw)?;
    }
    let path = dir.join("messages.jsonl");
    host.step("list messages", &path).at("write", &path)?;
    let mut out = BufWriter::new(File::create(&path).at("create", &path)?);
    let counts = listing::write(segments, from, end_before, &mut out)?;
    out.flush().at("write", &path)?;
    out.get_ref().sync_all().at("sync", &path)?;
    for dir in [&raw, dir] {
        durable::sync_dir(dir).at("sync", dir)?;
    }
    Ok(counts)
}

/// Where the raw bytes are.
pub(crate) fn raw_dir(dir: &Path) -> PathBuf {
    dir.join("commitlog")
}

fn copy_tail(host: &dyn Host, tail: &Tail, raw: &Path) -> Result<(), StoreError> {
    let path = raw.join(format!("{:020}", tail.from));
    let start = tail.segment.start;
    let (from, to) = (tail.from - start, tail.data_end - start);
    copy(host, &tail.segment.open()?, (from, to), &path)
}

/// Copies a range, holes as holes, and syncs the copy.
fn copy(
    host: &dyn Host,
    source: &File,
    (from, to): (u64, u64),
    path: &Path,
) -> Result<(), StoreError> {
    host.step("copy", path).at("copy to", path)?;
    let target = File::create(path).at("create", path)?;
    target.set_len(to - from).at("extend", path)?;
    sparse::for_each_block(source, from, to, |at, block| {
        host.step("copy block", path)?;
        target.write_all_at(block, at - from).map(|()| true)
    })
    .at("copy to", path)?;
    target.sync_all().at("sync", path)
}

/// Moves a whole file into the archive: a rename, or on another file system a copy that is complete before the
/// original goes.
pub(crate) fn take(host: &dyn Host, file: &Path, raw: &Path) -> Result<(), StoreError> {
    let Some(name) = file.file_name() else {
        return Ok(());
    };
    let target = raw.join(name);
    host.step("archive file", file).at("archive", file)?;
    match fs::rename(file, &target) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(i32_of(Errno::EXDEV)) => {
            take_by_copy(host, file, &target)?;
        }
        Err(error) => return Err(error).at("archive", file),
    }
    durable::sync_dir(raw).at("sync", raw)
}

fn take_by_copy(host: &dyn Host, file: &Path, target: &Path) -> Result<(), StoreError> {
    let part = target.with_extension("part");
    let source = File::open(file).at("open", file)?;
    let len = source.metadata().at("read", file)?.len();
    copy(host, &source, (0, len), &part)?;
    host.step("finish copy", target).at("rename to", target)?;
    fs::rename(&part, target)
        .and_then(|()| durable::sync_parent(target))
        .at("rename to", target)?;
    host.step("remove archived file", file).at("remove", file)?;
    durable::remove(file).at("remove", file)
}

fn i32_of(errno: Errno) -> i32 {
    io::Error::from(errno).raw_os_error().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Machine;

    #[test]
    fn on_another_file_system_a_copy_is_complete_before_the_original_goes() {
        struct Watch;
        impl Host for Watch {
            fn free_bytes(&self, _: &Path) -> io::Result<u64> {
                Ok(0)
            }
            fn step(&self, what: &str, path: &Path) -> io::Result<()> {
                if what == "remove archived file" {
                    let copy = path
                        .with_file_name("archive")
                        .join(path.file_name().unwrap());
                    assert_eq!(fs::read(path)?, fs::read(copy)?);
                }
                Ok(())
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let (file, raw) = (
            dir.path().join("00000000000000004096"),
            dir.path().join("archive"),
        );
        fs::create_dir(&raw).unwrap();
        let mut bytes = vec![0; 3 << 20];
        bytes[5] = 1;
        bytes[2 << 20] = 2;
        fs::write(&file, &bytes).unwrap();
        let target = raw.join(file.file_name().unwrap());
        take_by_copy(&Watch, &file, &target).unwrap();
        assert!(!file.exists());
        assert!(fs::read(&target).unwrap() == bytes);
        assert_eq!(fs::read_dir(&raw).unwrap().count(), 1);
    }

    #[test]
    fn the_machine_knows_its_free_space() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Machine.free_bytes(dir.path()).unwrap() > 0);
        assert!(Machine.free_bytes(&dir.path().join("none")).is_err());
    }
}
