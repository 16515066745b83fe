//! What one client may cost.

use std::time::Duration;

/// Bounds of a [`serve`](crate::serve) call. The defaults suit small ports (probes, metrics, one-line answers).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections served at once, at least 1. More wait in the kernel's accept queue: a probe that waits a moment is
    /// better off than one that is refused.
    pub max_connections: usize,
    /// Bytes of request line and headers together; more → 431.
    pub max_head_bytes: usize,
    /// Number of headers; more → 431.
    pub max_headers: usize,
    /// Bytes of the request target (path and query); more → 414.
    pub max_target_bytes: usize,
    /// Bytes of a request body; more → 413.
    pub max_body_bytes: usize,
    /// From the moment a connection could carry a next request until that request's head is complete. One deadline for
    /// the idle connection and for the head that trickles in (up to twice as long after a prepared answer). At its end a
    /// connection on which a request had begun gets 408; one without a word is closed without an answer.
    /// A client that pools connections should let go of an idle one earlier, or be ready to send a request again.
    pub head_deadline: Duration,
    /// From the complete head to the handler's answer: 408 while the body is missing, 503 while the handler works.
    pub request_deadline: Duration,
    /// The longest time without progress while an answer is written; then the connection is closed.
    pub write_stall: Duration,
    /// From shutdown to the last open exchange; what is open then is cut off.
    pub drain_deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 64,
            max_head_bytes: 8 * 1024,
            max_headers: 64,
            max_target_bytes: 2048,
            max_body_bytes: 64 * 1024,
            head_deadline: Duration::from_secs(10),
            request_deadline: Duration::from_secs(10),
            write_stall: Duration::from_secs(5),
            drain_deadline: Duration::from_secs(5),
        }
    }
}
