//! Two stores' commit logs, byte by byte.
//!
//! Replication copies raw bytes, so two members agree exactly when their logs do. A commit log is a folder
//! of files of one size, each named by the offset of its first byte; the last one is filled up with
//! zeros, so where a log ends must be known: ask the broker (28 `commitLogMaxOffset`), or walk a stopped one's.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use store::{Layout, Store};

use crate::broker::{COMMIT_LOG_FILE_BYTES, CONSUME_QUEUE_FILE_BYTES};

/// Bytes read at once from each side.
const CHUNK: usize = 1 << 20;

/// What a comparison found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// First byte that both have.
    pub from: u64,
    /// Where the comparison ended: the shorter log's end.
    pub to: u64,
    /// The first byte that differs, if one does.
    pub first_difference: Option<u64>,
}

impl Comparison {
    /// True when something was compared and all of it was equal.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.from < self.to && self.first_difference.is_none()
    }
}

/// Makes zeros of everything behind `from` (bytes of the log), as a machine that loses its power may. Tells how many bytes
/// were behind it, up to the last one that was not zero. Only for a stopped broker.
///
/// # Errors
/// When the files cannot be read or written.
pub fn forget(folder: &Path, from: u64) -> Result<u64> {
    let log = Log::open(folder, u64::MAX)?;
    let mut gone = 0;
    for (start, path) in &log.files {
        let what = || format!("forget the end of {}", path.display());
        let file = File::options().read(true).write(true).open(path);
        let file = file.with_context(what)?;
        let length = file.metadata().with_context(what)?.len();
        let keep = from.saturating_sub(*start).min(length);
        let mut rest = vec![0; usize::try_from(length - keep)?];
        file.read_exact_at(&mut rest, keep).with_context(what)?;
        if let Some(last) = rest.iter().rposition(|byte| *byte != 0) {
            gone = start + keep + u64::try_from(last)? + 1 - from;
        }
        rest.fill(0);
        file.write_all_at(&rest, keep).with_context(what)?;
    }
    Ok(gone)
}

/// A commit log to compare: its folder and its end.
#[derive(Debug, Clone)]
pub struct Log {
    files: BTreeMap<u64, PathBuf>,
    end: u64,
}

impl Log {
    /// The log in `folder` that ends at `end` (bytes).
    ///
    /// # Errors
    /// When the folder cannot be read or holds no commit-log file.
    pub fn open(folder: &Path, end: u64) -> Result<Self> {
        let mut files = BTreeMap::new();
        let entries = std::fs::read_dir(folder)
            .with_context(|| format!("read commit log {}", folder.display()))?;
        for entry in entries {
            let path = entry
                .with_context(|| format!("read commit log {}", folder.display()))?
                .path();
            if let Some(start) = start_offset(&path) {
                files.insert(start, path);
            }
        }
        if files.is_empty() {
            bail!(
                "read commit log {}: no file named by a 20-digit offset",
                folder.display()
            );
        }
        Ok(Self { files, end })
    }

    /// The log of a stopped broker that ran with [`small_store`](crate::broker::small_store): it ends behind its
    /// last whole record.
    ///
    /// # Errors
    /// When the store under `root` (`storePathRootDir`) cannot be read.
    pub fn of_stopped(root: &Path) -> Result<Self> {
        let layout = Layout::new(root, COMMIT_LOG_FILE_BYTES, CONSUME_QUEUE_FILE_BYTES);
        let extent = Store::open(layout).and_then(|store| store.extent());
        let extent = extent.with_context(|| format!("walk the store {}", root.display()))?;
        Self::open(&root.join("commitlog"), extent.end)
    }

    /// Where it ends (bytes).
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    fn start(&self) -> u64 {
        self.files.keys().next().copied().unwrap_or(self.end)
    }

    /// Fills `buffer` from `offset` on; tells how much the file there holds of it.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let Some((start, path)) = self.files.range(..=offset).next_back() else {
            bail!("read commit log at {offset}: no file begins at or before it");
        };
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        let count = file
            .read_at(buffer, offset - start)
            .with_context(|| format!("read {} at {}", path.display(), offset - start))?;
        if count == 0 {
            bail!(
                "read commit log at {offset}: {} ends before it",
                path.display()
            );
        }
        Ok(count)
    }
}

/// Compares two logs from the first byte that both have to the end of the shorter.
///
/// # Errors
/// When a file cannot be read or is missing.
pub fn compare(a: &Log, b: &Log) -> Result<Comparison> {
    let from = a.start().max(b.start());
    let to = a.end.min(b.end);
    let mut found = Comparison {
        from,
        to,
        first_difference: None,
    };
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut at = from;
    while at < to {
        let want = usize::try_from(to - at).map_or(CHUNK, |left| left.min(CHUNK));
        let count = a.read(at, &mut left[..want])?;
        let count = b.read(at, &mut right[..count])?.min(count);
        if let Some(index) = differing(&left[..count], &right[..count]) {
            found.first_difference = Some(at + index);
            return Ok(found);
        }
        at += u64::try_from(count).context("count bytes")?;
    }
    Ok(found)
}

fn differing(a: &[u8], b: &[u8]) -> Option<u64> {
    if a == b {
        return None;
    }
    let index = a.iter().zip(b).position(|(x, y)| x != y)?;
    u64::try_from(index).ok()
}

fn start_offset(file: &Path) -> Option<u64> {
    let name = file.file_name()?.to_str()?;
    let all_digits = name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit());
    if all_digits { name.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_dir::{Afterwards, RunDir};

    fn log(run: &RunDir, name: &str, files: &[(u64, &[u8])], end: u64) -> Log {
        let folder = run.folder(name).unwrap();
        for (start, bytes) in files {
            std::fs::write(folder.join(format!("{start:020}")), bytes).unwrap();
        }
        std::fs::write(folder.join("abort"), "not a log file").unwrap();
        Log::open(&folder, end).unwrap()
    }

    #[test]
    fn the_shorter_end_and_the_later_start_bound_the_comparison() {
        let run = RunDir::create(Afterwards::Remove).unwrap();
        let a = log(&run, "a", &[(0, b"aaaa"), (4, b"bbbb"), (8, b"cc00")], 10);
        let b = log(&run, "b", &[(4, b"bbbb"), (8, b"c000")], 9);
        let found = compare(&a, &b).unwrap();
        assert_eq!((found.from, found.to), (4, 9));
        assert!(found.is_equal());
    }

    #[test]
    fn the_first_different_byte_is_named() {
        let run = RunDir::create(Afterwards::Remove).unwrap();
        let a = log(&run, "a", &[(0, b"aaaa"), (4, b"bbbb")], 8);
        let b = log(&run, "b", &[(0, b"aaaa"), (4, b"bxbb")], 8);
        assert_eq!(compare(&a, &b).unwrap().first_difference, Some(5));
    }

    #[test]
    fn nothing_in_common_is_not_equal() {
        let run = RunDir::create(Afterwards::Remove).unwrap();
        let a = log(&run, "a", &[(0, b"aaaa")], 4);
        let b = log(&run, "b", &[(4, b"bbbb")], 8);
        assert!(!compare(&a, &b).unwrap().is_equal());
    }

    #[test]
    fn an_end_beyond_the_files_is_an_error() {
        let run = RunDir::create(Afterwards::Remove).unwrap();
        let a = log(&run, "a", &[(0, b"aaaa")], 8);
        let b = log(&run, "b", &[(0, b"aaaa"), (4, b"bbbb")], 8);
        assert!(compare(&a, &b).is_err());
    }
}
