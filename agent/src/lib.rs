//! The rocketmq-ha sidecar: elects, fences, repairs and serves one RocketMQ broker.
//!
//! [`run`] wires everything; [`cycle`] is the one loop that sees ([`observe`]), decides ([`agent_core::decide`]) and acts
//! ([`act`]). Nothing outside the core decides anything.
//!
//! - settings and their sources: [`settings`], [`base_conf`], [`broker_conf`], [`properties`], [`nameservers`];
//! - the API server: [`kubernetes`], [`names`], [`record_codec`], and below `observe` and `act`;
//! - the launcher: [`launcher_link`], below `observe` and `act`, and the [`watchdog`] thread;
//! - the other members' agents: [`peer`];
//! - for people and machines: [`admin`], [`metrics`], [`history`], [`transition`], [`health`];
//! - the command line: [`cli`], and the operator's part of it: [`command`];
//! - time: [`clock`].

pub mod act;
pub mod admin;
pub mod base_conf;
pub mod broker_conf;
pub mod cli;
pub mod clock;
pub mod command;
pub mod cycle;
pub mod health;
pub mod history;
pub mod kubernetes;
pub mod launcher_link;
pub mod metrics;
pub mod names;
pub mod nameservers;
pub mod observe;
pub mod peer;
pub mod properties;
pub mod record_codec;
pub mod restart_pending;
pub mod run;
pub mod settings;
pub mod transition;
pub mod watchdog;

/// This program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// An error with all its causes, in one line. Whoever stops passing an error on logs it this way, once.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
