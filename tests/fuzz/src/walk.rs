//! A commit log of two short files on a disk, walked to its end.

use crate::commit_log;
use crate::shape;
use crate::target::Target;
use std::cell::RefCell;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use store::testing::{Writer, file_name};
use store::{Layout, Store};
use tempfile::TempDir;

/// Bytes of a commit-log file here.
const FILE: usize = 1024;

pub(crate) const TARGET: Target = Target {
    name: "walk",
    seeds,
    words: &[],
    longest: 2 * FILE,
    // The walker reads blocks of a quarter of a MiB at most, never more than a file.
    memory: |_| 256 * 1024,
    check,
};

struct Ground {
    _folder: TempDir,
    layout: Layout,
    files: [File; 2],
}

thread_local! {
    static GROUND: RefCell<Option<Ground>> = const { RefCell::new(None) };
}

fn ground() -> Result<Ground, String> {
    let folder = TempDir::new().map_err(|e| e.to_string())?;
    let size = u64::try_from(FILE).unwrap_or_default();
    let layout = Layout::new(folder.path(), size, 20);
    fs::create_dir_all(&layout.commitlog).map_err(|e| e.to_string())?;
    let file = |start| {
        let path = layout.commitlog.join(file_name(start));
        let mut how = File::options();
        let file = how
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path);
        file.map_err(|e| e.to_string())
    };
    let files = [file(0)?, file(size)?];
    Ok(Ground {
        _folder: folder,
        layout,
        files,
    })
}

fn seeds() -> Vec<Vec<u8>> {
    let seed = || -> std::io::Result<Vec<u8>> {
        let folder = TempDir::new()?;
        let layout = Layout::new(folder.path(), u64::try_from(FILE).unwrap_or_default(), 20);
        let mut writer = Writer::create(&layout, 0)?;
        for message in commit_log::messages().iter().cycle().take(8) {
            writer.append(message)?;
        }
        let mut bytes = Vec::new();
        for entry in [0, FILE] {
            let name = file_name(u64::try_from(entry).unwrap_or_default());
            bytes.extend(fs::read(layout.commitlog.join(name))?);
        }
        Ok(bytes)
    };
    seed().into_iter().collect()
}

fn check(input: &[u8]) -> Result<u64, String> {
    GROUND.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Some(ground()?);
        }
        let Some(ground) = slot else {
            return Err("no ground".into());
        };
        let mut bytes = [0; 2 * FILE];
        for (to, from) in bytes.iter_mut().zip(input) {
            *to = *from;
        }
        for (file, part) in ground.files.iter().zip(bytes.chunks(FILE)) {
            file.write_all_at(part, 0).map_err(|e| e.to_string())?;
        }
        walk(&ground.layout)
    })
}

fn walk(layout: &Layout) -> Result<u64, String> {
    let store = match Store::open(layout.clone()) {
        Ok(store) => store,
        Err(error) => return Ok(shape::of("closed", &error)),
    };
    let extent = match store.extent() {
        Ok(extent) => extent,
        Err(error) => return Ok(shape::of("refused", &error)),
    };
    let most = u64::try_from(2 * FILE).unwrap_or_default();
    if extent.end > most || extent.end < extent.min || extent.garbage_bytes > most - extent.end {
        return Err(format!("{extent:?} in {most} bytes"));
    }
    if store.extent().ok() != Some(extent) {
        return Err(format!("{extent:?}, and then another"));
    }
    let torn = if extent.is_torn() { "torn" } else { "whole" };
    let part = usize::try_from(extent.end / 64).unwrap_or_default();
    Ok(shape::of(
        torn,
        &char::from(b'A' + u8::try_from(part).unwrap_or_default()),
    ))
}
