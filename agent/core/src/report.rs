//! A member's word about itself: by HTTP to its peers, and in its member Lease.

use crate::ids::{Epoch, Instance, Offset, Zone};
use crate::lineage::Lineage;
use crate::record::{MemberSession, TermId, Tuple};
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// The role a broker runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Accepts sends.
    Master,
    /// Follows.
    Slave,
}

impl Role {
    /// The word used in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Slave => "slave",
        }
    }
}

/// A member that can receive no more bytes from the old master, with its whole-record end fixed for this vacancy (H19).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    /// For which vacancy.
    pub vacancy: Tuple,
    /// Where its log ends.
    pub end: Offset,
    /// The last term that wrote into it.
    pub last_epoch: Epoch,
}

/// Whether a member may be elected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Electable {
    /// It may.
    Yes,
    /// Its volume has not been examined yet.
    Unexamined,
    /// It lacks history that the master still holds (facts 4.4).
    Hollow,
    /// Its last promotion failed; it waits (H34).
    BackedOff,
    /// Its operator excluded it.
    NoFailover,
    /// Its log and the master's differ and it has not been repaired.
    Diverged,
    /// Its agent is about to stop.
    Stopping,
    /// Something on its volume is not understood.
    Volume,
}

impl Electable {
    /// The word used in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Unexamined => "unexamined",
            Self::Hollow => "hollow",
            Self::BackedOff => "backed_off",
            Self::NoFailover => "nofailover",
            Self::Diverged => "diverged",
            Self::Stopping => "stopping",
            Self::Volume => "volume",
        }
    }
}

/// The log as far as a report tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogReport {
    /// First offset held.
    pub min: Offset,
    /// Log end: of the walk when the broker is stopped, else what the broker says.
    pub end: Offset,
}

/// Where a member is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// `ip:port` of the broker.
    pub broker: String,
    /// `ip:port` of the launcher's relay.
    pub relay: String,
    /// `ip:port` of the agent.
    pub agent: String,
}

/// A member's word about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`crate::record::FORMAT`].
    pub format: u32,
    /// Who, in which life, on which volume.
    #[serde(flatten)]
    pub who: MemberSession,
    /// The life of its launcher.
    pub instance: Instance,
    /// Its failure zone.
    pub zone: Zone,
    /// Higher wins among equal logs.
    pub priority: i32,
    /// What runs now.
    pub role: Option<Role>,
    /// The term it runs under, or was proven for.
    pub term: Option<TermId>,
    /// Whether its log was proven for [`Self::term`]: it may be admitted (I4).
    pub joined: bool,
    /// Its log; absent until it was examined.
    pub log: Option<LogReport>,
    /// The last term that wrote into its log.
    pub last_epoch: Epoch,
    /// The highest epoch it ever saw.
    pub highest_epoch: Epoch,
    /// It holds no byte and knows no term: a new volume.
    pub blank: bool,
    /// Set while it is frozen for a vacancy.
    pub frozen: Option<Frozen>,
    /// May it be elected.
    pub electable: Electable,
    /// Where it is reached.
    pub addresses: Addresses,
    /// The agent's version.
    pub version: String,
    /// Its full history; only by HTTP, left out of the member Lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<Lineage>,
}
