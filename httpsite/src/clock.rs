//! The only file of this crate that reads a clock.
#![allow(
    clippy::disallowed_methods,
    reason = "this is the clock: everything else is told the time"
)]

use std::time::Instant;

use agent_core::Tick;
use jiff::Timestamp;

/// This process's clocks. The monotonic one counts from its making.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
}

impl Clock {
    /// Zero is now.
    pub fn start() -> Self {
        Self {
            began: Instant::now(),
        }
    }

    /// The monotonic clock: every rule and every age goes by it.
    pub fn tick(self) -> Tick {
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Tick::from_millis(ms)
    }

    /// The wall clock, for people and for Kubernetes' time fields.
    pub fn wall(self) -> Timestamp {
        Timestamp::now()
    }
}
