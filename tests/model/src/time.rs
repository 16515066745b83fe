//! Whole ticks. Now is always the same number; what lies in the past moves away from it.

use agent_core::policy::{Policy, PolicyError, Timing};
use agent_core::record::Qos;
use agent_core::time::{Boot, Now, Tick};
use std::time::Duration;

/// One tick.
pub const TICK: Duration = Duration::from_secs(1);

/// The present, in milliseconds, on every clock.
const NOW: u64 = 1_000_000;

/// Nothing is remembered as older than this, in milliseconds: longer than every wait of [`policy`].
const OLDEST: u64 = NOW - 8_000;

/// Both clocks, at any time.
pub(crate) const fn now() -> Now {
    Now {
        tick: Tick::from_millis(NOW),
        boot: Boot::from_millis(NOW),
    }
}

/// A tick later, this time is so much further in the past.
pub(crate) const fn aged(ms: u64) -> u64 {
    let ms = ms.saturating_sub(1_000);
    if ms < OLDEST { OLDEST } else { ms }
}

/// The shortest timing that tells every deadline apart in whole ticks: D = 3, W = 4 ticks, no drift, and G a little less
/// than a tick, so that D + G < W holds by nothing: one tick more or less on either side is two masters.
///
/// # Errors
/// Never, as long as the core accepts these numbers.
pub fn policy() -> Result<Policy, PolicyError> {
    let short = Duration::from_millis(50);
    let timing = Timing {
        take_wait: TICK * 4,
        permit: PERMIT,
        renew: short,
        request: short,
        kill: KILL,
        drift_permille: 0,
        gate_lead: TICK,
        kill_lead: TICK / 2,
    };
    let mut policy = Policy::new(timing, Qos::Async)?;
    policy.collect = TICK;
    policy.target_wait = TICK;
    policy.slave_permit = TICK * 3;
    policy.opening_limit = TICK * 4;
    policy.crash_window = TICK * 6;
    policy.hung_wait = TICK * 2;
    policy.absent_wait = TICK * 2;
    policy.backoff = TICK;
    policy.backoff_cap = TICK * 2;
    Ok(policy)
}

/// D: how long a master may serve after the send of its last renewal.
pub(crate) const PERMIT: Duration = Duration::from_secs(3);

/// G: how long after its permit's end a master may still answer when only its launcher is left to kill it.
pub(crate) const KILL: Duration = Duration::from_millis(950);
