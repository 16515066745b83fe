//! The one clock of the relay: CLOCK_BOOTTIME, which also counts while the machine sleeps (safety H5).

use nix::time::{ClockId, clock_gettime};

/// Milliseconds since boot, suspend included.
///
/// Should the clock be unreadable the answer is `u64::MAX`: every permit has then run out, which is the safe side.
#[must_use]
pub fn boottime_ms() -> u64 {
    let Ok(now) = clock_gettime(ClockId::CLOCK_BOOTTIME) else {
        return u64::MAX;
    };
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(now.tv_sec()), u64::try_from(now.tv_nsec()))
    else {
        return u64::MAX;
    };
    seconds
        .saturating_mul(1000)
        .saturating_add(nanos / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_runs_backwards() {
        let first = boottime_ms();
        assert!(first > 0 && first < u64::MAX);
        assert!(boottime_ms() >= first);
    }
}
