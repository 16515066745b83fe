//! The agent's dealings with the API server, against the in-memory one.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test may panic like the test itself"
)]

mod commands;
mod ground;
mod lease_reads;
mod lease_writes;
mod members;
