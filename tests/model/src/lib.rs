//! The election, model-checked: every order of every fault within stated bounds, over the very `decide` that ships.
//!
//! A [`World`] is a group of two or three members with their launchers, volumes, brokers, one Lease and a clock of whole
//! [`time::TICK`]s. What can happen next is an [`Act`]: a member thinks (until it has nothing more to do), time passes, a
//! delayed write lands, something breaks, something is mended. `stateright` walks through all of it, breadth first, and
//! judges each state ([`laws`]).
//!
//! The space is finite because nothing grows in it: times are kept relative to now and no older than the longest wait,
//! versions and renewal numbers are numbered anew after each act with their order and their gaps kept ([`canon`]), each
//! broker writes as few messages as tell logs apart, and faults and terms are bounded ([`Bounds`]). What is left out is said
//! in `tests/README.md`.

pub mod bounds;
mod canon;
mod clock;
pub mod fault;
mod heal;
pub mod laws;
mod link;
mod machine;
mod msg;
mod shell;
mod space;
mod think;
pub mod time;
pub mod walk;
mod world;

pub use bounds::Bounds;
pub use space::{Act, Space};
pub use world::World;
