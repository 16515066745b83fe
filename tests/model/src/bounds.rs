//! How far is looked.

use std::fmt;

/// The bounds of a walk: everything within them is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Members of the group, 2 or 3.
    pub members: usize,
    /// So many faults at most, at any time and in any order.
    pub faults: u32,
    /// So many terms at most, the first one among them: what comes after the last one is not followed.
    pub terms: u32,
    /// Begin with volumes that have nothing, not with a group that serves.
    pub blank: bool,
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = if self.blank {
            "blank volumes"
        } else {
            "a group that serves"
        };
        write!(
            f,
            "{} members, at most {} faults and {} terms, from {from}",
            self.members, self.faults, self.terms
        )
    }
}
