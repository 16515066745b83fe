//! Action: what is done to the world, and nothing decided on it.

pub mod event;
pub mod gate;
pub mod label;
pub mod launcher;
pub mod lease;
pub mod name_servers;
pub mod report;
pub mod route;
pub mod stand_in;
pub mod upstream;
pub mod volume;
