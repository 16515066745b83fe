//! The only file of this crate that reads a clock.
//!
//! Waits are measured on CLOCK_MONOTONIC, the holder's deadlines on CLOCK_BOOTTIME, which goes on while the machine is
//! suspended (safety H5). The wall clock is for people only.

use std::fs;
use std::io;

use agent_core::time::{Boot, Now, Tick};
use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

/// This machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// CLOCK_MONOTONIC.
    #[must_use]
    pub fn tick(self) -> Tick {
        Tick::from_millis(read(ClockId::CLOCK_MONOTONIC))
    }

    /// CLOCK_BOOTTIME.
    #[must_use]
    pub fn boot(self) -> Boot {
        Boot::from_millis(read(ClockId::CLOCK_BOOTTIME))
    }

    /// Both, as the core wants them.
    #[must_use]
    pub fn now(self) -> Now {
        Now {
            tick: self.tick(),
            boot: self.boot(),
        }
    }

    /// The wall clock: for Kubernetes' time fields and for people, never for a decision (I8).
    #[must_use]
    pub fn wall(self) -> Timestamp {
        Timestamp::now()
    }

    /// The kernel's name for this boot.
    ///
    /// # Errors
    /// `/proc/sys/kernel/random/boot_id` cannot be read.
    pub fn boot_id(self) -> io::Result<String> {
        Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?
            .trim()
            .to_owned())
    }
}

/// Milliseconds on `clock`. A clock that cannot be read stands at the end of time: every permit has ended then, which is
/// the safe side. (Linux has both clocks since 2.6.39.)
fn read(clock: ClockId) -> u64 {
    let Ok(time) = clock_gettime(clock) else {
        return u64::MAX;
    };
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(u64::MAX);
    let millis = u64::try_from(time.tv_nsec() / 1_000_000).unwrap_or(0);
    seconds.saturating_mul(1_000).saturating_add(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_go_forward_and_boot_time_counts_at_least_as_much() {
        let first = Clock.now();
        let second = Clock.now();
        assert!(second.tick >= first.tick && second.boot >= first.boot);
        assert!(first.boot.as_millis() + 1 >= first.tick.as_millis());
        assert_eq!(Clock.boot_id().unwrap().len(), 36);
    }
}
