//! The broker's health: the check of `brokerAliveTest`, in process.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent_core::observation::Hung;
use agent_core::time::Tick;
use launcher::alive::{AliveState, Limits, Memory, Mode, Target, Verdict, check};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::act::event::{Announcer, Note};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::observe::broker::{Life, life};
use crate::observe::launcher::StatusSeen;

/// Between two checks nobody asked for.
const EVERY: Duration = Duration::from_secs(5);
/// For one check.
const BUDGET: Duration = Duration::from_secs(2);

/// Checks the broker. Clones share what earlier looks saw.
#[derive(Clone)]
pub struct Health {
    target: Target,
    memory: Arc<Mutex<Memory>>,
    verdict: watch::Sender<Option<Verdict>>,
    hung: watch::Sender<Option<(Life, Hung)>>,
    status: watch::Receiver<StatusSeen>,
    clock: Clock,
    metrics: Metrics,
    announcer: Announcer,
    full: Arc<AtomicBool>,
}

impl Health {
    /// Checks the broker under the launcher behind this socket.
    #[must_use]
    pub fn new(
        socket: PathBuf,
        status: watch::Receiver<StatusSeen>,
        clock: Clock,
        metrics: Metrics,
        announcer: Announcer,
    ) -> Self {
        Self {
            target: Target {
                socket,
                addr: None,
                budget: BUDGET,
            },
            memory: Arc::default(),
            verdict: watch::Sender::new(None),
            hung: watch::Sender::new(None),
            status,
            clock,
            metrics,
            announcer,
            full: Arc::default(),
        }
    }

    /// One look; `None` only when the process is ending.
    pub async fn look(&self) -> Option<Verdict> {
        let (target, memory) = (self.target.clone(), Arc::clone(&self.memory));
        let before = life(&self.status.borrow());
        let began = self.clock.tick();
        let looked = tokio::task::spawn_blocking(move || {
            let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
            check(&target, &mut memory, &Limits::default())
        });
        let verdict = looked.await.ok()?;
        let took = self.clock.tick().since(began).as_secs_f64();
        self.metrics.alive_test_duration.observe(took);
        let alive = verdict.state.passes(Mode::Liveness);
        self.metrics
            .broker_alive
            .set(i64::from(alive && verdict.state != AliveState::Waiting));
        if !alive {
            let failures = &self.metrics.alive_test_failures;
            failures.with_label_values(&[verdict.state.as_str()]).inc();
        }
        self.tell_room(&verdict);
        self.note(before.filter(|_| verdict.state == AliveState::Hung), began);
        self.verdict.send_replace(Some(verdict.clone()));
        Some(verdict)
    }

    /// Says it when the disk becomes full, and when there is room again. A full master stays master: its slaves hold the
    /// same log, so their disks are most likely as full, and moving would cost an outage for nothing.
    fn tell_room(&self, verdict: &Verdict) {
        let Some(full) = full(verdict.state) else {
            return;
        };
        self.metrics.disk_full.set(i64::from(full));
        if self.full.swap(full, Ordering::Relaxed) != full {
            self.announcer.say(room(full, &verdict.reason));
        }
    }

    /// A finding counts for the process that ran before and after the look.
    fn note(&self, hung: Option<Life>, at: Tick) {
        let now = life(&self.status.borrow());
        let hung = hung.filter(|life| Some(*life) == now);
        self.hung.send_if_modified(|known| {
            let before = known.take();
            *known = hung.map(|life| {
                let first = before.filter(|(of, _)| *of == life);
                let since = first.map_or(at, |(_, hung)| hung.since);
                (life, Hung { since, seen: at })
            });
            *known != before
        });
    }

    /// The process without a sign of life, if it is that.
    #[must_use]
    pub fn hung(&self) -> watch::Receiver<Option<(Life, Hung)>> {
        self.hung.subscribe()
    }

    /// What the last look saw.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        self.verdict.borrow().clone()
    }

    /// Looks for ever.
    pub async fn watch(self) {
        loop {
            if self.look().await.is_none() {
                return;
            }
            sleep(EVERY).await;
        }
    }
}

/// Whether a broker in this state refuses messages for want of room; none where it did not say.
fn full(state: AliveState) -> Option<bool> {
    match state {
        AliveState::DiskFull => Some(true),
        AliveState::Running | AliveState::Fenced => Some(false),
        AliveState::Waiting
        | AliveState::Starting
        | AliveState::Recovering
        | AliveState::Busy
        | AliveState::Stopping
        | AliveState::Stopped
        | AliveState::StartStuck
        | AliveState::Hung
        | AliveState::Ended
        | AliveState::NoLauncher => None,
    }
}

fn room(full: bool, reason: &str) -> Note {
    if full {
        Note {
            reason: "DiskFull",
            warning: true,
            message: format!(
                "the broker says: {reason}; give the volume room, or switch over to a member that has some"
            ),
        }
    } else {
        Note {
            reason: "DiskHasRoom",
            warning: false,
            message: "there is room on the broker's disk again".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_broker_that_answers_says_whether_its_disk_is_full() {
        let told: Vec<(AliveState, bool)> = AliveState::ALL
            .into_iter()
            .filter_map(|state| Some((state, full(state)?)))
            .collect();
        let wanted = [
            (AliveState::Running, false),
            (AliveState::DiskFull, true),
            (AliveState::Fenced, false),
        ];
        assert_eq!(told, wanted);
        assert!(room(true, "95 % full").message.contains("95 % full"));
    }
}
