//! Both relays between a fake master broker and fake slave brokers, over loopback.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::cast_possible_truncation, reason = "test data is small")]

mod admission;
mod fakes;
mod faults;
mod local_ack;
mod proof;
mod replication;
mod rig;
mod rule;
mod wire;
