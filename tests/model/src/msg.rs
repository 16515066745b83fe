//! A commit log as its messages: who wrote what.

use agent_core::ids::Offset;
use agent_core::record::TermId;
use serde::Serialize;

/// Bytes of a message.
const SIZE: u64 = 100;

/// A message: the same bytes exactly where term and number are the same, for one term is one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Msg {
    pub(crate) term: TermId,
    pub(crate) n: u8,
}

/// Messages, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Log(Vec<Msg>);

impl Log {
    pub(crate) fn end(&self) -> Offset {
        let count = u64::try_from(self.0.len()).unwrap_or(u64::MAX);
        Offset::new(count.saturating_mul(SIZE))
    }

    pub(crate) fn all(&self) -> &[Msg] {
        &self.0
    }

    /// A message of this term more.
    pub(crate) fn append(&mut self, term: TermId) -> Msg {
        let n = self.0.iter().filter(|m| m.term == term).count();
        let n = u8::try_from(n).unwrap_or(u8::MAX);
        let msg = Msg { term, n };
        self.0.push(msg);
        msg
    }

    /// The last message is lost.
    pub(crate) fn lose(&mut self) -> Option<Msg> {
        self.0.pop()
    }

    /// Keeps what lies below; what lay above.
    pub(crate) fn cut(&mut self, to: Offset) -> Vec<Msg> {
        let keep = usize::try_from(to.get() / SIZE).unwrap_or(usize::MAX);
        self.0.split_off(keep.min(self.0.len()))
    }

    /// Up to where both hold the same bytes.
    pub(crate) fn common(&self, other: &Self) -> Offset {
        let same = self.0.iter().zip(&other.0).take_while(|(a, b)| a == b);
        let count = u64::try_from(same.count()).unwrap_or(u64::MAX);
        Offset::new(count.saturating_mul(SIZE))
    }

    pub(crate) fn is_prefix_of(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }
}
