//! `epochFileCheckpoint` of controller mode: which epoch began where (facts §5.6 step 5).

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::error::{At, StoreError, unsupported};

/// Bound on the file; an entry takes about 20 bytes and brokers keep few.
const MAX_BYTES: u64 = 4 << 20;

/// The file's content without the epochs that begin at or after `end`; `None` if nothing has to change.
pub(crate) fn trimmed(path: &Path, end: u64) -> Result<Option<String>, StoreError> {
    let mut text = String::new();
    match File::open(path) {
        Ok(file) => file.take(MAX_BYTES).read_to_string(&mut text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => Err(error),
    }
    .at("read", path)?;
    if text.is_empty() {
        return Ok(None);
    }
    let bad = || {
        unsupported(
            format!("{} is not an epoch file", path.display()),
            "move it away if the broker does not run in controller mode; else seed this member anew",
        )
    };
    // Line 1 counts the entries, line 2 is their checksum, then `epoch-startOffset` each.
    let mut kept = Vec::new();
    let mut dropped = false;
    for line in text.lines().skip(2).filter(|line| !line.is_empty()) {
        let (epoch, start) = line.split_once('-').ok_or_else(bad)?;
        let start: u64 = start.parse().map_err(|_| bad())?;
        let _: u64 = epoch.parse().map_err(|_| bad())?;
        if start < end {
            kept.push(line);
        } else {
            dropped = true;
        }
    }
    if !dropped {
        return Ok(None);
    }
    let entries: String = kept.iter().map(|line| format!("{line}\n")).collect();
    let crc = crc32fast::hash(entries.as_bytes()) & 0x7FFF_FFFF;
    Ok(Some(format!("{}\n{crc}\n{entries}", kept.len())))
}

/// Whether the backup that the broker reads when the main file is bad would bring dropped epochs back.
pub(crate) fn has_stale_backup(path: &Path, end: u64) -> bool {
    fs::metadata(path).is_ok() && !matches!(trimmed(path, end), Ok(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_from_the_cut_on_go_and_the_checksum_follows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("epochFileCheckpoint");
        assert_eq!(trimmed(&path, 5).unwrap(), None);
        fs::write(&path, "3\n0\n1-0\n2-500\n4-900\n").unwrap();
        assert_eq!(trimmed(&path, 901).unwrap(), None);
        let text = trimmed(&path, 500).unwrap().unwrap();
        let crc = crc32fast::hash(b"1-0\n") & 0x7FFF_FFFF;
        assert_eq!(text, format!("1\n{crc}\n1-0\n"));
        assert!(trimmed(&path, 0).unwrap().unwrap().starts_with("0\n"));
    }

    #[test]
    fn another_kind_of_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("epochFileCheckpoint");
        for bad in ["1\n0\nnonsense\n", "1\n0\n1-x\n", "1\n0\n1--5\n"] {
            fs::write(&path, bad).unwrap();
            assert!(matches!(
                trimmed(&path, 0),
                Err(StoreError::Unsupported { .. })
            ));
        }
    }
}
