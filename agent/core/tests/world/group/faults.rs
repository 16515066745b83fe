//! What goes wrong, and when it is well again.

use super::{END, FAULTS, Group, STEP};
use crate::member::{Agent, Away, Hang, MemberWorld};
use crate::store::Object;
use agent_core::action::Action;
use agent_core::ids::*;
use agent_core::observation::*;

/// The bit of a seed's kinds of faults that says whether its brokers hang, too.
const HANGS: u32 = 40;

impl Group {
    pub(super) fn over(&self, away: Away) -> bool {
        away.is_some_and(|until| self.t >= until || self.t >= FAULTS)
    }

    pub(super) fn come_back(&mut self) {
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

    /// What is overdue happens before anything else can be answered.
    pub(super) fn thaw(&mut self, i: usize) {
        let boot = self.members[i].now(self.t).boot;
        let m = &mut self.members[i];
        if m.jvm.as_ref().is_some_and(|j| boot >= j.permit) {
            m.jvm_ends(EndCause::Fenced);
        }
    }

    pub(super) fn show_pod(&mut self, i: usize) {
        let seen = self.members[i].pod_seen();
        for to in 0..self.members.len() {
            let at = self.t + self.chance.range(200, 3_000);
            self.kubelet.push((at, to, i, seen.clone()));
        }
    }

    pub(super) fn fault(&mut self) {
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
                // Some seeds know hangs; those that once broke a law were found without.
                if self.kinds >> HANGS & 1 == 1 && long.is_multiple_of(2) {
                    self.hang(i, short, long);
                } else if self.members[i].up() && self.members[i].jvm.is_some() {
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
                let damages = self.chance.often(50);
                self.tell("--", "somebody edits the Lease over and over");
                self.vandal = Some((t, damages));
            }
            14 => {
                // Who knew the truth may be away: beyond that no rule can see (H6).
                let known = self.all_well();
                let ready = known || self.chance.often(30);
                if ready && self.store.object.is_some() && !self.store.past.is_empty() {
                    self.forgotten |= !known;
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

    /// Until somebody kills it; some cannot even be killed for a while.
    fn hang(&mut self, i: usize, since: u64, long: u64) {
        let t = self.t;
        let stuck = if since.is_multiple_of(3) {
            long.min(FAULTS)
        } else {
            t
        };
        let Some(jvm) = &mut self.members[i].jvm else {
            return;
        };
        if t >= jvm.up_at && jvm.hangs.is_none() {
            jvm.hangs = Some(Hang { since: t, stuck });
            self.say(
                i,
                &format!("broker hangs, beyond killing for {} ms", stuck - t),
            );
        }
    }

    /// A bystander's edits go on when the faults are over, but then they touch the record no more.
    pub(super) fn vandalize(&mut self) {
        let Some((at, damages)) = self.vandal else {
            return;
        };
        if self.t < at || self.t > END - 30_000 {
            return;
        }
        self.vandal = Some((self.t + self.chance.range(300, 6_000), damages));
        let damaged = self.store.object.as_ref().is_some_and(|o| o.damaged);
        if damages && self.t < FAULTS && self.chance.often(50) {
            let what = if damaged { "repaired" } else { "damaged" };
            self.tell("--", &format!("the record is {what} by hand"));
            self.store.damage(!damaged);
        } else {
            self.store.touch(|_| {});
        }
        self.publish();
    }

    /// The one member that knows the newest term is lost with its machine, and an older backup of the Lease comes back:
    /// beyond what any rule can see (H6), until that member returns.
    pub(super) fn forget_the_newest(&mut self) {
        let wanted = self.kinds >> 14 & 1 == 1 && self.t < FAULTS && !self.forgotten;
        let Some(object) = self.store.object.as_ref().filter(|_| wanted) else {
            return;
        };
        let term = object.record.term.clone();
        let Some(master) = self.names.iter().position(|n| *n == term.master) else {
            return;
        };
        let ignorant = |m: &MemberWorld| {
            let agent = m.agent.as_ref();
            let told = agent.is_some_and(|a| a.state.highest >= term.id.epoch);
            m.disk.highest < term.id.epoch && !told
        };
        let others = self
            .members
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != master);
        let nobody = others.map(|(_, m)| m).all(ignorant);
        let older = |o: &&Object| o.record.term.id.epoch < term.id.epoch;
        let old = self.store.past.iter().rev().find(older).cloned();
        let serves = self.members[master].accepts(self.t);
        let Some(old) = old.filter(|_| nobody && serves && self.chance.often(2)) else {
            return;
        };
        self.forgotten = true;
        self.say(master, "machine is lost, and nobody else knows its term");
        self.pod_dies(master, false);
        self.members[master].away = Some(self.t + 40_000);
        self.words.retain(|w| w.2 != master);
        self.tell("--", "Lease is rolled back behind it");
        self.store.set(Some(old), self.t);
        self.events.clear();
        self.publish();
        self.next_fault = self.t + 30_000;
    }

    pub(super) fn all_well(&self) -> bool {
        self.members.iter().all(|m| {
            m.up()
                && m.agent.as_ref().is_some_and(|a| !a.stopping)
                && m.cut_off.is_none()
                && m.alone.is_none()
                && m.deaf.is_none()
        }) && self.members.iter().any(|m| m.accepts(self.t))
    }

    pub(super) fn ask_for_switchover(&mut self) {
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

    pub(super) fn agent_dies(&mut self, i: usize) {
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

    pub(super) fn pod_dies(&mut self, i: usize, reboot: bool) {
        self.agent_dies(i);
        let lost = self.chance.range(0, 60_000);
        let m = &mut self.members[i];
        let ran = m.jvm.is_some();
        m.lost_at = reboot.then_some(self.t).or(m.lost_at);
        m.launcher_gone();
        if reboot && ran {
            let end = m.disk.log.end();
            m.disk.log.cut(end.saturating_sub(lost));
            m.disk.who.session = Session::new(format!("{}-r{}", m.name, self.t));
        }
    }
}
