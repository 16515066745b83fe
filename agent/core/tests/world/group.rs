//! The group: members, the Lease between them, faults, and the laws that are checked at every step.

use super::chance::Chance;
use super::log::Log;
use super::member::{Agent, Away, Jvm, MemberWorld};
use super::show;
use super::store::Store;
use agent_core::action::{Action, LeaseWrite, WriteReason};
use agent_core::ids::*;
use agent_core::lineage::Common;
use agent_core::observation::*;
use agent_core::record::{Qos, TermId, Tuple};
use agent_core::report::{Frozen, Report, Role};
use agent_core::state::PendingKind;
use agent_core::time::{Boot, Tick};
use agent_core::{Policy, Reason, Timing, decide};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One step of true time, milliseconds.
pub const STEP: u64 = 50;
/// No fault begins after this.
pub const FAULTS: u64 = 90_000;
/// By then everything must be well again: back-off cap, absent wait, W, collect, start.
pub const END: u64 = FAULTS + 150_000;

enum Asked {
    Read { at: Tick },
    Write { write: LeaseWrite, sent: Boot },
}

/// A request to the API server.
struct Request {
    member: usize,
    life: u64,
    instance: Instance,
    asked: Asked,
    /// When it reaches the store, if it does.
    lands: Option<u64>,
    /// When the member learns something.
    answers: u64,
    answered: bool,
    /// The reply is lost.
    lost: bool,
    result: Option<WriteResult>,
    view: Option<(u64, LeaseSeen)>,
}

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

    // ---- faults ----

    fn over(&self, away: Away) -> bool {
        away.is_some_and(|until| self.t >= until || self.t >= FAULTS)
    }

    fn come_back(&mut self) {
        for i in 0..self.members.len() {
            if self.over(self.members[i].paused) {
                self.members[i].paused = None;
                self.thaw(i);
                self.say(i, "thaws");
            }
            if self.over(self.members[i].cut_off) {
                self.members[i].cut_off = None;
                self.say(i, "reaches the API again");
            }
            if self.over(self.members[i].alone) {
                self.members[i].alone = None;
                self.say(i, "reaches the others again");
            }
            if self.over(self.members[i].deaf) {
                self.members[i].deaf = None;
            }
            if self.over(self.members[i].away) {
                let m = &mut self.members[i];
                m.away = None;
                m.pod += 1;
                (m.nonce, m.agent_container) = (1, 1);
                m.agent_away = Some(self.t + 200);
                self.say(i, "pod is back");
                self.show_pod(i);
            }
            if self.members[i].away.is_none() && self.over(self.members[i].agent_away) {
                let m = &mut self.members[i];
                m.agent_away = None;
                m.life += 1;
                m.agent = Some(Agent::new());
                self.say(i, "agent starts");
            }
        }
        if self.t >= FAULTS && self.t < FAULTS + STEP {
            self.tell("--", "faults are over");
            self.store.touch(|r| r.paused = false);
            self.publish();
        }
    }

    fn say(&mut self, i: usize, what: &str) {
        let name = self.names[i].to_string();
        self.tell(&name, what);
    }

    /// What is overdue happens before anything else can be answered.
    fn thaw(&mut self, i: usize) {
        let boot = self.members[i].now(self.t).boot;
        let m = &mut self.members[i];
        if m.jvm.as_ref().is_some_and(|j| boot >= j.permit) {
            m.jvm_ends(EndCause::Fenced);
        }
    }

    fn show_pod(&mut self, i: usize) {
        let seen = self.members[i].pod_seen();
        for to in 0..self.members.len() {
            let at = self.t + self.chance.range(200, 3_000);
            self.kubelet.push((at, to, i, seen.clone()));
        }
    }

    fn fault(&mut self) {
        let kind = self.chance.range(0, 17);
        // Each seed leaves some kinds out, so that the others are seen longer.
        if self.kinds >> kind & 1 == 0 && kind != 0 {
            return;
        }
        let i = self.chance.index(self.members.len());
        let t = self.t;
        let long = t + self.chance.range(300, 25_000);
        let short = t + self.chance.range(100, 4_000);
        if self.members[i].away.is_some() {
            return;
        }
        match kind {
            0 | 1 => {
                if self.members[i].up() && self.members[i].jvm.is_some() {
                    self.say(i, "broker crashes");
                    self.members[i].jvm_ends(EndCause::Crashed);
                }
            }
            2 | 3 => {
                let reboot = self.chance.often(40);
                self.say(
                    i,
                    if reboot {
                        "machine is lost"
                    } else {
                        "pod dies"
                    },
                );
                self.pod_dies(i, reboot);
                self.members[i].away = Some(long);
                self.show_pod(i);
            }
            4 => {
                self.say(i, "agent restarts");
                self.agent_dies(i);
                self.members[i].agent_container += 1;
                self.members[i].agent_away = Some(short);
                self.show_pod(i);
            }
            5 => {
                self.say(i, "launcher restarts");
                self.members[i].launcher_gone();
                self.members[i].nonce += 1;
                if let Some(agent) = &mut self.members[i].agent {
                    agent.start = None;
                }
                self.show_pod(i);
            }
            6 => {
                self.say(i, "machine stands still");
                self.members[i].paused = Some(long.min(t + 15_000));
            }
            7 | 8 => {
                self.say(i, "API out of reach");
                self.members[i].cut_off = Some(long);
            }
            9 => {
                self.tell("--", "API away for all");
                for m in &mut self.members {
                    m.cut_off = Some(long);
                }
            }
            10 => {
                self.say(i, "others out of reach");
                self.members[i].alone = Some(long);
            }
            11 => {
                self.say(i, "watch is deaf");
                self.members[i].deaf = Some(long);
            }
            12 => {
                if self.all_well() && self.store.object.is_some() {
                    self.tell("--", "Lease is deleted");
                    self.store.set(None, t);
                    self.publish();
                    self.next_fault = t + 25_000;
                }
            }
            13 => {
                self.store.touch(|_| {});
                self.publish();
            }
            14 => {
                if self.all_well() && self.store.object.is_some() && !self.store.past.is_empty() {
                    let most = self.store.past.len().min(40);
                    let back = 1 + self.chance.index(most);
                    let old = self.store.past[self.store.past.len() - back].clone();
                    let what = format!(
                        "Lease is rolled back to term {} seq {} of {:?}",
                        old.record.term.id, old.record.seq, old.record.holder
                    );
                    self.tell("--", &what);
                    self.store.set(Some(old), t);
                    self.publish();
                    self.next_fault = t + 30_000;
                }
            }
            15 => self.ask_for_switchover(),
            16 => {
                let paused = self
                    .store
                    .object
                    .as_ref()
                    .is_some_and(|o| o.requests.paused);
                self.tell("--", if paused { "resumed" } else { "paused" });
                self.store.touch(|r| r.paused = !paused);
                self.publish();
            }
            _ => {
                let serves = self.members.iter().any(|m| m.accepts(t));
                if !self.lost_volume
                    && serves
                    && !self.members[i].accepts(t)
                    && self.chance.often(50)
                {
                    self.lost_volume = true;
                    self.say(i, "comes back with an empty volume");
                    self.pod_dies(i, true);
                    let m = &mut self.members[i];
                    let fresh = MemberWorld::new(m.name.as_str(), m.rate, 0);
                    m.disk = fresh.disk;
                    m.disk.who.session = Session::new(format!("{}-s-new", m.name));
                    m.disk.who.volume = VolumeId::new(format!("{}-v-new", m.name));
                    m.away = Some(short);
                    self.show_pod(i);
                } else if let Some(agent) = &mut self.members[i].agent {
                    agent.stopping = true;
                    self.say(i, "agent is asked to stop");
                }
            }
        }
    }

    fn all_well(&self) -> bool {
        self.members.iter().all(|m| {
            m.up()
                && m.agent.as_ref().is_some_and(|a| !a.stopping)
                && m.cut_off.is_none()
                && m.alone.is_none()
                && m.deaf.is_none()
        }) && self.members.iter().any(|m| m.accepts(self.t))
    }

    fn ask_for_switchover(&mut self) {
        let Some(object) = &self.store.object else {
            return;
        };
        let term = object.record.term.id;
        self.switchovers += 1;
        let target = if self.chance.often(50) {
            let n = self.chance.index(self.names.len());
            Some(self.names[n].clone())
        } else {
            None
        };
        let request = SwitchoverRequest {
            id: format!("s{}", self.switchovers),
            term,
            target,
            limit_ms: Some(self.chance.range(500, 8_000)),
        };
        self.tell("--", &format!("switchover asked for: {:?}", request.target));
        self.store.touch(|r| r.switchover = Some(request));
        self.publish();
    }

    fn agent_dies(&mut self, i: usize) {
        let half = self.chance.often(50);
        let m = &mut self.members[i];
        if let Some(agent) = m.agent.take()
            && let Some((_, Action::Cut { to, .. })) = agent.job
            && half
        {
            m.disk.pending_cut = Some(to.get());
        }
        m.life += 1;
        self.words.retain(|w| w.2 != i);
    }

    fn pod_dies(&mut self, i: usize, reboot: bool) {
        self.agent_dies(i);
        let lost = self.chance.range(0, 60_000);
        let m = &mut self.members[i];
        let ran = m.jvm.is_some();
        m.launcher_gone();
        if reboot && ran {
            let end = m.disk.log.end();
            m.disk.log.cut(end.saturating_sub(lost));
            m.disk.who.session = Session::new(format!("{}-r{}", m.name, self.t));
        }
    }

    // ---- the API server ----

    /// Tells everybody's watch what the store holds now.
    fn publish(&mut self) {
        let seen = self.store.seen();
        for i in 0..self.members.len() {
            let at = self.t + self.chance.range(0, 300);
            let life = self.members[i].life;
            self.events.push((at, i, life, self.store.rv, seen.clone()));
        }
    }

    fn ask(&mut self, i: usize, asked: Asked) {
        let x = 2_000;
        let c = &mut self.chance;
        let (mut lands, mut answers) = (Some(self.t + c.range(5, 120)), 0);
        let mut lost = false;
        let away = self.members[i].cut_off.is_some();
        if away || (self.t < FAULTS && c.often(3)) {
            lost = true;
            answers = self.t + x;
            // It may still arrive, now or much later.
            lands = match c.range(0, 9) {
                0 => Some(self.t + c.range(5, 1_900)),
                1 => Some(self.t + c.range(2_000, 9_000)),
                _ => None,
            };
            if !away && lands.is_none() {
                lands = Some(self.t + c.range(5, 6_000));
            }
        } else if let Some(at) = lands {
            answers = at + c.range(5, 120);
        }
        let m = &self.members[i];
        self.requests.push(Request {
            member: i,
            life: m.life,
            instance: m.instance(),
            asked,
            lands,
            answers,
            answered: false,
            lost,
            result: None,
            view: None,
        });
    }

    fn serve_requests(&mut self) {
        let mut requests = std::mem::take(&mut self.requests);
        requests.sort_by_key(|r| r.lands.unwrap_or(r.answers));
        for request in &mut requests {
            if request.lands.is_some_and(|at| at <= self.t) {
                request.lands = None;
                self.land(request);
            }
        }
        for request in &mut requests {
            if request.answers <= self.t && !request.answered {
                request.answered = true;
                self.answer(request);
            }
        }
        requests.retain(|r| !r.answered || r.lands.is_some());
        self.requests.append(&mut requests);
    }

    fn land(&mut self, request: &mut Request) {
        if let Asked::Write { write, sent } = &request.asked {
            if !self.store.would_take(write.carries) {
                request.result = Some(WriteResult::Conflict);
                return;
            }
            request.result = Some(WriteResult::Committed);
            self.commit(request.member, write, &request.instance, *sent);
        }
        request.view = Some((self.store.rv, self.store.seen()));
    }

    fn commit(&mut self, i: usize, write: &LeaseWrite, instance: &Instance, sent: Boot) {
        let term = write.record.term.id;
        if write.why == WriteReason::Acquire {
            if term.epoch <= self.top_epoch {
                self.blame(format!(
                    "I2: epoch {} was won after {}",
                    term.epoch, self.top_epoch
                ));
            }
            self.top_epoch = term.epoch;
            self.terms += 1;
            self.last_term = self.t;
            self.check_free(i);
        }
        if !self.tuples.insert(write.record.tuple()) {
            let tuple = write.record.tuple();
            self.blame(format!("H14: {tuple:?} was written before"));
        }
        if !write.record.holder.is_empty() {
            self.renewed
                .entry((term, instance.clone()))
                .or_default()
                .push(sent);
        }
        self.store.put(write, self.t);
        let what = format!(
            "committed: {:?} term {} seq {}",
            write.why, term, write.record.seq
        );
        if write.why != WriteReason::Renew {
            self.say(i, &what);
        }
        self.publish();
    }

    /// J6: a Lease is taken only when it was given up, proven dead, ours, or silent for W on a clock within ρ.
    fn check_free(&mut self, i: usize) {
        let Some(object) = &self.store.object else {
            return;
        };
        let holder = object.record.holder.clone();
        if holder.is_empty() || holder == self.members[i].instance() {
            return;
        }
        let alive = self
            .members
            .iter()
            .any(|m| m.instance() == holder && m.jvm.is_some() && m.away.is_none());
        let silent = self.t.saturating_sub(self.store.tuple_since);
        if alive && silent < 10_000 * 1000 / 1100 - 300 {
            let what = format!("J6: taken from {holder:?} after {silent} ms of silence");
            self.blame(what);
        }
    }

    fn answer(&mut self, request: &mut Request) {
        let m = &mut self.members[request.member];
        let now = m.now(self.t);
        if m.life != request.life || m.away.is_some() {
            return;
        }
        let Some(agent) = &mut m.agent else { return };
        if !request.lost
            && let Some((rv, seen)) = &request.view
        {
            let at = match &request.asked {
                Asked::Read { at } => *at,
                Asked::Write { .. } => now.tick,
            };
            see(agent, *rv, seen.clone(), at);
        }
        match &request.asked {
            Asked::Read { .. } => agent.reading = false,
            Asked::Write { write, sent } => {
                let result = if request.lost {
                    WriteResult::Unknown
                } else {
                    request.result.unwrap_or(WriteResult::Unknown)
                };
                agent.write = Some(WriteOutcome {
                    id: write.id,
                    sent: *sent,
                    result,
                });
            }
        }
    }

    fn deliver(&mut self) {
        let t = self.t;
        let members = &mut self.members;
        let mut waiting = Vec::new();
        for (at, i, life, rv, seen) in std::mem::take(&mut self.events) {
            let m = &mut members[i];
            let held = m.deaf.is_some() || m.cut_off.is_some() || m.paused.is_some();
            if m.life != life || m.away.is_some() {
                continue;
            }
            if at > t || held {
                waiting.push((at, i, life, rv, seen));
                continue;
            }
            let tick = m.now(t).tick;
            if let Some(agent) = &mut m.agent {
                see(agent, rv, seen, tick);
            }
        }
        self.events = waiting;
        let mut waiting = Vec::new();
        for (at, to, of, word, spoken) in std::mem::take(&mut self.words) {
            if at > t {
                waiting.push((at, to, of, word, spoken));
                continue;
            }
            let name = self.names[of].clone();
            let m = &mut members[to];
            let tick = m.now(t).tick;
            if !m.up() {
                continue;
            }
            if let Some(agent) = &mut m.agent {
                let peer = agent.peers.entry(name).or_default();
                if spoken {
                    peer.answer = Reading::known(word, tick);
                } else {
                    let word = Report {
                        lineage: None,
                        ..word
                    };
                    peer.published = Reading::known(word, tick);
                }
            }
        }
        self.words = waiting;
        let mut waiting = Vec::new();
        for (at, to, of, pod) in std::mem::take(&mut self.kubelet) {
            let m = &mut members[to];
            if at > t || m.cut_off.is_some() || m.paused.is_some() {
                waiting.push((at, to, of, pod));
                continue;
            }
            let tick = m.now(t).tick;
            if let Some(agent) = &mut m.agent {
                let peer = agent.peers.entry(self.names[of].clone()).or_default();
                peer.pod = Reading::known(pod, tick);
            }
        }
        self.kubelet = waiting;
    }

    // ---- brokers ----

    fn brokers(&mut self, i: usize) {
        let t = self.t;
        let boot = self.members[i].now(t).boot;
        // The launcher's kill at the permit's end takes up to G.
        let slow = self.chance.range(0, 850);
        let more = self.chance.range(0, 20) == 0;
        let m = &mut self.members[i];
        let Some(jvm) = &mut m.jvm else { return };
        if boot >= jvm.permit && jvm.dies.is_none() {
            jvm.dies = Some((t + slow, EndCause::Fenced));
        }
        if let Some((at, why)) = jvm.dies
            && t >= at
        {
            m.jvm_ends(why);
            self.say(i, &format!("broker is gone: {why:?}"));
            return;
        }
        let (id, up) = (jvm.id, t >= jvm.up_at);
        let starting = up && jvm.recovered.is_none();
        if starting {
            jvm.recovered = Some(Offset::new(m.disk.log.end()));
            if jvm.role == Role::Master && more {
                // A delayed message is due at once (H28).
                m.disk.log.append(id, 100);
            }
        }
        if m.accepts(t) && self.t < END - 20_000 {
            let m = &mut self.members[i];
            m.disk.log.append(id, 1_000);
            m.acked = m.disk.log.end();
        }
    }

    fn linked(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.members[a], &self.members[b]);
        a.up() && b.up() && a.alone.is_none() && b.alone.is_none()
    }

    fn replicate(&mut self) {
        for i in 0..self.members.len() {
            let Some((term, holder, instance)) = self.members[i].attached.clone() else {
                continue;
            };
            let runs = self.members[i]
                .jvm
                .as_ref()
                .is_some_and(|j| j.role == Role::Slave && j.term == term && self.t >= j.up_at);
            if !self.members[i].up() {
                continue;
            }
            if !runs {
                continue;
            }
            let from = self.names.iter().position(|n| *n == holder);
            let Some(from) = from.filter(|from| self.admits(*from, i, term, &instance)) else {
                self.members[i].upstream = Upstream::Connecting { term };
                self.forget_replica(i);
                continue;
            };
            let source = self.members[from].disk.log.clone();
            let log = &self.members[i].disk.log;
            if !log.is_prefix_of(&source) {
                let (end, common) = (log.end(), log.common(&source));
                self.blame(format!(
                    "I4: {} attaches to {holder} in term {term} with a log that ends at {end} and is equal only up to {common}",
                    self.names[i]
                ));
                return;
            }
            self.members[i].disk.log.copy(&source, 4_000);
            self.members[i].upstream = Upstream::Streaming { term };
            let end = Offset::new(self.members[i].disk.log.end());
            let name = self.names[i].clone();
            self.members[from].replicas.insert(name, end);
        }
    }

    fn forget_replica(&mut self, i: usize) {
        let name = self.names[i].clone();
        for m in &mut self.members {
            m.replicas.remove(&name);
        }
    }

    fn admits(&self, from: usize, i: usize, term: TermId, instance: &Instance) -> bool {
        let master = &self.members[from];
        let boot = master.now(self.t).boot;
        let runs = master.jvm.as_ref().is_some_and(|j| {
            j.role == Role::Master && j.term == term && boot < j.permit && self.t >= j.up_at
        });
        let admitted = master
            .admitted
            .as_ref()
            .is_some_and(|(of, k)| *of == term && k.contains(&self.members[i].disk.who));
        self.linked(from, i) && runs && admitted && master.instance() == *instance
    }

    // ---- the agent ----

    fn jobs(&mut self, i: usize) {
        let t = self.t;
        let due = |slot: &Option<(u64, Action)>| slot.as_ref().is_some_and(|(at, _)| *at <= t);
        let Some(agent) = &mut self.members[i].agent else {
            return;
        };
        if due(&agent.job) {
            let job = agent.job.take();
            if let Some((_, job)) = job {
                self.job_done(i, &job);
            }
        }
        let Some(agent) = &mut self.members[i].agent else {
            return;
        };
        if due(&agent.start) {
            let start = agent.start.take();
            if let Some((_, start)) = start {
                self.launch(i, &start);
            }
        }
    }

    fn job_done(&mut self, i: usize, job: &Action) {
        let t = self.t;
        let only_files = matches!(job, Action::Persist { .. });
        if self.members[i].jvm.is_some() && !only_files {
            self.blame(format!(
                "{}: {} ends while a broker runs",
                self.names[i],
                show::action(job)
            ));
            return;
        }
        let master = match job {
            Action::Prove { holder, .. } => self.names.iter().position(|n| n == holder),
            _ => None,
        };
        let theirs = master
            .filter(|m| self.linked(*m, i))
            .map(|m| self.members[m].disk.log.clone());
        let others: Vec<Log> = self.master_logs(i, job);
        let m = &mut self.members[i];
        let Some(agent) = &mut m.agent else { return };
        let end = m.disk.log.end();
        let extent = Extent {
            min: Offset::ZERO,
            end: Offset::new(end),
        };
        let mut blamed = None;
        match job {
            Action::Examine | Action::Freeze { .. } => {
                if let Some(to) = m
                    .disk
                    .pending_cut
                    .filter(|_| matches!(job, Action::Examine))
                {
                    m.disk.pending_cut = None;
                    m.disk.who.session = Session::new(format!("{}-c{t}", m.name));
                    m.disk.cut += end.saturating_sub(to);
                    m.disk.archived += end.saturating_sub(to);
                    m.disk.log.cut(to);
                }
                let extent = Extent {
                    min: Offset::ZERO,
                    end: Offset::new(m.disk.log.end()),
                };
                agent.walked.extent = Some(extent);
                if let Action::Freeze { vacancy } = job {
                    m.disk.frozen = Some(Frozen {
                        vacancy: vacancy.clone(),
                        end: extent.end,
                        last_epoch: m.disk.lineage.last_epoch(extent.end),
                    });
                }
            }
            Action::Repair { term, end: wanted } => {
                agent.walked.extent = Some(extent);
                if wanted.get() == end {
                    agent.walked.repaired = Some(*term);
                }
            }
            Action::Prove {
                term, from, upto, ..
            } => {
                if let Some(theirs) = theirs {
                    let equal = m.disk.log.common(&theirs).min(upto.get()).max(from.get());
                    agent.walked.proof = Some(Proof {
                        term: *term,
                        upto: *upto,
                        equal: Offset::new(equal),
                    });
                }
            }
            Action::Cut { to, end: was, .. } if was.get() == end => {
                let common = others.iter().map(|o| m.disk.log.common(o)).max();
                let known = !m.disk.lineage.is_empty();
                if common.is_some_and(|common| to.get() < common && known && common > 64 * 1024) {
                    blamed = Some(format!(
                        "J14: {} cuts {end}->{to} though {common:?} bytes are the group's",
                        m.name
                    ));
                }
                m.disk.who.session = Session::new(format!("{}-c{t}", m.name));
                m.disk.frozen = None;
                m.disk.cut += end - to.get();
                m.disk.archived += end - to.get();
                m.disk.log.cut(to.get());
                agent.walked = super::member::Walked::default();
                agent.walked.extent = Some(Extent {
                    min: Offset::ZERO,
                    end: *to,
                });
            }
            Action::Persist {
                lineage,
                highest,
                joined,
                seeding,
            } => {
                m.disk.lineage = lineage.clone();
                m.disk.highest = *highest;
                m.disk.joined = *joined;
                m.disk.seeding = *seeding;
            }
            _ => {}
        }
        if let Some(blamed) = blamed {
            self.blame(blamed);
        }
        if matches!(job, Action::Persist { .. }) {
            self.check_histories();
        }
    }

    /// Logs of the masters that a cut under this term could mean.
    fn master_logs(&self, i: usize, job: &Action) -> Vec<Log> {
        let Action::Cut { term, .. } = job else {
            return vec![];
        };
        let runs = |m: &&MemberWorld| {
            m.jvm
                .as_ref()
                .is_some_and(|j| j.role == Role::Master && j.term == *term)
        };
        let masters = self.members.iter().enumerate().filter(|(n, _)| *n != i);
        masters
            .map(|(_, m)| m)
            .filter(runs)
            .map(|m| m.disk.log.clone())
            .collect()
    }

    fn launch(&mut self, i: usize, start: &Action) {
        let Action::Start {
            role,
            term,
            instance,
            permit,
        } = start
        else {
            return;
        };
        let up_at = self.t + self.chance.range(300, 5_000);
        self.jvms += 1;
        let id = self.jvms;
        let m = &mut self.members[i];
        let boot = m.now(self.t).boot;
        if *instance != m.instance() || m.jvm.is_some() || boot >= *permit {
            return;
        }
        m.disk.frozen = None;
        if let Some(agent) = &mut m.agent {
            agent.walked = super::member::Walked::default();
            agent.broker = None;
        }
        m.jvm = Some(Jvm {
            id,
            role: *role,
            term: *term,
            instance: instance.clone(),
            permit: *permit,
            up_at,
            recovered: None,
            gate: match role {
                Role::Master => Gate::Shut,
                Role::Slave => Gate::Open,
            },
            dies: None,
        });
        m.upstream = Upstream::Parked;
        m.attached = None;
        self.say(
            i,
            &format!("broker starts as {} in term {term}", role.as_str()),
        );
        if *role == Role::Master {
            let end = self.members[i].disk.log.end();
            let last = self.members[i].disk.lineage.last().cloned();
            if !self.masters.insert(*term) {
                self.blame(format!("H9: a second master process in term {term}"));
            }
            if last
                .as_ref()
                .is_none_or(|e| e.term() != *term || e.start.get() != end)
            {
                self.blame(format!(
                    "J8: master of term {term} starts at {end}, its history says {last:?}"
                ));
            }
        }
        self.check_permit(i, *role, *term, *permit);
    }

    /// J5: no permit beyond D after the send of a renewal that was committed.
    fn check_permit(&mut self, i: usize, role: Role, term: TermId, until: Boot) {
        if role == Role::Slave {
            return;
        }
        let key = (term, self.members[i].instance());
        let sent = self.renewed.get(&key).and_then(|s| s.iter().max());
        let limit = sent.map(|s| s.plus(self.policy.timing().permit));
        if limit.is_none_or(|limit| until > limit) {
            self.blame(format!(
                "J5: {} permits term {term} until {until:?}, earned is {limit:?}",
                self.names[i]
            ));
        }
    }

    fn look(&mut self, i: usize) {
        let t = self.t;
        let m = &self.members[i];
        let now = m.now(t);
        let Some(agent) = &m.agent else { return };
        let (ask_peers, ask_broker) = (agent.asked_peers_at <= t, agent.asked_broker_at <= t);
        let first = agent.view.is_none() && !agent.reading;
        if first {
            if let Some(agent) = &mut self.members[i].agent {
                agent.reading = true;
            }
            self.ask(i, Asked::Read { at: now.tick });
        }
        if ask_peers {
            for of in 0..self.members.len() {
                if of == i {
                    continue;
                }
                let word = self.members[of]
                    .agent
                    .as_ref()
                    .and_then(|a| a.report.clone());
                let Some(word) = word else { continue };
                if self.linked(i, of) {
                    let at = t + self.chance.range(10, 150);
                    self.words.push((at, i, of, word.clone(), true));
                }
                let both = self.members[i].cut_off.is_none() && self.members[of].cut_off.is_none();
                if both && self.members[of].up() && self.chance.often(10) {
                    let at = t + self.chance.range(100, 4_000);
                    self.words.push((at, i, of, word, false));
                }
            }
        }
        let next_peers = t + self.chance.range(100, 900);
        let next_broker = t + self.chance.range(100, 700);
        let m = &mut self.members[i];
        let broker = m.jvm.as_ref().filter(|j| t >= j.up_at).map(|j| {
            (
                j.id,
                Broker {
                    min: Offset::ZERO,
                    end: Offset::new(m.disk.log.end()),
                    recovered: j.recovered.filter(|_| j.id % 3 != 0),
                    gate: j.gate,
                },
                now.tick,
            )
        });
        let Some(agent) = &mut m.agent else { return };
        if ask_peers {
            agent.asked_peers_at = next_peers;
        }
        if ask_broker {
            agent.asked_broker_at = next_broker;
            if broker.is_some() {
                agent.broker = broker;
            }
        }
    }

    fn think(&mut self, i: usize) {
        let nonce = self.chance.next();
        let m = &self.members[i];
        let now = m.now(self.t);
        let Some(seen) = m.observation(self.t, &self.names, nonce) else {
            return;
        };
        let Some(agent) = &m.agent else { return };
        let decision = decide(&agent.state, &seen, now, &self.policy);
        self.decisions += 1;
        let told = format!(
            "{} [{}]",
            decision.reason,
            decision
                .actions
                .iter()
                .filter(|a| !show::quiet(a))
                .map(show::action)
                .collect::<Vec<_>>()
                .join("; ")
        );
        // Two words in turn are one state of affairs.
        let changed = !agent.told.contains(&told);
        if let Some(agent) = &mut self.members[i].agent {
            agent.state = decision.next.clone();
            agent.report = decision.report.map(|r| *r);
            if changed {
                agent.told.push_back(told.clone());
                if agent.told.len() > 3 {
                    agent.told.pop_front();
                }
            }
        }
        if changed {
            self.say(i, &told);
        }
        let actions = decision.actions.clone();
        for action in &actions {
            self.act(i, action);
        }
        if decision.reason == Reason::Stopped {
            self.say(i, "agent has stopped");
            self.agent_dies(i);
            let later = self.t + self.chance.range(1_000, 8_000);
            let m = &mut self.members[i];
            // The pod is replaced.
            m.launcher_gone();
            m.away = Some(later);
            self.show_pod(i);
        }
    }

    fn count(&mut self, i: usize, action: &Action) {
        let (kind, most) = show::bound(action);
        let t = self.t;
        let times = self.counts.entry((i, kind)).or_default();
        times.push_back(t);
        while times.front().is_some_and(|first| *first + 1_000 <= t) {
            times.pop_front();
        }
        if times.len() > most {
            let n = times.len();
            self.blame(format!("{}: {n} times {kind} in a second", self.names[i]));
        }
    }

    fn act(&mut self, i: usize, action: &Action) {
        self.count(i, action);
        let t = self.t;
        let soon = t + self.chance.range(20, 150);
        match action {
            Action::ReadLease => {
                let m = &mut self.members[i];
                let at = m.now(t).tick;
                let Some(agent) = &mut m.agent else { return };
                if !agent.reading {
                    agent.reading = true;
                    self.ask(i, Asked::Read { at });
                }
            }
            Action::Write(write) => self.write(i, write),
            Action::Permit { term, until, .. } => {
                let role = self.members[i].jvm.as_ref().map(|j| j.role);
                self.check_permit(i, role.unwrap_or(Role::Slave), *term, *until);
                if let Some(jvm) = &mut self.members[i].jvm
                    && jvm.term == *term
                {
                    jvm.permit = jvm.permit.max(*until);
                }
            }
            Action::Kill { .. } | Action::Stop => {
                if let Some(agent) = &mut self.members[i].agent {
                    agent.start = None;
                }
                if let Some(jvm) = &mut self.members[i].jvm
                    && jvm.dies.is_none()
                {
                    jvm.dies = Some((soon, EndCause::Ordered));
                }
            }
            Action::Shut { term } => self.gate(i, *term, Gate::Shut),
            Action::Open { term, before } => {
                self.check_open(i);
                if self.members[i].now(t).boot < *before {
                    self.gate(i, *term, Gate::Open);
                }
            }
            Action::Register { .. } => {}
            Action::Examine
            | Action::Freeze { .. }
            | Action::Repair { .. }
            | Action::Prove { .. }
            | Action::Cut { .. }
            | Action::Persist { .. } => {
                let Some(agent) = &mut self.members[i].agent else {
                    return;
                };
                if agent.job.is_none() && agent.start.is_none() {
                    agent.job = Some((soon, action.clone()));
                }
            }
            Action::Start { .. } => {
                let Some(agent) = &mut self.members[i].agent else {
                    return;
                };
                if agent.start.is_none() {
                    agent.start = Some((soon, action.clone()));
                }
            }
            Action::Admit { term, members, .. } => {
                self.members[i].admitted = Some((*term, members.clone()));
            }
            Action::Attach {
                term,
                holder,
                instance,
            } => {
                let m = &mut self.members[i];
                m.attached = Some((*term, holder.clone(), instance.clone()));
                m.upstream = Upstream::Connecting { term: *term };
            }
            Action::Park => self.members[i].attached = None,
            Action::Announce(_) => {}
        }
    }

    fn gate(&mut self, i: usize, term: TermId, gate: Gate) {
        let t = self.t;
        if let Some(jvm) = &mut self.members[i].jvm
            && jvm.term == term
            && t >= jvm.up_at
        {
            jvm.gate = gate;
        }
    }

    /// J7: no gate opens while a release of ours could still land.
    fn check_open(&mut self, i: usize) {
        let instance = self.members[i].instance();
        let pending = self.members[i]
            .agent
            .as_ref()
            .and_then(|a| a.state.pending.as_ref())
            .is_some_and(|p| p.kind == PendingKind::Release);
        let flying = self.requests.iter().any(|r| {
            r.instance == instance
                && r.lands.is_some()
                && matches!(&r.asked, Asked::Write { write, .. }
                    if write.why == WriteReason::Release && self.store.would_take(write.carries))
        });
        if pending || flying {
            self.blame(format!(
                "J7: {} opens its gate while its release may land",
                self.names[i]
            ));
        }
    }

    fn write(&mut self, i: usize, write: &LeaseWrite) {
        let m = &mut self.members[i];
        let sent = m.now(self.t).boot;
        let Some(agent) = &mut m.agent else { return };
        let carries = match &agent.view {
            Some((LeaseSeen::Record { rv, .. }, _)) => Some(*rv),
            _ => None,
        };
        if carries != write.carries {
            self.blame(format!(
                "J6: {} writes on version {:?} but sees {carries:?}",
                self.names[i], write.carries
            ));
            return;
        }
        if write.why == WriteReason::Release && m.jvm.is_some() {
            let what = format!("H45: {} releases with a live broker", self.names[i]);
            self.blame(what);
            return;
        }
        if write.why == WriteReason::Release
            && let Some(target) = &write.record.target
        {
            self.check_handover(i, &target.clone());
        }
        let write = write.clone();
        self.ask(i, Asked::Write { write, sent });
    }

    /// A planned switchover loses nothing.
    fn check_handover(&mut self, i: usize, target: &Member) {
        let Some(n) = self.names.iter().position(|m| m == target) else {
            return;
        };
        let common = self.members[n].disk.log.common(&self.members[i].disk.log);
        let acked = self.members[i].acked;
        // A target that lost its machine meanwhile is not the switchover's fault.
        if common < acked && self.members[n].away.is_none() && self.kinds >> 2 & 3 == 0 {
            self.blame(format!(
                "handed over to {target}, which has {common} of {acked} acknowledged bytes"
            ));
        }
    }

    // ---- laws ----

    fn check(&mut self) {
        let t = self.t;
        let accepting: Vec<String> = self
            .members
            .iter()
            .filter(|m| m.accepts(t))
            .map(|m| m.name.to_string())
            .collect();
        if accepting.len() > 1 {
            self.blame(format!("I1: {} accept writes", accepting.join(" and ")));
        }
        let unarchived = self
            .members
            .iter()
            .find(|m| m.disk.cut != m.disk.archived)
            .map(|m| m.name.clone());
        if let Some(name) = unarchived {
            self.blame(format!("I6: {name} cut without an archive"));
        }
    }

    /// J8: what two histories call the same bytes are the same bytes.
    fn check_histories(&mut self) {
        for a in 0..self.members.len() {
            for b in 0..a {
                let (x, y) = (&self.members[a].disk, &self.members[b].disk);
                let (piece, known) = x.lineage.common_prefix(
                    Offset::new(x.log.end()),
                    &y.lineage,
                    Offset::new(y.log.end()),
                );
                let common = x.log.common(&y.log);
                if matches!(piece, Common::Term(_)) && common < known.get() {
                    let what = format!(
                        "J8: {} and {} share {known} bytes by history ({piece:?}), {common} in truth",
                        self.names[a], self.names[b]
                    );
                    self.blame(what);
                    return;
                }
            }
        }
    }

    fn judge_end(&mut self) {
        let t = self.t;
        let serving: Vec<usize> = (0..self.members.len())
            .filter(|i| self.members[*i].accepts(t))
            .collect();
        let [master] = serving[..] else {
            self.blame(format!("I5: {} serving masters at the end", serving.len()));
            return;
        };
        for i in 0..self.members.len() {
            let streams = matches!(self.members[i].upstream, Upstream::Streaming { .. });
            let whole = self.members[i].disk.log == self.members[master].disk.log;
            if i != master && !(streams && whole) {
                self.blame(format!("I5: {} does not follow at the end", self.names[i]));
                return;
            }
        }
        let asked = self.store.object.as_ref().map(|o| &o.requests.switchover);
        if let Some(Some(request)) = asked {
            let what = format!("a switchover request is never answered: {request:?}");
            self.blame(what);
        }
        if self.last_term > END - 30_000 {
            self.blame("J20: terms still change at the end".into());
        }
    }
}

/// Puts a view in unless something newer is known; a view is never made to look older.
fn see(agent: &mut Agent, rv: u64, seen: LeaseSeen, at: Tick) {
    if rv < agent.newest {
        return;
    }
    let at = match &agent.view {
        Some((_, known)) if rv == agent.newest => at.max(*known),
        _ => at,
    };
    agent.newest = rv;
    agent.view = Some((seen, at));
}
