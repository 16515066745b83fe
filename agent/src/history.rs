//! The last decisions, for `/status` and `explain`: what changed, why, and what was done.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use agent_core::observation::Observation;
use agent_core::{Action, Decision, Tick};
use jiff::Timestamp;
use serde::Serialize;

/// How many are kept.
const LENGTH: usize = 200;

/// Of a history of terms inside an action, so many are kept: all of them, in all entries, would take memory that grows with
/// every term the group has had (seen: 15 KiB each).
const TERMS: usize = 4;

/// One decision that changed something.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Wall clock, for people.
    pub time: Timestamp,
    /// CLOCK_MONOTONIC in milliseconds: what lies between two entries.
    pub tick_ms: u64,
    /// The reason's word.
    pub reason: &'static str,
    /// The reason in one sentence.
    pub sentence: &'static str,
    /// What was done. Of histories of terms only the newest few.
    pub actions: Vec<Action>,
    /// What tells one observation from another, so that two members' histories can be laid side by side.
    pub observation: String,
}

/// What this agent last saw and decided.
#[derive(Clone, Debug)]
pub struct Moment {
    /// What was seen.
    pub seen: Arc<Observation>,
    /// What was decided.
    pub decision: Arc<Decision>,
}

/// The newest moment and the history. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    entries: VecDeque<Entry>,
    moment: Option<Moment>,
}

impl History {
    /// Notes a decision. Whether its reason is another than before.
    pub fn note(&self, moment: Moment, tick: Tick, time: Timestamp) -> bool {
        let mut inner = self.inner();
        let decision = &moment.decision;
        let news = inner
            .moment
            .as_ref()
            .is_none_or(|before| before.decision.reason != decision.reason);
        if news || decision.actions.iter().any(is_event) {
            let entry = Entry {
                time,
                tick_ms: tick.as_millis(),
                reason: decision.reason.word(),
                sentence: decision.reason.sentence(),
                actions: decision.actions.iter().map(brief).collect(),
                observation: digest(&moment.seen),
            };
            if inner.entries.len() >= LENGTH {
                inner.entries.pop_front();
            }
            inner.entries.push_back(entry);
        }
        inner.moment = Some(moment);
        news
    }

    /// The newest moment.
    #[must_use]
    pub fn moment(&self) -> Option<Moment> {
        self.inner().moment.clone()
    }

    /// The entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.inner().entries.iter().cloned().collect()
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn brief(action: &Action) -> Action {
    let mut action = action.clone();
    match &mut action {
        Action::Write(write) => write.record.lineage = write.record.lineage.newest(TERMS),
        Action::Persist { lineage, .. } => *lineage = lineage.newest(TERMS),
        _ => {}
    }
    action
}

/// Renewals and permits come every few seconds and say nothing new.
fn is_event(action: &Action) -> bool {
    match action {
        Action::Write(write) => write.why != agent_core::WriteReason::Renew,
        Action::ReadLease | Action::Permit { .. } => false,
        Action::Kill { .. }
        | Action::Stop
        | Action::Shut { .. }
        | Action::Open { .. }
        | Action::Register { .. }
        | Action::Examine
        | Action::Freeze { .. }
        | Action::Repair { .. }
        | Action::Prove { .. }
        | Action::Cut { .. }
        | Action::Persist { .. }
        | Action::Start { .. }
        | Action::Admit { .. }
        | Action::Attach { .. }
        | Action::Announce(_) => true,
    }
}

/// The CRC-like short form of an observation: the first 16 digits of the SHA-256 of its JSON.
fn digest(seen: &Observation) -> String {
    let json = serde_json::to_vec(seen).unwrap_or_default();
    let hash = ring::digest::digest(&ring::digest::SHA256, &json);
    hash.as_ref()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use agent_core::ids::{Epoch, Member, Nonce, Offset};
    use agent_core::lineage::{Lineage, LineageEntry};

    use super::*;

    #[test]
    fn a_long_life_takes_no_more_memory() {
        let terms = (1..=500).map(|epoch| LineageEntry {
            epoch: Epoch::new(epoch),
            nonce: Nonce::new(epoch),
            start: Offset::new(epoch),
            master: Member::new("a-0"),
        });
        let action = Action::Persist {
            lineage: Lineage::new(terms.collect()).unwrap(),
            highest: Epoch::new(500),
            joined: None,
            seeding: None,
        };
        let Action::Persist { lineage, .. } = brief(&action) else {
            panic!("another action");
        };
        assert_eq!(lineage.entries().len(), TERMS);
        assert_eq!(lineage.last().map(|last| last.epoch), Some(Epoch::new(500)));
    }
}
