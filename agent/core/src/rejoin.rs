//! What a returning member must give up before it may follow (safety rules 1.5).

use crate::ids::Offset;
use crate::lineage::{Common, Lineage};
use crate::observation::Extent;

/// How many bytes below a common offset are compared before it is believed.
pub const PROOF: u64 = 64 * 1024;

/// Whether a log lacks most of what is still held from `floor` on: classic replication starts an empty slave at the
/// master's last file only (facts 4.4). A log that merely dropped its oldest files a little earlier is not hollow.
pub fn hollow(floor: Offset, log: Extent) -> bool {
    let lacks = log.min.since(floor);
    !log.is_empty() && lacks > log.end.since(floor) / 2
}

/// A master's log, as it says itself.
#[derive(Clone, Copy, Debug)]
pub struct MasterLog<'a> {
    /// Its history, complete.
    pub lineage: &'a Lineage,
    /// First offset held.
    pub min: Offset,
    /// Log end now.
    pub end: Offset,
}

/// What to do with our log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Keep everything below `keep` once [`from`, `keep`) is proven equal; archive and cut what lies above.
    Keep {
        /// End of the common prefix.
        keep: Offset,
        /// Where the comparison starts.
        from: Offset,
    },
    /// Nothing to compare: our log is empty.
    Empty,
    /// Ours cannot be continued from what the master holds, or lacks most of it: set it aside and copy.
    Reseed,
}

/// Compares two histories. `ours` is the walk of a stopped log.
pub fn plan(lineage: &Lineage, ours: Extent, master: MasterLog<'_>) -> Plan {
    if ours.is_empty() {
        return Plan::Empty;
    }
    if hollow(master.min, ours) {
        return Plan::Reseed;
    }
    let (common, keep) = lineage.common_prefix(ours.end, master.lineage, master.end);
    let floor = ours.min.max(master.min);
    if keep <= floor {
        return Plan::Reseed;
    }
    let from = match common {
        // A shared term proves what lies below it; its last bytes are compared all the same.
        Common::Term(_) => Offset::new(keep.get().saturating_sub(PROOF)).max(floor),
        // Nobody looked after those bytes: only comparing all of them proves anything.
        Common::Origin => floor,
    };
    Plan::Keep { keep, from }
}
