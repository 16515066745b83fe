//! How long each stage of a change of master took, as this member went through it.

use agent_core::action::{Action, Event};
use agent_core::observation::{Gate, Observation};
use agent_core::observation::{LeaseSeen, Process};
use agent_core::record::{Stage as TermStage, TermId};
use agent_core::{Decision, Reason, Tick, WriteReason};
use tracing::info;

use crate::metrics::Metrics;

/// The milestones of a promotion, in order; each ends the stage of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The Lease fell silent or was given up, until it was free.
    Silence,
    /// Our log's end was fixed.
    Freeze,
    /// The others' ends were collected.
    Collect,
    /// The Lease was won.
    Acquire,
    /// The tail was clean and the history on disk.
    Repair,
    /// The broker answered.
    Start,
    /// The Lease said `serving`.
    Serve,
    /// The gate was seen open.
    Gate,
}

impl Stage {
    const fn word(self) -> &'static str {
        match self {
            Self::Silence => "silence",
            Self::Freeze => "freeze",
            Self::Collect => "collect",
            Self::Acquire => "acquire",
            Self::Repair => "repair",
            Self::Start => "start",
            Self::Serve => "serve",
            Self::Gate => "gate",
        }
    }
}

/// Follows decisions and measures.
#[derive(Debug, Default)]
pub struct Stages {
    marks: Vec<(Stage, Tick)>,
    since: Option<Tick>,
    kind: Option<&'static str>,
    term: Option<TermId>,
    done: Option<TermId>,
}

impl Stages {
    /// One more decision.
    pub fn follow(
        &mut self,
        seen: &Observation,
        decision: &Decision,
        now: Tick,
        metrics: &Metrics,
    ) {
        self.begin(seen, decision, now);
        if self.since.is_none() {
            return;
        }
        match decision.reason {
            Reason::Following | Reason::LeaseHeld => {
                *self = Self {
                    done: self.done,
                    ..Self::default()
                };
                return;
            }
            Reason::Freezing | Reason::VolumeUnknown => self.reach(Stage::Silence, now),
            Reason::Collecting | Reason::BetterCandidate | Reason::TargetFirst => {
                self.reach(Stage::Freeze, now);
            }
            _ => {}
        }
        self.actions(seen, decision, now);
        self.term(seen, now, metrics);
    }

    fn begin(&mut self, seen: &Observation, decision: &Decision, now: Tick) {
        if self.since.is_some() {
            return;
        }
        let own = match (seen.lease.last(), seen.launcher.last()) {
            (Some(LeaseSeen::Record { record, .. }), Some(launcher)) => {
                record.holder == launcher.instance
            }
            _ => false,
        };
        let (kind, since) = match decision.reason {
            // Our own broker died: nobody waits for a Lease that we hold.
            Reason::Freezing if own => ("in_place", None),
            Reason::LeaseSilent | Reason::Freezing => (
                "failover",
                decision.next.watch.as_ref().map(|watch| watch.since),
            ),
            Reason::InPlace => ("in_place", None),
            Reason::VolumeUnknown | Reason::Collecting | Reason::TargetFirst => ("first", None),
            _ => return,
        };
        let released = match seen.lease.last() {
            Some(LeaseSeen::Record { record, .. }) if record.holder.is_empty() => {
                // A master that stops or gives up names nobody; only a switchover has a target.
                Some(record.target.as_ref().map_or("handover", |_| "switchover"))
            }
            _ => None,
        };
        let absent = matches!(seen.lease.last(), Some(LeaseSeen::Absent) | None);
        self.kind = Some(match (released, absent) {
            (Some(released), _) => released,
            (None, true) => "first",
            (None, false) => kind,
        });
        self.since = Some(since.unwrap_or(now).min(now));
    }

    fn actions(&mut self, seen: &Observation, decision: &Decision, now: Tick) {
        for action in &decision.actions {
            match action {
                Action::Write(write) if write.why == WriteReason::Acquire => {
                    if decision.reason == Reason::InPlace {
                        self.kind = Some("in_place");
                    }
                    self.reach(Stage::Collect, now);
                }
                Action::Start { term, .. } => {
                    self.term = Some(*term);
                    self.reach(Stage::Repair, now);
                }
                Action::Repair { .. } => self.reach(Stage::Acquire, now),
                Action::Announce(Event::FailOver { .. }) if self.kind == Some("first") => {
                    self.kind = Some("failover");
                }
                _ => {}
            }
        }
        let running = seen.launcher.last().is_some_and(
            |launcher| matches!(&launcher.process, Process::Live { term, .. } if Some(*term) == self.term),
        );
        if running && seen.broker.last().is_some() {
            self.reach(Stage::Start, now);
        }
    }

    fn term(&mut self, seen: &Observation, now: Tick, metrics: &Metrics) {
        let Some(LeaseSeen::Record { record, .. }) = seen.lease.last() else {
            return;
        };
        let Some(term) = self
            .term
            .filter(|term| *term == record.term.id && self.done != Some(*term))
        else {
            return;
        };
        if record.term.stage != TermStage::Serving {
            return;
        }
        self.reach(Stage::Serve, now);
        if seen
            .broker
            .last()
            .is_some_and(|broker| broker.gate == Gate::Open)
        {
            self.reach(Stage::Gate, now);
            self.close(term, metrics);
        }
    }

    fn reach(&mut self, stage: Stage, now: Tick) {
        if !self.marks.iter().any(|(reached, _)| *reached == stage) {
            self.marks.push((stage, now));
        }
    }

    fn close(&mut self, term: TermId, metrics: &Metrics) {
        let kind = self.kind.unwrap_or("failover");
        let mut before = self.since.unwrap_or_default();
        let mut text = String::new();
        for (stage, at) in &self.marks {
            let took = at.since(before);
            before = *at;
            metrics
                .transition_duration
                .with_label_values(&[kind, stage.word()])
                .observe(took.as_secs_f64());
            text.push_str(&format!("{}={}ms ", stage.word(), took.as_millis()));
        }
        let whole = before.since(self.since.unwrap_or_default());
        info!(epoch = %term.epoch, kind, whole_ms = whole.as_millis(), stages = text.trim_end(), "promotion complete");
        *self = Self {
            done: Some(term),
            ..Self::default()
        };
    }
}
