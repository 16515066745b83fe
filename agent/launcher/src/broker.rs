//! The broker's life under the launcher: started on order, killed at its permit's end, ended when its whole group is gone.
//!
//! ```text
//! waiting ──start──► starting ──port open──► running ──stop, kill, permit end, first process ended──► stopping ──► ended
//!                       └───────────────────────────────────────────────────────────────────────────────┘          │
//!                                   starting ◄──────────────── start (a newer term) ──────────────────────────────────┘
//! ```

use nix::sys::{
    signal::{Signal, kill},
    wait::WaitStatus,
};

use crate::{
    group::{ActivityMeter, Group},
    guard::Guard,
    journal::Journal,
    orders::Reign,
    port::PortWatch,
    protocol::{Broker, BrokerEnd, BrokerState, EndReason},
};

/// How often the permit is looked at, in milliseconds (safety §1.1: the launcher's tick).
const TICK_MS: u64 = 100;

/// How often the listen port is looked for, in milliseconds.
const PORT_MS: u64 = 50;

/// How often a group that is being killed is killed again, in milliseconds: a process may have been forked meanwhile.
const KILL_MS: u64 = 20;

/// What the launcher knows of the broker, and its hand on it.
#[derive(Debug)]
pub(crate) struct Life {
    state: State,
    last_end: Option<BrokerEnd>,
    changes: u64,
}

#[derive(Debug)]
enum State {
    Waiting,
    Alive(Box<Alive>),
    Ended(Past),
}

/// What stays of a broker when it is gone.
#[derive(Debug, Clone)]
struct Past {
    reign: Reign,
    permit_until_ms: u64,
    started_ms: u64,
    running_ms: Option<u64>,
    listen_port: u16,
}

#[derive(Debug)]
struct Alive {
    past: Past,
    group: Group,
    course: Course,
    first: Option<Exit>,
    meter: ActivityMeter,
    port: PortWatch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    Going,
    Stopping { kill_at_ms: u64 },
    Killing { why: EndReason },
}

/// How the command's first process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Exit {
    code: Option<i32>,
    signal: Option<i32>,
}

/// What a tick needs besides the life itself.
pub(crate) struct Hands<'a> {
    pub(crate) guard: &'a mut Guard,
    pub(crate) journal: &'a mut Journal,
    pub(crate) now_ms: u64,
    /// Whether an agent is connected; only for the reason that is reported.
    pub(crate) has_agent: bool,
}

impl Hands<'_> {
    fn permit_ended(&self) -> EndReason {
        if self.has_agent {
            EndReason::PermitEnded
        } else {
            EndReason::AgentGone
        }
    }
}

impl Life {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Waiting,
            last_end: None,
            changes: 0,
        }
    }

    /// Grows with every change that a watcher wants to know at once.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.state, State::Alive(_))
    }

    /// Whom the living broker was started as.
    pub(crate) fn reign(&self) -> Option<&Reign> {
        self.reign_and_permit().map(|(reign, _)| reign)
    }

    /// Whom the living broker was started as, and its permit's end.
    pub(crate) fn reign_and_permit(&self) -> Option<(&Reign, u64)> {
        match &self.state {
            State::Alive(alive) => Some((&alive.past.reign, alive.past.permit_until_ms)),
            State::Waiting | State::Ended(_) => None,
        }
    }

    /// Whether a broker lives that is not being killed.
    pub(crate) fn is_serving(&self) -> bool {
        match &self.state {
            State::Alive(alive) => !matches!(alive.course, Course::Killing { .. }),
            State::Waiting | State::Ended(_) => false,
        }
    }

    /// Takes over a group that was just started (and armed at the guard).
    pub(crate) fn begin(
        &mut self,
        group: Group,
        reign: Reign,
        listen_port: u16,
        until_ms: u64,
        hands: &mut Hands<'_>,
    ) {
        let Reign { role, term, .. } = &reign;
        hands.journal.say(format_args!(
            "broker started: pid={} role={} epoch={} listen_port={listen_port}",
            group.id(),
            role.as_str(),
            term.epoch
        ));
        let past = Past {
            reign,
            permit_until_ms: until_ms,
            started_ms: hands.now_ms,
            running_ms: None,
            listen_port,
        };
        let meter = ActivityMeter::new(group);
        let port = PortWatch::new(group, listen_port);
        self.state = State::Alive(Box::new(Alive {
            past,
            group,
            course: Course::Going,
            first: None,
            meter,
            port,
        }));
        self.changes += 1;
    }

    /// Prolongs the permit; a shorter one changes nothing, 0 kills.
    pub(crate) fn permit(&mut self, until_ms: u64, hands: &mut Hands<'_>) {
        let State::Alive(alive) = &mut self.state else {
            return;
        };
        if until_ms == 0 {
            alive.past.permit_until_ms = 0;
            self.kill(EndReason::Killed, hands);
        } else if alive.past.permit_until_ms != 0 && until_ms > alive.past.permit_until_ms {
            alive.past.permit_until_ms = until_ms;
            hands.guard.arm(alive.group.id(), until_ms);
        }
    }

    /// SIGTERM to the whole group (the stock scripts swallow it: facts §6.1), SIGKILL after the grace. A stop that is
    /// under way can only be made shorter.
    pub(crate) fn stop(&mut self, grace_ms: u64, hands: &mut Hands<'_>) {
        let State::Alive(alive) = &mut self.state else {
            return;
        };
        let kill_at_ms = hands.now_ms.saturating_add(grace_ms);
        match alive.course {
            Course::Going => {
                alive.course = Course::Stopping { kill_at_ms };
                hands
                    .journal
                    .say(format_args!("stopping the broker: grace_ms={grace_ms}"));
                alive.signal(Signal::SIGTERM, hands.journal);
                // A frozen process acts on SIGTERM only when it goes on.
                alive.signal(Signal::SIGCONT, hands.journal);
                self.changes += 1;
            }
            Course::Stopping { kill_at_ms: before } => {
                alive.course = Course::Stopping {
                    kill_at_ms: kill_at_ms.min(before),
                };
            }
            Course::Killing { .. } => {}
        }
    }

    /// SIGKILL to the whole group.
    pub(crate) fn kill(&mut self, why: EndReason, hands: &mut Hands<'_>) {
        let State::Alive(alive) = &mut self.state else {
            return;
        };
        if !matches!(alive.course, Course::Killing { .. }) {
            alive.course = Course::Killing { why };
            hands
                .journal
                .say(format_args!("killing the broker: why={}", why.as_str()));
            self.changes += 1;
        }
        alive.signal(Signal::SIGKILL, hands.journal);
    }

    /// Passes a signal to the JVM alone (SIGQUIT: thread dump; it would kill the shells around the JVM).
    pub(crate) fn signal_jvm(&self, signal: Signal) {
        if let State::Alive(alive) = &self.state {
            let _ = kill(alive.group.jvm(), signal);
        }
    }

    /// Notes that a process was reaped.
    pub(crate) fn on_reaped(&mut self, status: WaitStatus) {
        let State::Alive(alive) = &mut self.state else {
            return;
        };
        if status.pid() == Some(alive.group.id())
            && let Some(exit) = Exit::of(status)
        {
            alive.first = Some(exit);
        }
    }

    /// Looks at deadlines, the port and the group. Returns when it wants to be called again at the latest.
    pub(crate) fn tick(&mut self, hands: &mut Hands<'_>) -> Option<u64> {
        // First what has ended: a group that is gone needs no killing.
        self.settle(hands);
        self.enforce(hands);
        self.look_for_port(hands);
        self.settle(hands);
        let State::Alive(alive) = &self.state else {
            return None;
        };
        let pause = match alive.course {
            Course::Killing { .. } => KILL_MS,
            Course::Going if alive.past.running_ms.is_none() => PORT_MS,
            Course::Going | Course::Stopping { .. } => TICK_MS,
        };
        let mut wake = hands.now_ms.saturating_add(pause);
        if alive.past.permit_until_ms > hands.now_ms {
            wake = wake.min(alive.past.permit_until_ms);
        }
        Some(wake)
    }

    fn enforce(&mut self, hands: &mut Hands<'_>) {
        let State::Alive(alive) = &self.state else {
            return;
        };
        let permit_ended = hands.now_ms >= alive.past.permit_until_ms;
        let why = match alive.course {
            Course::Killing { why } => Some(why),
            _ if permit_ended => Some(hands.permit_ended()),
            Course::Stopping { kill_at_ms } if hands.now_ms >= kill_at_ms => {
                Some(EndReason::StopForced)
            }
            // The command must stay in the foreground; what it left behind is nobody's broker.
            Course::Going if alive.first.is_some() => Some(EndReason::Exited),
            Course::Going | Course::Stopping { .. } => None,
        };
        if let Some(why) = why {
            self.kill(why, hands);
        }
    }

    fn look_for_port(&mut self, hands: &mut Hands<'_>) {
        let State::Alive(alive) = &mut self.state else {
            return;
        };
        let is_looking = alive.past.running_ms.is_none() && alive.course == Course::Going;
        if is_looking && alive.port.look(hands.now_ms) {
            alive.past.running_ms = Some(hands.now_ms);
            let after = hands.now_ms.saturating_sub(alive.past.started_ms);
            hands.journal.say(format_args!(
                "broker listens: port={} after_ms={after}",
                alive.past.listen_port
            ));
            self.changes += 1;
        }
    }

    /// The end is reported only when the first process is reaped and no other process of its group is left.
    fn settle(&mut self, hands: &mut Hands<'_>) {
        let State::Alive(alive) = &self.state else {
            return;
        };
        if !alive.group.is_gone() {
            return;
        }
        // A gone group without the first process's exit: somebody made the kernel reap for us (SIGCHLD ignored).
        let exit = alive.first.unwrap_or(Exit {
            code: None,
            signal: None,
        });
        hands.guard.disarm();
        // The guard does it when this loop comes too late to do it itself.
        let by_guard = hands.now_ms >= alive.past.permit_until_ms
            && exit.signal == Some(Signal::SIGKILL as i32);
        let why = match alive.course {
            Course::Going | Course::Stopping { .. } if by_guard => hands.permit_ended(),
            Course::Going => EndReason::Exited,
            Course::Stopping { .. } => EndReason::Stopped,
            Course::Killing { why } => why,
        };
        let past = alive.past.clone();
        hands.journal.say(format_args!(
            "broker ended: why={} code={} signal={} role={} epoch={} lived_ms={}",
            why.as_str(),
            exit.code
                .map_or_else(|| "-".to_owned(), |code| code.to_string()),
            exit.signal
                .map_or_else(|| "-".to_owned(), |signal| signal.to_string()),
            past.reign.role.as_str(),
            past.reign.term.epoch,
            hands.now_ms.saturating_sub(past.started_ms)
        ));
        let Exit { code, signal } = exit;
        let (role, term) = (past.reign.role, past.reign.term);
        self.last_end = Some(BrokerEnd {
            code,
            signal,
            why,
            at_ms: hands.now_ms,
            role,
            term,
        });
        self.state = State::Ended(past);
        self.changes += 1;
    }

    /// The broker as the protocol shows it.
    pub(crate) fn status(&mut self, now_ms: u64) -> Broker {
        let (state, pid, activity, past) = match &mut self.state {
            State::Waiting => (BrokerState::Waiting, None, None, None),
            State::Ended(past) => (BrokerState::Ended, None, None, Some(&*past)),
            State::Alive(alive) => {
                let state = alive.state();
                let pid = u32::try_from(alive.group.id().as_raw()).ok();
                (state, pid, alive.meter.read(now_ms), Some(&alive.past))
            }
        };
        Broker {
            state,
            pid,
            role: past.map(|past| past.reign.role),
            term: past.map(|past| past.reign.term),
            instance: past.map(|past| past.reign.instance.clone()),
            permit_until_ms: past.map(|past| past.permit_until_ms),
            started_ms: past.map(|past| past.started_ms),
            running_ms: past.and_then(|past| past.running_ms),
            listen_port: past.map(|past| past.listen_port),
            activity,
            last_end: self.last_end.clone(),
        }
    }

    /// How the last broker ended, if one has.
    pub(crate) fn last_end(&self) -> Option<&BrokerEnd> {
        self.last_end.as_ref()
    }
}

impl Alive {
    fn state(&self) -> BrokerState {
        match self.course {
            Course::Stopping { .. } | Course::Killing { .. } => BrokerState::Stopping,
            Course::Going if self.past.running_ms.is_some() => BrokerState::Running,
            Course::Going => BrokerState::Starting,
        }
    }

    fn signal(&self, signal: Signal, journal: &mut Journal) {
        if let Err(error) = self.group.signal(signal) {
            journal.say(format_args!(
                "send {signal} to the broker's group {}: {error}",
                self.group.id()
            ));
        }
    }
}

impl Exit {
    fn of(status: WaitStatus) -> Option<Self> {
        match status {
            WaitStatus::Exited(_, code) => Some(Self {
                code: Some(code),
                signal: None,
            }),
            WaitStatus::Signaled(_, signal, _) => Some(Self {
                code: None,
                signal: Some(signal as i32),
            }),
            WaitStatus::Stopped(..)
            | WaitStatus::PtraceEvent(..)
            | WaitStatus::PtraceSyscall(_)
            | WaitStatus::Continued(_)
            | WaitStatus::StillAlive => None,
        }
    }
}
