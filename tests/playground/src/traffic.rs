//! Messages through a group under test, and the books about them.
//!
//! Our own producer and consumer keep every message's fate, which no stock client does:
//! [`producer`] sends numbered messages to whoever the name servers call master, [`consumer`] reads them
//! back, [`ledger`] settles what was acknowledged against what can be read. [`prober`] asks every broker
//! directly and so sees two masters at once even when no client would ([`reigns`]).

pub mod consumer;
pub mod ledger;
pub mod numbered;
pub mod prober;
pub mod producer;
pub mod reigns;
pub mod route;

pub use consumer::{Consumer, read_all};
pub use ledger::{Attempt, Gap, Ledger, Outcome, Settlement};
pub use numbered::{Number, Stamp};
pub use prober::{Prober, Probers};
pub use producer::{Producer, ProducerSpec};
pub use reigns::{Acceptance, Dispute, Reign, disputes, reigns};
pub use route::{Master, NameServers};
