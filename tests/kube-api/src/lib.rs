//! An in-memory Kubernetes API, as far as our programs need one: the demo runs on it, and tests that would be too slow
//! or too unsteady with a real server.
//!
//! [`KubeApi::start`] listens on loopback and hands out a kubeconfig; no authentication, no TLS. What it answers is held
//! to a real kube-apiserver by a suite of named cases, package `conformance`, which runs against both.
//!
//! A request flows `server` → `route` → `resource` → `store`:
//!
//! - `server` — connections, body limit, faults, from HTTP to a call and back;
//! - `route` — which resource and verb a path names, and the query;
//! - `kind` — the table of resources that exist, and how they differ;
//! - `resource`, `deletion` — create, update, patch, delete: what a write must satisfy;
//! - `patch`, `object`, `validation`, `event` — patches, metadata, bad values, the two faces of an Event;
//! - `selector` — label and field selectors;
//! - `store` — objects, one global version, a bounded history;
//! - `watch` — the stream of changes, bookmarks, and the 410 when history is gone;
//! - `failure` — Kubernetes `Status` errors;
//! - `fault` — what a test may break: outage, lost replies, latency; and the request counters.
//!
//! Left out on purpose: authentication, admission, defaulting of specs, schema checks beyond Leases, paging (a list is
//! always whole), discovery, and server-side apply (415): nothing of ours uses it yet.

mod api;
mod clock;
mod deletion;
mod event;
mod failure;
mod fault;
mod kind;
mod object;
mod patch;
mod resource;
mod route;
mod selector;
mod server;
mod store;
mod validation;
mod watch;

pub use api::{KubeApi, Options};
pub use fault::{Mode, Verb};
