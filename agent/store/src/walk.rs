//! Going through one commit-log file record by record.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::error::{At, StoreError};
use crate::record::{HEAD, Head, Record, RecordFault};
use crate::segments::Segment;

/// Bytes read at a time. Large enough that the system call is noise, small enough for the second-level cache.
const BLOCK: usize = 1 << 18;

/// What stands at the walker's position.
#[derive(Debug)]
pub(crate) enum Advance<'a> {
    /// A whole valid record; the walker now stands behind it.
    Record(Record<'a>),
    /// The filler at the end of the file; the log goes on in the next file.
    Blank,
    /// No record begins here.
    Stopped(RecordFault),
}

/// Walks one file. After anything but a record it stays where it is.
pub(crate) struct Walker {
    file: File,
    segment: Segment,
    position: u64,
    buffer: Vec<u8>,
    /// Offset of the buffer's first byte, and how many bytes of it are filled.
    buffered_at: u64,
    filled: usize,
}

impl Walker {
    /// Starts at `from`, which must be a record boundary in the file.
    pub(crate) fn start(segment: &Segment, from: u64) -> Result<Self, StoreError> {
        Ok(Self {
            file: segment.open()?,
            segment: segment.clone(),
            position: from,
            buffer: Vec::new(),
            buffered_at: from,
            filled: 0,
        })
    }

    /// Where it stands: always a record boundary.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Looks at the position and steps over a record.
    pub(crate) fn advance(&mut self) -> Result<Advance<'_>, StoreError> {
        let at = self.position;
        let left = self.segment.end.saturating_sub(at);
        self.fill(HEAD)?;
        let needed = match Head::parse(self.view(HEAD)) {
            // The broker fills blanks up to the file's end and nowhere else.
            Ok(Head::Blank { total }) if total == left => return Ok(Advance::Blank),
            Ok(Head::Blank { total }) => {
                return Ok(Advance::Stopped(RecordFault::Size(
                    u32::try_from(total).unwrap_or(u32::MAX),
                )));
            }
            Ok(Head::Record {
                total,
                physical_offset,
            }) if physical_offset == at => total,
            // Stricter than the broker: a record of another place is a stale or joined tail.
            Ok(Head::Record {
                physical_offset, ..
            }) => {
                return Ok(Advance::Stopped(RecordFault::Offset {
                    claimed: i64::try_from(physical_offset).unwrap_or(i64::MAX),
                }));
            }
            Err(fault) => return Ok(Advance::Stopped(fault)),
        };
        self.fill(needed)?;
        let after = at + u64::try_from(needed).unwrap_or(u64::MAX);
        // Parse before the position moves, and borrow only the buffer for the record.
        match Record::parse(view(
            &self.buffer,
            self.buffered_at,
            self.filled,
            at,
            needed,
        )) {
            Ok(record) => {
                self.position = after;
                Ok(Advance::Record(record))
            }
            Err(fault) => Ok(Advance::Stopped(fault)),
        }
    }

    /// Moves to another place of the file.
    pub(crate) fn jump(&mut self, to: u64) {
        self.position = to;
    }

    fn view(&self, needed: usize) -> &[u8] {
        view(
            &self.buffer,
            self.buffered_at,
            self.filled,
            self.position,
            needed,
        )
    }

    /// Buffers at least `needed` bytes from the position on, or all there are.
    fn fill(&mut self, needed: usize) -> Result<(), StoreError> {
        if self.view(needed).len() == needed {
            return Ok(());
        }
        let left =
            usize::try_from(self.segment.end.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let want = needed.max(BLOCK).min(left);
        // The buffer only grows, and no further than a plausible record: Head::parse bounds it.
        if self.buffer.len() < want {
            self.buffer.resize(want, 0);
        }
        self.buffered_at = self.position;
        self.filled = 0;
        let into = self.buffer.get_mut(..want).unwrap_or_default();
        let from = self.position.saturating_sub(self.segment.start);
        self.filled = read_at(&self.file, into, from).at("read", &self.segment.path)?;
        Ok(())
    }
}

fn view(buffer: &[u8], buffered_at: u64, filled: usize, at: u64, needed: usize) -> &[u8] {
    let Some(skip) = at
        .checked_sub(buffered_at)
        .and_then(|skip| usize::try_from(skip).ok())
    else {
        return &[];
    };
    let have = buffer.get(..filled).unwrap_or_default();
    let rest = have.get(skip..).unwrap_or_default();
    rest.get(..needed).unwrap_or(rest)
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &File, into: &mut [u8], mut at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(count) => {
                filled += count;
                at += u64::try_from(count).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
