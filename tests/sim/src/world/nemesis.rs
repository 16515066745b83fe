//! What goes wrong, and when it is well again.

use super::{Event, World};
use crate::fault::{Fault, Kind};
use crate::machine::{Disk, Machine, Window};
use agent_core::action::Action;
use agent_core::ids::{Member, Session};
use agent_core::observation::{EndCause, Stopping, SwitchoverRequest, Upstream};
use std::collections::BTreeSet;

/// Bytes that a machine may lose with its page cache, at most.
const UNFLUSHED: u64 = 60_000;

impl World {
    pub(super) fn strike(&mut self, fault: Fault) {
        self.disturb();
        let Fault { kind, who: i, .. } = fault;
        if i >= self.machines.len() || self.machine(i).is(Window::Away) {
            return;
        }
        let (t, span) = (self.t, fault.span);
        let until = t + span;
        self.tell("--", || fault.to_string());
        self.counts.faults += 1;
        match kind {
            Kind::Crash => self.crash(i),
            Kind::CrashLoop => {
                self.machines[i].crashes_left = fault.coin % 4 + 1;
                self.crash(i);
            }
            Kind::FailedStarts => self.open_window(i, Window::FailsToStart, until),
            Kind::SlowStart => self.open_window(i, Window::StartsSlowly, until),
            Kind::Hang => self.hang(i, t),
            Kind::HangBeyondKilling => self.hang(i, until),
            Kind::PodDies => self.pod_dies(i, None, until),
            Kind::MachineLost => self.pod_dies(i, Some(fault.coin % UNFLUSHED), until),
            Kind::PowerLoss => {
                for n in 0..self.machines.len() {
                    let n64 = u64::try_from(n).unwrap_or(0);
                    let later = t + 500 + (fault.coin >> (n64 * 4)) % (span + 1);
                    self.pod_dies(n, Some((fault.coin >> (n64 * 3)) % UNFLUSHED), later);
                }
            }
            Kind::AgentRestarts => {
                self.agent_dies(i);
                self.machines[i].agent_container += 1;
                let later = t + span.min(8_000);
                self.open_window(i, Window::AgentAway, later);
                self.show_pod(i);
            }
            Kind::LauncherRestarts => {
                self.launcher_gone(i);
                let machine = &mut self.machines[i];
                machine.nonce += 1;
                machine.renamed();
                let containers = machine.containers();
                if let Some(agent) = &mut machine.agent {
                    agent.start = None;
                    agent.seen.me.containers = containers;
                }
                self.show_pod(i);
                self.think(i);
            }
            Kind::StandsStill => self.open_window(i, Window::Still, until),
            Kind::Sleeps => {
                self.machines[i].slept_since.get_or_insert(t);
                self.open_window(i, Window::Asleep, until);
            }
            Kind::AgentFrozen => self.open_window(i, Window::AgentFrozen, until),
            Kind::ContainerFrozen => self.open_window(i, Window::ContainerFrozen, until),
            Kind::CutOff => self.open_window(i, Window::CutOff, until),
            Kind::ApiAway => self.for_all(Window::CutOff, until),
            Kind::ApiFlaps => self.for_all(Window::Flaps, until),
            Kind::ApiRefuses => self.open_window(i, Window::Refused, until),
            Kind::Alone => self.open_window(i, Window::Alone, until),
            Kind::OneWay => self.open_window(i, Window::HearsNobody, until),
            Kind::Deaf => self.open_window(i, Window::Deaf, until),
            Kind::Stalls => self.open_window(i, Window::Stalls, until),
            Kind::Drift => {
                let rate = 900 + fault.coin % 201;
                self.machines[i].clocks.drift(t, rate);
                self.think(i);
            }
            Kind::LeaseDeleted => {
                if self.all_well() && self.store.object.is_some() {
                    self.store.set(None, t);
                    self.publish();
                }
            }
            Kind::Touched => self.send_vandal(until, false),
            // Before anybody served, nothing tells a group whose record is lost from one whose volumes are (H7).
            Kind::Damaged => self.send_vandal(until, !self.served.is_empty()),
            Kind::RolledBack => self.roll_back(fault.coin),
            Kind::Forgotten => self.forget(fault.coin),
            Kind::Switchover => self.ask_for_switchover(fault.coin),
            Kind::Paused => {
                self.store.touch(|r| r.paused = true);
                self.publish();
                self.at(until, Event::Resume);
            }
            Kind::Stops => {
                if let Some(agent) = &mut self.machines[i].agent {
                    agent.seen.stopping = Stopping::Yes;
                    self.think(i);
                }
            }
            Kind::EmptyVolume => self.empty(i, fault.coin, until),
            Kind::Rot => self.rot(i, fault.coin),
            Kind::Scaled => self.scale(fault.coin),
            Kind::MasterDies => {
                if let Some(master) = self.machines.iter().position(Machine::accepts) {
                    self.pod_dies(master, None, until);
                }
            }
            Kind::Behind => self.leave_behind(i, fault),
        }
    }

    /// Brings another fault about, `later` milliseconds from now.
    fn then(&mut self, later: u64, kind: Kind, who: usize, span: u64) {
        let (at, coin) = (self.clock() + later, 0);
        let fault = Fault {
            at,
            kind,
            who,
            span,
            coin,
        };
        self.at(self.t + later, Event::Then(fault));
    }

    /// Who joined the newest term with less than somebody who knows only the one before (H29).
    fn leave_behind(&mut self, i: usize, fault: Fault) {
        let members = self.machines.len();
        let Some(master) = self.machines.iter().position(Machine::accepts) else {
            return;
        };
        let slaves: Vec<usize> = (0..members).filter(|n| *n != master).collect();
        let (Some(behind), Some(misses)) = (
            slaves.get(i % slaves.len().max(1)),
            slaves.get((i + 1) % slaves.len().max(1)),
        ) else {
            return;
        };
        let coin = |bits: u32| (fault.coin >> bits) % 2_000;
        self.open_window(*behind, Window::Stalls, self.t + 30_000);
        let gone = 2_000 + coin(0);
        self.then(gone, Kind::PodDies, *misses, 10_000 + coin(8));
        self.then(gone + 500 + coin(16), Kind::Crash, master, 0);
        self.then(gone + 9_000 + coin(24), Kind::PodDies, master, 40_000);
    }

    /// Who belongs to the group, as everybody's settings say.
    fn expected(&self) -> BTreeSet<Member> {
        let members = self.machines.iter().filter(|m| m.belongs);
        members.map(|m| m.name.clone()).collect()
    }

    /// A group of three or more loses its last member in order, or gets it back: with its old volume or a new one.
    fn scale(&mut self, coin: u64) {
        let Some(last) = self.machines.len().checked_sub(1).filter(|n| *n >= 2) else {
            return;
        };
        // Who takes the only copy of the data away waits for nobody who could serve without it.
        let streams = |m: &Machine| m.link.is_some() || m.accepts();
        let whole = |m: &Machine| m.disk.volume.seeding.is_none() && streams(m);
        let mut members = self.machines.iter().filter(|m| m.belongs);
        if !members.all(whole) {
            return;
        }
        if !self.all_well() || self.machine(last).leaves == self.machine(last).belongs {
            return;
        }
        if self.machine(last).belongs {
            self.machines[last].leaves = true;
            if let Some(agent) = &mut self.machines[last].agent {
                agent.seen.stopping = Stopping::Yes;
            }
            self.think(last);
            return;
        }
        let t = self.t;
        let machine = &mut self.machines[last];
        (machine.leaves, machine.belongs) = (false, true);
        if coin.is_multiple_of(2) {
            let (cut, archived) = (machine.disk.cut, machine.disk.archived);
            machine.disk = Disk::new(&machine.name, &format!("out{t}"));
            (machine.disk.cut, machine.disk.archived) = (cut, archived);
        }
        machine.lost_at = Some(t);
        self.tell_expected();
        self.window_over(last, Window::Away, u64::MAX);
    }

    /// Who leaves is not started again: until when its pod is away.
    pub(super) fn left(&mut self, i: usize) -> Option<u64> {
        if !self.machine(i).leaves {
            return None;
        }
        self.machines[i].belongs = false;
        self.tell_expected();
        Some(u64::MAX)
    }

    /// Settings are read when an agent starts; some are restarted for the new ones at once, some not.
    fn tell_expected(&mut self) {
        let expected = self.expected();
        for i in 0..self.machines.len() {
            if self.chance.often(50) {
                continue;
            }
            if let Some(agent) = &mut self.machines[i].agent {
                agent.seen.me.expected.clone_from(&expected);
            }
            self.think(i);
        }
    }

    fn for_all(&mut self, window: Window, until: u64) {
        for i in 0..self.machines.len() {
            self.open_window(i, window, until);
        }
    }

    pub(super) fn open_window(&mut self, i: usize, window: Window, until: u64) {
        let before = self.machine(i).answers();
        if before && stops_broker(window) {
            self.flow_all();
        }
        self.machines[i].begin(window, until);
        self.at(until, Event::Over { i, window, until });
        if before && !self.machine(i).answers() {
            // Its streams break: who looks finds silence there.
            self.stop_serving(i);
        }
        if matches!(window, Window::Alone) {
            self.unlink(i);
            for n in 0..self.machines.len() {
                if self.machine(n).link.is_some_and(|l| l.from == i) {
                    self.unlink(n);
                }
            }
        }
    }

    pub(super) fn window_over(&mut self, i: usize, window: Window, until: u64) {
        if !self.machines[i].over(window, until) {
            return;
        }
        self.disturb();
        self.machines[i].well_since = self.t;
        self.say(i, || format!("over: {window:?}"));
        match window {
            Window::Still | Window::Asleep | Window::ContainerFrozen => self.thaw(i, window),
            Window::Away => {
                let machine = &mut self.machines[i];
                machine.pod += 1;
                (machine.nonce, machine.agent_container) = (1, 1);
                machine.renamed();
                let life = machine.life;
                self.show_pod(i);
                self.soon(100, 600, Event::AgentStarts { i, life });
            }
            Window::AgentAway => {
                let life = self.machine(i).life;
                self.at(self.t, Event::AgentStarts { i, life });
            }
            Window::CutOff | Window::Deaf | Window::AgentFrozen => self.look_again(i),
            Window::Stalls => {
                if let Some(link) = &mut self.machines[i].link {
                    link.since = self.t;
                }
                let end = self.machine(i).disk.log.end();
                if let Some(link) = &mut self.machines[i].link {
                    link.base = end;
                }
                self.think(i);
            }
            Window::Alone | Window::HearsNobody => {}
            Window::Flaps | Window::Refused | Window::FailsToStart | Window::StartsSlowly => {}
        }
        self.talk();
    }

    fn look_again(&mut self, i: usize) {
        let (life, rv) = (self.machine(i).life, self.store.rv);
        self.soon(10, 1_000, Event::Watch { i, life, rv });
        self.think(i);
    }

    /// What is overdue happens before anything else can be answered.
    fn thaw(&mut self, i: usize, window: Window) {
        let t = self.t;
        if window == Window::Asleep {
            let since = self.machines[i].slept_since.take();
            let span = t.saturating_sub(since.unwrap_or(t));
            self.machines[i].clocks.slept(span);
        }
        let boot = self.machine(i).now(t).boot;
        let overdue = |j: &crate::machine::Jvm| boot >= j.permit;
        if self.machine(i).launches() {
            if self.machine(i).jvm.as_ref().is_some_and(overdue) {
                self.jvm_ends(i, EndCause::Fenced);
            } else if let Some(id) = self.machine(i).jvm.as_ref().map(|j| j.id) {
                self.watch_permit(i, id);
            }
        }
        self.regard(i);
        self.look_again(i);
    }

    pub(super) fn agent_starts(&mut self, i: usize, life: u64) {
        let machine = self.machine(i);
        let starts = machine.life == life && machine.agent.is_none() && machine.up();
        if !starts {
            if machine.life == life && machine.agent.is_none() && !machine.is(Window::Away) {
                self.soon(200, 600, Event::AgentStarts { i, life });
            }
            return;
        }
        let expected = self.expected();
        let t = self.t;
        self.machines[i].new_agent(t, expected);
        self.say(i, || "agent starts".into());
        self.read(i);
        self.talk();
        for of in 0..self.machines.len() {
            if of != i {
                self.tell_published(of, i);
                self.show_pod(of);
            }
        }
        self.soon_think(i, 10, 300);
    }

    fn crash(&mut self, i: usize) {
        let machine = self.machine(i);
        if machine.launches() && machine.jvm.is_some() {
            self.jvm_ends(i, EndCause::Crashed);
        }
    }

    /// Until somebody kills it; some cannot even be killed for a while.
    fn hang(&mut self, i: usize, stuck: u64) {
        let t = self.t;
        if !self.machine(i).answers() {
            return;
        }
        self.stop_serving(i);
        if let Some(jvm) = &mut self.machines[i].jvm {
            jvm.hangs = Some((t, stuck));
            let id = jvm.id;
            self.at(t / 5_000 * 5_000 + 5_001, Event::Look { i, id });
        }
        self.think(i);
    }

    pub(super) fn launcher_gone(&mut self, i: usize) {
        self.stop_serving(i);
        let machine = &mut self.machines[i];
        machine.jvm = None;
        machine.ended = None;
        machine.admitted = None;
        machine.attached = None;
        machine.link = None;
        machine.upstream = Upstream::Parked;
        machine.dirty = true;
    }

    pub(super) fn agent_dies(&mut self, i: usize) {
        let half = self.chance.often(50);
        let machine = &mut self.machines[i];
        let agent = machine.agent.take();
        if let Some(Action::Cut { to, .. }) = agent.and_then(|a| a.job)
            && half
        {
            machine.disk.volume.pending_cut = Some(to);
        }
        machine.life += 1;
    }

    fn pod_dies(&mut self, i: usize, lost: Option<u64>, until: u64) {
        if self.machine(i).is(Window::Away) {
            return;
        }
        let t = self.t;
        let ran = self.machine(i).jvm.is_some();
        self.agent_dies(i);
        self.launcher_gone(i);
        let machine = &mut self.machines[i];
        if let Some(lost) = lost {
            machine.lost_at = Some(t);
            if ran {
                let end = machine.disk.log.end();
                machine.disk.log.tear(end.saturating_sub(lost));
                machine.disk.volume.who.session = Session::new(format!("{}-r{t}", machine.name));
            }
        }
        machine.crashes_left = 0;
        let until = self.left(i).unwrap_or(until);
        self.open_window(i, Window::Away, until);
        self.show_pod(i);
    }

    /// A new volume, where the group survives without the old one.
    fn empty(&mut self, i: usize, coin: u64, until: u64) {
        let t = self.t;
        let serves = self.machines.iter().any(Machine::accepts);
        if self.emptied || !serves || self.machine(i).accepts() {
            return;
        }
        self.emptied = true;
        self.pod_dies(i, Some(0), until);
        let machine = &mut self.machines[i];
        let (cut, archived) = (machine.disk.cut, machine.disk.archived);
        machine.disk = Disk::new(&machine.name, &format!("new{t}"));
        (machine.disk.cut, machine.disk.archived) = (cut, archived);
        if coin.is_multiple_of(2) {
            // Nobody is there who could fill it.
            let before = until.saturating_sub(t + coin / 2 % 1_500);
            self.then(before, Kind::MasterDies, 0, 30_000);
        }
    }

    /// Bytes of a slave change where they lie.
    fn rot(&mut self, i: usize, coin: u64) {
        self.flow_all();
        let machine = &mut self.machines[i];
        let master = machine.jvm.as_ref().is_some_and(|j| j.traffic.is_some());
        let end = machine.disk.log.end();
        if master || end == 0 || !self.machines.iter().any(Machine::accepts) {
            return;
        }
        self.unlink(i);
        let machine = &mut self.machines[i];
        machine.disk.rotten = true;
        machine.disk.volume.proof = None;
        machine
            .disk
            .log
            .rot(end.saturating_sub(coin % 50_000), coin);
    }

    pub(super) fn all_well(&self) -> bool {
        let well = |m: &Machine| {
            let goes_on = |a: &crate::machine::Agent| a.seen.stopping == Stopping::No;
            !m.troubled() && m.agent.as_ref().is_some_and(goes_on)
        };
        let mut members = self.machines.iter().filter(|m| m.belongs);
        members.all(well) && self.machines.iter().any(Machine::accepts)
    }

    /// A bystander that edits the Lease, as long as it likes.
    fn send_vandal(&mut self, until: u64, damages: bool) {
        if self.vandal.is_none() {
            self.at(self.t, Event::Vandal);
        }
        self.vandal = Some((until, damages));
    }

    pub(super) fn vandalize(&mut self) {
        let Some((until, damages)) = self.vandal else {
            return;
        };
        let damaged = self.store.object.as_ref().is_some_and(|o| o.damaged);
        if self.t >= until {
            self.vandal = None;
            self.disturb();
            return;
        }
        if damages && self.chance.often(50) {
            self.disturb();
            self.tell("--", || {
                let what = if damaged { "repaired" } else { "damaged" };
                format!("the record is {what} by hand")
            });
            self.store.damage(!damaged);
        } else {
            self.store.touch(|_| {});
        }
        self.publish();
        self.soon(300, 6_000, Event::Vandal);
    }

    pub(super) fn resume(&mut self) {
        self.disturb();
        self.tell("--", || "resumed".into());
        self.store.touch(|r| r.paused = false);
        self.publish();
    }

    fn roll_back(&mut self, coin: u64) {
        // Who knew the truth may be away: beyond that no rule can see (H6).
        let known = self.all_well();
        let ready = known || coin % 10 < 3;
        let past = self.store.past.len();
        if !ready || self.store.object.is_none() || past == 0 {
            return;
        }
        let back = usize::try_from(coin / 10).unwrap_or(0) % past;
        let Some(old) = self.store.past.get(past - 1 - back).cloned() else {
            return;
        };
        self.forgotten |= !known;
        if old.requests.paused {
            // Whoever restores a backup of a paused group resumes it.
            self.at(self.t + 30_000, Event::Resume);
        }
        self.tell("--", || {
            let r = &old.record;
            format!("back to term {} seq {} of {}", r.term.id, r.seq, r.holder)
        });
        self.store.set(Some(old), self.t);
        self.publish();
    }

    /// The one member that knows the newest term is lost, and an older backup of the Lease comes back: beyond what any
    /// rule can see (H6), until that member returns.
    fn forget(&mut self, coin: u64) {
        let Some(object) = &self.store.object else {
            return;
        };
        let term = object.record.term.clone();
        let Some(master) = self.index_of(&term.master) else {
            return;
        };
        let ignorant = |m: &Machine| {
            let told = |a: &crate::machine::Agent| a.state.highest >= term.id.epoch;
            m.disk.volume.highest_epoch < term.id.epoch && !m.agent.as_ref().is_some_and(told)
        };
        let mut others = self.machines.iter().filter(|m| m.index != master);
        let nobody = others.all(ignorant);
        let older = |o: &&crate::store::Object| o.record.term.id.epoch < term.id.epoch;
        let old = self.store.past.iter().rev().find(older).cloned();
        let serves = self.machine(master).accepts();
        let Some(old) = old.filter(|_| nobody && serves) else {
            return;
        };
        self.forgotten = true;
        self.pod_dies(master, None, self.t + 40_000);
        if coin.is_multiple_of(2) {
            // Who reigned meanwhile dies as soon as the one that knows better is back.
            self.then(39_000 + coin / 2 % 2_500, Kind::MasterDies, 0, 30_000);
        }
        self.store.set(Some(old), self.t);
        self.publish();
    }

    fn ask_for_switchover(&mut self, coin: u64) {
        let Some(object) = &self.store.object else {
            return;
        };
        let term = object.record.term.id;
        self.requests += 1;
        let n = usize::try_from(coin >> 8).unwrap_or(0) % self.machines.len();
        let target = coin.is_multiple_of(2).then(|| self.names[n].clone());
        let request = SwitchoverRequest {
            id: format!("s{}", self.requests),
            term,
            target,
            limit_ms: Some(500 + (coin >> 16) % 7_500),
        };
        self.store.touch(|r| r.switchover = Some(request));
        self.publish();
    }
}

const fn stops_broker(window: Window) -> bool {
    matches!(
        window,
        Window::Still | Window::Asleep | Window::ContainerFrozen | Window::Away
    )
}
