//! The one place of this crate that reads a clock.
//!
//! CLOCK_MONOTONIC is enough here: it bounds how long a socket is waited for. It stands still while the machine sleeps,
//! so whoever needs a fence deadline judges it by its own clock.

use std::time::{Duration, Instant};

/// Longest wait for anything; keeps the arithmetic below from overflowing.
const LONGEST: Duration = Duration::from_secs(3600);

/// A moment after which nobody waits any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    at: Instant,
}

impl Deadline {
    #[allow(clippy::disallowed_methods)] // clock.rs: the place where time is read
    pub(crate) fn after(timeout: Duration) -> Self {
        Self {
            at: Instant::now() + timeout.min(LONGEST),
        }
    }

    /// Time left, or `None` when it is over.
    #[allow(clippy::disallowed_methods)] // clock.rs: the place where time is read
    pub(crate) fn remaining(&self) -> Option<Duration> {
        let left = self.at.saturating_duration_since(Instant::now());
        Some(left).filter(|left| !left.is_zero())
    }
}
