//! The timer wheel of 5.x: whether it points beyond the cut (facts §5.6 step 6).

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::{At, StoreError};
use crate::layout::entries;
use crate::segments::numbered_files;
use crate::sparse;

/// Length of a timer-log record in bytes, also its first field.
const UNIT: usize = 52;
/// Where a record holds the log offset of its message.
const OFFSET_AT: usize = 28;

/// The files to remove so that the wheel is rebuilt from its topic; empty if no timer points at or beyond `end`.
///
/// A rebuilt wheel may deliver again what already fired, so it is left alone wherever it can be.
pub(crate) fn survey(root: &Path, end: u64) -> Result<Vec<PathBuf>, StoreError> {
    if !points_beyond(&root.join("timerlog"), end)? {
        return Ok(Vec::new());
    }
    // The log goes last: while it is there, a resumed cut finds the same work again.
    let mut files = Vec::new();
    for entry in entries(root)? {
        // Also its snapshots: `timerwheel.<position>`.
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with("timerwheel")
        {
            files.push(entry.path());
        }
    }
    files.sort();
    for name in ["timercheck", "timercheck.bak"] {
        let path = root.join("config").join(name);
        if path.exists() {
            files.push(path);
        }
    }
    files.push(root.join("timerlog"));
    Ok(files)
}

fn points_beyond(dir: &Path, end: u64) -> Result<bool, StoreError> {
    for (_, path, _) in numbered_files(dir)?.iter().rev() {
        match newest(path, end)? {
            Newest::Beyond => return Ok(true),
            // Records are appended in the order of the log, so older files point further back.
            Newest::Below => return Ok(false),
            Newest::Nothing => {}
        }
    }
    Ok(false)
}

enum Newest {
    Nothing,
    Below,
    Beyond,
}

fn newest(path: &Path, end: u64) -> Result<Newest, StoreError> {
    let file = File::open(path).at("open", path)?;
    let mut found = Newest::Nothing;
    sparse::for_each_unit(&file, UNIT, |_, unit| {
        match points_at(unit) {
            Some(offset) if offset >= end => found = Newest::Beyond,
            Some(_) => found = Newest::Below,
            // Zeros, or the filler at the file's end.
            None => {}
        }
        !matches!(found, Newest::Beyond)
    })
    .at("read", path)?;
    Ok(found)
}

fn points_at(unit: &[u8]) -> Option<u64> {
    let size = u32::from_be_bytes(*unit.first_chunk::<4>()?);
    let offset = u64::from_be_bytes(*unit.get(OFFSET_AT..)?.first_chunk::<8>()?);
    (usize::try_from(size).ok()? == UNIT).then_some(offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;
    use crate::testing::Writer;

    #[test]
    fn only_a_timer_beyond_the_cut_resets_the_wheel() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(survey(dir.path(), 0).unwrap(), Vec::<PathBuf>::new());
        let layout = Layout::new(dir.path(), 4096, 100);
        Writer::create(&layout, 0).unwrap().timer(500).unwrap();
        assert_eq!(survey(dir.path(), 501).unwrap(), Vec::<PathBuf>::new());
        let names: Vec<_> = survey(dir.path(), 500)
            .unwrap()
            .iter()
            .map(|path| path.strip_prefix(dir.path()).unwrap().to_owned())
            .collect();
        let wanted = ["timerwheel", "config/timercheck", "timerlog"];
        assert_eq!(names, wanted.map(PathBuf::from));
    }
}
