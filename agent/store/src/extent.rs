//! Where a log begins and ends.

use serde::{Deserialize, Serialize};

use crate::error::{At, StoreError};
use crate::segments::{Segment, Segments};
use crate::sparse;
use crate::walk::{Advance, Walker};

/// The last whole record of a walk. Given back to [`crate::Store::extent_after`] it lets a later walk start there.
///
/// As a hint it is good for one boot of the machine: after a power loss bytes before it may be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRecord {
    /// Its first byte in the log.
    pub offset: u64,
    /// Its store timestamp, in milliseconds of the broker that stored it.
    pub store_timestamp_ms: i64,
}

/// What a commit log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Offset of the oldest file's first byte. Above the master's `min` the member is hollow.
    pub min: u64,
    /// Offset behind the last whole record. At a file boundary it is the canonical one of safety H28: the next file's
    /// start if that file is present, else the start of the blank record.
    pub end: u64,
    /// Bytes from the end to the last byte that is not zero, in all files: an incomplete record, or stale bytes that
    /// a later restart could bring back (safety H27). A blank that properly ends the last file is not counted.
    pub garbage_bytes: u64,
    /// The last whole record seen by the walk; `None` in an empty log.
    pub last: Option<LastRecord>,
}

impl Extent {
    /// Whether the log holds no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// Whether this log lacks history that a master still holds whose log starts at `master_min` (facts §4.4).
    #[must_use]
    pub fn is_hollow(&self, master_min: u64) -> bool {
        self.min > master_min
    }

    /// Whether there are bytes beyond the end.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.garbage_bytes > 0
    }
}

/// Where a walk starts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WalkFrom {
    /// The newest file that holds data: everything before it was complete when that file was begun.
    NewestData,
    /// After an unclean end: the newest file whose first record is older than what the checkpoint vouches for, the
    /// broker's own rule (facts §5.5). Later files may have holes after a power loss.
    SafeUntil {
        /// Store timestamp in ms.
        safe_until_ms: i64,
    },
    /// A record seen by an earlier walk.
    Last(LastRecord),
}

/// End of a log, and from where on its bytes are not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) end: u64,
    /// Same as `end`, except behind a blank that ends the last file.
    pub(crate) tail: u64,
    pub(crate) last: Option<LastRecord>,
}

/// Walks to the end of the log.
pub(crate) fn find_end(segments: &Segments, from: WalkFrom) -> Result<End, StoreError> {
    let Some((mut index, mut position)) = start(segments, from)? else {
        let nothing = segments.min();
        return Ok(End {
            end: nothing,
            tail: nothing,
            last: None,
        });
    };
    let mut last = None;
    loop {
        let Some(segment) = segments.get(index) else {
            // The file before ended with its blank and there is no next one.
            return Ok(End {
                end: position,
                tail: segments.limit(),
                last,
            });
        };
        // Behind a blank the log goes on at the next file's start.
        position = position.max(segment.start);
        let walked = walk_to_stop(segment, position)?;
        last = walked.last.or(last);
        position = walked.position;
        if !walked.complete {
            return Ok(End {
                end: position,
                tail: position,
                last,
            });
        }
        index += 1;
    }
}

/// Bytes beyond the log's end that are not zero, over all files.
pub(crate) fn garbage(segments: &Segments, tail: u64) -> Result<u64, StoreError> {
    let mut end = None;
    for segment in segments.all().iter().filter(|file| file.end > tail) {
        end = data_end(segment, tail)?.or(end);
    }
    Ok(end.map_or(0, |end: u64| end.saturating_sub(tail)))
}

/// Log offset behind the last non-zero byte of a file, from `from` on.
pub(crate) fn data_end(segment: &Segment, from: u64) -> Result<Option<u64>, StoreError> {
    let skip = from.saturating_sub(segment.start);
    let end = sparse::end_of_data(&segment.open()?, skip, segment.end - segment.start)
        .at("read", &segment.path)?;
    Ok(end.map(|end| segment.start + end))
}

/// How one file's walk ended.
pub(crate) struct Walked {
    pub(crate) position: u64,
    /// Whether a blank ends the file, so that the log goes on in the next one.
    pub(crate) complete: bool,
    pub(crate) last: Option<LastRecord>,
}

pub(crate) fn walk_to_stop(segment: &Segment, from: u64) -> Result<Walked, StoreError> {
    let mut walker = Walker::start(segment, from)?;
    let mut last = None;
    loop {
        let complete = match walker.advance()? {
            Advance::Record(record) => {
                last = Some(LastRecord {
                    offset: record.physical_offset,
                    store_timestamp_ms: record.store_timestamp_ms,
                });
                continue;
            }
            Advance::Blank => true,
            Advance::Stopped(_) => false,
        };
        return Ok(Walked {
            position: walker.position(),
            complete,
            last,
        });
    }
}

/// File and boundary to start from; `None` in a log without files.
fn start(segments: &Segments, from: WalkFrom) -> Result<Option<(usize, u64)>, StoreError> {
    if let WalkFrom::Last(hint) = from
        && let Some(index) = segments.containing(hint.offset)
    {
        return Ok(Some((index, hint.offset)));
    }
    let good_enough = |first_ms: i64| match from {
        WalkFrom::SafeUntil { safe_until_ms } => first_ms <= safe_until_ms,
        WalkFrom::NewestData | WalkFrom::Last(_) => true,
    };
    for (index, segment) in segments.all().iter().enumerate().rev() {
        let mut walker = Walker::start(segment, segment.start)?;
        if let Advance::Record(first) = walker.advance()?
            && good_enough(first.store_timestamp_ms)
        {
            return Ok(Some((index, segment.start)));
        }
    }
    Ok(segments.get(0).map(|segment| (0, segment.start)))
}

/// Whether that very record still stands there.
pub(crate) fn is_there(segments: &Segments, hint: LastRecord) -> Result<bool, StoreError> {
    let index = segments.containing(hint.offset);
    let Some(segment) = index.and_then(|index| segments.get(index)) else {
        return Ok(false);
    };
    let mut walker = Walker::start(segment, hint.offset)?;
    Ok(matches!(
        walker.advance()?,
        Advance::Record(record) if record.store_timestamp_ms == hint.store_timestamp_ms
    ))
}
