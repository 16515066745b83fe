//! Real name servers, brokers and agents as local processes.
//!
//! `cargo demo` plays one story with them (`demo.rs` beside `main.rs`); e2e tests and benchmarks use the same pieces
//! as a library. From the ground up:
//!
//! * what survives a run: [`cache`] with RocketMQ's jars ([`rocketmq`], by Maven; [`toolchain`] finds or
//!   installs Java and Maven) and the locks of [`ports`];
//! * what does not: [`run_dir`], and every [`process`], which a [`guard`] ties to our life;
//! * [`java`] knows the command lines, [`nameserver`] and [`broker`] are handles of running ones, [`contact`]
//!   asks a running broker things, and [`ground`] is where they are made;
//! * [`member`] is a broker as in production, with launcher and agent ([`programs`]), whose Kubernetes is
//!   [`kube`], in memory or a [`real_api`], and whose admin port is read by [`http`]; [`site`] is a page with its name servers, and
//!   [`http_site`] our own program that serves one;
//! * [`lease`] reads the group's Lease and writes an operator's wishes on it;
//! * [`traffic`] sends and reads numbered messages and keeps the books, [`logs`] compares commit logs, [`archive`]
//!   reads what a cut removed;
//! * [`timeline`] and [`report`] tell people what happened.

pub mod archive;
pub mod broker;
pub mod cache;
pub mod clock;
pub mod contact;
pub mod ground;
pub mod guard;
pub mod http;
pub mod http_site;
pub mod java;
pub mod kube;
pub mod lease;
pub mod logs;
pub mod member;
pub mod nameserver;
pub mod network;
pub mod ports;
pub mod process;
pub mod programs;
pub mod proxy;
pub mod real_api;
pub mod report;
pub mod rocketmq;
pub mod run_dir;
pub mod site;
pub mod timeline;
mod tool;
pub mod toolchain;
pub mod traffic;
pub mod volume;
pub mod wait;

pub use broker::{Broker, BrokerSpec};
pub use contact::{Contact, Role};
pub use ground::{Options, Playground};
pub use guard::Guard;
pub use http_site::HttpSite;
pub use kube::{ApiKind, ControlPlane};
pub use kube_access::AccessArgs;
pub use member::{GroupSpec, Member};
pub use nameserver::NameServer;
pub use network::{Cut, Host, Network};
pub use programs::Programs;
pub use proxy::Proxy;
pub use real_api::RealApi;
pub use rocketmq::Version;
pub use run_dir::Afterwards;
pub use timeline::Timeline;
pub use volume::Volume;
