//! What a cut does to the commit log's files (facts §5.6 step 1).

use std::path::PathBuf;

use crate::error::StoreError;
use crate::extent::data_end;
use crate::segments::{Segment, Segments};

/// The commit log's part of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogPlan {
    /// The file the cut falls into, if there is anything but zeros behind the cut.
    pub(crate) tail: Option<Tail>,
    /// Whole files that go, newest first, so that a crash never leaves a gap.
    pub(crate) later: Vec<Later>,
    /// A last file of length 0.
    pub(crate) stub: Option<PathBuf>,
}

/// The part of one file that is copied to the archive and zeroed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) segment: Segment,
    /// Log offset of the first byte that goes.
    pub(crate) from: u64,
    /// Log offset behind the last byte that is not zero.
    pub(crate) data_end: u64,
}

/// A whole file that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Later {
    pub(crate) segment: Segment,
    /// Log offset behind its last byte that is not zero; `None`: nothing to archive.
    pub(crate) data_end: Option<u64>,
}

impl LogPlan {
    /// Makes every byte from `from` on zero or gone. A file that starts at `from` stays, zeroed: the broker then
    /// reports exactly that offset as its end.
    pub(crate) fn survey(segments: &Segments, from: u64) -> Result<Self, StoreError> {
        let mut plan = Self {
            stub: segments.stub.clone(),
            ..Self::default()
        };
        for segment in segments.all().iter().filter(|file| file.end > from) {
            let data_end = data_end(segment, from.max(segment.start))?;
            let segment = segment.clone();
            if segment.start <= from {
                plan.tail = data_end.map(|data_end| Tail {
                    segment,
                    from,
                    data_end,
                });
            } else if data_end.is_some() || !plan.later.is_empty() {
                // Files prepared ahead of need stay, unless one before them goes.
                plan.later.push(Later { segment, data_end });
            }
        }
        plan.later.reverse();
        Ok(plan)
    }

    /// Whether bytes other than zeros go.
    pub(crate) fn takes_data(&self) -> bool {
        self.data_end().is_some()
    }

    /// Log offset behind the last byte that goes.
    pub(crate) fn data_end(&self) -> Option<u64> {
        let later = self.later.iter().find_map(|later| later.data_end);
        later.or_else(|| self.tail.as_ref().map(|tail| tail.data_end))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tail.is_none() && self.later.is_empty() && self.stub.is_none()
    }
}
