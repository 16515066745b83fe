//! Is the broker alive? One check for the probe `brokerAliveTest` and, in process, for the agent.
//!
//! | state | what was seen | liveness (and the plain exit code) | readiness | startup |
//! |---|---|---|---|---|
//! | `running` | the broker answers | 0 | 0 | 0 |
//! | `disk_full` | it answers; its disk is so full that it refuses messages (90 %) | 0 | 1 | 0 |
//! | `fenced` | a master that answers but refuses writes by order; or it was killed when its permit ended | 0 | 1 | 0 |
//! | `waiting` | the launcher waits for the agent's first order: no role yet | 0 | 1 | 0 |
//! | `starting` | its JVM lives and the port is closed | 0 | 1 | 0 |
//! | `recovering` | the same for more than 20 s, with processor time or I/O going on | 0 | 1 | 0 |
//! | `busy` | no answer in time, but its processes work (a long GC) and it has been silent for less than 2 min | 0 | 1 | 0 |
//! | `stopping` | it is being stopped | 0 | 1 | 0 |
//! | `stopped` | it was stopped on order | 0 | 1 | 0 |
//! | `start_stuck` | a start without any work for 60 s, or longer than an hour | 1 | 1 | 1 |
//! | `hung` | frozen (SIGSTOP); or silent and idle for 10 s; or silent for 2 min; or its store, or a master's dispatch, is stuck for 30 s | 1 | 1 | 1 |
//! | `ended` | it ended by itself and was not started again | 1 | 1 | 1 |
//! | `no_launcher` | the launcher does not answer: its guard kills the broker | 1 | 1 | 1 |
//!
//! Exit code 2: wrong arguments, nothing was checked.
//!
//! A restart of the container helps none of the states with liveness 0, so it must not happen: a full disk stays full, a
//! recovery would begin again, a role comes from the agent. For the same reason the startup column is no stricter than
//! liveness: liveness itself knows a long recovery from a hang, and needs no startup probe in front of it.
//!
//! A single look cannot tell a pause from a hang, so what earlier looks saw is kept in a [`Memory`]; `brokerAliveTest`
//! keeps it in a small file beside the socket. Without memory a silent broker is given the benefit of the doubt.

mod check;
mod memory;
mod program;

pub use check::{Target, check};
pub use memory::Memory;
pub use program::broker_alive_test;

use serde::Serialize;

use crate::protocol::{Broker, BrokerState, EndReason, Role};

/// What a broker's life looks like from outside. The module's table says what follows from each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AliveState {
    /// The broker answers.
    Running,
    /// It answers and refuses messages for want of disk space.
    DiskFull,
    /// It refuses writes by order, or was killed at its permit's end.
    Fenced,
    /// No role yet.
    Waiting,
    /// Its JVM lives, its port is closed.
    Starting,
    /// A long start that works.
    Recovering,
    /// Silent, at work.
    Busy,
    /// Being stopped.
    Stopping,
    /// Stopped on order.
    Stopped,
    /// A start that does not get on.
    StartStuck,
    /// Silent and idle, or frozen, or its store is stuck.
    Hung,
    /// Ended by itself.
    Ended,
    /// Its launcher does not answer.
    NoLauncher,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// "Restart the container?"
    Liveness,
    /// "May it get work?"
    Readiness,
    /// "Has the container begun?"
    Startup,
}

impl AliveState {
    /// All states.
    pub const ALL: [Self; 13] = [
        Self::Running,
        Self::DiskFull,
        Self::Fenced,
        Self::Waiting,
        Self::Starting,
        Self::Recovering,
        Self::Busy,
        Self::Stopping,
        Self::Stopped,
        Self::StartStuck,
        Self::Hung,
        Self::Ended,
        Self::NoLauncher,
    ];

    /// The word that the probe, metrics and JSON share.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::DiskFull => "disk_full",
            Self::Fenced => "fenced",
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Recovering => "recovering",
            Self::Busy => "busy",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::StartStuck => "start_stuck",
            Self::Hung => "hung",
            Self::Ended => "ended",
            Self::NoLauncher => "no_launcher",
        }
    }

    /// The table: whether this state passes a probe.
    #[must_use]
    pub fn passes(self, mode: Mode) -> bool {
        match self {
            Self::Running => true,
            Self::DiskFull
            | Self::Fenced
            | Self::Waiting
            | Self::Starting
            | Self::Recovering
            | Self::Busy
            | Self::Stopping
            | Self::Stopped => mode != Mode::Readiness,
            Self::StartStuck | Self::Hung | Self::Ended | Self::NoLauncher => false,
        }
    }
}

/// The answer of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The state.
    pub state: AliveState,
    /// Why, for people.
    pub reason: String,
}

impl Verdict {
    fn new(state: AliveState, reason: impl Into<String>) -> Self {
        Self {
            state,
            reason: reason.into(),
        }
    }
}

/// From when on something counts. Milliseconds, except where said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// A silent broker whose processes do nothing for this long hangs.
    pub idle_ms: u64,
    /// A broker silent for this long hangs, whatever its processes do. Longer than any GC pause worth surviving.
    pub silent_ms: u64,
    /// A start is called a recovery from here on.
    pub recovering_ms: u64,
    /// A start whose processes do nothing for this long is stuck.
    pub start_idle_ms: u64,
    /// A start of this length is stuck whatever it does.
    pub start_ms: u64,
    /// A put that holds the store's lock, or a send that waits for its turn, for this long: the store is stuck. So it is
    /// when a master's dispatch stands still for this long before the end of the log: nobody can read what it acknowledges.
    /// And so it is when no message of the check's own has been answered for this long.
    pub store_ms: u64,
    /// Sends that wait while nothing is stored for this long make the check send a message itself.
    pub unstored_ms: u64,
    /// Used part of the disk from which the broker refuses messages (facts §10.1: 90 %).
    pub disk_full: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle_ms: 10_000,
            silent_ms: 120_000,
            recovering_ms: 20_000,
            start_idle_ms: 60_000,
            start_ms: 3_600_000,
            store_ms: 30_000,
            unstored_ms: 10_000,
            disk_full: 0.9,
        }
    }
}

/// What one look saw.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// CLOCK_BOOTTIME of the look.
    pub now_ms: u64,
    /// The launcher's view, or why there is none.
    pub launcher: Result<Broker, String>,
    /// The broker's own answer.
    pub answer: Answer,
}

/// What the broker's port said.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It was not asked: nothing runs, or there was no address.
    NotAsked,
    /// It answered.
    Info(Info),
    /// It answered, but not the question: refused (ACL), or closed the connection (TLS only). Its threads run.
    Odd(String),
    /// Its port is open and its store is not there yet.
    NotReady,
    /// Nobody listens.
    Closed,
    /// No answer in time.
    Silent,
}

/// What matters here of a broker's own answers (28, and 26 for a master).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Info {
    /// The fuller one of its disks, 0 to 1.
    pub disk_ratio: Option<f64>,
    /// The longest time that a put holds the store's lock or a send waits for its turn, in milliseconds.
    pub store_wait_ms: u64,
    /// It refuses sends by its start gate, or writes by its hot role.
    pub refuses_writes: bool,
    /// How far the log can be read through the consume queues.
    pub dispatch: Dispatch,
    /// Messages stored since its start, where it tells.
    pub stored: Option<u64>,
    /// Sends that wait for a thread.
    pub sends_waiting: u64,
    /// What became of a message of our own.
    pub trial: Trial,
}

/// A message that the check itself sends, to a topic that every broker has and nobody reads. Only where sends wait and
/// nothing is stored: a thread that dies of an error may leave the log's lock shut for ever (seen on 5.5.0 when a disk ran
/// full), and everything but sends is answered as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trial {
    /// There was no reason to send one.
    #[default]
    NotMade,
    /// It was stored, or refused for a reason.
    Answered,
    /// No answer, or no thread had time for it.
    Unanswered,
}

/// How far a broker's dispatch thread has brought its commit log into the consume queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dispatch {
    /// Up to this offset.
    pub to: u64,
    /// Bytes of log beyond it.
    pub behind: u64,
}

impl Info {
    fn is_disk_full(&self, limits: &Limits) -> bool {
        self.disk_ratio
            .is_some_and(|ratio| ratio >= limits.disk_full)
    }
}

/// Decides, and remembers for the next time. Pure.
#[must_use]
pub fn judge(evidence: &Evidence, memory: &mut Memory, limits: &Limits) -> Verdict {
    let broker = match &evidence.launcher {
        Ok(broker) => broker,
        Err(reason) => return Verdict::new(AliveState::NoLauncher, reason.clone()),
    };
    memory.note(evidence.now_ms, broker, &evidence.answer, limits);
    match broker.state {
        BrokerState::Waiting => Verdict::new(AliveState::Waiting, "no role was ordered yet"),
        BrokerState::Stopping => Verdict::new(AliveState::Stopping, "it is being stopped"),
        BrokerState::Ended => judge_ended(broker),
        BrokerState::Starting | BrokerState::Running => {
            judge_living(evidence, broker, memory, limits)
        }
    }
}

fn judge_ended(broker: &Broker) -> Verdict {
    let Some(end) = &broker.last_end else {
        return Verdict::new(AliveState::Ended, "it ended");
    };
    let how = match (end.code, end.signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".to_owned(),
    };
    match end.why {
        EndReason::Exited => Verdict::new(AliveState::Ended, format!("it ended by itself ({how})")),
        EndReason::Stopped | EndReason::StopForced | EndReason::Killed => Verdict::new(
            AliveState::Stopped,
            format!("{} on order ({how})", end.why.as_str()),
        ),
        EndReason::PermitEnded | EndReason::AgentGone => Verdict::new(
            AliveState::Fenced,
            format!("killed when its permit ended ({})", end.why.as_str()),
        ),
    }
}

fn judge_living(evidence: &Evidence, broker: &Broker, memory: &Memory, limits: &Limits) -> Verdict {
    // A frozen process may have left an answer in the socket; it is frozen all the same.
    if broker.activity.is_some_and(|activity| activity.frozen) {
        return Verdict::new(
            AliveState::Hung,
            "its processes are frozen (SIGSTOP or a debugger)",
        );
    }
    match &evidence.answer {
        Answer::Info(info) => judge_info(evidence.now_ms, broker, *info, memory, limits),
        Answer::Odd(text) => Verdict::new(AliveState::Running, format!("it answers: {text}")),
        // Its start is over: a store that cannot sum itself up any more (a full disk) is not one that opens.
        Answer::NotReady if memory.has_told() => Verdict::new(
            AliveState::Running,
            "it answers, but does not tell of its store any more",
        ),
        Answer::NotReady => judge_start(evidence.now_ms, broker, memory, limits),
        Answer::NotAsked | Answer::Closed | Answer::Silent => match broker.state {
            BrokerState::Running => judge_silent(evidence, memory, limits),
            _ => judge_start(evidence.now_ms, broker, memory, limits),
        },
    }
}

fn judge_info(
    now_ms: u64,
    broker: &Broker,
    info: Info,
    memory: &Memory,
    limits: &Limits,
) -> Verdict {
    if info.store_wait_ms >= limits.store_ms {
        let reason = format!(
            "it answers, but its store has been stuck for {} ms",
            info.store_wait_ms
        );
        return Verdict::new(AliveState::Hung, reason);
    }
    if info.is_disk_full(limits) {
        let percent = info.disk_ratio.unwrap_or_default() * 100.0;
        return Verdict::new(
            AliveState::DiskFull,
            format!("its disk is {percent:.0} % full: it refuses messages"),
        );
    }
    let closed_ms = memory.closed_ms(now_ms);
    if closed_ms >= limits.store_ms {
        let reason =
            format!("it answers, but sends wait and nothing has been stored for {closed_ms} ms");
        return Verdict::new(AliveState::Hung, reason);
    }
    let undispatched_ms = memory.undispatched_ms(now_ms);
    if undispatched_ms >= limits.store_ms {
        let Dispatch { to, behind } = info.dispatch;
        let reason = format!(
            "it answers, but nobody can read the last {behind} bytes of its log: its dispatch has stood at offset {to} for \
             {undispatched_ms} ms"
        );
        return Verdict::new(AliveState::Hung, reason);
    }
    if info.refuses_writes && broker.role == Some(Role::Master) {
        return Verdict::new(AliveState::Fenced, "it answers and refuses writes by order");
    }
    Verdict::new(
        AliveState::Running,
        format!(
            "it answers as {}",
            broker.role.map_or("broker", Role::as_str)
        ),
    )
}

fn judge_start(now_ms: u64, broker: &Broker, memory: &Memory, limits: &Limits) -> Verdict {
    let age_ms = now_ms.saturating_sub(broker.started_ms.unwrap_or(now_ms));
    let idle_ms = memory.idle_ms(now_ms);
    let state = if age_ms >= limits.start_ms || idle_ms >= limits.start_idle_ms {
        AliveState::StartStuck
    } else if age_ms >= limits.recovering_ms {
        AliveState::Recovering
    } else {
        AliveState::Starting
    };
    Verdict::new(
        state,
        format!("started {age_ms} ms ago, at work until {idle_ms} ms ago"),
    )
}

fn judge_silent(evidence: &Evidence, memory: &Memory, limits: &Limits) -> Verdict {
    let what = match evidence.answer {
        Answer::Closed => "its port is closed",
        Answer::Silent | Answer::NotReady => "no answer in time",
        Answer::NotAsked | Answer::Info(_) | Answer::Odd(_) => "it was not asked",
    };
    let (silent_ms, idle_ms) = (
        memory.silent_ms(evidence.now_ms),
        memory.idle_ms(evidence.now_ms),
    );
    let is_hung = silent_ms >= limits.silent_ms || idle_ms >= limits.idle_ms;
    let state = if is_hung {
        AliveState::Hung
    } else {
        AliveState::Busy
    };
    Verdict::new(
        state,
        format!("{what}, silent for {silent_ms} ms, at work until {idle_ms} ms ago"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Activity, BrokerEnd, Term};

    const NOW: u64 = 1_000_000;

    fn broker(state: BrokerState) -> Broker {
        Broker {
            state,
            pid: Some(7),
            role: Some(Role::Master),
            term: Some(Term { epoch: 1, nonce: 1 }),
            instance: Some("i".into()),
            permit_until_ms: Some(NOW + 5_000),
            started_ms: Some(NOW - 5_000),
            running_ms: (state == BrokerState::Running).then_some(NOW - 1_000),
            listen_port: Some(10911),
            activity: None,
            last_end: None,
        }
    }

    fn active(state: BrokerState, cpu_ms: u64) -> Broker {
        let activity = Activity {
            at_ms: 0,
            cpu_ms,
            io_bytes: 0,
            frozen: false,
        };
        Broker {
            activity: Some(activity),
            ..broker(state)
        }
    }

    fn look(broker: Broker, answer: Answer) -> AliveState {
        judge_at(NOW, broker, answer, &mut Memory::default())
    }

    fn judge_at(now_ms: u64, broker: Broker, answer: Answer, memory: &mut Memory) -> AliveState {
        judge(
            &Evidence {
                now_ms,
                launcher: Ok(broker),
                answer,
            },
            memory,
            &Limits::default(),
        )
        .state
    }

    fn ended(why: EndReason) -> Broker {
        let end = BrokerEnd {
            code: Some(1),
            signal: None,
            why,
            at_ms: NOW,
            role: Role::Master,
            term: Term { epoch: 1, nonce: 1 },
        };
        Broker {
            last_end: Some(end),
            ..broker(BrokerState::Ended)
        }
    }

    #[test]
    fn what_the_launcher_alone_decides() {
        assert_eq!(
            look(broker(BrokerState::Waiting), Answer::NotAsked),
            AliveState::Waiting
        );
        assert_eq!(
            look(broker(BrokerState::Stopping), Answer::Silent),
            AliveState::Stopping
        );
        assert_eq!(
            look(ended(EndReason::Exited), Answer::NotAsked),
            AliveState::Ended
        );
        assert_eq!(
            look(ended(EndReason::Stopped), Answer::NotAsked),
            AliveState::Stopped
        );
        assert_eq!(
            look(ended(EndReason::Killed), Answer::NotAsked),
            AliveState::Stopped
        );
        assert_eq!(
            look(ended(EndReason::AgentGone), Answer::NotAsked),
            AliveState::Fenced
        );
        let gone = Evidence {
            now_ms: NOW,
            launcher: Err("gone".into()),
            answer: Answer::Info(Info::default()),
        };
        assert_eq!(
            judge(&gone, &mut Memory::default(), &Limits::default()).state,
            AliveState::NoLauncher
        );
    }

    #[test]
    fn what_an_answer_says() {
        let info = |info| look(broker(BrokerState::Running), Answer::Info(info));
        assert_eq!(info(Info::default()), AliveState::Running);
        assert_eq!(
            info(Info {
                disk_ratio: Some(0.89),
                ..Info::default()
            }),
            AliveState::Running
        );
        assert_eq!(
            info(Info {
                disk_ratio: Some(0.90),
                ..Info::default()
            }),
            AliveState::DiskFull
        );
        assert_eq!(
            info(Info {
                store_wait_ms: 30_000,
                ..Info::default()
            }),
            AliveState::Hung
        );
        assert_eq!(
            info(Info {
                refuses_writes: true,
                ..Info::default()
            }),
            AliveState::Fenced
        );
        let slave = Broker {
            role: Some(Role::Slave),
            ..broker(BrokerState::Running)
        };
        let refusing = Answer::Info(Info {
            refuses_writes: true,
            ..Info::default()
        });
        assert_eq!(look(slave, refusing), AliveState::Running);
        assert_eq!(
            look(broker(BrokerState::Running), Answer::Odd("no".into())),
            AliveState::Running
        );
    }

    #[test]
    fn a_master_whose_dispatch_stands_still_hangs() {
        let dispatch = |to, behind| {
            Answer::Info(Info {
                dispatch: Dispatch { to, behind },
                ..Info::default()
            })
        };
        let mut memory = Memory::default();
        let mut at = |second: u64, answer| {
            let broker = broker(BrokerState::Running);
            judge_at(NOW + second * 1_000, broker, answer, &mut memory)
        };
        // Behind, and getting on: a broker under load, or one that reads its log after a crash.
        for second in 0..100 {
            assert_eq!(at(second, dispatch(second, 500)), AliveState::Running);
        }
        for second in 100..129 {
            assert_eq!(at(second, dispatch(99, second)), AliveState::Running);
        }
        assert_eq!(at(129, dispatch(99, 600)), AliveState::Hung);
        assert_eq!(at(130, dispatch(699, 0)), AliveState::Running);
        // Nothing behind is no standstill, however long nobody sends.
        assert_eq!(at(200, dispatch(699, 0)), AliveState::Running);
        assert_eq!(at(201, dispatch(699, 9)), AliveState::Running);
    }

    #[test]
    fn a_standstill_counts_on_masters_with_room_only() {
        let standing = |disk_ratio| {
            Answer::Info(Info {
                disk_ratio,
                dispatch: Dispatch { to: 5, behind: 9 },
                ..Info::default()
            })
        };
        // A slave's log may end inside a record for as long as its master is away.
        let mut memory = Memory::default();
        for second in 0..100 {
            let slave = Broker {
                role: Some(Role::Slave),
                ..broker(BrokerState::Running)
            };
            let state = judge_at(NOW + second * 1_000, slave, standing(None), &mut memory);
            assert_eq!(state, AliveState::Running);
        }
        let mut memory = Memory::default();
        let mut at = |second: u64, disk_ratio| {
            let broker = broker(BrokerState::Running);
            judge_at(
                NOW + second * 1_000,
                broker,
                standing(disk_ratio),
                &mut memory,
            )
        };
        for second in 0..100 {
            assert_eq!(at(second, Some(0.95)), AliveState::DiskFull);
        }
        // A thread that survived gets its time to go on once there is room.
        assert_eq!(at(100, Some(0.5)), AliveState::Running);
        assert_eq!(at(129, Some(0.5)), AliveState::Running);
        assert_eq!(at(130, Some(0.5)), AliveState::Hung);
    }

    #[test]
    fn a_master_that_stores_nothing_hangs_when_a_trial_says_so_too() {
        let info = |stored, sends_waiting, trial| Info {
            stored: Some(stored),
            sends_waiting,
            trial,
            ..Info::default()
        };
        let mut memory = Memory::default();
        let mut at = |second: u64, info: Info| {
            let now_ms = NOW + second * 1_000;
            let asked = memory.wants_trial(now_ms, &info, &Limits::default());
            let broker = broker(BrokerState::Running);
            let state = judge_at(now_ms, broker, Answer::Info(info), &mut memory);
            (asked, state)
        };
        use Trial::{Answered, NotMade, Unanswered};
        let quiet = (false, AliveState::Running);
        let doubt = (true, AliveState::Running);
        // Load, however heavy, is stored.
        for second in 0..60 {
            assert_eq!(at(second, info(second, 500, NotMade)), quiet);
        }
        // Nobody sends.
        assert_eq!(at(100, info(59, 0, NotMade)), quiet);
        assert_eq!(at(200, info(59, 0, NotMade)), quiet);
        // Somebody does, and is refused for a reason: so is the trial.
        assert_eq!(at(201, info(59, 1, NotMade)), quiet);
        assert_eq!(at(210, info(59, 0, NotMade)), quiet);
        assert_eq!(at(211, info(59, 0, Answered)), doubt);
        assert_eq!(at(230, info(59, 1, NotMade)), quiet);
        // Nobody is answered.
        assert_eq!(at(240, info(59, 1, Unanswered)), doubt);
        assert_eq!(at(269, info(59, 1, Unanswered)), doubt);
        assert_eq!(at(270, info(59, 1, Unanswered)), (true, AliveState::Hung));
        // It goes on.
        assert_eq!(at(271, info(60, 1, NotMade)), quiet);
        assert_eq!(at(272, info(60, 1, NotMade)), quiet);
        let gated = Info {
            refuses_writes: true,
            ..info(60, 9, NotMade)
        };
        assert_eq!(at(290, gated), (false, AliveState::Fenced));
    }

    #[test]
    fn a_frozen_broker_hangs_at_once() {
        let mut frozen = active(BrokerState::Running, 5);
        frozen.activity.as_mut().unwrap().frozen = true;
        assert_eq!(look(frozen.clone(), Answer::Silent), AliveState::Hung);
        frozen.state = BrokerState::Starting;
        assert_eq!(look(frozen, Answer::Closed), AliveState::Hung);
    }

    #[test]
    fn a_minute_of_gc_is_no_death_and_idle_silence_is() {
        let mut memory = Memory::default();
        let answered = Answer::Info(Info::default());
        judge_at(
            NOW,
            active(BrokerState::Running, 1_000),
            answered,
            &mut memory,
        );
        for second in 1..=60 {
            let at_work = active(BrokerState::Running, 1_000 + second * 1_000);
            assert_eq!(
                judge_at(NOW + second * 1_000, at_work, Answer::Silent, &mut memory),
                AliveState::Busy
            );
        }
        let idle = || active(BrokerState::Running, 61_000);
        assert_eq!(
            judge_at(NOW + 65_000, idle(), Answer::Silent, &mut memory),
            AliveState::Busy
        );
        assert_eq!(
            judge_at(NOW + 70_000, idle(), Answer::Silent, &mut memory),
            AliveState::Hung
        );
        assert_eq!(
            judge_at(
                NOW + 71_000,
                idle(),
                Answer::Info(Info::default()),
                &mut memory
            ),
            AliveState::Running
        );
    }

    #[test]
    fn work_without_an_answer_is_believed_for_two_minutes() {
        let mut memory = Memory::default();
        let states: Vec<AliveState> = (0..=130)
            .map(|second| {
                let at_work = active(BrokerState::Running, second * 900);
                judge_at(NOW + second * 1_000, at_work, Answer::Silent, &mut memory)
            })
            .collect();
        assert!(states[..110].iter().all(|state| *state == AliveState::Busy));
        assert_eq!(states.last(), Some(&AliveState::Hung));
    }

    #[test]
    fn a_start_is_alive_while_it_works() {
        let mut memory = Memory::default();
        let mut at = |second: u64, cpu_ms| {
            let starting = Broker {
                started_ms: Some(NOW),
                ..active(BrokerState::Starting, cpu_ms)
            };
            judge_at(NOW + second * 1_000, starting, Answer::Closed, &mut memory)
        };
        assert_eq!(at(1, 900), AliveState::Starting);
        let mut cpu_ms = 900;
        for second in (10..3_600).step_by(10) {
            cpu_ms += 2_000;
            let wanted = if second < 20 {
                AliveState::Starting
            } else {
                AliveState::Recovering
            };
            assert_eq!(at(second, cpu_ms), wanted);
        }
        assert_eq!(at(3_600, cpu_ms + 9_000), AliveState::StartStuck);
    }

    #[test]
    fn a_long_start_is_no_silence() {
        let mut memory = Memory::default();
        let mut look = |second: u64, state, answer| {
            let broker = Broker {
                started_ms: Some(NOW),
                ..active(state, second * 900)
            };
            judge_at(NOW + second * 1_000, broker, answer, &mut memory)
        };
        for second in 0..300 {
            look(second, BrokerState::Starting, Answer::Closed);
        }
        assert_eq!(
            look(301, BrokerState::Running, Answer::Silent),
            AliveState::Busy
        );
    }

    #[test]
    fn a_start_that_does_nothing_is_stuck() {
        let mut memory = Memory::default();
        let mut at = |second: u64, answer| {
            let starting = Broker {
                started_ms: Some(NOW),
                ..active(BrokerState::Starting, 500)
            };
            judge_at(NOW + second * 1_000, starting, answer, &mut memory)
        };
        assert_eq!(at(1, Answer::Closed), AliveState::Starting);
        assert_eq!(at(50, Answer::NotReady), AliveState::Recovering);
        assert_eq!(at(62, Answer::Closed), AliveState::StartStuck);
    }

    #[test]
    fn a_broker_that_has_told_of_its_store_does_not_start() {
        let mut memory = Memory::default();
        let mut at = |second: u64, answer| {
            let idle = Broker {
                started_ms: Some(NOW),
                ..active(BrokerState::Running, 500)
            };
            judge_at(NOW + second * 1_000, idle, answer, &mut memory)
        };
        assert_eq!(at(2, Answer::NotReady), AliveState::Starting);
        assert_eq!(at(3, Answer::Info(Info::default())), AliveState::Running);
        assert_eq!(at(4_000, Answer::NotReady), AliveState::Running);
    }

    #[test]
    fn a_new_process_begins_with_a_clean_slate() {
        let mut memory = Memory::default();
        judge_at(
            NOW,
            active(BrokerState::Running, 5),
            Answer::Silent,
            &mut memory,
        );
        let next = Broker {
            pid: Some(8),
            started_ms: Some(NOW + 600_000),
            ..active(BrokerState::Running, 5)
        };
        assert_eq!(
            judge_at(NOW + 601_000, next, Answer::Silent, &mut memory),
            AliveState::Busy
        );
    }

    #[test]
    fn the_documented_table_is_the_code() {
        let docs = include_str!("alive.rs");
        for state in AliveState::ALL {
            let row = docs
                .lines()
                .find(|line| line.starts_with(&format!("//! | `{}` |", state.as_str())))
                .unwrap();
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let modes = [Mode::Liveness, Mode::Readiness, Mode::Startup];
            for (mode, cell) in modes.into_iter().zip(&cells[3..6]) {
                assert_eq!(
                    *cell,
                    if state.passes(mode) { "0" } else { "1" },
                    "{} {mode:?}",
                    state.as_str()
                );
            }
        }
    }
}
