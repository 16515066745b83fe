//! Every duration of the protocol, and the two inequalities that make them safe (safety rules 1.1).

use crate::record::Qos;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The raw durations, as an operator sets them. [`Policy::new`] checks them against each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// W: how long a Lease must stay unchanged before somebody else may take it.
    pub take_wait: Duration,
    /// D: how long a master may serve after the renewal that was last *sent* and succeeded.
    pub permit: Duration,
    /// P: how often the holder renews.
    pub renew: Duration,
    /// X: how long one request to the API server may take.
    pub request: Duration,
    /// G: worst time from a permit's end to "no further answer": launcher tick, CPU-quota stall, SIGKILL.
    pub kill: Duration,
    /// ρ: worst clock-rate error, in thousandths.
    pub drift_permille: u32,
    /// How long before its permit's end the agent shuts the gate.
    pub gate_lead: Duration,
    /// How long before its permit's end the watchdog orders the kill.
    pub kill_lead: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            take_wait: Duration::from_secs(10),
            permit: Duration::from_secs(7),
            renew: Duration::from_secs(2),
            request: Duration::from_secs(2),
            kill: Duration::from_secs(1),
            drift_permille: 100,
            gate_lead: Duration::from_secs(1),
            kill_lead: Duration::from_millis(500),
        }
    }
}

/// Settings that contradict each other. Both sides are named, so that the operator sees which one to move.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// A second master could start before the first one is surely dead.
    #[error(
        "unsafe lease timing: a master may answer until {holder_ms} ms after its renewal (permit {permit_ms} ms, slow clock, kill {kill_ms} ms) \
         but a successor may start after {taker_ms} ms (take-over wait {wait_ms} ms, fast clock); shorten the permit or lengthen the take-over wait"
    )]
    Fence {
        /// Left side: D/(1−ρ) + G.
        holder_ms: u64,
        /// Right side: W/(1+ρ).
        taker_ms: u64,
        /// D.
        permit_ms: u64,
        /// G.
        kill_ms: u64,
        /// W.
        wait_ms: u64,
    },
    /// One lost request would already fence a healthy master.
    #[error(
        "fragile lease timing: renew period plus two request time-outs is {renew_ms} ms but the gate shuts {gate_ms} ms after a renewal; \
         shorten the renew period or the request time-out, or lengthen the permit"
    )]
    Renewal {
        /// Left side: P + 2·X.
        renew_ms: u64,
        /// Right side: D − gate lead.
        gate_ms: u64,
    },
    /// A value outside its range.
    #[error("{name} is {value_ms} ms, must be {range}")]
    Range {
        /// The setting.
        name: &'static str,
        /// What it was.
        value_ms: u64,
        /// What it may be.
        range: &'static str,
    },
}

/// Checked settings of one group. Built only by [`Policy::new`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    timing: Timing,
    /// What the user asked for; what is in force stands in the record.
    pub qos: Qos,
    /// How long to wait for answers of all members before the best of those that answered is taken (H33).
    pub collect: Duration,
    /// How much longer the second in rank waits before it tries, and so on. Liveness only: safety is the compare-and-swap.
    pub rank_step: Duration,
    /// How long everybody else lets the named target of a release go first (H44).
    pub target_wait: Duration,
    /// How long a slave may run without hearing from its agent.
    pub slave_permit: Duration,
    /// How long a promotion may take from the won Lease to serving.
    pub opening_limit: Duration,
    /// How many crashes within [`Self::crash_window`] are answered by a restart in place.
    pub crashes_in_place: u32,
    /// Over which span crashes are counted.
    pub crash_window: Duration,
    /// How far apart the first and the last finding must be that a running broker shows no sign of life, for it to be killed.
    /// A finding alone takes 10 s of silence without any work, or 2 min of silence (`launcher::alive`), except for a stopped
    /// process.
    pub hung_wait: Duration,
    /// How long a group without Lease but with data waits for members that do not answer (QoS 0 and 1 only).
    pub absent_wait: Duration,
    /// First back-off of a member whose promotion failed; doubles up to [`Self::backoff_cap`] (H34).
    pub backoff: Duration,
    /// Longest back-off.
    pub backoff_cap: Duration,
    /// How far a switchover's target may lag when the switchover begins, in bytes.
    pub switchover_lag: u64,
    /// How long a switchover may take before the release, when the request names no limit.
    pub switchover_limit: Duration,
    /// How old a reading of the broker, a peer or the launcher may be before it is Unknown.
    pub reading_age: Duration,
}

impl Policy {
    /// Checks the timing and fills everything else with defaults.
    ///
    /// # Errors
    /// [`PolicyError`] when one of the inequalities D/(1−ρ)+G < W/(1+ρ) and P+2·X ≤ D−g1 does not hold, or a value is
    /// out of its range.
    pub fn new(timing: Timing, qos: Qos) -> Result<Self, PolicyError> {
        check_ranges(&timing)?;
        check_fence(&timing)?;
        check_renewal(&timing)?;
        Ok(Self {
            timing,
            qos,
            collect: Duration::from_secs(1),
            rank_step: Duration::from_millis(300),
            target_wait: Duration::from_secs(2),
            slave_permit: Duration::from_secs(30),
            opening_limit: Duration::from_secs(180),
            crashes_in_place: 1,
            crash_window: Duration::from_secs(600),
            hung_wait: Duration::from_secs(10),
            absent_wait: Duration::from_secs(60),
            backoff: Duration::from_secs(2),
            backoff_cap: Duration::from_secs(60),
            switchover_lag: 16 * 1024 * 1024,
            switchover_limit: Duration::from_secs(30),
            reading_age: Duration::from_secs(5),
        })
    }

    /// The checked durations.
    pub fn timing(&self) -> &Timing {
        &self.timing
    }
}

fn check_ranges(t: &Timing) -> Result<(), PolicyError> {
    let seconds = |name, value: Duration| {
        let ok = value >= Duration::from_millis(50) && value <= Duration::from_secs(3600);
        if ok {
            Ok(())
        } else {
            Err(PolicyError::Range {
                name,
                value_ms: ms(value),
                range: "50 ms to 1 h",
            })
        }
    };
    seconds("take-over wait", t.take_wait)?;
    seconds("permit", t.permit)?;
    seconds("renew period", t.renew)?;
    seconds("request time-out", t.request)?;
    seconds("kill time", t.kill)?;
    if t.drift_permille > 500 {
        return Err(PolicyError::Range {
            name: "clock drift (thousandths)",
            value_ms: u64::from(t.drift_permille),
            range: "0 to 500",
        });
    }
    if t.kill_lead > t.gate_lead || t.gate_lead >= t.permit {
        return Err(PolicyError::Range {
            name: "gate lead",
            value_ms: ms(t.gate_lead),
            range: "at least the kill lead and below the permit",
        });
    }
    Ok(())
}

fn check_fence(t: &Timing) -> Result<(), PolicyError> {
    let rho = u64::from(t.drift_permille);
    // Rounded against us on both sides.
    let holder_ms = (ms(t.permit) * 1000).div_ceil(1000 - rho) + ms(t.kill);
    let taker_ms = ms(t.take_wait) * 1000 / (1000 + rho);
    if holder_ms < taker_ms {
        return Ok(());
    }
    Err(PolicyError::Fence {
        holder_ms,
        taker_ms,
        permit_ms: ms(t.permit),
        kill_ms: ms(t.kill),
        wait_ms: ms(t.take_wait),
    })
}

fn check_renewal(t: &Timing) -> Result<(), PolicyError> {
    let renew_ms = ms(t.renew) + 2 * ms(t.request);
    let gate_ms = ms(t.permit.saturating_sub(t.gate_lead));
    if renew_ms <= gate_ms {
        Ok(())
    } else {
        Err(PolicyError::Renewal { renew_ms, gate_ms })
    }
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn timing(wait: u64, permit: u64) -> Timing {
        Timing {
            take_wait: Duration::from_millis(wait),
            permit: Duration::from_millis(permit),
            renew: Duration::from_millis(500),
            request: Duration::from_millis(500),
            ..Timing::default()
        }
    }

    #[test]
    fn defaults_and_the_calm_profile_are_safe() {
        Policy::new(Timing::default(), Qos::Async).unwrap();
        let calm = Timing {
            take_wait: Duration::from_secs(15),
            permit: Duration::from_secs(11),
            renew: Duration::from_millis(2500),
            request: Duration::from_secs(3),
            ..Timing::default()
        };
        Policy::new(calm, Qos::Async).unwrap();
    }

    #[test]
    fn h4_drift_counts_on_both_sides() {
        // "D + gate + kill + margin < W" holds for these, and still two masters would be possible.
        let error = Policy::new(timing(10_000, 8_500), Qos::Async).unwrap_err();
        assert!(
            matches!(
                error,
                PolicyError::Fence {
                    holder_ms: 10_445,
                    taker_ms: 9_090,
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(
            error.to_string().contains("10445 ms") && error.to_string().contains("9090 ms"),
            "{error}"
        );
    }

    #[test]
    fn the_border_of_the_inequality_is_exact() {
        Policy::new(timing(10_000, 7_280), Qos::Async).unwrap();
        Policy::new(timing(10_000, 7_282), Qos::Async).unwrap_err();
    }

    #[test]
    fn a_renewal_must_survive_a_lost_request() {
        let slow = Timing {
            request: Duration::from_secs(3),
            ..Timing::default()
        };
        let error = Policy::new(slow, Qos::Async).unwrap_err();
        assert_eq!(
            error,
            PolicyError::Renewal {
                renew_ms: 8_000,
                gate_ms: 6_000
            }
        );
    }
}
