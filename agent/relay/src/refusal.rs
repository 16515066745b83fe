//! Why a peer link was not opened.

use crate::Term;
use serde::{Deserialize, Serialize};

/// Why one side would not replicate with the other. Shown on both sides; only ever a hint for people and for the next
/// try, never evidence: it travels unsigned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Refusal {
    /// The other side speaks another version of the peer link.
    #[error("peer speaks version {mine} of the relay's protocol: upgrade the older side")]
    Version {
        /// The refusing side's version.
        mine: u8,
    },
    /// The peer belongs to another group.
    #[error("peer belongs to another group: check the address")]
    WrongGroup,
    /// The peer could not show that it has the group's key.
    #[error("peer has another group key: all members need the same")]
    BadKey,
    /// The master side has no orders: its member is not master, or its agent has not spoken yet.
    #[error("peer has no orders to replicate")]
    NoOrders,
    /// The peer is in another term.
    #[error("peer is in term {mine}")]
    OtherTerm {
        /// The refusing side's term.
        mine: Term,
    },
    /// The slave expected another member or another life of its launcher.
    #[error("peer is not the expected holder of the term")]
    OtherHolder,
    /// This member@session is not to replicate now.
    #[error("member and session are not admitted")]
    NotAdmitted,
    /// The master's permit has run out.
    #[error("the master's permit has run out")]
    NoPermit,
    /// The master's JVM does not answer on its HA port.
    #[error("the master's broker does not accept on its HA port")]
    BrokerAway,
    /// The master cannot list its commit log.
    #[error("the master cannot list its commit log")]
    NoCommitLog,
    /// The slave's log ends at or below the first byte the master still has: it must be seeded anew.
    #[error("the master's log begins at {min}, not below the slave's end: reseed the slave")]
    BelowMin {
        /// The master's first offset.
        min: u64,
    },
    /// The master sent nothing up to the slave's end: the slave's log is ahead, or the master is stuck.
    #[error("the master sent nothing above {at}, below the slave's end")]
    Ahead {
        /// Where the master's bytes stopped.
        at: u64,
    },
    /// What arrived was not the relay's protocol, or not in time.
    #[error("peer did not speak the relay's protocol")]
    Garbage,
    /// Too many handshakes at once.
    #[error("too many handshakes at once")]
    Busy,
}

impl Refusal {
    /// One word for counters and labels.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Version { .. } => "version",
            Self::WrongGroup => "wrong_group",
            Self::BadKey => "bad_key",
            Self::NoOrders => "no_orders",
            Self::OtherTerm { .. } => "other_term",
            Self::OtherHolder => "other_holder",
            Self::NotAdmitted => "not_admitted",
            Self::NoPermit => "no_permit",
            Self::BrokerAway => "broker_away",
            Self::NoCommitLog => "no_commit_log",
            Self::BelowMin { .. } => "below_min",
            Self::Ahead { .. } => "ahead",
            Self::Garbage => "garbage",
            Self::Busy => "busy",
        }
    }
}
