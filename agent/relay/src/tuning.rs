//! The relay's numbers. The defaults are for production; tests shorten them.

use std::time::Duration;

/// Times and sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// The longest a quiet thread sleeps before it looks around.
    pub tick: Duration,
    /// Something is sent on a quiet link, or to a quiet JVM, this often. The brokers' own limit is 20 s of silence
    /// (`haHousekeepingInterval`, facts §4.1).
    pub heartbeat: Duration,
    /// A link that was silent for this long is dropped.
    pub silence: Duration,
    /// The whole handshake, the connection to the JVM included.
    pub handshake: Duration,
    /// The proof must advance within this time. The master JVM's own heartbeat takes 5 s.
    pub proof: Duration,
    /// A JVM that takes no byte for this long while one is due is cut off (it connects again by itself).
    pub jvm_stuck: Duration,
    /// First and longest pause between two tries to reach the upstream.
    pub retry: (Duration, Duration),
    /// Bytes that may be forwarded to the slave JVM before it reports them: a bound on what a frozen JVM can still
    /// append after a thaw (rmq/RELAY R6).
    pub window: u64,
    /// How far below its end a slave's log is compared.
    pub proof_bytes: u64,
    /// Handshakes at once, in all and from one address.
    pub half_open: (usize, usize),
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            tick: Duration::from_millis(500),
            heartbeat: Duration::from_secs(2),
            silence: Duration::from_secs(8),
            handshake: Duration::from_secs(3),
            proof: Duration::from_secs(12),
            jvm_stuck: Duration::from_secs(20),
            retry: (Duration::from_millis(50), Duration::from_secs(1)),
            window: 128 * 1024,
            proof_bytes: 64 * 1024,
            half_open: (16, 4),
        }
    }
}
