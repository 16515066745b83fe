//! Consume queues: units that point at or beyond the cut (facts §5.6 step 2).
//!
//! They are derived from the log, so what goes here is not archived: the records they point at are.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::{At, StoreError};
use crate::layout::{Layout, entries};
use crate::segments::{numbered_files, wrong_length};
use crate::sparse;

/// Size of a filler unit at a queue's start: its offset is 0 and means nothing.
const FILLER_SIZE: u32 = 0x7FFF_FFFF;
/// Unit length in bytes: offset, size, tag hash.
const UNIT: usize = 20;
/// Unit length of a batch queue; the same fields come first.
const BATCH_UNIT: usize = 46;

/// What has to happen to one queue file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum QueueChange {
    /// All its units point beyond the cut, or it is a stub of length 0.
    Remove(PathBuf),
    /// The units from this byte on are zeroed; the file keeps its length.
    ZeroFrom(PathBuf, u64),
}

/// Every change that makes the queues end before `end`.
pub(crate) fn survey(layout: &Layout, end: u64) -> Result<Vec<QueueChange>, StoreError> {
    let mut changes = Vec::new();
    for (dir, unit, size, key) in [
        (
            "consumequeue",
            UNIT,
            layout.consumequeue_file_size,
            "mappedFileSizeConsumeQueue",
        ),
        (
            "batchconsumequeue",
            BATCH_UNIT,
            layout.batch_consumequeue_file_size,
            "mapperFileSizeBatchConsumeQueue",
        ),
    ] {
        for topic in entries(&layout.root.join(dir))? {
            for queue in entries(&topic.path())? {
                let files = queue_files(&queue.path(), size, key, &mut changes)?;
                survey_queue(&files, unit, end, &mut changes)?;
            }
        }
    }
    Ok(changes)
}

/// The files of one queue, oldest first.
fn queue_files(
    dir: &Path,
    size: u64,
    key: &str,
    changes: &mut Vec<QueueChange>,
) -> Result<Vec<PathBuf>, StoreError> {
    let mut files = numbered_files(dir)?;
    if let Some((_, path, 0)) = files.last() {
        changes.push(QueueChange::Remove(path.clone()));
        files.pop();
    }
    files
        .into_iter()
        .map(|(_, path, len)| {
            if len == size {
                Ok(path)
            } else {
                Err(wrong_length(&path, len, key, size))
            }
        })
        .collect()
}

/// Offsets ascend in a queue, so from the newest file back: whole files go until the one the cut falls into.
fn survey_queue(
    files: &[PathBuf],
    unit: usize,
    end: u64,
    changes: &mut Vec<QueueChange>,
) -> Result<(), StoreError> {
    for path in files.iter().rev() {
        let units = scan(path, unit, end)?;
        match units.first {
            Some(first) if first < end => {
                if units.dirty {
                    changes.push(QueueChange::ZeroFrom(path.clone(), units.kept_bytes));
                }
                return Ok(());
            }
            Some(_) => changes.push(QueueChange::Remove(path.clone())),
            // Nothing but zeros or fillers: prepared ahead of need.
            None => {}
        }
    }
    Ok(())
}

/// What one queue file holds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Units {
    /// Log offset of the first unit that is not a filler.
    first: Option<u64>,
    /// Bytes of the leading units that point below the cut, in ascending order.
    kept_bytes: u64,
    /// Whether anything but zeros follows them.
    dirty: bool,
}

fn scan(path: &Path, unit: usize, end: u64) -> Result<Units, StoreError> {
    let file = File::open(path).at("open", path)?;
    let mut units = Units::default();
    let mut scan = Scan {
        end,
        last: None,
        kept: true,
    };
    sparse::for_each_unit(&file, unit, |at, bytes| {
        scan.take(at, bytes, &mut units);
        // Once dirty, the rest of the file can only be dirty too.
        !units.dirty
    })
    .at("read", path)?;
    Ok(units)
}

struct Scan {
    end: u64,
    last: Option<u64>,
    /// Whether every unit so far belongs to the kept ones.
    kept: bool,
}

impl Scan {
    fn take(&mut self, at: u64, bytes: &[u8], units: &mut Units) {
        let Some((offset, size)) = fields(bytes) else {
            return;
        };
        let filler = size == FILLER_SIZE;
        let written = size != 0 && size <= FILLER_SIZE;
        if units.first.is_none() && written && !filler {
            units.first = Some(offset);
        }
        let ascends = filler || self.last.is_none_or(|last| last < offset);
        // Units in a hole are not shown, so a jump is a gap.
        let follows = self.kept && at == units.kept_bytes;
        if follows && written && ascends && (filler || offset < self.end) {
            units.kept_bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            if !filler {
                self.last = Some(offset);
            }
            return;
        }
        self.kept = false;
        units.dirty |= !sparse::is_zero(bytes);
    }
}

fn fields(unit: &[u8]) -> Option<(u64, u32)> {
    let (offset, rest) = unit.split_first_chunk::<8>()?;
    let (size, _) = rest.split_first_chunk::<4>()?;
    Some((u64::from_be_bytes(*offset), u32::from_be_bytes(*size)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn unit(offset: u64, size: u32) -> Vec<u8> {
        let mut bytes = offset.to_be_bytes().to_vec();
        bytes.extend(size.to_be_bytes());
        bytes.extend([1; 8]);
        bytes
    }

    fn queue(files: &[Vec<Vec<u8>>]) -> (tempfile::TempDir, Vec<PathBuf>) {
        let dir = tempfile::tempdir().unwrap();
        let mut paths = Vec::new();
        for (index, units) in files.iter().enumerate() {
            let path = dir.path().join(format!("{:020}", index * 100));
            let mut bytes = units.concat();
            bytes.resize(100, 0);
            fs::write(&path, bytes).unwrap();
            paths.push(path);
        }
        (dir, paths)
    }

    fn changes(files: &[PathBuf], end: u64) -> Vec<QueueChange> {
        let mut changes = Vec::new();
        survey_queue(files, UNIT, end, &mut changes).unwrap();
        changes
    }

    #[test]
    fn units_from_the_cut_on_go() {
        let first = (0..5).map(|i| unit(i * 10, 10)).collect();
        let second = (5..8).map(|i| unit(i * 10, 10)).collect();
        let (_dir, files) = queue(&[first, second]);
        let zero = |file: usize, from| QueueChange::ZeroFrom(files[file].clone(), from);
        let remove = |file: usize| QueueChange::Remove(files[file].clone());
        assert_eq!(changes(&files, 80), []);
        assert_eq!(changes(&files, 71), []);
        assert_eq!(changes(&files, 70), [zero(1, 40)]);
        assert_eq!(changes(&files, 51), [zero(1, 20)]);
        assert_eq!(changes(&files, 50), [remove(1)]);
        assert_eq!(changes(&files, 20), [remove(1), zero(0, 40)]);
        assert_eq!(changes(&files, 0), [remove(1), remove(0)]);
    }

    #[test]
    fn fillers_say_nothing_about_the_log() {
        let filler = || unit(0, FILLER_SIZE);
        let (_dir, files) = queue(&[vec![filler(), filler(), unit(100, 10), unit(110, 10)]]);
        assert_eq!(changes(&files, 120), []);
        let zero = QueueChange::ZeroFrom(files[0].clone(), 60);
        assert_eq!(changes(&files, 110), [zero]);
        // With its first real unit beyond the cut the file goes: fillers alone would make the broker believe that the
        // queue already covers the log up to 2 GiB.
        assert_eq!(
            changes(&files, 100),
            [QueueChange::Remove(files[0].clone())]
        );
    }

    #[test]
    fn stale_units_behind_a_gap_or_out_of_order_go() {
        let zeros = || vec![0; 20];
        let (_dir, files) = queue(&[vec![unit(0, 10), zeros(), unit(20, 10)]]);
        let zero = |from| QueueChange::ZeroFrom(files[0].clone(), from);
        assert_eq!(changes(&files, 100), [zero(20)]);
        let (_dir, files) = queue(&[vec![unit(0, 10), unit(30, 10), unit(20, 10)]]);
        let zero = |from| QueueChange::ZeroFrom(files[0].clone(), from);
        assert_eq!(changes(&files, 100), [zero(40)]);
    }

    #[test]
    fn prepared_files_are_left() {
        let (_dir, files) = queue(&[vec![unit(0, 10)], vec![]]);
        assert_eq!(changes(&files, 10), []);
    }
}
