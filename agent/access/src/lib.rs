//! The way of our programs to a Kubernetes API server.
//!
//! - [`access`] — where the server is, whom we trust there, what proves who we are; a client without kubeconfigs;
//! - [`request`] — one request under a deadline, counted and classified;
//! - [`objects`] — a list and a watch of some objects, for ever.

pub mod access;
pub mod objects;
pub mod request;

pub use access::{Access, AccessArgs, AccessError, pods_namespace};
pub use objects::{IDLE, Objects, Sight, chain};
pub use request::{ApiCounter, ApiError, Failure};
