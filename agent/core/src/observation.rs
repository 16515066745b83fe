//! What was seen: the only way the world reaches a decision.
//!
//! A reading that failed or grew old is [`Reading::Unknown`], and Unknown never enables anything (I7).

use crate::ids::{Instance, Member, Nonce, Offset, Rv, Zone};
use crate::lineage::Lineage;
use crate::record::{GroupRecord, MemberSession, TermId};
use crate::report::{Addresses, Frozen, Report, Role};
use crate::time::{Boot, Tick};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// A value and when it was locally seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading<T> {
    /// Not read, or the reading failed. Never evidence of anything.
    #[default]
    Unknown,
    /// Read.
    Known {
        /// What was read.
        value: T,
        /// When, on this machine's clock.
        at: Tick,
    },
}

impl<T> Reading<T> {
    /// A reading made at `at`.
    pub const fn known(value: T, at: Tick) -> Self {
        Self::Known { value, at }
    }

    /// The value, however old.
    pub const fn last(&self) -> Option<&T> {
        match self {
            Self::Unknown => None,
            Self::Known { value, .. } => Some(value),
        }
    }

    /// The value, if it was read at most `limit` before `now`.
    pub fn fresh(&self, now: Tick, limit: Duration) -> Option<&T> {
        match self {
            Self::Known { value, at } if now.since(*at) <= limit => Some(value),
            Self::Known { .. } | Self::Unknown => None,
        }
    }

    /// The value, if it was read at `since` or later.
    pub fn since(&self, since: Tick) -> Option<&T> {
        match self {
            Self::Known { value, at } if *at >= since => Some(value),
            Self::Known { .. } | Self::Unknown => None,
        }
    }
}

/// This member, as its settings and its pod tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Me {
    /// Who we are.
    pub member: Member,
    /// Our zone.
    pub zone: Zone,
    /// Higher wins among equal logs.
    pub priority: i32,
    /// All members the group is expected to have, ourselves among them.
    pub expected: BTreeSet<Member>,
    /// Our operator excluded us from elections.
    pub no_failover: bool,
    /// What the kubelet will show once the launcher's container and the agent's are gone: one fresh word of each. Empty
    /// where no kubelet would show them.
    pub containers: Vec<String>,
    /// Where we are reached.
    pub addresses: Addresses,
    /// Our version.
    pub version: String,
}

/// What anyone may ask of the holder by annotation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Requests {
    /// Elections, switchovers and cuts rest (H43).
    pub paused: bool,
    /// A planned switchover.
    pub switchover: Option<SwitchoverRequest>,
}

/// A planned switchover, as asked for (H44).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchoverRequest {
    /// Tells two requests apart.
    pub id: String,
    /// The term it was meant for; another term's holder drops it.
    pub term: TermId,
    /// Who shall become master; absent: the best slave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Member>,
    /// How long it may take before the release, counted from when the holder first saw it, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_ms: Option<u64>,
}

/// The group Lease, as last read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseSeen {
    /// No such object.
    Absent,
    /// It names another group (H13).
    Stranger {
        /// Whose it is.
        whose: String,
    },
    /// It was written by a newer version (H46).
    Newer {
        /// The format it has.
        format: u32,
    },
    /// Its state is unreadable or its digest wrong: it gives no rights (H6).
    Damaged {
        /// Its version.
        rv: Rv,
        /// What is wrong.
        why: String,
        /// What anyone asked.
        requests: Requests,
    },
    /// A sound record.
    Record {
        /// Its version.
        rv: Rv,
        /// What it says.
        record: Box<GroupRecord>,
        /// What anyone asked.
        requests: Requests,
    },
}

impl LeaseSeen {
    /// Whether elections, switchovers and cuts shall rest (H43).
    pub const fn paused(&self) -> bool {
        match self {
            Self::Damaged { requests, .. } | Self::Record { requests, .. } => requests.paused,
            Self::Absent | Self::Stranger { .. } | Self::Newer { .. } => false,
        }
    }
}

/// What became of a Lease write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteResult {
    /// It was committed.
    Committed,
    /// The object had changed: it was not.
    Conflict,
    /// The server refused it (403, 404, 422 …): it was not.
    Refused,
    /// Nobody knows: time-out, reset, 5xx, 429 (H3).
    Unknown,
}

/// The last Lease write that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WriteOutcome {
    /// Which write.
    pub id: u64,
    /// CLOCK_BOOTTIME before its first byte.
    pub sent: Boot,
    /// What became of it.
    pub result: WriteResult,
}

/// The volume, examined while no broker runs on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Volume {
    /// Who we are on it.
    pub who: MemberSession,
    /// Which term wrote what.
    pub lineage: Lineage,
    /// The highest epoch it ever saw.
    pub highest_epoch: crate::ids::Epoch,
    /// The log as the last walk found it. Absent while a broker runs, or before the first walk.
    pub extent: Option<Extent>,
    /// The last freeze.
    pub frozen: Option<Frozen>,
    /// A cut that was begun and not finished: it is finished before anything else.
    pub pending_cut: Option<Offset>,
    /// The tail was repaired for a start in this term (H27). Dropped, like `extent` and `proof`, when a broker starts.
    pub repaired: Option<TermId>,
    /// The comparison with a master's bytes.
    pub proof: Option<Proof>,
    /// The log was proven (and cut, where needed) for this term.
    pub joined: Option<TermId>,
    /// The whole history is here only once the log reaches this offset: an empty member was given a copy.
    pub seeding: Option<Offset>,
}

/// A walked log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Extent {
    /// First offset held.
    pub min: Offset,
    /// End of the last whole record.
    pub end: Offset,
}

impl Extent {
    /// Whether it holds no byte.
    pub fn is_empty(&self) -> bool {
        self.end <= self.min
    }
}

/// The comparison of our log with a master's, byte for byte by checksums.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// For which term.
    pub term: TermId,
    /// Up to where it was asked.
    pub upto: Offset,
    /// Up to where it is equal: a record boundary, at most `upto`.
    pub equal: Offset,
}

/// What the launcher says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Launcher {
    /// Our instance: the pod's uid and the launcher's nonce.
    pub instance: Instance,
    /// What it runs.
    pub process: Process,
    /// Members whose replication connections stream from us, with the offset each acknowledged.
    pub replicas: BTreeMap<Member, Offset>,
    /// Whom our relay admits, and for which term.
    pub admitted: Option<(TermId, BTreeSet<MemberSession>)>,
    /// Where our relay gets its bytes.
    pub upstream: Upstream,
}

/// Our relay's way to the master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Upstream {
    /// No orders: the slave is kept warm and gets nothing.
    Parked,
    /// On its way, or refused for now.
    Connecting {
        /// For which term.
        term: TermId,
    },
    /// Proven in band and streaming.
    Streaming {
        /// For which term.
        term: TermId,
    },
    /// The bytes below our end differ from the master's.
    Diverged {
        /// For which term.
        term: TermId,
        /// From here on, or a little before.
        at: Offset,
    },
}

/// The broker process under the launcher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Process {
    /// None was started yet.
    Idle,
    /// One runs (or is being stopped).
    Live {
        /// As what.
        role: Role,
        /// In which term.
        term: TermId,
        /// Under which instance it was started.
        instance: Instance,
        /// Until when it may run.
        permit: Boot,
    },
    /// One ran and is gone, with its whole process group.
    Ended {
        /// As what.
        role: Role,
        /// In which term.
        term: TermId,
        /// Why.
        why: EndCause,
    },
}

/// Why a broker process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndCause {
    /// By itself: exit or crash.
    Crashed,
    /// We asked it to.
    Ordered,
    /// Its permit ran out.
    Fenced,
}

/// What the running broker says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Broker {
    /// First offset held.
    pub min: Offset,
    /// Log end now.
    pub end: Offset,
    /// Log end right after its recovery, where the version tells (5.x: 906).
    pub recovered: Option<Offset>,
    /// Whether sends are taken.
    pub gate: Gate,
}

/// Findings that our process, this very one, shows no sign of life, with no other finding between the first and the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Hung {
    /// The first.
    pub since: Tick,
    /// The last.
    pub seen: Tick,
}

/// The broker-level write stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Sends are taken.
    Open,
    /// Sends are refused.
    Shut,
}

/// What is known of another member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Peer {
    /// Its word by authenticated HTTP.
    pub answer: Reading<Report>,
    /// Its word in its member Lease: what it last published, not what it says now.
    pub published: Reading<Report>,
    /// What the kubelet says of its pod.
    pub pod: Reading<PodSeen>,
}

/// A pod as far as it can prove a death (H38).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PodSeen {
    /// The pod's uid: the first part of an instance.
    pub uid: String,
    /// The words of containers that terminated for a reason that means the process is gone.
    pub terminated: BTreeSet<String>,
}

/// The one long-running action the shell works on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// None.
    #[default]
    Idle,
    /// One is under way; its result will be seen on the volume.
    Busy,
}

/// What the process was asked from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopping {
    /// Go on.
    #[default]
    No,
    /// Hand over and stop.
    Yes,
}

/// Everything seen, at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Observation {
    /// This member.
    pub me: Me,
    /// The group Lease.
    pub lease: Reading<LeaseSeen>,
    /// The last Lease write that ended. A committed one arrives together with the view it led to, or later.
    pub write: Option<WriteOutcome>,
    /// Our volume.
    pub volume: Reading<Volume>,
    /// Our launcher.
    pub launcher: Reading<Launcher>,
    /// Our broker, while it answers.
    pub broker: Reading<Broker>,
    /// Our running process, found without any sign of life; none while there is one, or nobody looked.
    pub hung: Option<Hung>,
    /// The other members.
    pub peers: BTreeMap<Member, Peer>,
    /// The long-running action.
    pub job: Job,
    /// Asked to stop.
    pub stopping: Stopping,
    /// A random number, fresh at every call: the nonce of a term that may be begun now.
    pub nonce: Nonce,
}
