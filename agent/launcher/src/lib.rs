//! What runs in the broker's container: `brokerStart` and `brokerAliveTest`.
//!
//! * [`protocol`]: what the agent and the launcher say to each other.

pub mod protocol;
