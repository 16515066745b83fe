//! The thread that attaches to the master: waits until it can, tries, waits again.

use super::Inner;
use super::desk::Job;
use super::stream::{self, StreamEnd};
use crate::SlaveState;
use crate::backoff::Backoff;
use crate::clock::boottime_ms;
use std::time::Duration;

/// The longest sleep without a look around; every change wakes it anyway.
const LONG: Duration = Duration::from_secs(60);
/// A stream that ran this long was a success: the next try comes at once.
const SETTLED_MS: u64 = 5_000;

pub(super) fn run(inner: &Inner) {
    let mut backoff = Backoff::new(inner.tuning.retry);
    let mut last_generation = 0;
    while let Some(job) = next_job(inner) {
        if job.generation != last_generation {
            last_generation = job.generation;
            backoff.reset();
        }
        let begun_ms = boottime_ms();
        let end = stream::attach(inner, &job);
        if boottime_ms().saturating_sub(begun_ms) >= SETTLED_MS {
            backoff.reset();
        }
        settle(inner, &job, &end, &mut backoff);
    }
}

/// Waits for something to do; `None` = the relay ends.
fn next_job(inner: &Inner) -> Option<Job> {
    let mut desk = inner.desk();
    loop {
        if desk.stopped {
            return None;
        }
        if let Some(job) = desk.job() {
            return Some(job);
        }
        let state = if desk.is_parked_by_order() {
            SlaveState::Parked
        } else {
            SlaveState::Connecting
        };
        desk.set_state(state);
        desk = inner.wait(desk, LONG);
    }
}

/// Notes how it ended, and waits as that demands.
fn settle(inner: &Inner, job: &Job, end: &StreamEnd, backoff: &mut Backoff) {
    let mut desk = inner.desk();
    desk.close_link();
    if desk.stopped || desk.generation() != job.generation {
        return;
    }
    let pause = match end {
        StreamEnd::Superseded => return,
        StreamEnd::Diverged(at) => {
            desk.set_state(SlaveState::Diverged { at: *at });
            None
        }
        StreamEnd::Refused(why) => {
            desk.set_state(SlaveState::Refused { why: why.clone() });
            Some(backoff.pause())
        }
        StreamEnd::Io(_)
        | StreamEnd::Local(_)
        | StreamEnd::Content(_)
        | StreamEnd::Handshake(_)
        | StreamEnd::Closed
        | StreamEnd::Silent
        | StreamEnd::BrokerGone(_) => {
            desk.set_state(SlaveState::Connecting);
            Some(backoff.pause())
        }
    };
    desk.counters.failures += 1;
    desk.counters.last_error = Some(describe(end));
    let until_ms = pause.map(|pause| {
        boottime_ms().saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX))
    });
    while !desk.stopped && desk.generation() == job.generation {
        let left = until_ms.map_or(u64::MAX, |until| until.saturating_sub(boottime_ms()));
        if left == 0 {
            return;
        }
        desk = inner.wait(desk, Duration::from_millis(left).min(LONG));
    }
}

/// The error with its causes, in one line.
fn describe(error: &StreamEnd) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
