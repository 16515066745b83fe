//! The launchers' brokers, what clients send to them, and the replication between them.
//!
//! Messages are not events: a log's end follows from when sends were taken, and is worked out when somebody looks.

use super::{Event, World};
use crate::log::MESSAGE;
use crate::machine::{Jvm, LAG, Link, Window};
use agent_core::action::Action;
use agent_core::ids::{Instance, Offset};
use agent_core::observation::{EndCause, Gate, Reading, Upstream};
use agent_core::record::TermId;
use agent_core::report::Role;
use agent_core::time::Boot;

/// Bytes a slave that is behind takes over in a millisecond.
const SPEED: u64 = 5_000;
/// The launcher's kill at a permit's end takes up to G, milliseconds.
const KILL: u64 = 850;

impl World {
    /// Where a log ends at `t`, which is now or a moment ago.
    pub(super) fn end_at(&self, i: usize, t: u64) -> u64 {
        let machine = self.machine(i);
        let traffic = machine.jvm.as_ref().and_then(|j| j.traffic);
        match traffic {
            Some((since, base)) => {
                base + t.saturating_sub(since) / machine.interval.max(1) * MESSAGE
            }
            None => machine.disk.log.end(),
        }
    }

    /// Brings a log up to now.
    pub(super) fn flow(&mut self, i: usize) {
        let t = self.t;
        let end = self.end_at(i, t);
        let machine = &mut self.machines[i];
        if let Some(jvm) = machine.jvm.as_ref().filter(|j| j.traffic.is_some()) {
            let bytes = end.saturating_sub(machine.disk.log.end());
            machine.disk.log.append(jvm.id, bytes);
        }
        let Some(link) = machine.link else { return };
        let stalled = self.machine(i).is(Window::Stalls) || !self.machine(i).answers();
        if stalled || t < link.hold {
            return;
        }
        let arrived = self.end_at(link.from, t.saturating_sub(link.lag));
        let most = link.base + t.saturating_sub(link.since) * SPEED;
        let upto = arrived.min(most);
        if upto > self.machine(i).disk.log.end() {
            self.flow_source(link.from);
            let mut log = std::mem::take(&mut self.machines[i].disk.log);
            log.copy(&self.machine(link.from).disk.log, upto);
            self.machines[i].disk.log = log;
            // What rotted there is copied along.
            self.machines[i].disk.rotten |= self.machine(link.from).disk.rotten;
        }
    }

    fn flow_source(&mut self, i: usize) {
        let end = self.end_at(i, self.t);
        let machine = &mut self.machines[i];
        if let Some(jvm) = machine.jvm.as_ref().filter(|j| j.traffic.is_some()) {
            let bytes = end.saturating_sub(machine.disk.log.end());
            machine.disk.log.append(jvm.id, bytes);
        }
    }

    pub(super) fn flow_all(&mut self) {
        for i in 0..self.machines.len() {
            self.flow(i);
        }
    }

    /// Starts or stops the clients' sends after anything changed with a broker. I1 is checked when they start.
    pub(super) fn regard(&mut self, i: usize) {
        let (t, accepts) = (self.t, self.machine(i).accepts());
        let flows = |j: &Jvm| j.traffic.is_some();
        let flows = self.machine(i).jvm.as_ref().is_some_and(flows);
        if accepts == flows {
            return;
        }
        if accepts {
            let base = self.machine(i).disk.log.end();
            if let Some(jvm) = &mut self.machines[i].jvm {
                jvm.traffic = Some((t, base));
            }
            self.check_accepting();
            return;
        }
        self.flow_all();
        if let Some(jvm) = &mut self.machines[i].jvm {
            jvm.traffic = None;
        }
        for slave in &mut self.machines {
            if let Some(link) = slave.link.as_mut().filter(|l| l.from == i) {
                link.hold = t + link.lag;
            }
        }
    }

    /// The broker process is gone.
    pub(super) fn jvm_ends(&mut self, i: usize, why: EndCause) {
        let t = self.t;
        self.stop_serving(i);
        let machine = &mut self.machines[i];
        if let Some(jvm) = machine.jvm.take() {
            machine.ended = Some((jvm.role, jvm.term, why));
            machine.ended_at = t;
        }
        machine.upstream = Upstream::Parked;
        machine.dirty = true;
        self.say(i, || format!("broker is gone: {why:?}"));
        self.think(i);
    }

    /// No bytes from or to this broker any more; what is its own stays.
    pub(super) fn stop_serving(&mut self, i: usize) {
        self.flow_all();
        if let Some(jvm) = &mut self.machines[i].jvm {
            jvm.traffic = None;
        }
        self.unlink(i);
        for n in 0..self.machines.len() {
            if self.machine(n).link.is_some_and(|l| l.from == i) {
                self.unlink(n);
            }
        }
    }

    /// A replication stream breaks; the slave's launcher tries again.
    pub(super) fn unlink(&mut self, i: usize) {
        if self.machine(i).link.is_none() {
            return;
        }
        self.flow(i);
        let machine = &mut self.machines[i];
        let from = machine.link.take().map(|l| l.from);
        machine.dirty = true;
        if let Some((term, ..)) = &machine.attached {
            machine.upstream = Upstream::Connecting { term: *term };
        }
        if let Some(id) = machine.jvm.as_ref().map(|j| j.id) {
            self.soon(100, 1_000, Event::Link { i, id });
        }
        if let Some(from) = from {
            self.machines[from].dirty = true;
            self.think(from);
        }
        self.think(i);
    }

    pub(super) fn try_link(&mut self, i: usize, id: u64) {
        let machine = self.machine(i);
        let slave = machine.jvm.as_ref().filter(|j| j.id == id);
        let Some((slave, (term, from, instance))) = slave.zip(machine.attached.clone()) else {
            return;
        };
        if slave.role != Role::Slave || slave.term != term || machine.link.is_some() {
            return;
        }
        if matches!(machine.upstream, Upstream::Diverged { .. }) {
            return;
        }
        if !machine.answers() || !self.admits(from, i, term, &instance) {
            self.soon(300, 1_000, Event::Link { i, id });
            return;
        }
        self.flow_all();
        let (mine, source) = (&self.machine(i).disk, &self.machine(from).disk);
        if !mine.log.is_prefix_of(&source.log) {
            let (end, common) = (mine.log.end(), mine.log.common(&source.log));
            if !mine.rotten && !source.rotten {
                self.blame(format!(
                    "I4: {} attaches to {} in term {term} with a log that ends at {end} and is equal only up to {common}",
                    self.names[i], self.names[from]
                ));
                return;
            }
            // The relay compares the last 64 KiB before it forwards anything.
            if common + 64 * 1024 > source.log.end().min(end) && end > common {
                let at = Offset::new(common);
                self.say(i, || format!("relay finds a fork at {common}"));
                let machine = &mut self.machines[i];
                machine.upstream = Upstream::Diverged { term, at };
                machine.dirty = true;
                self.think(i);
            } else {
                // Below what it compares: such rot stays, as on any disk.
                self.machines[i].disk.log = self.machine(from).disk.log.clone();
                let end = end.min(self.machine(i).disk.log.end());
                self.machines[i].disk.log.cut(end);
                self.soon(10, 50, Event::Link { i, id });
            }
            return;
        }
        let link = Link {
            from,
            since: self.t,
            base: mine.log.end(),
            lag: self.chance.range(1, LAG),
            hold: 0,
        };
        let machine = &mut self.machines[i];
        machine.link = Some(link);
        machine.upstream = Upstream::Streaming { term };
        machine.dirty = true;
        self.machines[from].dirty = true;
        self.say(i, || format!("streams in term {term}"));
        self.think(i);
        self.think(from);
    }

    /// What the master's launcher asks of a slave's.
    fn admits(&self, from: usize, i: usize, term: TermId, instance: &Instance) -> bool {
        let master = self.machine(from);
        let boot = master.now(self.t).boot;
        let serves = |j: &Jvm| j.role == Role::Master && j.term == term && boot < j.permit;
        let runs = master.answers() && master.jvm.as_ref().is_some_and(serves);
        let who = &self.machine(i).disk.volume.who;
        let admitted = master.admitted.as_ref();
        let admitted = admitted.is_some_and(|(of, k)| *of == term && k.contains(who));
        self.linked(from, i)
            && self.linked(i, from)
            && runs
            && admitted
            && master.instance == *instance
    }

    pub(super) fn start_due(&mut self, i: usize, life: u64, n: u64) {
        let machine = &mut self.machines[i];
        if machine.life != life {
            return;
        }
        if !machine.launches() || !machine.minds() {
            self.soon(200, 600, Event::Start { i, life, n });
            return;
        }
        let Some(agent) = machine.agent.as_mut().filter(|a| a.starts == n) else {
            return;
        };
        let Some(start) = agent.start.take() else {
            return;
        };
        self.launch(i, &start);
        self.think(i);
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
        let t = self.t;
        let machine = self.machine(i);
        let boot = machine.now(t).boot;
        if *instance != machine.instance || machine.jvm.is_some() || boot >= *permit {
            return;
        }
        let (slow, fails) = (
            machine.is(Window::StartsSlowly),
            machine.is(Window::FailsToStart),
        );
        self.processes.push(*term);
        let id = u64::try_from(self.processes.len()).unwrap_or(u64::MAX);
        if self.machine(i).disk.volume.repaired != Some(*term) {
            self.blame(format!(
                "H27: {} starts on a tail that was not made clean",
                self.names[i]
            ));
            return;
        }
        let machine = &mut self.machines[i];
        machine.started = Some((*term, machine.life));
        machine.disk.volume.frozen = None;
        machine.disk.forget_walk();
        machine.show_volume(t);
        if let Some(agent) = &mut machine.agent {
            agent.seen.broker = Reading::Unknown;
        }
        machine.jvm = Some(Jvm {
            id,
            role: *role,
            term: *term,
            instance: instance.clone(),
            permit: *permit,
            up: false,
            recovered: None,
            gate: match role {
                Role::Master => Gate::Shut,
                Role::Slave => Gate::Open,
            },
            dying: false,
            hangs: None,
            traffic: None,
        });
        machine.upstream = Upstream::Parked;
        machine.attached = None;
        machine.link = None;
        machine.dirty = true;
        if fails {
            let why = EndCause::Crashed;
            self.soon(200, 3_000, Event::Dies { i, id, why });
        } else if slow {
            self.soon(5_000, 60_000, Event::Up { i, id });
        } else {
            self.soon(300, 5_000, Event::Up { i, id });
        }
        self.watch_permit(i, id);
        self.say(i, || {
            format!("broker starts as {} in term {term}", role.as_str())
        });
        self.check_start(i, *role, *term, *permit);
    }

    /// When the launcher looks at this permit again.
    pub(super) fn watch_permit(&mut self, i: usize, id: u64) {
        let machine = self.machine(i);
        let boot = machine.now(self.t).boot;
        let Some(jvm) = machine.jvm.as_ref() else {
            return;
        };
        let local = jvm.permit.as_millis().saturating_sub(boot.as_millis());
        let at = self.t + machine.clocks.until(local).max(1);
        self.at(at, Event::PermitEnds { i, id });
    }

    pub(super) fn permit_ends(&mut self, i: usize, id: u64) {
        let machine = self.machine(i);
        let Some(jvm) = machine.jvm.as_ref().filter(|j| j.id == id) else {
            return;
        };
        if !machine.launches() {
            // Overdue when it thaws.
            return;
        }
        if machine.now(self.t).boot < jvm.permit {
            self.watch_permit(i, id);
            return;
        }
        let slow = self.chance.range(0, KILL);
        self.kill(i, slow, EndCause::Fenced);
    }

    /// SIGKILL after `later` milliseconds, unless one is under way.
    pub(super) fn kill(&mut self, i: usize, later: u64, why: EndCause) {
        let t = self.t;
        let Some(jvm) = self.machines[i].jvm.as_mut().filter(|j| !j.dying) else {
            return;
        };
        jvm.dying = true;
        let stuck = jvm.hangs.map_or(0, |(_, stuck)| stuck);
        let id = jvm.id;
        self.at(stuck.max(t + later), Event::Dies { i, id, why });
    }

    pub(super) fn dies(&mut self, i: usize, id: u64, why: EndCause) {
        let machine = self.machine(i);
        if machine.jvm.as_ref().is_none_or(|j| j.id != id) {
            return;
        }
        if !machine.launches() {
            self.soon(200, 500, Event::Dies { i, id, why });
            return;
        }
        self.jvm_ends(i, why);
    }

    pub(super) fn comes_up(&mut self, i: usize, id: u64) {
        let machine = self.machine(i);
        let Some(jvm) = machine.jvm.as_ref().filter(|j| j.id == id && !j.up) else {
            return;
        };
        if !machine.launches() || jvm.hangs.is_some() {
            self.soon(100, 600, Event::Up { i, id });
            return;
        }
        let master = jvm.role == Role::Master;
        let early = master && self.chance.range(0, 5) == 0;
        let machine = &mut self.machines[i];
        let end = machine.disk.log.end();
        if let Some(jvm) = &mut machine.jvm {
            jvm.up = true;
            // Some versions do not tell (H28).
            jvm.recovered = (!id.is_multiple_of(3)).then_some(Offset::new(end));
        }
        if early {
            // A delayed message is due at once (H28).
            machine.disk.log.append(id, 100);
        }
        self.regard(i);
        self.soon_think(i, 50, 500);
    }

    pub(super) fn turn_gate(&mut self, i: usize, id: u64, gate: Gate, before: Option<Boot>) {
        let machine = self.machine(i);
        let late = before.is_some_and(|before| machine.now(self.t).boot >= before);
        let known = machine.jvm.as_ref().is_some_and(|j| j.id == id);
        if known && !late && machine.answers() {
            if gate == Gate::Open
                && let Some(term) = machine.jvm.as_ref().map(|j| j.term)
            {
                self.check_gate(i, term);
            }
            if let Some(jvm) = &mut self.machines[i].jvm {
                jvm.gate = gate;
            }
            self.say(i, || format!("gate is {gate:?}"));
            self.regard(i);
        }
        self.soon_think(i, 50, 500);
    }

    /// A look for a sign of life.
    pub(super) fn look(&mut self, i: usize, id: u64) {
        let hangs = |j: &Jvm| j.id == id && j.hangs.is_some();
        if self.machine(i).jvm.as_ref().is_some_and(hangs) {
            self.think(i);
            self.at(self.t + 5_000, Event::Look { i, id });
        }
    }
}
