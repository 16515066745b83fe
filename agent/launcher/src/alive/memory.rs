//! What earlier looks saw of the present broker process.

use serde::{Deserialize, Serialize};

use super::{Answer, Info, Limits, Trial};
use crate::protocol::{Broker, BrokerState, Role};

/// From this share of one core on, a process group works. An idle broker's timers take 1 to 3 %.
const WORKING_CPU_PERCENT: u64 = 10;

/// From this many bytes per second on, it works.
const WORKING_IO_BYTES: u64 = 256 * 1024;

/// Two readings closer than this say nothing about a rate.
const MIN_PERIOD_MS: u64 = 900;

/// What earlier looks saw. Start with the default; keep it from look to look.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    process: Option<Process>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Process {
    pid: u32,
    started_ms: u64,
    /// Its store has been open: it told of it once. Absent in the file of an older version.
    #[serde(default)]
    told: bool,
    /// When it last answered anything, or was not expected to.
    answered_ms: u64,
    /// When it was last seen at work.
    worked_ms: u64,
    /// The reading to compare the next one with.
    reading: Option<Reading>,
    /// A dispatch that does not get on. Absent in the file of an older version.
    #[serde(default)]
    standstill: Option<Standstill>,
    /// What becomes of sends. Absent likewise.
    #[serde(default)]
    sends: Option<Sends>,
}

/// A master's dispatch was first seen at this offset, with log beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Standstill {
    at: u64,
    since_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Reading {
    at_ms: u64,
    cpu_ms: u64,
    io_bytes: u64,
}

/// A master has stored so many messages, and no more since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Sends {
    stored: u64,
    /// Since when sends were seen to wait.
    waiting_ms: Option<u64>,
    /// Since when no trial was answered.
    unanswered_ms: Option<u64>,
}

impl Memory {
    /// How long the broker has answered nothing, in milliseconds.
    pub(super) fn silent_ms(&self, now_ms: u64) -> u64 {
        self.process
            .as_ref()
            .map_or(0, |process| now_ms.saturating_sub(process.answered_ms))
    }

    /// Whether its store has been seen open.
    pub(super) fn has_told(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.told)
    }

    /// How long ago its processes were last seen at work, in milliseconds.
    pub(super) fn idle_ms(&self, now_ms: u64) -> u64 {
        self.process
            .as_ref()
            .map_or(0, |process| now_ms.saturating_sub(process.worked_ms))
    }

    /// How long a master's dispatch has stood still before the end of its log, in milliseconds.
    pub(super) fn undispatched_ms(&self, now_ms: u64) -> u64 {
        let standstill = self.process.as_ref().and_then(|known| known.standstill);
        standstill.map_or(0, |standstill| now_ms.saturating_sub(standstill.since_ms))
    }

    /// How long a master has stored nothing and answered no trial, in milliseconds.
    pub(super) fn closed_ms(&self, now_ms: u64) -> u64 {
        let sends = self.process.as_ref().and_then(|known| known.sends);
        let since = sends.and_then(|sends| sends.unanswered_ms);
        since.map_or(0, |since_ms| now_ms.saturating_sub(since_ms))
    }

    /// Whether this look should send a message itself, by what earlier ones saw.
    pub(super) fn wants_trial(&self, now_ms: u64, info: &Info, limits: &Limits) -> bool {
        let sends = self.process.as_ref().and_then(|known| known.sends);
        let may_refuse = info.refuses_writes || info.is_disk_full(limits);
        sends.filter(|_| !may_refuse).is_some_and(|sends| {
            Some(sends.stored) == info.stored
                && sends
                    .waiting_ms
                    .is_some_and(|since_ms| now_ms.saturating_sub(since_ms) >= limits.unstored_ms)
        })
    }

    pub(super) fn note(&mut self, now_ms: u64, broker: &Broker, answer: &Answer, limits: &Limits) {
        let (Some(pid), Some(started_ms)) = (broker.pid, broker.started_ms) else {
            self.process = None;
            return;
        };
        let known = self.process.take().filter(|process| {
            // Times of another boot (the memory is a file) lie in the future or long before the start.
            process.pid == pid && process.started_ms == started_ms && process.worked_ms <= now_ms
        });
        let mut process = known.unwrap_or(Process {
            pid,
            started_ms,
            told: false,
            answered_ms: now_ms,
            worked_ms: now_ms,
            reading: None,
            standstill: None,
            sends: None,
        });
        // A closed port is no silence before it has been open once: a recovery may take long.
        let is_silent = broker.state == BrokerState::Running
            && matches!(answer, Answer::Closed | Answer::Silent);
        if !is_silent {
            process.answered_ms = now_ms;
        }
        // Looks may be far apart: the time before the port opened is no silence either.
        process.answered_ms = process.answered_ms.max(broker.running_ms.unwrap_or(0));
        process.note_activity(now_ms, broker);
        // Another answer says nothing of the store.
        if let Answer::Info(info) = answer {
            process.told = true;
            process.note_dispatch(now_ms, broker, info, limits);
            process.note_sends(now_ms, broker, info, limits);
        }
        self.process = Some(process);
    }
}

impl Process {
    fn note_activity(&mut self, now_ms: u64, broker: &Broker) {
        // A reading that failed is unknown, and unknown is no sign of idleness (invariant I7).
        let Some(activity) = broker.activity else {
            self.worked_ms = now_ms;
            return;
        };
        let reading = Reading {
            at_ms: now_ms,
            cpu_ms: activity.cpu_ms,
            io_bytes: activity.io_bytes,
        };
        match self.reading {
            Some(before) if now_ms.saturating_sub(before.at_ms) < MIN_PERIOD_MS => {}
            Some(before) => {
                if reading.shows_work_since(before) {
                    self.worked_ms = now_ms;
                }
                self.reading = Some(reading);
            }
            None => self.reading = Some(reading),
        }
    }
}

impl Process {
    /// A write that fails for want of room ends the dispatch thread of 4.9 for good, with an `InternalError` that nobody
    /// catches; the broker goes on acknowledging (seen). A slave's dispatch may rightly wait inside a record, and a
    /// restart gives no full disk room.
    fn note_dispatch(&mut self, now_ms: u64, broker: &Broker, info: &Info, limits: &Limits) {
        let may_wait = info.dispatch.behind == 0
            || broker.role != Some(Role::Master)
            || info.is_disk_full(limits);
        let at = info.dispatch.to;
        self.standstill = match self.standstill {
            _ if may_wait => None,
            Some(known) if known.at == at => Some(known),
            _ => Some(Standstill {
                at,
                since_ms: now_ms,
            }),
        };
    }

    fn note_sends(&mut self, now_ms: u64, broker: &Broker, info: &Info, limits: &Limits) {
        let may_refuse =
            broker.role != Some(Role::Master) || info.refuses_writes || info.is_disk_full(limits);
        let Some(stored) = info.stored.filter(|_| !may_refuse) else {
            self.sends = None;
            return;
        };
        let Some(mut sends) = self.sends.filter(|known| known.stored == stored) else {
            self.sends = Some(Sends {
                stored,
                waiting_ms: None,
                unanswered_ms: None,
            });
            return;
        };
        match info.trial {
            Trial::NotMade => {}
            Trial::Answered => (sends.waiting_ms, sends.unanswered_ms) = (None, None),
            Trial::Unanswered => {
                sends.unanswered_ms.get_or_insert(now_ms);
            }
        }
        if info.sends_waiting > 0 {
            sends.waiting_ms.get_or_insert(now_ms);
        }
        self.sends = Some(sends);
    }
}

impl Reading {
    fn shows_work_since(self, before: Self) -> bool {
        let period_ms = self.at_ms.saturating_sub(before.at_ms);
        let cpu_ms = self.cpu_ms.saturating_sub(before.cpu_ms);
        let io_bytes = self.io_bytes.saturating_sub(before.io_bytes);
        // A sum that fell: a process of the group ended, something goes on.
        self.cpu_ms < before.cpu_ms
            || cpu_ms.saturating_mul(100) >= period_ms.saturating_mul(WORKING_CPU_PERCENT)
            || io_bytes.saturating_mul(1_000) >= period_ms.saturating_mul(WORKING_IO_BYTES)
    }
}
