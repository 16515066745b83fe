//! The final report: what was measured and whether what was promised held.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::clock::now;
use crate::timeline::{Entry, whole_ms};
use crate::traffic::Settlement;

/// All that a run has to tell.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// RocketMQ's version.
    pub rocketmq: String,
    /// In the order they ran.
    pub stages: Vec<Stage>,
    /// What the producer and the consumer counted, when they ran.
    pub messages: Option<Settlement>,
    /// Anything else worth telling, as name and value.
    pub notes: Vec<Note>,
    /// What had to hold.
    pub promises: Vec<Promise>,
    /// The timeline.
    pub timeline: Vec<Entry>,
}

/// A part of the run.
#[derive(Debug, Clone, Serialize)]
pub struct Stage {
    /// `fail-over`.
    pub name: String,
    /// How long it took.
    pub duration_ms: u64,
}

/// A fact without a verdict.
#[derive(Debug, Clone, Serialize)]
pub struct Note {
    /// `archived`.
    pub name: String,
    /// In words.
    pub value: String,
}

/// Something that had to hold.
#[derive(Debug, Clone, Serialize)]
pub struct Promise {
    /// `no acknowledged message lost`.
    pub what: String,
    /// Whether it did.
    pub held: bool,
    /// The figures behind the verdict.
    pub because: String,
}

/// A stage that is running.
#[derive(Debug)]
#[must_use = "a stage that is not finished does not show in the report"]
pub struct Running {
    name: String,
    start: Instant,
}

impl Running {
    /// Starts a stage.
    pub fn start(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            start: now(),
        }
    }

    /// Ends it: it shows in `report`. Tells how long it took.
    pub fn finish(self, report: &mut Report) -> Duration {
        let took = self.start.elapsed();
        report.stages.push(Stage {
            name: self.name,
            duration_ms: whole_ms(took),
        });
        took
    }
}

impl Report {
    /// Adds a verdict.
    pub fn promise(&mut self, what: &str, held: Held, because: impl fmt::Display) {
        self.promises.push(Promise {
            what: what.to_owned(),
            held: held == Held::Yes,
            because: because.to_string(),
        });
    }

    /// Adds a fact.
    pub fn note(&mut self, name: &str, value: impl fmt::Display) {
        self.notes.push(Note {
            name: name.to_owned(),
            value: value.to_string(),
        });
    }

    /// True when something was promised and all of it held: nothing checked is not a success.
    #[must_use]
    pub fn all_held(&self) -> bool {
        !self.promises.is_empty() && self.promises.iter().all(|promise| promise.held)
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_json(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("render the report as JSON")?;
        std::fs::write(file, text + "\n")
            .with_context(|| format!("write report {}", file.display()))
    }
}

/// A verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// It held.
    Yes,
    /// It was broken.
    No,
}

impl From<bool> for Held {
    fn from(held: bool) -> Self {
        if held { Self::Yes } else { Self::No }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nRocketMQ {}", self.rocketmq)?;
        for stage in &self.stages {
            let (seconds, millis) = (stage.duration_ms / 1000, stage.duration_ms % 1000);
            writeln!(f, "  {:<60} {seconds:>4}.{millis:03} s", stage.name)?;
        }
        if let Some(messages) = &self.messages {
            write!(f, "{messages}")?;
        }
        for note in &self.notes {
            writeln!(f, "  {:<60} {}", note.name, note.value)?;
        }
        for promise in &self.promises {
            let verdict = if promise.held { "held  " } else { "BROKEN" };
            writeln!(f, "  {verdict} {} ({})", promise.what, promise.because)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_broken_promise_is_a_failure_and_so_is_none_at_all() {
        let mut report = Report::default();
        assert!(!report.all_held());
        report.promise("a", Held::Yes, "1 of 1");
        assert!(report.all_held());
        report.promise("b", (1 > 2).into(), "0 of 1");
        assert!(!report.all_held());
        assert!(report.to_string().contains("BROKEN b (0 of 1)"));
    }

    #[test]
    fn stages_show_in_order() {
        let mut report = Report::default();
        Running::start("steady").finish(&mut report);
        Running::start("fail-over").finish(&mut report);
        let text = report.to_string();
        assert!(text.find("steady").unwrap() < text.find("fail-over").unwrap());
    }
}
