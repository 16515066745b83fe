//! How it goes: counters and states for metrics, `status`, and the agent's decisions.

use crate::{Member, Peer, Refusal, Session, Term};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// A master side's status. Times are CLOCK_BOOTTIME milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterStatus {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The term of its orders, if it has any.
    pub term: Option<Term>,
    /// Acknowledgements pass until then.
    pub permit_until_ms: u64,
    /// One entry per admitted and connected slave.
    pub connections: Vec<ConnectionStatus>,
    /// Handshakes in progress.
    pub half_open: usize,
    /// Refusals since the start, by [`Refusal::word`].
    pub refused: BTreeMap<String, u64>,
    /// The last refusal.
    pub last_refusal: Option<Refusal>,
    /// Admitted connections since the start.
    pub admitted_total: u64,
    /// Log bytes sent to slaves since the start, proofs included.
    pub bytes_total: u64,
    /// The local acker; `None` without orders, and from a launcher that has none.
    #[serde(default)]
    pub local_ack: Option<LocalAckStatus>,
}

/// The local acker of the present term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalAckStatus {
    /// What it does.
    pub state: LocalAckState,
    /// The highest offset it has told the JVM in this term; the term's start before the first.
    pub up_to: u64,
    /// `None` while it is ordered to work. Else the border: no acknowledgement above this offset has reached or will
    /// reach the JVM in this term but by the orders now in force. What ends at or below it may rest on the master
    /// alone, or on fewer slaves, until every admitted one has acknowledged this offset.
    pub stopped_at: Option<u64>,
}

/// What the local acker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocalAckState {
    /// Nothing, by order.
    Off,
    /// Ordered to work, but not connected to the JVM or without a valid permit: nothing is acknowledged.
    Waiting,
    /// Connected, and acknowledging what the JVM sends.
    Acking,
}

/// One slave's connection, as the master side sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// Who.
    pub member: Member,
    /// Which life of its log.
    pub session: Session,
    /// Where it comes from.
    pub address: SocketAddr,
    /// How far it is.
    pub state: ConnectionState,
    /// What the slave itself acknowledged; `None` until its log is proved.
    pub acked: Option<u64>,
    /// What the JVM was told; begins with the request offset.
    pub forwarded_acks: u64,
    /// Log bytes below this were sent to the slave.
    pub sent: u64,
    /// Bytes sent and not acknowledged.
    pub lag: u64,
    /// Since when it is connected.
    pub since_ms: u64,
}

impl ConnectionStatus {
    /// `member@session`.
    #[must_use]
    pub fn peer(&self) -> Peer {
        Peer {
            member: self.member.clone(),
            session: self.session.clone(),
        }
    }
}

/// How far a slave's connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// Requested; the JVM has sent nothing yet.
    Requested,
    /// Data flows, the slave is comparing its tail.
    Proving,
    /// Proved: its acknowledgements count.
    Streaming,
}

/// A slave side's status. Times are CLOCK_BOOTTIME milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlaveStatus {
    /// Where the JVM is to connect.
    pub local: SocketAddr,
    /// Whether it is connected.
    pub jvm_connected: bool,
    /// How far the replication is.
    pub state: SlaveState,
    /// Since when.
    pub since_ms: u64,
    /// The JVM's last report on this connection: its log's end.
    pub reported: Option<u64>,
    /// Bytes below this were given to the JVM. Frozen = `Parked` and `reported == forwarded`.
    pub forwarded: Option<u64>,
    /// How many bytes below the end were compared with the master's, at the last attach.
    pub proved: u64,
    /// Log bytes given to the JVM since the start.
    pub bytes_total: u64,
    /// Log bytes compared since the start.
    pub proved_total: u64,
    /// The master's first offset, as told at the last attach.
    pub master_min: Option<u64>,
    /// Connections of the JVM since the start.
    pub jvm_connects: u64,
    /// Links opened (answered with a welcome) since the start.
    pub attaches: u64,
    /// Tries that failed since the start.
    pub failures: u64,
    /// Why the last one failed or the last link ended.
    pub last_error: Option<String>,
}

/// How far a slave's replication is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SlaveState {
    /// No upstream, by order.
    Parked,
    /// Waiting for the JVM and its end, for the next try, or for the TCP connection.
    Connecting,
    /// Showing the key.
    Handshake,
    /// Comparing the tail; nothing is forwarded, nothing acknowledged.
    Proving,
    /// Forwarding and acknowledging.
    Streaming,
    /// The last try was refused; it will be repeated.
    Refused {
        /// By whom and why.
        why: Refusal,
    },
    /// The logs differ: parked until other orders come.
    Diverged {
        /// The first byte seen to differ.
        at: u64,
    },
}
