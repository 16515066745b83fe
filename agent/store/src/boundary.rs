//! Record boundaries: the places where a log may be cut.

use crate::error::StoreError;
use crate::extent::{LastRecord, walk_to_stop};
use crate::segments::{Segment, Segments};
use crate::walk::{Advance, Walker};

/// A record boundary and what lies right before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Boundary {
    pub(crate) offset: u64,
    pub(crate) before: Option<LastRecord>,
}

/// The last record boundary at or below `x`, walking from the start of its file, or from `known`, a boundary at or
/// below `x` in whatever file.
pub(crate) fn at_or_below(
    segments: &Segments,
    x: u64,
    known: Option<u64>,
) -> Result<Boundary, StoreError> {
    let (min, limit) = (segments.min(), segments.limit());
    if x < min {
        return Err(StoreError::OutOfRange {
            asked: x,
            min,
            end: limit,
        });
    }
    let nothing = Boundary {
        offset: min,
        before: None,
    };
    let mut next = segments
        .containing(x)
        .or_else(|| segments.all().len().checked_sub(1));
    while let Some(index) = next {
        let Some(segment) = segments.get(index) else {
            return Ok(nothing);
        };
        let from = known
            .filter(|known| (segment.start..segment.end).contains(known) && *known <= x)
            .unwrap_or(segment.start);
        let found = within(segment, from, x)?;
        if found.offset > segment.start {
            return Ok(found);
        }
        // At the very start of a file: a boundary if the file before is complete. Walk that one; it also tells what
        // the last record before the boundary is.
        let Some(before) = index.checked_sub(1).and_then(|index| segments.get(index)) else {
            return Ok(nothing);
        };
        let walked = walk_to_stop(before, before.start)?;
        if walked.complete {
            return Ok(Boundary {
                offset: segment.start,
                before: walked.last,
            });
        }
        next = index.checked_sub(1);
    }
    Ok(nothing)
}

/// The last boundary at or below `x` in one file.
fn within(segment: &Segment, from: u64, x: u64) -> Result<Boundary, StoreError> {
    let mut walker = Walker::start(segment, from)?;
    let mut boundary = Boundary {
        offset: from,
        before: None,
    };
    while boundary.offset < x {
        let Advance::Record(record) = walker.advance()? else {
            break;
        };
        let last = LastRecord {
            offset: record.physical_offset,
            store_timestamp_ms: record.store_timestamp_ms,
        };
        if walker.position() > x {
            break;
        }
        boundary = Boundary {
            offset: walker.position(),
            before: Some(last),
        };
    }
    Ok(boundary)
}

/// Record boundaries in ascending order: see [`crate::Store::boundaries`].
pub struct Boundaries {
    segments: Segments,
    index: usize,
    walker: Option<Walker>,
    next: Option<u64>,
    to: u64,
}

impl Boundaries {
    pub(crate) fn new(segments: Segments, from: u64, to: u64) -> Result<Self, StoreError> {
        let (index, walker) = match segments.containing(from) {
            Some(index) => {
                let segment = segments.get(index);
                let walker = segment.map(|segment| Walker::start(segment, from));
                (index, walker.transpose()?)
            }
            None => (segments.all().len(), None),
        };
        Ok(Self {
            segments,
            index,
            walker,
            next: Some(from),
            to,
        })
    }

    /// Moves on to the boundary after the current one.
    fn step(&mut self) -> Result<Option<u64>, StoreError> {
        let Some(walker) = &mut self.walker else {
            return Ok(None);
        };
        match walker.advance()? {
            Advance::Record(_) => return Ok(Some(walker.position())),
            Advance::Stopped(_) => return Ok(None),
            Advance::Blank => {}
        }
        self.index += 1;
        let Some(segment) = self.segments.get(self.index) else {
            return Ok(None);
        };
        self.walker = Some(Walker::start(segment, segment.start)?);
        Ok(Some(segment.start))
    }
}

impl Iterator for Boundaries {
    type Item = Result<u64, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let current = self.next.filter(|offset| *offset <= self.to)?;
        self.next = match self.step() {
            Ok(next) => next,
            Err(error) => {
                self.next = None;
                self.walker = None;
                return Some(Err(error));
            }
        };
        Some(Ok(current))
    }
}
