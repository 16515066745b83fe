//! The group: members, the Lease between them, faults, and the laws that are checked at every step.

mod agents;
mod api;
mod brokers;
mod faults;
mod jobs;
mod laws;

use self::api::Request;
use super::chance::Chance;
use super::member::MemberWorld;
use super::store::Store;
use agent_core::ids::*;
use agent_core::observation::*;
use agent_core::record::{Qos, TermId, Tuple};
use agent_core::report::Report;
use agent_core::time::Boot;
use agent_core::{Policy, Timing};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One step of true time, milliseconds.
pub const STEP: u64 = 50;
/// No fault begins after this.
pub const FAULTS: u64 = 90_000;
/// By then everything must be well again: back-off cap, absent wait, W, collect, start.
pub const END: u64 = FAULTS + 150_000;

pub struct Group {
    pub chance: Chance,
    pub t: u64,
    pub names: Vec<Member>,
    pub members: Vec<MemberWorld>,
    pub store: Store,
    policy: Policy,
    requests: Vec<Request>,
    events: Vec<(u64, usize, u64, u64, LeaseSeen)>,
    words: Vec<(u64, usize, usize, Report, bool)>,
    kubelet: Vec<(u64, usize, usize, PodSeen)>,
    next_fault: u64,
    jvms: u64,
    told: VecDeque<String>,
    pub wrong: Option<String>,
    top_epoch: Epoch,
    masters: BTreeSet<TermId>,
    /// Every renewal tuple that was ever committed by a member.
    tuples: BTreeSet<Tuple>,
    renewed: BTreeMap<(TermId, Instance), Vec<Boot>>,
    counts: BTreeMap<(usize, &'static str), VecDeque<u64>>,
    lost_volume: bool,
    pub terms: u64,
    last_term: u64,
    pub decisions: u64,
    switchovers: u64,
    pub kinds: u64,
    /// A bystander that edits the Lease over and over, next then; whether it damages it too, until faults are over.
    vandal: Option<(u64, bool)>,
    /// A backup came back while not everybody was there to know better: numbers may come twice.
    forgotten: bool,
}

impl Group {
    pub fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let names: Vec<Member> = ["a", "b", "c"]
            .iter()
            .take(if chance.often(50) { 2 } else { 3 })
            .map(|n| Member::from(*n))
            .collect();
        let members = names
            .iter()
            .map(|n| {
                MemberWorld::new(
                    n.as_str(),
                    chance.range(900, 1100),
                    chance.range(0, 900_000),
                )
            })
            .collect();
        let qos = if chance.often(50) {
            Qos::Async
        } else {
            Qos::BoundedLag
        };
        let policy = Policy::new(Timing::default(), qos).unwrap();
        let kinds = chance.next();
        Self {
            t: 0,
            names,
            members,
            store: Store {
                rv: 100,
                ..Store::default()
            },
            policy,
            requests: vec![],
            events: vec![],
            words: vec![],
            kubelet: vec![],
            next_fault: chance.range(15_000, 30_000),
            jvms: 0,
            told: VecDeque::new(),
            wrong: None,
            top_epoch: Epoch::default(),
            masters: BTreeSet::new(),
            tuples: BTreeSet::new(),
            renewed: BTreeMap::new(),
            counts: BTreeMap::new(),
            lost_volume: false,
            terms: 0,
            last_term: 0,
            decisions: 0,
            switchovers: 0,
            kinds,
            vandal: None,
            forgotten: false,
            chance,
        }
    }

    pub fn run(&mut self) {
        for i in 0..self.members.len() {
            // Members come up one after the other.
            let later = self.chance.range(0, 4_000);
            self.members[i].agent = None;
            self.members[i].agent_away = Some(later);
        }
        while self.t < END && self.wrong.is_none() {
            self.step();
        }
        if self.wrong.is_none() {
            self.judge_end();
        }
    }

    pub fn timeline(&self) -> String {
        let lines: Vec<&str> = self.told.iter().map(String::as_str).collect();
        lines.join("\n")
    }

    fn tell(&mut self, who: &str, what: &str) {
        if self.told.len() >= 400 {
            self.told.pop_front();
        }
        let line = format!("{:>8.2}s {who:<2} {what}", self.t as f64 / 1000.0);
        if std::env::var_os("WORLD_LIVE").is_some() {
            eprintln!("{line}");
        }
        self.told.push_back(line);
    }

    fn blame(&mut self, what: String) {
        if self.wrong.is_none() {
            self.tell("**", &what);
            self.wrong = Some(what);
        }
    }

    fn step(&mut self) {
        self.t += STEP;
        self.come_back();
        if self.t >= self.next_fault && self.t < FAULTS {
            self.fault();
            self.next_fault = self.t + self.chance.range(500, 9_000);
        }
        self.vandalize();
        self.forget_the_newest();
        self.serve_requests();
        self.deliver();
        for i in 0..self.members.len() {
            if self.members[i].up() {
                self.brokers(i);
            }
        }
        self.replicate();
        for i in 0..self.members.len() {
            if self.members[i].up() && self.members[i].agent.is_some() {
                self.jobs(i);
                self.look(i);
                self.think(i);
            }
        }
        self.check();
    }

    fn say(&mut self, i: usize, what: &str) {
        let name = self.names[i].to_string();
        self.tell(&name, what);
    }
}
