//! The group: members, the Lease between them, and a heap of what happens next.

mod act;
mod api;
mod broker;
mod jobs;
mod laws;
mod nemesis;
mod quiet;
mod think;
mod words;

use crate::chance::Chance;
use crate::clock::Clocks;
use crate::fault::{self, Fault};
use crate::machine::{Machine, NAMES, Window};
use crate::store::Store;
use agent_core::ids::{Epoch, Member};
use agent_core::observation::{EndCause, Gate, PodSeen};
use agent_core::record::{Qos, TermId};
use agent_core::report::Report;
use agent_core::time::Boot;
use agent_core::{Policy, PolicyError, Timing};
use std::cmp::Ordering;
use std::collections::{BTreeSet, BinaryHeap, HashSet};
use std::rc::Rc;

use api::{Reply, Request};

/// What happens at a time.
#[derive(Debug)]
enum Event {
    Think {
        i: usize,
        life: u64,
    },
    Land(Box<Request>),
    Reply(Box<Reply>),
    Watch {
        i: usize,
        life: u64,
        rv: u64,
    },
    Word {
        to: usize,
        of: usize,
        version: u64,
        word: Rc<Report>,
    },
    Publish {
        of: usize,
        life: u64,
    },
    Published {
        to: usize,
        of: usize,
        version: u64,
        word: Rc<Report>,
    },
    Pod {
        to: usize,
        of: usize,
        seen: Rc<PodSeen>,
    },
    Job {
        i: usize,
        life: u64,
        n: u64,
    },
    Start {
        i: usize,
        life: u64,
        n: u64,
    },
    Up {
        i: usize,
        id: u64,
    },
    Dies {
        i: usize,
        id: u64,
        why: EndCause,
    },
    PermitEnds {
        i: usize,
        id: u64,
    },
    Gate {
        i: usize,
        id: u64,
        gate: Gate,
        before: Option<Boot>,
    },
    Link {
        i: usize,
        id: u64,
    },
    Look {
        i: usize,
        id: u64,
    },
    Over {
        i: usize,
        window: Window,
        until: u64,
    },
    /// A fault that another one brings about.
    Then(Fault),
    Vandal,
    Resume,
    AgentStarts {
        i: usize,
        life: u64,
    },
}

impl Event {
    /// Something that has not arrived: the group is not at rest before.
    fn under_way(&self) -> bool {
        matches!(
            self,
            Self::Land(_)
                | Self::Reply(_)
                | Self::Word { .. }
                | Self::Publish { .. }
                | Self::Published { .. }
                | Self::Pod { .. }
                | Self::Job { .. }
                | Self::Start { .. }
                | Self::Gate { .. }
                | Self::Link { .. }
                | Self::Dies { .. }
                | Self::Then(_)
        )
    }
}

struct Timed {
    t: u64,
    n: u64,
    event: Event,
}

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Timed {}

impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timed {
    /// The earliest is the greatest, for the heap.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.t, other.n).cmp(&(self.t, self.n))
    }
}

/// What a run counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Calls of `decide`.
    pub decisions: u64,
    /// Events taken off the heap.
    pub events: u64,
    /// Terms won.
    pub terms: u64,
    /// Faults that found something to break.
    pub faults: u64,
    /// Lease writes committed.
    pub writes: u64,
    /// Bytes acknowledged and given up by a fail-over.
    pub lost: u64,
    /// Milliseconds of quiet that were leapt over.
    pub leapt: u64,
}

impl Counts {
    /// The sum of two.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            decisions: self.decisions + other.decisions,
            events: self.events + other.events,
            terms: self.terms + other.terms,
            faults: self.faults + other.faults,
            writes: self.writes + other.writes,
            lost: self.lost + other.lost,
            leapt: self.leapt + other.leapt,
        }
    }
}

/// A group under faults.
pub(crate) struct World {
    chance: Chance,
    t: u64,
    n: u64,
    heap: BinaryHeap<Timed>,
    names: Vec<Member>,
    machines: Vec<Machine>,
    store: Store,
    policy: Policy,
    plan: Vec<Fault>,
    next_fault: usize,
    leaps: bool,
    /// The last thing that was done to the group, true time.
    troubled_at: u64,
    quiet_since: Option<u64>,
    writes_at_quiet: u64,
    /// Requests, replies, words and work that have not arrived.
    under_way: u64,
    processes: Vec<TermId>,
    vandal: Option<(u64, bool)>,
    /// A backup came back while not everybody was there to know better: numbers may come twice.
    forgotten: bool,
    emptied: bool,
    top_epoch: Epoch,
    tuples: HashSet<(u64, u64, u64, bool)>,
    masters: BTreeSet<TermId>,
    /// Terms of which the record once said that they serve.
    served: BTreeSet<TermId>,
    requests: u64,
    pub(crate) counts: Counts,
    trace: bool,
    told: Vec<String>,
    wrong: Option<String>,
}

impl World {
    /// A group of this seed. `plan`: these faults instead of the seed's own.
    pub(crate) fn new(
        seed: u64,
        plan: Option<Vec<Fault>>,
        trace: bool,
        leaps: bool,
    ) -> Result<Self, PolicyError> {
        let mut chance = Chance::new(seed);
        let members = match chance.range(0, 9) {
            0..=4 => 2,
            5..=7 => 3,
            8 => 4,
            _ => 5,
        };
        let own = fault::plan(&mut Chance::new(seed ^ 0xFA17), members);
        let qos = if chance.often(50) {
            Qos::Async
        } else {
            Qos::BoundedLag
        };
        let zones = chance.range(1, 3);
        let prefers = chance.often(20);
        let mut wordless = Chance::new(seed ^ 0x3038);
        let mut machines = Vec::new();
        for i in 0..members {
            let zone = format!("z{}", chance.range(1, zones));
            let priority = if prefers && chance.often(40) { 10 } else { 0 };
            let clocks = Clocks::new(chance.range(900, 1100), chance.range(0, 900_000));
            let mut machine = Machine::new(i, &zone, priority, clocks);
            machine.interval = chance.range(20, 200);
            machine.wordless = wordless.often(10);
            machines.push(machine);
        }
        Ok(Self {
            names: NAMES.iter().take(members).map(|n| (*n).into()).collect(),
            machines,
            policy: Policy::new(Timing::default(), qos)?,
            plan: plan.unwrap_or(own),
            chance,
            t: 0,
            n: 0,
            heap: BinaryHeap::new(),
            store: Store::new(),
            next_fault: 0,
            leaps,
            troubled_at: 0,
            quiet_since: None,
            writes_at_quiet: 0,
            under_way: 0,
            processes: Vec::new(),
            vandal: None,
            forgotten: false,
            emptied: false,
            top_epoch: Epoch::default(),
            tuples: HashSet::new(),
            masters: BTreeSet::new(),
            served: BTreeSet::new(),
            requests: 0,
            counts: Counts::default(),
            trace,
            told: Vec::new(),
            wrong: None,
        })
    }

    pub(crate) fn plan(&self) -> &[Fault] {
        &self.plan
    }

    pub(crate) fn told(&self) -> &[String] {
        &self.told
    }

    /// Runs to the end, or to the first broken law.
    pub(crate) fn run(&mut self) -> Option<String> {
        for i in 0..self.machines.len() {
            let later = self.chance.range(0, 4_000);
            let life = self.machine(i).life;
            self.at(later, Event::AgentStarts { i, life });
        }
        while self.wrong.is_none() && self.step() {}
        if self.wrong.is_none() {
            self.judge_end();
        }
        self.wrong.take()
    }

    /// Milliseconds of the run: true time, and what was leapt over.
    fn clock(&self) -> u64 {
        self.t + self.counts.leapt
    }

    /// One event. False: the run is over.
    fn step(&mut self) -> bool {
        let fault = self.plan.get(self.next_fault);
        let fault_at = fault.map(|f| f.at.saturating_sub(self.counts.leapt).max(self.t));
        let event_at = self.heap.peek().map(|e| e.t);
        let next = match (fault_at, event_at) {
            (Some(f), Some(e)) => f.min(e),
            (Some(at), None) | (None, Some(at)) => at,
            (None, None) => return false,
        };
        let end = fault::RUN.saturating_sub(self.counts.leapt);
        if next >= end {
            self.t = end;
            return false;
        }
        self.t = next;
        if fault_at.is_some_and(|f| f <= next) {
            let fault = self.plan.get(self.next_fault).copied();
            self.next_fault += 1;
            if let Some(fault) = fault {
                self.strike(fault);
            }
            return true;
        }
        if let Some(timed) = self.heap.pop() {
            self.counts.events += 1;
            self.happen(timed.event);
        }
        true
    }

    fn happen(&mut self, event: Event) {
        self.under_way -= u64::from(event.under_way());
        match event {
            Event::Think { i, life } => self.wake(i, life),
            Event::Land(request) => self.land(&request),
            Event::Reply(reply) => self.reply(*reply),
            Event::Watch { i, life, rv } => self.watched(i, life, rv),
            Event::Word {
                to,
                of,
                version,
                word,
            } => self.hear(to, of, version, &word),
            Event::Publish { of, life } => self.put_report(of, life),
            Event::Published {
                to,
                of,
                version,
                word,
            } => self.read_published(to, of, version, word),
            Event::Pod { to, of, seen } => self.see_pod(to, of, seen),
            Event::Job { i, life, n } => self.job_due(i, life, n),
            Event::Start { i, life, n } => self.start_due(i, life, n),
            Event::Up { i, id } => self.comes_up(i, id),
            Event::Dies { i, id, why } => self.dies(i, id, why),
            Event::PermitEnds { i, id } => self.permit_ends(i, id),
            Event::Gate {
                i,
                id,
                gate,
                before,
            } => self.turn_gate(i, id, gate, before),
            Event::Link { i, id } => self.try_link(i, id),
            Event::Look { i, id } => self.look(i, id),
            Event::Over { i, window, until } => self.window_over(i, window, until),
            Event::Then(fault) => self.strike(fault),
            Event::Vandal => self.vandalize(),
            Event::Resume => self.resume(),
            Event::AgentStarts { i, life } => self.agent_starts(i, life),
        }
    }

    /// Puts an event on the heap.
    fn at(&mut self, t: u64, event: Event) {
        self.n += 1;
        self.under_way += u64::from(event.under_way());
        self.heap.push(Timed {
            t: t.max(self.t),
            n: self.n,
            event,
        });
    }

    fn soon(&mut self, low: u64, high: u64, event: Event) {
        let t = self.t + self.chance.range(low, high);
        self.at(t, event);
    }

    /// A member by its number, which is always one of ours.
    fn machine(&self, i: usize) -> &Machine {
        &self.machines[i]
    }

    fn index_of(&self, name: &Member) -> Option<usize> {
        self.names.iter().position(|n| n == name)
    }

    /// Tells a line of the story; the text is made only when somebody listens.
    fn tell(&mut self, who: &str, what: impl FnOnce() -> String) {
        if !self.trace {
            return;
        }
        let clock = self.clock();
        let what = what();
        self.told.push(format!(
            "{:>5}.{:03}s {who:<2} {what}",
            clock / 1000,
            clock % 1000
        ));
    }

    fn say(&mut self, i: usize, what: impl FnOnce() -> String) {
        let who = NAMES.get(i).copied().unwrap_or("?");
        self.tell(who, what);
    }

    fn blame(&mut self, what: String) {
        if self.wrong.is_none() {
            self.tell("**", || what.clone());
            self.wrong = Some(what);
        }
    }

    /// Something was done to the group just now.
    fn disturb(&mut self) {
        self.troubled_at = self.t;
        self.quiet_since = None;
    }
}
