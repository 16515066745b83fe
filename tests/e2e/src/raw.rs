//! Raw commit-log bytes, in a store or in an archive: a folder of files, each named by the offset of its first byte.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use playground::traffic::{Number, Stamp};
use store::record::{Head, Record};

/// No story writes more than this behind a fork.
const AT_MOST: u64 = 64 << 20;

/// The bytes from `from` to `to` (offsets in the log).
///
/// # Errors
/// When a file cannot be read, or some of the bytes are in none.
pub fn bytes(folder: &Path, from: u64, to: u64) -> Result<Vec<u8>> {
    let length = to.checked_sub(from).filter(|length| *length <= AT_MOST);
    let length = length.with_context(|| format!("read log bytes {from} to {to}"))?;
    let files = files(folder)?;
    let mut bytes = vec![0; usize::try_from(length)?];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let at = from + u64::try_from(filled)?;
        let (start, path) = files.range(..=at).next_back().with_context(|| {
            format!("read log byte {at} in {}: no file has it", folder.display())
        })?;
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        let count = file.read_at(rest, at - start);
        let count = count.with_context(|| format!("read {}", path.display()))?;
        filled += match count {
            0 => zeros(&files, at, rest.len())
                .with_context(|| format!("read log byte {at}: {} ends before", path.display()))?,
            count => count,
        };
    }
    Ok(bytes)
}

/// How many of `most` bytes from `at` on are zeros that an archive leaves out: behind the blank record that ends a file,
/// up to where the next one begins. None behind the last file.
fn zeros(files: &BTreeMap<u64, PathBuf>, at: u64, most: usize) -> Option<usize> {
    let (next, _) = files.range(at..).next()?;
    Some(most.min(usize::try_from(next - at).ok()?))
}

/// The files of a log by the offset of their first byte.
///
/// # Errors
/// When the folder cannot be read.
pub fn files(folder: &Path) -> Result<BTreeMap<u64, PathBuf>> {
    let entries = std::fs::read_dir(folder);
    let entries = entries.with_context(|| format!("read {}", folder.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths
        .filter_map(|path| Some((path.file_name()?.to_str()?.parse().ok()?, path)))
        .collect())
}

/// The producer's messages in bytes that begin with a record.
///
/// # Errors
/// When they do not consist of whole records.
pub fn numbers(bytes: &[u8], stamp: &Stamp) -> Result<Vec<Number>> {
    let mut numbers = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let at = bytes.len() - rest.len();
        let head = Head::parse(rest).with_context(|| format!("read the record {at} bytes on"))?;
        let length = match head {
            Head::Blank { total } => usize::try_from(total)?,
            Head::Record { total, .. } => {
                let record = Record::parse(rest);
                let record = record.with_context(|| format!("read the record {at} bytes on"))?;
                numbers.extend(stamp.number(record.body));
                total
            }
        };
        rest = rest.get(length..).context("read past the last record")?;
    }
    Ok(numbers)
}

/// Turns over the bits of one byte of a log: a message that the group does not share.
///
/// # Errors
/// When no file has it.
pub fn falsify(folder: &Path, at: u64) -> Result<()> {
    let old = bytes(folder, at, at + 1)?;
    let files = files(folder)?;
    let (start, path) = files.range(..=at).next_back().context("find the file")?;
    let file = File::options().write(true).open(path);
    let mut file = file.with_context(|| format!("open {}", path.display()))?;
    file.seek(SeekFrom::Start(at - start))?;
    let new: Vec<u8> = old.iter().map(|byte| !byte).collect();
    file.write_all(&new)
        .with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_between_two_files_are_read_and_behind_the_last_there_is_nothing() {
        let folder = std::env::temp_dir().join(format!("raw-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("00000000000000000100"), [1; 20]).unwrap();
        std::fs::write(folder.join("00000000000000000128"), [2; 10]).unwrap();
        let read = bytes(&folder, 115, 130).map(|read| [read[4], read[5], read[12], read[13]]);
        let beyond = bytes(&folder, 130, 139).unwrap_err().to_string();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(read.unwrap(), [1, 0, 0, 2]);
        assert!(beyond.contains("ends before"), "{beyond}");
    }
}
