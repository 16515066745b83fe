//! A whole httpSite against clients as they are, and against a Kubernetes API.
#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test may panic like the test itself"
)]

mod browser;
mod clients;
mod dns;
mod dns_server;
mod files;
mod ground;
mod kubernetes;
mod malformed;
mod near_valid;
mod page;
mod tls;
