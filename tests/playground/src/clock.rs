//! The only file that reads a clock.
//!
//! The playground measures how long things take as a bystander sees them, on one machine, so the
//! monotonic clock is enough; the wall clock only dates records for people.

use std::time::{Duration, Instant};

/// Now, on the monotonic clock.
#[allow(
    clippy::disallowed_methods,
    reason = "the one place of this crate that reads a clock"
)]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// How often a waiting loop looks again. Small against everything that is measured here (a JVM
/// start takes seconds, a fail-over hundreds of milliseconds), large against one look.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A point in time after which waiting is given up.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    start: Instant,
    allowed: Duration,
}

impl Deadline {
    /// `allowed` from now on.
    #[must_use]
    pub fn after(allowed: Duration) -> Self {
        let start = now();
        Self { start, allowed }
    }

    /// True once the time is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// What is left, zero when over.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.allowed.saturating_sub(self.start.elapsed())
    }

    /// What was allowed in all.
    #[must_use]
    pub fn allowed(&self) -> Duration {
        self.allowed
    }
}
