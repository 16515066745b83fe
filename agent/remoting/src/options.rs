//! How a client behaves.

use std::time::Duration;

use crate::frame::{DEFAULT_FRAME_LIMIT, HeaderKind};
use crate::signing::Credentials;

/// How a client behaves. Take the default and change what you need.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long to wait for an answer where a call names no time of its own.
    pub call_timeout: Duration,
    /// Whose requests these are, where the server wants to know.
    pub credentials: Option<Credentials>,
    /// How our headers are written; servers read both kinds.
    pub header: HeaderKind,
    /// Longest frame we accept, in bytes.
    pub frame_limit: usize,
    /// Most calls that wait for an answer at once on one connection; more of them wait for their turn, within their own time.
    pub max_in_flight: usize,
}

impl Default for ClientOptions {
    /// RocketMQ's own 3 s for connecting and calling, JSON headers, frames up to 16 MiB, 64 calls in flight.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            call_timeout: Duration::from_secs(3),
            credentials: None,
            header: HeaderKind::Json,
            frame_limit: DEFAULT_FRAME_LIMIT,
            max_in_flight: 64,
        }
    }
}
