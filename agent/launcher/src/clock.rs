//! The only file of this crate that reads a clock. Deadlines are CLOCK_BOOTTIME, which also counts while the machine is
//! suspended (safety H5).

use std::{fs, io};

use nix::time::{ClockId, clock_gettime};

/// Milliseconds of CLOCK_BOOTTIME.
///
/// A clock that cannot be read counts as the end of time: every permit has ended then, which is the safe side. (Linux
/// has this clock since 2.6.39.)
#[must_use]
pub fn boottime_ms() -> u64 {
    let Ok(time) = clock_gettime(ClockId::CLOCK_BOOTTIME) else {
        return u64::MAX;
    };
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(u64::MAX);
    let millis = u64::try_from(time.tv_nsec() / 1_000_000).unwrap_or(0);
    seconds.saturating_mul(1_000).saturating_add(millis)
}

/// The random name that the kernel gave to this boot; the same in every container of a machine.
///
/// # Errors
/// When `/proc/sys/kernel/random/boot_id` cannot be read.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

/// Milliseconds since 1970 by the wall clock. Only for comparing with times that a broker took from the same clock.
#[allow(clippy::disallowed_methods, reason = "the one place that may read it")]
#[must_use]
pub(crate) fn wall_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since
        .ok()
        .and_then(|since| u64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}
