//! THE ELECTION: who becomes master of a group, and when.
//!
//! One pure function, [`decide`], from what was seen to what is done. It runs in the agent, in the simulator and in
//! the model checker alike; this crate is `no_std`, so no clock, socket or thread can slip in.
//!
//! Where things are: what is known in [`observation`], what is remembered in [`state`], what is asked for in
//! [`action`], why in [`reason`]. The group's shared record is [`record`], a member's word about itself is [`report`].
//! Which log is better is [`rank`], who may stand is [`election`], which bytes belong to whom is [`lineage`], what a
//! returning member must give up is [`rejoin`], and when a Lease is free is [`lease`]. Every duration and the
//! inequality that makes them safe is [`policy`]. Rule numbers (H1 …) refer to the project's safety rules.
#![no_std]
#![warn(
    clippy::wildcard_enum_match_arm,
    clippy::match_wildcard_for_single_variants
)]

extern crate alloc;

pub mod action;
pub mod decide;
pub mod election;
pub mod ids;
pub mod lease;
pub mod lineage;
pub mod observation;
pub mod policy;
pub mod rank;
pub mod reason;
pub mod record;
pub mod rejoin;
pub mod report;
pub mod session;
pub mod state;
pub mod time;

pub use action::{Action, Decision, LeaseWrite, WriteReason};

pub use decide::decide;
pub use ids::{Epoch, Instance, Member, Nonce, Offset, Rv, Session, VolumeId, Zone};
pub use lineage::{Lineage, LineageEntry};
pub use observation::Observation;
pub use policy::{Policy, PolicyError, Timing};
pub use reason::Reason;
pub use record::{GroupRecord, MemberSession, Phase, Qos, Replication, Stage, Term, TermId};
pub use report::Report;
pub use state::State;
pub use time::{Boot, Now, Tick};
