//! Which of two logs is the better one: a total order, the same on every member (safety rules 1.3, step 4).

use crate::ids::{Epoch, Member, Offset, Zone};
use core::cmp::Ordering;

/// What ranks a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank<'a> {
    /// The last term that wrote into its log (H29).
    pub last_epoch: Epoch,
    /// Where its log ends.
    pub end: Offset,
    /// Set by the operator; higher goes first.
    pub priority: i32,
    /// Its zone.
    pub zone: &'a Zone,
    /// Its name: the last tie-break.
    pub member: &'a Member,
}

impl Ord for Rank<'_> {
    /// The better one is the *smaller*, so that a sorted list begins with the best.
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .last_epoch
            .cmp(&self.last_epoch)
            .then_with(|| other.end.cmp(&self.end))
            .then_with(|| other.priority.cmp(&self.priority))
            .then_with(|| self.zone.cmp(other.zone))
            .then_with(|| self.member.cmp(other.member))
    }
}

impl PartialOrd for Rank<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
