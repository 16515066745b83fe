//! httpSite: the name-server list every RocketMQ client can rely on.
//!
//! Stock clients and brokers ask `GET /rocketmq/nsaddr` for one line `ip:port;ip:port` (facts §7). What flows:
//!
//! ```text
//! source/* ──► Word ──┐
//! probe    ──► Health ├─► change (the rules, pure) ─► site ─► board (bytes made beforehand) ─► http
//! desk     ──► orders ┘                                └─► kept (disk), event, metrics, status page
//! ```
//!
//! - [`name_server`], [`list`], [`list_name`] — what is given to clients, checked;
//! - [`change`] — the order of change: nine rules, and never an empty list;
//! - [`source`] — static, file, ConfigMap, EndpointSlices, DNS; [`desk`] — what the operator orders by hand;
//! - [`probe`] — does a name server answer;
//! - [`site`] — applies the rules to what is heard, and keeps the [`board`];
//! - [`http`] — the port for clients; [`admin`] — probes, metrics, the [`switch`]; [`status`], [`page`] — for people;
//! - [`certificate`] — the TLS port's key pair, which may change; `validity` — until when it is good;
//! - `hints` — tells when files may have changed;
//! - [`groups`] — the brokers' groups, from the agents' Leases; [`trouble`] — what is wrong with all of it;
//! - [`kept`] — the last good lists on disk; [`event`] — Events; [`settings`], [`run`] — flags, and everything wired.

pub mod admin;
pub mod board;
pub mod certificate;
pub mod change;
pub mod clock;
pub mod desk;
pub mod event;
pub mod groups;
mod hints;
pub mod http;
pub mod kept;
mod kubernetes;
pub mod list;
pub mod list_name;
pub mod metrics;
pub mod name_server;
pub mod page;
pub mod probe;
pub mod quantity;
pub mod run;
pub mod settings;
pub mod site;
pub mod source;
pub mod status;
pub mod switch;
mod tasks;
pub mod trouble;
mod validity;

/// This version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
