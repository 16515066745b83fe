//! Index files: those that point beyond the cut (facts §5.6 step 3).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{At, StoreError};
use crate::layout::entries;

const HEADER: usize = 40;
const END_OFFSET_AT: usize = 24;

/// Index files whose last entry points at or beyond `end`. With one of them left the broker would not index new
/// messages up to that offset. What is lost is the query by key for the time of that file.
pub(crate) fn survey(root: &Path, end: u64) -> Result<Vec<PathBuf>, StoreError> {
    let mut files = Vec::new();
    for entry in entries(&root.join("index"))? {
        let path = entry.path();
        let numbered = entry
            .file_name()
            .to_string_lossy()
            .bytes()
            .all(|b| b.is_ascii_digit());
        if numbered && path.is_file() && last_offset(&path)?.is_some_and(|last| last >= end) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Where the last entry points; `None` in a file without entries.
fn last_offset(path: &Path) -> Result<Option<u64>, StoreError> {
    let mut header = [0; HEADER];
    let file = File::open(path).at("open", path)?;
    match file.read_exact_at(&mut header, 0) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error).at("read", path),
    }
    let offset = header
        .get(END_OFFSET_AT..)
        .and_then(|rest| rest.first_chunk::<8>())
        .map(|bytes| u64::from_be_bytes(*bytes));
    let unused = header.iter().take(END_OFFSET_AT + 8).all(|b| *b == 0);
    Ok(offset.filter(|_| !unused))
}
