//! A group at rest: nothing under way, everybody serves or follows. Until the next fault nothing but renewals would
//! happen there, so such stretches are leapt over: true time stands still, and what remembers is made older.

use super::World;
use crate::fault;
use crate::log::MESSAGE;
use crate::machine::Machine;
use agent_core::Reason;
use agent_core::observation::Gate;
use agent_core::report::Role;
use std::time::Duration;

/// Rest is believed after so long: two renewals.
const REST: u64 = 4_500;

impl World {
    /// After a decision: is the group at rest, and for how long?
    pub(super) fn rest(&mut self, i: usize, reason: Reason) {
        if reason != Reason::Serving {
            let runs = self.machine(i).jvm.as_ref();
            if runs.is_some_and(|j| j.role == Role::Master) {
                self.quiet_since = None;
            }
            return;
        }
        if !self.at_rest(i) {
            self.quiet_since = None;
            return;
        }
        let Some(since) = self.quiet_since else {
            self.quiet_since = Some(self.t);
            self.writes_at_quiet = self.counts.writes;
            return;
        };
        if self.t < since + REST {
            return;
        }
        self.check_budget(since);
        if self.leaps {
            self.leap();
        }
    }

    /// Whether nothing is wrong with anybody and nothing is to be done.
    fn at_rest(&self, master: usize) -> bool {
        let lease = self.store.object.as_ref();
        let calm = lease
            .is_some_and(|o| !o.damaged && !o.requests.paused && o.requests.switchover.is_none());
        // Our own renewal may be the one thing under way.
        calm && self.under_way <= 1
            && self.vandal.is_none()
            && self
                .machines
                .iter()
                .all(|m| !m.belongs || self.rests(m, master))
    }

    fn rests(&self, machine: &Machine, master: usize) -> bool {
        let minds = machine.agent.as_ref().is_some_and(|a| {
            let stops = a.seen.stopping == agent_core::observation::Stopping::Yes;
            a.steady && !stops && a.job.is_none() && a.start.is_none()
        });
        let runs = machine
            .jvm
            .as_ref()
            .is_some_and(|j| j.up && !j.dying && j.hangs.is_none());
        let sound = minds && runs && !machine.troubled() && machine.crashes_left == 0;
        if !sound {
            return false;
        }
        if machine.index == master {
            let serves = |j: &crate::machine::Jvm| j.role == Role::Master && j.gate == Gate::Open;
            return machine.jvm.as_ref().is_some_and(serves);
        }
        let behind = self
            .end_at(master, self.t)
            .saturating_sub(machine.disk.log.end());
        machine.link.is_some_and(|l| l.from == master)
            && machine.disk.volume.seeding.is_none()
            && behind <= 1_000 * MESSAGE
    }

    fn leap(&mut self) {
        let clock = self.clock();
        let next = self.plan.get(self.next_fault).map_or(fault::RUN, |f| f.at);
        let phase = self.chance.range(0, 2_000);
        let span = next.saturating_sub(clock + phase);
        if span < 1_000 {
            return;
        }
        self.counts.leapt += span;
        self.flow_all();
        self.grow(span);
        for machine in &mut self.machines {
            let local = Duration::from_millis(machine.clocks.local_span(span));
            if let Some(lost) = &mut machine.lost_at {
                *lost = lost.saturating_sub(span);
            }
            if let Some(failure) = &mut machine.failure {
                failure.at = failure.at.saturating_sub(span);
            }
            let Some(agent) = &mut machine.agent else {
                continue;
            };
            for crash in &mut agent.state.crashes {
                crash.at = crash.at.minus(local);
            }
            if let Some(backoff) = &mut agent.state.backoff {
                backoff.until = backoff.until.minus(local);
            }
        }
        self.tell("--", || format!("{span} ms of rest"));
    }

    /// What clients sent meanwhile is on all of them.
    fn grow(&mut self, span: u64) {
        let masters = self.machines.iter().position(Machine::accepts);
        let Some(master) = masters else { return };
        let source = &mut self.machines[master];
        let bytes = span / source.interval.max(1) * MESSAGE;
        if let Some(jvm) = &mut source.jvm
            && let Some((_, base)) = &mut jvm.traffic
        {
            *base += bytes;
            source.disk.log.append(jvm.id, bytes);
        }
        let source = source.disk.log.clone();
        for slave in &mut self.machines {
            if let Some(link) = &mut slave.link {
                link.base += bytes;
                let upto = slave.disk.log.end() + bytes;
                slave.disk.log.copy(&source, upto);
            }
        }
    }
}
