//! Many seeds on all cores.

use crate::clock::Stopwatch;
use crate::{Counts, Settings, run};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// How many broken seeds are kept.
const KEPT: usize = 100;

/// What a campaign found.
#[derive(Debug, Default)]
pub struct Campaign {
    /// Seeds run.
    pub seeds: u64,
    /// Seeds that broke a law, and which; lowest first.
    pub wrong: Vec<(u64, String)>,
    /// Sums over all seeds.
    pub counts: Counts,
    /// How long it took, seconds of real time.
    pub seconds: f64,
}

impl Campaign {
    /// Seeds in an hour at this speed.
    #[must_use]
    pub fn per_hour(&self) -> f64 {
        let seeds = u32::try_from(self.seeds).unwrap_or(u32::MAX);
        f64::from(seeds) / self.seconds.max(0.001) * 3600.0
    }
}

/// Runs `seeds` seeds from `first` on `threads` threads; stops soon after `enough` of them broke a law.
#[must_use]
pub fn campaign(
    first: u64,
    seeds: u64,
    threads: usize,
    enough: usize,
    settings: Settings,
) -> Campaign {
    let next = AtomicU64::new(first);
    let total = Mutex::new(Campaign::default());
    let stopwatch = Stopwatch::start();
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let mut mine = Campaign::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    let outcome = run(seed, settings, false);
                    mine.seeds += 1;
                    mine.counts = mine.counts.plus(outcome.counts);
                    let Some(wrong) = outcome.wrong else {
                        continue;
                    };
                    mine.wrong.push((seed, wrong));
                    if mine.wrong.len() >= enough.min(KEPT) {
                        next.store(first + seeds, Ordering::Relaxed);
                    }
                }
                if let Ok(mut total) = total.lock() {
                    total.seeds += mine.seeds;
                    total.counts = total.counts.plus(mine.counts);
                    total.wrong.append(&mut mine.wrong);
                }
            });
        }
    });
    let mut campaign = total.into_inner().unwrap_or_default();
    campaign.wrong.sort();
    campaign.seconds = stopwatch.seconds();
    campaign
}
