//! What the agent orders, by way of the launcher.

use crate::{Instance, Member, Peer, Session, Term};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// What a master's relay is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterOrders {
    /// This member.
    pub member: Member,
    /// This launcher's life.
    pub instance: Instance,
    /// The term this member is master of.
    pub term: Term,
    /// The term's start offset. Nothing that ends at or below it waits for an acknowledgement.
    pub start: u64,
    /// K of the replication record: who may replicate.
    pub admit: Vec<Peer>,
    /// How many of the admitted must have a byte before the JVM hears any acknowledgement of it; 0 = no cap.
    pub k: u32,
    /// The own JVM's HA port.
    pub ha: SocketAddr,
    /// The own JVM's commit log; only its file names are read.
    pub commitlog_dir: PathBuf,
    /// Whether the relay itself acknowledges everything. An older agent does not say; an older launcher does not do it,
    /// and shows that by [`crate::MasterStatus::local_ack`] being `None`.
    #[serde(default)]
    pub local_ack: LocalAck,
}

/// Whether a master's relay acknowledges everything itself (safety §1.8), so that a broker run as SYNC_MASTER behaves as
/// an asynchronous one and its settings never change while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocalAck {
    /// Only the slaves' acknowledgements pass, by the rule of `k`.
    #[default]
    Off,
    /// One more HA connection acknowledges at once what the JVM sends, while the term's permit is valid. Not together
    /// with `k` > 0: the stricter of the two orders holds, so the acker stays off.
    On,
}

impl MasterOrders {
    /// Whether the local acker is to work. `k` > 0 says that slaves must have a byte first, and wins.
    #[must_use]
    pub fn acknowledges_locally(&self) -> bool {
        self.local_ack == LocalAck::On && self.k == 0
    }
}

/// What a slave's relay is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum SlaveOrders {
    /// Keep the JVM's connection alive, send it no data.
    Park,
    /// Replicate from a master.
    Attach(Box<Attach>),
}

/// Where a slave replicates from, and as whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// The master's relay.
    pub upstream: SocketAddr,
    /// The term it must be master of.
    pub term: Term,
    /// The member it must be.
    pub holder_member: Member,
    /// The life of its launcher.
    pub holder_instance: Instance,
    /// This member.
    pub member: Member,
    /// This member's log session.
    pub session: Session,
    /// This launcher's life.
    pub instance: Instance,
    /// The own JVM's commit log, read to prove the tail.
    pub commitlog_dir: PathBuf,
    /// `mappedFileSizeCommitLog` in bytes.
    pub commitlog_file_size: u64,
    /// The log's end as a walk before the JVM's start found it. Saves the up to 5 s until the JVM's first report; used
    /// once, for the first connection of the JVM.
    pub end_hint: Option<u64>,
}

impl Attach {
    /// Whether both orders ask for the same replication: the hint only says how to begin.
    #[must_use]
    pub fn same_stream(&self, other: &Self) -> bool {
        Self {
            end_hint: None,
            ..self.clone()
        } == Self {
            end_hint: None,
            ..other.clone()
        }
    }
}
