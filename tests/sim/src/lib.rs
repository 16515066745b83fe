//! A group under random faults, by seed: members with their clocks, volumes, launchers and brokers, one Lease, and the
//! very `decide` that ships. No processes, no threads, no real time.
//!
//! One seed is one group over thirty simulated minutes with at least ten faults ([`run`]). Time is a heap of events:
//! nothing happens between two of them. What goes wrong is a list made up front, so that a run that broke a law is told
//! again with fewer and fewer faults ([`shrink`]). The laws stand in `world/laws.rs`.

mod chance;
mod clock;
mod fault;
mod log;
mod machine;
mod show;
mod store;
mod world;

pub mod campaign;
pub mod mutants;
pub mod shrink;

pub use world::Counts;

use fault::Fault;
use world::World;

/// How a seed is run.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Whether a group at rest is leapt over (`world/quiet.rs`).
    pub leaps: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { leaps: true }
    }
}

/// What became of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The law that was broken.
    pub wrong: Option<String>,
    /// What was counted.
    pub counts: Counts,
    /// The story, where it was asked for.
    pub story: Vec<String>,
}

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, settings: Settings, trace: bool) -> Outcome {
    run_with(seed, None, settings, trace)
}

fn run_with(seed: u64, plan: Option<Vec<Fault>>, settings: Settings, trace: bool) -> Outcome {
    match World::new(seed, plan, trace, settings.leaps) {
        Ok(mut world) => Outcome {
            wrong: world.run(),
            counts: world.counts,
            story: world.told().to_vec(),
        },
        Err(error) => Outcome {
            wrong: Some(error.to_string()),
            counts: Counts::default(),
            story: Vec::new(),
        },
    }
}

/// The faults of a seed.
fn plan_of(seed: u64) -> Vec<Fault> {
    World::new(seed, None, false, true).map_or_else(|_| Vec::new(), |w| w.plan().to_vec())
}
