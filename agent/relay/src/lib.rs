//! The replication relay: no broker talks to another broker's HA port, every byte goes through our hands.
//!
//! ```text
//! slave JVM ──loopback──► SlaveRelay ══ peer link (TCP) ══► MasterRelay ──loopback──► master JVM's HA port
//! ```
//!
//! * [`MasterRelay`] lives beside a master. It admits the members it was ordered to admit, under a valid permit of its
//!   own term, opens one HA connection to its JVM per admitted slave, and decides which acknowledgements the JVM hears.
//!   As long as no slave need acknowledge, its local acker can do it for the JVM, so that a synchronous master's settings
//!   never change while it runs ([`LocalAck`]).
//! * [`SlaveRelay`] lives beside a slave. It is the only "master" the slave's JVM ever sees: it parks the JVM, proves
//!   that its log is a prefix of the master's before one byte or acknowledgement passes, and keeps what is in flight
//!   within a window.
//!
//! Both do what they were last ordered ([`MasterOrders`], [`SlaveOrders`]) and tell how it goes ([`MasterStatus`],
//! [`SlaveStatus`]); they decide nothing about roles. Orders are levels, not edges: equal orders given again change
//! nothing.
//!
//! Where things are: bytes of RocketMQ's HA protocol in [`ha_stream`]; who may connect in `handshake` (with the
//! [`GroupKey`] that the agents' own calls use too); which acknowledgements count in `ack_rule`; the two sides in
//! `master_relay` and `slave_relay`.
//!
//! Threads and blocking sockets, no async runtime: the relay lives in the launcher, which must stay small. Buffers
//! exist only while a stream is connected. Every wait ends: reads and writes tick, a silent link is dropped, and all
//! threads end when the relay is dropped.
//!
//! The peer link is authenticated once, at its start (mutual challenge and response); its bytes are then neither
//! signed nor encrypted.

mod ack_rule;
mod backoff;
pub mod clock;
mod commit_log;
pub mod ha_stream;
mod handshake;
mod identity;
mod key;
mod master_relay;
mod orders;
mod refusal;
mod slave_relay;
mod socket;
mod status;
mod threads;
mod tuning;

pub use identity::{GroupName, Instance, Member, Peer, Session, Term};
pub use key::{GroupKey, KeyError, Tag};
pub use master_relay::MasterRelay;
pub use orders::{Attach, LocalAck, MasterOrders, SlaveOrders};
pub use refusal::Refusal;
pub use slave_relay::SlaveRelay;
pub use status::{
    ConnectionState, ConnectionStatus, LocalAckState, LocalAckStatus, MasterStatus, SlaveState,
    SlaveStatus,
};
pub use tuning::Tuning;

/// Why a relay could not be started.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The listening address could not be taken.
    #[error("listen for replication on {address}: is the port free and the address local?")]
    Bind {
        /// The address that was asked for.
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system gave no thread or no pair of sockets to wake it with.
    #[error("start the replication relay's threads")]
    Thread {
        /// What the system said.
        source: std::io::Error,
    },
}
