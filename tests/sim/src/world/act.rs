//! What the shell does with an agent's actions.

use super::api::Asked;
use super::{Event, World};
use agent_core::action::{Action, LeaseWrite, WriteReason};
use agent_core::ids::Member;
use agent_core::observation::{EndCause, Gate, LeaseSeen, Upstream};
use agent_core::record::TermId;
use agent_core::report::Role;
use agent_core::time::Boot;

impl World {
    pub(super) fn act(&mut self, i: usize, action: Action) {
        self.count(i, &action);
        let t = self.t;
        match action {
            Action::ReadLease => self.read(i),
            Action::Write(write) => self.write(i, write),
            Action::Permit { term, until, .. } => {
                let jvm = self.machine(i).jvm.as_ref().filter(|j| j.term == term);
                let Some(role) = jvm.map(|j| j.role) else {
                    return;
                };
                self.check_permit(i, role, term, until);
                if !self.machine(i).launches() {
                    return;
                }
                let machine = &mut self.machines[i];
                machine.dirty = true;
                if let Some(jvm) = &mut machine.jvm {
                    jvm.permit = jvm.permit.max(until);
                }
            }
            Action::Kill { .. } | Action::Stop => {
                if let Some(agent) = &mut self.machines[i].agent {
                    agent.start = None;
                }
                let soon = self.chance.range(20, 150);
                self.kill(i, soon, EndCause::Ordered);
            }
            Action::Shut { term } => self.order_gate(i, term, Gate::Shut, None),
            Action::Open { term, before } => {
                self.check_open(i);
                self.order_gate(i, term, Gate::Open, Some(before));
            }
            Action::Cut { .. } if self.sees_pause(i) => {
                let what = format!("H43: {} cuts its log in a pause", self.names[i]);
                self.blame(what);
            }
            Action::Examine
            | Action::Freeze { .. }
            | Action::Repair { .. }
            | Action::Prove { .. }
            | Action::Cut { .. }
            | Action::Persist { .. } => {
                let life = self.machine(i).life;
                let Some(agent) = &mut self.machines[i].agent else {
                    return;
                };
                if agent.job.is_none() && agent.start.is_none() {
                    agent.job = Some(action);
                    agent.jobs += 1;
                    let n = agent.jobs;
                    self.soon(20, 150, Event::Job { i, life, n });
                }
            }
            Action::Start { .. } => {
                let life = self.machine(i).life;
                let Some(agent) = &mut self.machines[i].agent else {
                    return;
                };
                if agent.start.is_none() {
                    agent.start = Some(action);
                    agent.starts += 1;
                    let n = agent.starts;
                    self.soon(20, 150, Event::Start { i, life, n });
                }
            }
            Action::Admit { term, members, .. } => {
                if self.machine(i).launches() {
                    let machine = &mut self.machines[i];
                    machine.admitted = Some((term, members));
                    machine.dirty = true;
                    self.unlink_strangers(i);
                    self.think_later(i);
                }
            }
            Action::Attach {
                term,
                holder,
                instance,
            } => self.attach(i, term, &holder, instance),
            Action::Announce(_) | Action::Register { .. } => {}
        }
        debug_assert!(t == self.t, "an action takes no time");
    }

    fn sees_pause(&self, i: usize) -> bool {
        let agent = self.machine(i).agent.as_ref();
        agent.is_some_and(|a| a.seen.lease.last().is_some_and(LeaseSeen::paused))
    }

    fn think_later(&mut self, i: usize) {
        self.soon_think(i, 5, 50);
    }

    pub(super) fn read(&mut self, i: usize) {
        let t = self.t;
        let machine = &mut self.machines[i];
        let at = machine.now(t).tick;
        let Some(agent) = machine.agent.as_mut().filter(|a| !a.reading) else {
            return;
        };
        agent.reading = true;
        self.ask(i, Asked::Read { at });
    }

    fn write(&mut self, i: usize, write: LeaseWrite) {
        let machine = self.machine(i);
        let sent = machine.now(self.t).boot;
        let Some(agent) = &machine.agent else { return };
        if agent.carries() != write.carries {
            self.blame(format!(
                "J6: {} writes on version {:?} but sees {:?}",
                machine.name,
                write.carries,
                agent.carries()
            ));
            return;
        }
        if write.why == WriteReason::Release {
            if machine.jvm.is_some() {
                let what = format!("H45: {} releases with a live broker", machine.name);
                self.blame(what);
                return;
            }
            if let Some(target) = &write.record.target {
                self.check_handover(i, &target.clone());
            }
        }
        if write.why == WriteReason::Acquire {
            self.check_candidate(i, &write);
        }
        self.check_pace(i);
        if let Some(agent) = &mut self.machines[i].agent {
            agent.writing = true;
        }
        let write = Box::new(write);
        self.ask(i, Asked::Write { write, sent });
    }

    fn order_gate(&mut self, i: usize, term: TermId, gate: Gate, before: Option<Boot>) {
        let jvm = self.machine(i).jvm.as_ref();
        let Some(id) = jvm.filter(|j| j.term == term).map(|j| j.id) else {
            return;
        };
        self.soon(
            5,
            150,
            Event::Gate {
                i,
                id,
                gate,
                before,
            },
        );
    }

    fn attach(
        &mut self,
        i: usize,
        term: TermId,
        holder: &Member,
        instance: agent_core::ids::Instance,
    ) {
        let Some(from) = self.index_of(holder) else {
            return;
        };
        let machine = &mut self.machines[i];
        let slave = machine.jvm.as_ref();
        let Some(id) = slave.filter(|j| j.role == Role::Slave).map(|j| j.id) else {
            return;
        };
        let same = machine
            .attached
            .as_ref()
            .is_some_and(|(of, f, by)| *of == term && *f == from && *by == instance);
        if same {
            return;
        }
        machine.attached = Some((term, from, instance));
        machine.upstream = Upstream::Connecting { term };
        machine.dirty = true;
        self.unlink(i);
        self.soon(10, 200, Event::Link { i, id });
        self.think_later(i);
    }

    /// Who is not in K any more is let go.
    fn unlink_strangers(&mut self, i: usize) {
        for n in 0..self.machines.len() {
            let who = &self.machine(n).disk.volume.who;
            let linked = self.machine(n).link.is_some_and(|l| l.from == i);
            let admitted = self.machine(i).admitted.as_ref();
            if linked && !admitted.is_some_and(|(_, k)| k.contains(who)) {
                self.unlink(n);
            }
        }
    }
}
