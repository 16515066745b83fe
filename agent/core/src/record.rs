//! The group's shared record: what the group Lease says, written only by its holder.

use crate::ids::{Epoch, Instance, Member, Nonce, Offset, Session, VolumeId};
use crate::lineage::{Lineage, LineageEntry};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

/// The format this code writes. A higher one makes us an observer (H46).
pub const FORMAT: u32 = 1;

/// What the user asked of the group's replication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Qos {
    /// 0: asynchronous, best effort.
    #[default]
    Async,
    /// 1: asynchronous with a bounded lag.
    BoundedLag,
    /// 2: no acknowledged message lost.
    NoneLost,
}

impl TryFrom<u8> for Qos {
    type Error = &'static str;

    fn try_from(level: u8) -> Result<Self, Self::Error> {
        match level {
            0 => Ok(Self::Async),
            1 => Ok(Self::BoundedLag),
            2 => Ok(Self::NoneLost),
            3.. => Err("QoS is 0, 1 or 2"),
        }
    }
}

impl From<Qos> for u8 {
    fn from(qos: Qos) -> Self {
        match qos {
            Qos::Async => 0,
            Qos::BoundedLag => 1,
            Qos::NoneLost => 2,
        }
    }
}

/// How the group replicates now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// No usable slave.
    #[default]
    Single,
    /// A slave is connected; acknowledgements do not wait for it.
    Async,
    /// Acknowledgements wait for the slave, which has not yet everything from before.
    SemiSync,
    /// Every acknowledged message is on K.
    Sync,
}

impl Phase {
    /// The word used in logs, metrics and the record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Async => "async",
            Self::SemiSync => "semi_sync",
            Self::Sync => "sync",
        }
    }
}

/// What makes a term the same term.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct TermId {
    /// Its number.
    pub epoch: Epoch,
    /// What tells it from another term with this number.
    pub nonce: Nonce,
}

impl fmt::Display for TermId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.epoch, f)
    }
}

/// Whether a term's master is being started or serves (H24).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Won, not yet serving: the replication record still describes the term before.
    Opening,
    /// Serving.
    Serving,
}

/// A reign of one master: one JVM process (H9).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    /// Its identity.
    #[serde(flatten)]
    pub id: TermId,
    /// The log end at which it began.
    pub start: Offset,
    /// Who reigns.
    pub master: Member,
    /// How far it got.
    pub stage: Stage,
}

impl Term {
    /// The lineage entry of this term.
    pub fn entry(&self) -> LineageEntry {
        LineageEntry {
            epoch: self.id.epoch,
            nonce: self.id.nonce,
            start: self.start,
            master: self.master.clone(),
        }
    }
}

/// A member during one unbroken life of its log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MemberSession {
    /// Who.
    pub member: Member,
    /// Which life.
    pub session: Session,
    /// On which volume.
    pub volume: VolumeId,
}

/// The replication record R: who may replicate and how many of them must acknowledge, for which term (H16).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replication {
    /// The serving term it describes.
    pub term: TermId,
    /// Its master.
    pub master: MemberSession,
    /// K: members allowed an HA connection.
    pub members: BTreeSet<MemberSession>,
    /// k: how many of them must have a message before it is acknowledged.
    pub acks: u32,
    /// The highest offset that k of K had at the last renewal (H25).
    pub confirmed: Offset,
}

/// Everything the group shares (safety rules 1.2). One JSON annotation; only the holder writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// [`FORMAT`].
    pub format: u32,
    /// The newest term.
    pub term: Term,
    /// Who holds the Lease; empty when released.
    pub holder: Instance,
    /// The words that the kubelet shows once the holder's launcher and agent are gone: what proves its death (H38).
    pub containers: Vec<String>,
    /// Rises with every write of the holder.
    pub seq: u64,
    /// Who replicates. Absent only before the first term served.
    pub replication: Option<Replication>,
    /// All members with the volume each was last seen with.
    pub members: BTreeMap<Member, VolumeId>,
    /// The newest terms ([`crate::lineage::LEASE_LINEAGE`]).
    pub lineage: Lineage,
    /// The first offset the master still holds: who lacks it is hollow.
    pub log_min: Offset,
    /// What is in force, as opposed to asked for.
    pub qos_enforced: Qos,
    /// How the group replicates.
    pub phase: Phase,
    /// On a released Lease: who shall take it first.
    pub target: Option<Member>,
    /// The longest take-over wait of this term's holders, in milliseconds (H4).
    pub take_wait_ms: u64,
}

/// What a renewal always changes and a bystander's edit never does (H14). Also the name of a vacancy: a bystander may
/// move the resourceVersion, so members would not agree on that.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tuple {
    /// Who holds it.
    pub holder: Instance,
    /// In which term.
    pub term: TermId,
    /// At which write.
    pub seq: u64,
}

impl GroupRecord {
    /// What its next renewal will change.
    pub fn tuple(&self) -> Tuple {
        Tuple {
            holder: self.holder.clone(),
            term: self.term.id,
            seq: self.seq,
        }
    }
}
