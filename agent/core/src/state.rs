//! What an agent remembers between two decisions. Lost with the process; what must survive is on the volume or in the Lease.

use crate::ids::{Epoch, Instance, Member, Offset, Rv};
use crate::observation::WriteResult;
use crate::record::{GroupRecord, TermId, Tuple};
use crate::time::{Boot, Tick};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use serde::Serialize;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct State {
    /// When this agent first decided: no silence is counted from before (H7, H41).
    pub started: Option<Tick>,
    /// What the Lease showed, and since when.
    pub watch: Option<LeaseWatch>,
    /// The Lease write whose outcome is not settled.
    pub pending: Option<PendingWrite>,
    /// Number of the last Lease write.
    pub writes: u64,
    /// The term we hold, and what that is worth.
    pub held: Option<Held>,
    /// The highest epoch seen anywhere.
    pub highest: Epoch,
    /// The election we take part in.
    pub election: Option<Election>,
    /// The promotion under way.
    pub opening: Option<Opening>,
    /// Crashes of our own master, newest last.
    pub crashes: Vec<Crash>,
    /// Not to be elected until then.
    pub backoff: Option<Backoff>,
    /// The hand-over under way.
    pub handover: Option<Handover>,
    /// A switchover request whose target is not known to be able, and since when: others' words are a round old.
    pub wished: Option<(String, Tick)>,
    /// The switchover request that was answered last: not to be taken up again.
    pub answered: Option<String>,
    /// The gate was ordered shut or open, and when: an older reading says nothing.
    pub gate_order: Option<GateOrder>,
    /// The term registered with the name servers.
    pub registered: Option<TermId>,
    /// The fence that was announced.
    pub fenced: Option<TermId>,
}

/// The Lease as watched from here (safety rules 1.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeaseWatch {
    /// What was seen.
    pub sight: Sight,
    /// Since when it is unchanged, on our own clock.
    pub since: Tick,
    /// The newest version that shows it; absent for an absent Lease.
    pub rv: Option<Rv>,
    /// What was seen before in turn with this, and since when: damage, or the record that was damaged (J21).
    pub other: Option<(Sight, Tick)>,
}

/// What a take-over waits on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sight {
    /// No object.
    Absent,
    /// An object whose record is unreadable or was edited: whoever holds it puts it right (H46).
    Damaged,
    /// A sound record that is older than what we know (H6).
    Rewound {
        /// Its renewal tuple.
        tuple: Tuple,
        /// The highest epoch known: a newer one means that somebody reigned meanwhile.
        after: Epoch,
    },
    /// A record with this renewal tuple.
    Held(Tuple),
}

/// A Lease write whose outcome is not settled (H3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PendingWrite {
    /// Which.
    pub id: u64,
    /// What it carried.
    pub carried: Option<Rv>,
    /// What it would leave behind.
    pub record: Box<GroupRecord>,
    /// What it was for.
    pub kind: PendingKind,
    /// How and when its call ended, if it did without a commit: only a later reading settles it (H3).
    pub ended: Option<(WriteResult, Tick)>,
}

/// What an unsettled write could mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PendingKind {
    /// We would hold a new term.
    Acquire,
    /// We would go on holding ours.
    Keep,
    /// We would hold nothing.
    Release,
}

/// The term we hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Which.
    pub term: TermId,
    /// In which life of our launcher.
    pub instance: Instance,
    /// CLOCK_BOOTTIME before the last successful renewal was sent. Absent after an adoption: that grants no time (H12).
    pub renewed: Option<Boot>,
    /// The record as we last wrote or adopted it: what a deleted Lease is made from again (H7).
    pub record: Box<GroupRecord>,
}

/// An election we take part in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Election {
    /// For which vacancy.
    pub vacancy: Tuple,
    /// Since when we collect answers.
    pub since: Tick,
    /// Who goes before us.
    pub before: Vec<Member>,
    /// Since when it is those.
    pub before_since: Tick,
}

/// A promotion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Opening {
    /// Of which term.
    pub term: TermId,
    /// Since when.
    pub since: Tick,
    /// Who reigned before.
    pub from: Option<Member>,
}

/// A crash of our own master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Crash {
    /// Of which term.
    pub term: TermId,
    /// When it was noticed.
    pub at: Tick,
}

/// A failed member keeps out for a while (H34).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Backoff {
    /// The term that failed.
    pub term: TermId,
    /// How often in a row.
    pub failures: u32,
    /// Until when.
    pub until: Tick,
}

/// A planned hand-over of a serving master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Handover {
    /// The request, or absent when the agent itself stops.
    pub request: Option<String>,
    /// Of which term.
    pub term: TermId,
    /// To whom; absent when nobody can take over and the agent stops all the same.
    pub target: Option<Member>,
    /// Since when.
    pub since: Tick,
    /// Until when the release must be sent.
    pub limit: Tick,
    /// How far it got.
    pub step: HandoverStep,
}

/// Steps of a hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HandoverStep {
    /// The gate is being shut.
    Gating,
    /// Shut at this log end; the target must have it.
    Draining {
        /// The final offset.
        last: Offset,
    },
    /// The broker is being killed; from here on there is no way back (H45).
    Killing,
}

/// The last order to the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct GateOrder {
    /// In which term.
    pub term: TermId,
    /// What was ordered.
    pub gate: crate::observation::Gate,
    /// When.
    pub at: Tick,
}
