//! The broker's health: the check of `brokerAliveTest`, in process.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent_core::observation::Hung;
use agent_core::time::Tick;
use launcher::alive::{AliveState, Limits, Memory, Mode, Target, Verdict, check};
use nix::sys::statvfs::statvfs;
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
/// Used part of a disk from which a broker refuses messages (facts §10.1).
const FULL_PERCENT: u64 = 90;

/// Checks the broker. Clones share what earlier looks saw.
#[derive(Clone)]
pub struct Health {
    target: Target,
    log: PathBuf,
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
    /// Checks the broker under the launcher behind this socket, and the disk of its commit log.
    #[must_use]
    pub fn new(
        socket: PathBuf,
        log: PathBuf,
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
            log,
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
        let (target, log) = (self.target.clone(), self.log.clone());
        let memory = Arc::clone(&self.memory);
        let before = life(&self.status.borrow());
        let began = self.clock.tick();
        let looked = tokio::task::spawn_blocking(move || {
            let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
            let verdict = check(&target, &mut memory, &Limits::default());
            (verdict, used(&log).ok())
        });
        let (verdict, used) = looked.await.ok()?;
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
        self.tell_room(&verdict, used);
        self.note(before.filter(|_| verdict.state == AliveState::Hung), began);
        self.verdict.send_replace(Some(verdict.clone()));
        Some(verdict)
    }

    /// Says it when the disk becomes full, and when there is room again. A full master stays master: its slaves hold the
    /// same log, so their disks are most likely as full, and moving would cost an outage for nothing.
    fn tell_room(&self, verdict: &Verdict, used: Option<u64>) {
        let Some(full) = full(verdict.state, used) else {
            return;
        };
        self.metrics.disk_full.set(i64::from(full));
        if self.full.swap(full, Ordering::Relaxed) != full {
            self.announcer.say(room(full, used, verdict));
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

/// The used part of a file system in percent, as RocketMQ reckons it: of what there is for processes like the broker.
fn used(path: &Path) -> io::Result<u64> {
    let stat = statvfs(path)?;
    let used = stat.blocks().saturating_sub(stat.blocks_free());
    let all = used.saturating_add(stat.blocks_available());
    Ok(used.saturating_mul(100) / all.max(1))
}

/// Whether a broker refuses messages for want of room; none where nobody knows. A broker without a page left may answer
/// nothing any more, or not that: then the disk is asked alone.
fn full(state: AliveState, used: Option<u64>) -> Option<bool> {
    if used.is_some_and(|used| used >= FULL_PERCENT) {
        return Some(true);
    }
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

fn room(full: bool, used: Option<u64>, verdict: &Verdict) -> Note {
    if !full {
        return Note {
            reason: "DiskHasRoom",
            warning: false,
            message: "there is room on the broker's disk again".to_owned(),
        };
    }
    let disk = used.map_or(String::new(), |used| {
        format!("the commit log's volume is {used} % full; ")
    });
    Note {
        reason: "DiskFull",
        warning: true,
        message: format!(
            "{disk}the broker ({}): {}; give the volume room, or switch over to a member that has some",
            verdict.state.as_str(),
            verdict.reason
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_answers_says_whether_its_disk_is_full() {
        for used in [None, Some(89)] {
            let told: Vec<(AliveState, bool)> = AliveState::ALL
                .into_iter()
                .filter_map(|state| Some((state, full(state, used)?)))
                .collect();
            let wanted = [
                (AliveState::Running, false),
                (AliveState::DiskFull, true),
                (AliveState::Fenced, false),
            ];
            assert_eq!(told, wanted);
        }
    }

    #[test]
    fn a_full_disk_is_told_of_whatever_the_broker_says() {
        for state in AliveState::ALL {
            assert_eq!(full(state, Some(90)), Some(true));
        }
        let silent = Verdict {
            state: AliveState::Busy,
            reason: "no answer in time".to_owned(),
        };
        let note = room(true, Some(99), &silent);
        assert!(note.message.contains("99 % full"), "{}", note.message);
        assert!(note.message.contains("(busy): no answer in time"));
    }

    #[test]
    fn the_disk_is_asked_itself() {
        let part = used(Path::new(".")).unwrap();
        assert!(part <= 100, "{part}");
        used(Path::new("./no such folder")).unwrap_err();
    }
}
