//! A proxy in front of a Kubernetes API, in memory or real, that breaks what a test tells it to.
//!
//! It speaks plain HTTP to its clients and passes on what proves who they are, so that a program needs nothing but
//! `--kube-url` to meet it. A test gives it [`Rule`]s: which requests, which [`Fault`], and when. The first rule that fits
//! a request is carried out, and only that one.
//!
//! - `rule` — which, what, when;
//! - `proxy` — connections, and the faults themselves.

mod proxy;
mod rule;

pub use hyper::Method;
pub use proxy::{Counted, FaultProxy};
pub use rule::{Fault, Rule, When, Which};
