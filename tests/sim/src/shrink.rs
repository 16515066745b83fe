//! The shortest list of faults that still breaks a law.

use crate::fault::Fault;
use crate::{Outcome, Settings, plan_of, run_with};
use std::fmt::Write as _;

/// How many runs may be spent on making a list shorter.
const RUNS: usize = 400;

/// A broken law, told as shortly as could be found.
#[derive(Debug)]
pub struct Shrunk {
    /// The faults that are left, one to a line.
    pub faults: Vec<String>,
    /// The run with only these.
    pub outcome: Outcome,
}

impl Shrunk {
    /// Everything a person needs: the law, the faults, the last of the story.
    #[must_use]
    pub fn text(&self, seed: u64, lines: usize) -> String {
        let mut text = String::new();
        let wrong = self.outcome.wrong.as_deref().unwrap_or("no law broken");
        let _ = writeln!(text, "seed {seed}: {wrong}");
        let _ = writeln!(text, "with these faults:");
        for fault in &self.faults {
            let _ = writeln!(text, "  {fault}");
        }
        let story = &self.outcome.story;
        let from = story.len().saturating_sub(lines);
        for line in story.iter().skip(from) {
            let _ = writeln!(text, "{line}");
        }
        text
    }
}

/// Leaves out faults for as long as some law is still broken: halves first, then one by one.
#[must_use]
pub fn shrink(seed: u64, settings: Settings) -> Shrunk {
    let mut plan = plan_of(seed);
    let mut runs = 0;
    let breaks = |plan: &[Fault]| {
        run_with(seed, Some(plan.to_vec()), settings, false)
            .wrong
            .is_some()
    };
    let mut piece = plan.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let mut shorter = false;
        while at < plan.len() && runs < RUNS {
            let mut fewer = plan.clone();
            fewer.drain(at..(at + piece).min(plan.len()));
            runs += 1;
            if breaks(&fewer) {
                plan = fewer;
                shorter = true;
            } else {
                at += piece;
            }
        }
        if runs >= RUNS || (piece == 1 && !shorter) {
            break;
        }
        piece = (piece / 2).max(1);
    }
    Shrunk {
        faults: plan.iter().map(ToString::to_string).collect(),
        outcome: run_with(seed, Some(plan), settings, true),
    }
}
