//! Every promise on real brokers.
//!
//! The tests are in `tests/brokers`, one file per promise. Most stories are told on the newest RocketMQ and on 4.9
//! ([`on_each_version!`]), the core of it all on every version ([`on_every_version!`]), what has nothing to do with the
//! broker once ([`on_the_quickest!`]). Here is what they share:
//!
//! * [`case`] plays one story at a time: a fresh playground, a limit, and everybody's last words when it fails;
//! * [`group`] is a group of members under the care of our agents, with an API server and a name server;
//! * [`leases`] reads and changes its Leases;
//! * [`books`] settles what producer and consumer saw;
//! * [`trial`] plays one fault, and settles what it cost;
//! * [`raw`] reads commit-log bytes, in stores and archives;
//! * [`figures`] reads what the agents measured themselves;
//! * [`stock`] runs the stock clients of `tests/clients`;
//! * [`holds`] watches that something stays true for a while: the one thing that can only be told by waiting.

pub mod books;
pub mod case;
pub mod figures;
pub mod group;
pub mod holds;
pub mod leases;
pub mod raw;
pub mod stock;
pub mod trial;

pub use case::Case;
pub use group::{Group, Place, Shape};
pub use trial::Trial;
