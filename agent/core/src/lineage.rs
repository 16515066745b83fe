//! Which term wrote which bytes of a commit log.

use crate::ids::{Epoch, Member, Nonce, Offset};
use crate::record::TermId;
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The newest terms that the group Lease carries; a volume keeps them all (H36).
pub const LEASE_LINEAGE: usize = 64;

/// One term in a log's history: from `start` on, `master` wrote as `epoch`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LineageEntry {
    /// The term's number.
    pub epoch: Epoch,
    /// What makes it unique (H8).
    pub nonce: Nonce,
    /// The log end when the term began.
    pub start: Offset,
    /// Who reigned.
    pub master: Member,
}

impl LineageEntry {
    /// The term's identity.
    pub fn term(&self) -> TermId {
        TermId {
            epoch: self.epoch,
            nonce: self.nonce,
        }
    }

    /// Equal epoch with another nonce or start is *not* the same term.
    pub fn same_term(&self, other: &Self) -> bool {
        self.epoch == other.epoch && self.nonce == other.nonce && self.start == other.start
    }
}

/// The terms of one log, oldest first, epochs strictly increasing, starts never falling. Zero-length terms are kept.
///
/// It may name terms that start above the log's end: a slave that joined term 6 knows the term before its bytes.
/// Before the first entry lies the *origin*: bytes written when no agent looked after the group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<LineageEntry>", into = "Vec<LineageEntry>")]
pub struct Lineage(Arc<[LineageEntry]>);

impl From<Vec<LineageEntry>> for Lineage {
    fn from(entries: Vec<LineageEntry>) -> Self {
        Self(entries.into())
    }
}

impl From<Lineage> for Vec<LineageEntry> {
    fn from(lineage: Lineage) -> Self {
        lineage.0.to_vec()
    }
}

/// The newest piece of history that two logs share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Common {
    /// A term that both name with equal epoch, nonce and start.
    Term(LineageEntry),
    /// No shared term: only what was written before the first term of either.
    Origin,
}

impl Lineage {
    /// An ordered history.
    ///
    /// # Errors
    /// The index of the first entry whose epoch does not rise or whose start falls.
    pub fn new(entries: Vec<LineageEntry>) -> Result<Self, usize> {
        for (i, pair) in entries.windows(2).enumerate() {
            if let [a, b] = pair
                && (b.epoch <= a.epoch || b.start < a.start)
            {
                return Err(i + 1);
            }
        }
        Ok(Self(entries.into()))
    }

    /// The terms, oldest first.
    pub fn entries(&self) -> &[LineageEntry] {
        &self.0
    }

    /// The newest term named.
    pub fn last(&self) -> Option<&LineageEntry> {
        self.0.last()
    }

    /// Whether no term is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this very term is named.
    pub fn names(&self, entry: &LineageEntry) -> bool {
        self.0.iter().any(|e| e.same_term(entry))
    }

    /// Whether a term of this identity is named.
    pub fn has_term(&self, term: TermId) -> bool {
        self.0.iter().any(|e| e.term() == term)
    }

    /// The newest `n` terms.
    #[must_use]
    pub fn newest(&self, n: usize) -> Self {
        let from = self.0.len().saturating_sub(n);
        Self(self.0.get(from..).unwrap_or_default().into())
    }

    /// This history for a log that ends at `end` and goes on with `entry`: terms that start beyond the end never wrote
    /// a byte here and are dropped.
    #[must_use]
    pub fn extended(&self, end: Offset, entry: LineageEntry) -> Self {
        let mut kept: Vec<_> = self
            .0
            .iter()
            .filter(|e| e.start <= end && e.epoch < entry.epoch)
            .cloned()
            .collect();
        kept.push(entry);
        Self(kept.into())
    }

    /// The last term that wrote into a log of this length: the greatest epoch whose start lies *below* the end (H29).
    /// A term that is merely known does not count.
    pub fn last_epoch(&self, end: Offset) -> Epoch {
        self.0
            .iter()
            .rev()
            .find(|e| e.start < end)
            .map_or(Epoch::new(0), |e| e.epoch)
    }

    /// Whether the two histories use one epoch for two different terms: then they do not come from one Lease.
    pub fn contradicts(&self, other: &Self) -> bool {
        self.0.iter().any(|a| {
            other
                .0
                .iter()
                .any(|b| a.epoch == b.epoch && !a.same_term(b))
        })
    }

    /// The newest piece of history both share. Symmetric.
    pub fn common(&self, other: &Self) -> Common {
        let shared = self.0.iter().rev().find(|e| other.names(e));
        shared.map_or(Common::Origin, |e| Common::Term(e.clone()))
    }

    /// Where the shared piece ends in a log of this length: the next term's start in this log's *own* history, else
    /// its end.
    pub fn end_of(&self, piece: &Common, end: Offset) -> Offset {
        let next = match piece {
            Common::Origin => self.0.first(),
            Common::Term(entry) => self.0.iter().find(|e| e.epoch > entry.epoch),
        };
        next.map_or(end, |e| e.start.min(end))
    }

    /// Up to where two logs are known to be the same bytes: the smaller of the two ends of the newest shared piece.
    pub fn common_prefix(&self, end: Offset, other: &Self, other_end: Offset) -> (Common, Offset) {
        let piece = self.common(other);
        let prefix = self
            .end_of(&piece, end)
            .min(other.end_of(&piece, other_end));
        (piece, prefix)
    }
}
