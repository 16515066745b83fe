//! What runs in the broker's container: `brokerStart`, which starts, stops and fences the broker on the agent's orders,
//! and `brokerAliveTest`, the probe. Threads and blocking I/O only; no Kubernetes, no TLS, no async runtime.
//!
//! ```text
//! agent ══ control socket ══► brokerStart ──► sh mqbroker ──► sh runbroker.sh ──► java     (one process group)
//!                               │    └── ≈ relay: the HA stream
//!                               └──► guard: kills the group when brokerStart is gone or asleep
//! ```
//!
//! * [`protocol`]: what the agent and the launcher say to each other; [`client`] is a small blocking client of it.
//! * `settings` and [`command`]: brokerStart's flags, and the broker's command line with conf and JVM options put in.
//! * `run` is brokerStart's one loop: signals, the control socket (`server`) and deadlines in a single thread.
//! * `launcher` answers orders, `orders` holds the pure rules of what is taken, `broker` is the broker's life.
//! * `spawn` starts the command, `group` is its process group, `guard` (safety H11) kills it when nobody else can.
//! * `relays` holds the two ends of the replication relay, so that an agent's restart does not break replication.
//! * [`alive`] is the probe's check, with the table of what follows from each state; the agent runs it in process.
//! * [`epitaph`] is what a kubelet shows once a container is gone (safety H38).
//! * [`clock`] reads CLOCK_BOOTTIME, [`conf`] single values of a broker.conf, `port` whether the broker listens.

pub mod alive;
pub mod client;
pub mod clock;
pub mod command;
pub mod conf;
pub mod epitaph;
pub mod protocol;

mod broker;
mod group;
mod guard;
mod journal;
mod launcher;
mod orders;
mod port;
mod relays;
mod run;
mod server;
mod settings;
mod spawn;

pub use run::broker_start;
