//! Observation: what is read of the world, and nothing decided on it.

pub mod broker;
pub mod launcher;
pub mod lease;
pub mod pod;
pub mod reports;
pub mod volume;
