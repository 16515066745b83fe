//! A walk through the whole space, and what it found.

use crate::bounds::Bounds;
use crate::clock::Watch;
use crate::space::{Act, Space};
use crate::world::World;
use agent_core::policy::PolicyError;
use stateright::{Checker, HasDiscoveries, Model};
use std::fmt::Write as _;
use std::time::Duration;

/// What a walk found.
#[derive(Debug)]
pub struct Found {
    /// Within which bounds.
    pub bounds: Bounds,
    /// States looked at, each once.
    pub states: usize,
    /// Acts tried.
    pub acts: usize,
    /// The longest shortest way to a state.
    pub depth: usize,
    /// The most ticks from any state to a whole group once nothing breaks any more.
    pub healing: u32,
    /// How long it took.
    pub took: Duration,
    /// Laws that were broken, each with the shortest way there, told.
    pub broken: Vec<(&'static str, String)>,
    /// What was never met though it should have been: the model shows less than it says.
    pub unmet: Vec<&'static str>,
}

/// Walks through everything within bounds.
///
/// # Errors
/// When the core does not accept the model's timing.
pub fn walk(bounds: Bounds) -> Result<Found, PolicyError> {
    let watch = Watch::start();
    let space = Space::new(bounds)?.checker();
    // The first broken law has the shortest way to it.
    let space = space.finish_when(HasDiscoveries::AnyFailures);
    let checker = space.spawn_bfs().join();
    let mut broken = Vec::new();
    let mut unmet = Vec::new();
    let discoveries = checker.discoveries();
    for property in checker.model().properties() {
        let path = discoveries.get(property.name).cloned();
        match (property.expectation, path) {
            (stateright::Expectation::Sometimes, None) => unmet.push(property.name),
            (stateright::Expectation::Sometimes, Some(_)) | (_, None) => {}
            (_, Some(path)) => broken.push((property.name, told(path.into_vec()))),
        }
    }
    Ok(Found {
        bounds,
        states: checker.unique_state_count(),
        acts: checker.state_count(),
        depth: checker.max_depth(),
        healing: checker.model().longest_healing(),
        took: watch.elapsed(),
        broken,
        unmet,
    })
}

fn told(path: Vec<(World, Option<Act>)>) -> String {
    let mut text = String::new();
    for (world, act) in path {
        let _ = writeln!(text, "    {world}");
        if let Some(act) = act {
            let _ = writeln!(text, "  {act:?}");
        }
    }
    text
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{}: {} states, {} acts, depth {}, {:.1} s; heals within {} ticks",
            self.bounds,
            self.states,
            self.acts,
            self.depth,
            self.took.as_secs_f64(),
            self.healing
        )?;
        for (law, way) in &self.broken {
            writeln!(f, "BROKEN {law}:\n{way}")?;
        }
        for what in &self.unmet {
            writeln!(f, "NEVER MET {what}")?;
        }
        Ok(())
    }
}
