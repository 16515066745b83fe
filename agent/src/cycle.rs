//! The one loop that owns the agent's memory: see, decide, act.
//!
//! It wakes at any change of what is seen, at the end of an action, at the time the decision asked for, and four times
//! a second at the least. All judgement is in [`agent_core::decide`].

pub mod hands;
pub mod sight;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agent_core::decide::decide;
use agent_core::observation::{Observation, Process};
use agent_core::report::{Report, Role};
use agent_core::{Boot, Decision, Epoch, Nonce, Reason, State, Tick};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tracing::info;

use self::hands::Hands;
use self::sight::{Sight, agents};
use crate::clock::Clock;
use crate::history::{History, Moment};
use crate::observe::broker::Pace;
use crate::peer::client::Addresses;
use crate::transition::Stages;
use crate::watchdog::Deadline;

/// The longest pause between two decisions.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// For the last Events of an agent that stops: less than the whole stop is given.
const LAST_EVENTS: Duration = Duration::from_secs(1);

/// What the cycle tells the rest of the agent.
pub struct Shown {
    /// Our word, for the other members.
    pub report: watch::Sender<Option<Arc<Report>>>,
    /// Where the other members' agents are.
    pub addresses: watch::Sender<Addresses>,
    /// How urgently the broker's word is wanted.
    pub broker_pace: watch::Sender<Pace>,
    /// How urgently the other members' word is wanted.
    pub peer_pace: watch::Sender<Pace>,
    /// Until when the watchdog keeps still.
    pub deadline: Deadline,
    /// The last decisions.
    pub history: History,
    /// When the cycle last went round, CLOCK_MONOTONIC in milliseconds.
    pub heartbeat: Arc<AtomicU64>,
}

/// The loop and all it needs.
pub struct Cycle {
    /// What is seen.
    pub sight: Sight,
    /// What acts.
    pub hands: Hands,
    /// What is told.
    pub shown: Shown,
    /// Ends of Lease writes.
    pub outcomes: mpsc::Receiver<agent_core::observation::WriteOutcome>,
    /// Our clocks.
    pub clock: Clock,
    /// How long the stages of a transition took.
    pub stages: Stages,
    /// The reason and the highest epoch of the last log line.
    pub told: Option<(Reason, Epoch)>,
}

impl Cycle {
    /// Goes round until this member is stopped.
    ///
    /// # Errors
    /// The system gives no random numbers: no term can be begun then.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let mut state = State::default();
        let mut write = None;
        loop {
            while let Ok(outcome) = self.outcomes.try_recv() {
                write = Some(outcome);
            }
            let nonce = Nonce::new(getrandom::u64()?);
            let seen = self.sight.observe(write.clone(), self.hands.job(), nonce);
            let now = self.clock.now();
            let decision = decide(&state, &seen, now, &self.hands.settings.policy);
            state = decision.next.clone();
            self.tell(&seen, &decision);
            self.hands.act(&seen, &decision);
            let (wake_at, reason) = (decision.wake_at, decision.reason);
            self.note(seen, decision, now.tick);
            if reason == Reason::Stopped {
                self.hands.announcer.said(LAST_EVENTS).await;
                return Ok(());
            }
            let pause = wake_at.map_or(LONGEST_PAUSE, |at| at.since(self.clock.tick()));
            tokio::select! {
                () = self.sight.changed() => {}
                outcome = self.outcomes.recv() => write = outcome.or(write),
                () = sleep(pause.min(LONGEST_PAUSE)) => {}
            }
        }
    }

    /// Everything that others must know before anything is done: above all the watchdog.
    fn tell(&self, seen: &Observation, decision: &Decision) {
        self.shown.deadline.set(self.deadline(seen, decision));
        // No word now means none for others either: an old one would count as new with everybody who hears it (I7).
        let report = decision.report.as_deref();
        self.shown.report.send_if_modified(|shown| {
            let news = shown.as_deref() != report;
            if news {
                *shown = report.cloned().map(Arc::new);
            }
            news
        });
        replace(&self.shown.addresses, agents(seen));
        replace(&self.shown.broker_pace, broker_pace(decision));
        replace(&self.shown.peer_pace, peer_pace(decision));
    }

    /// When a running master must be dead, less the time the watchdog's order takes.
    fn deadline(&self, seen: &Observation, decision: &Decision) -> Option<Boot> {
        let timing = self.hands.settings.policy.timing();
        let launcher = seen.launcher.last()?;
        let Process::Live {
            role: Role::Master,
            term,
            permit,
            ..
        } = &launcher.process
        else {
            return None;
        };
        let held = decision
            .next
            .held
            .as_ref()
            .filter(|held| held.term == *term);
        let earned = held
            .and_then(|held| held.renewed)
            .map(|sent| sent.plus(timing.permit));
        Some(
            earned
                .unwrap_or_default()
                .max(*permit)
                .minus(timing.kill_lead),
        )
    }

    fn note(&mut self, seen: Observation, decision: Decision, tick: Tick) {
        let metrics = &self.hands.metrics;
        metrics.show(&seen, &decision, &self.hands.settings.policy, self.clock);
        self.stages.follow(&seen, &decision, tick, metrics);
        self.shown
            .heartbeat
            .store(tick.as_millis(), Ordering::Relaxed);
        let (reason, epoch) = (decision.reason, decision.next.highest);
        let moment = Moment {
            seen: Arc::new(seen),
            decision: Arc::new(decision),
        };
        if self.shown.history.note(moment, tick, self.clock.wall()) {
            metrics.decisions.with_label_values(&[reason.word()]).inc();
        }
        // A step's own waiting is no change of state.
        let passing = matches!(reason, Reason::JobRunning | Reason::WriteUnsettled);
        if !passing && self.told.replace((reason, epoch)) != Some((reason, epoch)) {
            info!(%reason, %epoch, "{}", reason.sentence());
        }
    }
}

fn replace<T: PartialEq>(shown: &watch::Sender<T>, value: T) {
    shown.send_if_modified(|shown| {
        let news = *shown != value;
        if news {
            *shown = value;
        }
        news
    });
}

/// While something waits for the broker: a start, a gate, a drain.
fn broker_pace(decision: &Decision) -> Pace {
    let next = &decision.next;
    let waiting = next.opening.is_some() || next.handover.is_some();
    if waiting || decision.reason == Reason::GateOpening {
        Pace::Hurry
    } else {
        Pace::Calm
    }
}

/// While an election or a join goes on. Not while it only waits for somebody who may be away for long.
fn peer_pace(decision: &Decision) -> Pace {
    let hurry = [
        Reason::Freezing,
        Reason::JobRunning,
        Reason::Collecting,
        Reason::BetterCandidate,
        Reason::TargetFirst,
        Reason::WaitingForMaster,
        Reason::WaitingForAnswer,
        Reason::Proving,
        Reason::Cutting,
        Reason::Repairing,
        Reason::Joining,
        Reason::TermChanged,
        Reason::Switchover,
    ];
    if decision.next.wished.is_some() || hurry.contains(&decision.reason) {
        Pace::Hurry
    } else {
        Pace::Calm
    }
}
