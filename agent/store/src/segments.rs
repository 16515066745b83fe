//! The files of a commit log, in order.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::{At, StoreError, unsupported};
use crate::layout::{Layout, entries};

/// One file of the commit log; its name is the offset of its first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) path: PathBuf,
}

impl Segment {
    pub(crate) fn open(&self) -> Result<File, StoreError> {
        File::open(&self.path).at("open", &self.path)
    }
}

/// The files of the commit log, checked: names, lengths, no gap, nothing foreign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segments {
    list: Vec<Segment>,
    /// A last file of length 0, left by a crash while the broker created it; holds nothing.
    pub(crate) stub: Option<PathBuf>,
}

impl Segments {
    pub(crate) fn list(layout: &Layout) -> Result<Self, StoreError> {
        let mut files = numbered_files(&layout.commitlog)?;
        let mut stub = None;
        if let Some((_, path, 0)) = files.last() {
            stub = Some(path.clone());
            files.pop();
        }
        let size = layout.commitlog_file_size;
        let mut list = Vec::<Segment>::with_capacity(files.len());
        for (start, path, len) in files {
            if len != size {
                return Err(wrong_length(&path, len, "mappedFileSizeCommitLog", size));
            }
            let expected = list.last().map_or(start, |before| before.end);
            let end = start.checked_add(size).filter(|_| start % size == 0);
            let (true, Some(end)) = (start == expected, end) else {
                return Err(unsupported(
                    format!("{} does not follow the file before it", path.display()),
                    "the commit log has a gap: seed this member anew",
                ));
            };
            list.push(Segment { start, end, path });
        }
        Ok(Self { list, stub })
    }

    /// Start of the oldest file; 0 without files.
    pub(crate) fn min(&self) -> u64 {
        self.list.first().map_or(0, |segment| segment.start)
    }

    /// End of the newest file; 0 without files.
    pub(crate) fn limit(&self) -> u64 {
        self.list.last().map_or(0, |segment| segment.end)
    }

    pub(crate) fn all(&self) -> &[Segment] {
        &self.list
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Segment> {
        self.list.get(index)
    }

    /// Index of the file that holds the byte at `offset`.
    pub(crate) fn containing(&self, offset: u64) -> Option<usize> {
        let after = self.list.partition_point(|segment| segment.start <= offset);
        let index = after.checked_sub(1)?;
        self.list
            .get(index)
            .filter(|segment| offset < segment.end)
            .map(|_| index)
    }
}

/// Files named by a 20-digit offset, in order, with their lengths. Folders are skipped, as the broker does; any other
/// file stops the broker and is refused here.
pub(crate) fn numbered_files(dir: &Path) -> Result<Vec<(u64, PathBuf, u64)>, StoreError> {
    let mut files = Vec::new();
    for entry in entries(dir)? {
        let path = entry.path();
        let meta = entry.metadata().at("read", &path)?;
        if meta.is_dir() {
            continue;
        }
        let name = entry.file_name();
        let start = name
            .to_str()
            .filter(|name| name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|name| name.parse().ok());
        let Some(start) = start else {
            return Err(unsupported(
                format!("{} is a foreign file", path.display()),
                "move it away: only files named by a 20-digit offset belong there",
            ));
        };
        files.push((start, path, meta.len()));
    }
    files.sort();
    Ok(files)
}

pub(crate) fn wrong_length(path: &Path, len: u64, key: &str, size: u64) -> StoreError {
    unsupported(
        format!("{} is {len} bytes long, {key} says {size}", path.display()),
        format!("set {key} to the length the files were written with"),
    )
}
