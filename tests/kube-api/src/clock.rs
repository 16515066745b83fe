//! The only file of this package that reads a clock.

use jiff::{SignedDuration, Timestamp};

/// Wall-clock time `seconds` from now, to the second, as Kubernetes writes creation and deletion times.
/// Nothing is decided by it.
pub(crate) fn from_now(seconds: i64) -> String {
    Timestamp::now()
        .saturating_add(SignedDuration::from_secs(seconds))
        .unwrap_or(Timestamp::MAX)
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}
