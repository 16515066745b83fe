//! A machine's clocks, and the one clock of ours that measures how fast we are.

use agent_core::time::{Boot, Now, Tick};
use std::time::Instant;

/// CLOCK_BOOTTIME and CLOCK_MONOTONIC of one machine, as functions of true time in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Clocks {
    /// Its rate in thousandths, within ρ.
    rate: u64,
    /// True time of the last change of rate.
    since: u64,
    boot: u64,
    tick: u64,
}

impl Clocks {
    pub(crate) fn new(rate: u64, zero: u64) -> Self {
        Self {
            rate,
            since: 0,
            boot: 5_000_000 + zero,
            tick: 2_000_000 + zero / 3,
        }
    }

    fn local(&self, t: u64) -> u64 {
        t.saturating_sub(self.since) * self.rate / 1000
    }

    pub(crate) fn now(&self, t: u64) -> Now {
        let local = self.local(t);
        Now {
            tick: Tick::from_millis(self.tick + local),
            boot: Boot::from_millis(self.boot + local),
        }
    }

    /// From now on at another rate.
    pub(crate) fn drift(&mut self, t: u64, rate: u64) {
        let local = self.local(t);
        self.boot += local;
        self.tick += local;
        self.since = t;
        self.rate = rate;
    }

    /// The machine slept: CLOCK_MONOTONIC did not go on (H5).
    pub(crate) fn slept(&mut self, span: u64) {
        let local = span * self.rate / 1000;
        self.tick = self.tick.saturating_sub(local);
    }

    /// True milliseconds until this machine's clocks have gone on by `local`.
    pub(crate) fn until(&self, local: u64) -> u64 {
        (local * 1000).div_ceil(self.rate)
    }

    /// How much its clocks go on in `span` of true time.
    pub(crate) fn local_span(&self, span: u64) -> u64 {
        span * self.rate / 1000
    }
}

/// Real time, for the figures that are printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn seconds(self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}
