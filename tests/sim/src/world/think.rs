//! An agent decides: only when something it sees changed, or when it asked to be woken.

use super::{Event, World};
use crate::machine::{Machine, Window};
use crate::show;
use agent_core::decide;
use agent_core::ids::{Nonce, Offset};
use agent_core::observation::{Broker, Job, Reading};
use agent_core::report::Role;
use agent_core::{Action, Reason};
use std::collections::BTreeMap;
use std::rc::Rc;

impl World {
    /// Decides a moment from now: what changed together is seen together.
    pub(super) fn think(&mut self, i: usize) {
        self.think_at(i, self.t + 1);
    }

    pub(super) fn soon_think(&mut self, i: usize, low: u64, high: u64) {
        let t = self.t + self.chance.range(low, high);
        self.think_at(i, t);
    }

    fn think_at(&mut self, i: usize, t: u64) {
        let machine = &mut self.machines[i];
        let life = machine.life;
        let Some(agent) = &mut machine.agent else {
            return;
        };
        if agent.think_at.is_some_and(|at| at <= t) {
            return;
        }
        agent.think_at = Some(t);
        self.at(t, Event::Think { i, life });
    }

    pub(super) fn wake(&mut self, i: usize, life: u64) {
        let machine = &mut self.machines[i];
        if machine.life != life {
            return;
        }
        let t = self.t;
        let minds = machine.minds();
        let Some(agent) = machine.agent.as_mut() else {
            return;
        };
        if agent.think_at != Some(t) {
            return;
        }
        agent.think_at = None;
        if minds {
            self.decide(i);
        }
    }

    fn decide(&mut self, i: usize) {
        let t = self.t;
        self.observe(i);
        self.note_sights(i);
        self.note_frozen(i);
        let now = self.machine(i).now(t);
        let Some(agent) = self.machines[i].agent.as_mut() else {
            return;
        };
        let decision = decide(&agent.state, &agent.seen, now, &self.policy);
        self.counts.decisions += 1;
        agent.state = decision.next;
        agent.steady = matches!(decision.reason, Reason::Serving | Reason::Following);
        let report = decision.report.map(|r| *r);
        let news = match (&mut agent.report, report) {
            (None, None) => false,
            (Some(old), Some(mut new)) => {
                // A running log's end is asked for when it matters.
                let end = new.log;
                if new.role.is_some() && new.role == old.role && new.log.is_some() {
                    new.log = old.log.or(new.log);
                }
                let news = new != **old;
                if news {
                    new.log = end;
                    agent.report = Some(Rc::new(new));
                }
                news
            }
            (old, new) => {
                *old = new.map(Rc::new);
                true
            }
        };
        if news {
            self.n += 1;
            agent.version = self.n;
        }
        let (steady, reason) = (agent.steady, decision.reason);
        if self.trace {
            self.tell_decision(i, reason, &decision.actions);
        }
        if news {
            self.speak(i);
        }
        self.check_wait(i);
        for action in decision.actions {
            self.act(i, action);
        }
        self.check_conduct(i, reason);
        if let Some(at) = decision.wake_at {
            let machine = self.machine(i);
            let local = at.as_millis().saturating_sub(now.tick.as_millis());
            let at = t + machine.clocks.until(local).max(20);
            self.think_at(i, at);
        }
        if !steady {
            self.soon_think(i, 300, 800);
        }
        if reason == Reason::Stopped {
            self.stopped(i);
        }
        if self
            .machine(i)
            .agent
            .as_ref()
            .is_some_and(|a| a.newest == 0)
        {
            self.read(i);
        }
        self.rest(i, reason);
    }

    fn tell_decision(&mut self, i: usize, reason: Reason, actions: &[Action]) {
        let listed = actions.iter().filter(|a| !show::quiet(a));
        let listed: Vec<_> = listed.map(show::action).collect();
        let told = format!("{reason} [{}]", listed.join("; "));
        let Some(agent) = self.machines[i].agent.as_mut() else {
            return;
        };
        // Two words in turn are one state of affairs.
        if agent.told.contains(&told) {
            return;
        }
        if agent.told.len() >= 3 {
            agent.told.pop_front();
        }
        agent.told.push_back(told.clone());
        self.say(i, || told);
    }

    /// Brings what the agent sees up to date: what it asks for at every turn.
    fn observe(&mut self, i: usize) {
        let t = self.t;
        self.freshen(i);
        let nonce = Nonce::new(self.chance.next());
        self.flow(i);
        if self.machine(i).jvm.is_none() {
            // Its walk stands; nothing runs.
        } else if self.machine(i).answers() {
            self.read_broker(i);
        }
        let launches = self.machine(i).launches();
        if launches {
            self.read_launcher(i);
        }
        let hung = self.machine(i).hung(t);
        if let Some(agent) = self.machines[i].agent.as_mut() {
            agent.seen.nonce = nonce;
            agent.seen.hung = hung;
            agent.seen.job = if agent.job.is_some() || agent.start.is_some() {
                Job::Busy
            } else {
                Job::Idle
            };
        }
    }

    fn read_broker(&mut self, i: usize) {
        let t = self.t;
        let machine = &mut self.machines[i];
        let tick = machine.now(t).tick;
        let Some(jvm) = &machine.jvm else { return };
        let broker = Broker {
            min: Offset::ZERO,
            end: Offset::new(machine.disk.log.end()),
            recovered: jvm.recovered,
            gate: jvm.gate,
        };
        if let Some(agent) = &mut machine.agent {
            agent.seen.broker = Reading::known(broker, tick);
        }
    }

    fn read_launcher(&mut self, i: usize) {
        let t = self.t;
        let tick = self.machine(i).now(t).tick;
        let serves = |m: &Machine| m.jvm.as_ref().is_some_and(|j| j.role == Role::Master);
        let same = !self.machine(i).dirty && !serves(self.machine(i));
        if same
            && let Some(agent) = self.machines[i].agent.as_mut()
            && let Reading::Known { at, .. } = &mut agent.seen.launcher
        {
            *at = tick;
            return;
        }
        let linked = |n: &usize| self.machine(*n).link.is_some_and(|l| l.from == i);
        let slaves: Vec<usize> = (0..self.machines.len()).filter(linked).collect();
        for n in &slaves {
            self.flow(*n);
        }
        let ends = slaves.iter().map(|n| {
            let end = self.machine(*n).disk.log.end();
            (self.names[*n].clone(), Offset::new(end))
        });
        // An empty slave acknowledges nothing.
        let replicas: BTreeMap<_, _> = ends.filter(|(_, end)| *end > Offset::ZERO).collect();
        let machine = &mut self.machines[i];
        let dirty = std::mem::take(&mut machine.dirty);
        let fresh = machine.agent.as_mut().map(|a| &mut a.seen.launcher);
        if !dirty && let Some(Reading::Known { value, at }) = fresh {
            value.replicas = replicas;
            *at = tick;
            return;
        }
        let launcher = machine.launcher(replicas);
        if let Some(agent) = &mut machine.agent {
            agent.seen.launcher = Reading::known(launcher, tick);
        }
    }

    /// The agent has ended in order: its pod is replaced.
    fn stopped(&mut self, i: usize) {
        self.check_stop(i);
        self.say(i, || "agent has stopped".into());
        self.agent_dies(i);
        self.launcher_gone(i);
        let until = self.t + self.chance.range(1_000, 8_000);
        let until = self.left(i).unwrap_or(until);
        self.open_window(i, Window::Away, until);
        self.show_pod(i);
    }
}
