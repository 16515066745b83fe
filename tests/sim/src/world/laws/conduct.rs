//! How an agent must conduct itself after every decision: each layer of the fence is enough alone, so each is checked
//! alone; what the layers below would have caught does not excuse it.

use crate::machine::Failure;
use crate::world::World;
use agent_core::Reason;
use agent_core::action::LeaseWrite;
use agent_core::observation::{EndCause, LeaseSeen, Process};
use agent_core::record::{Stage, TermId};
use agent_core::report::Role;
use std::time::Duration;

/// A number that is waited on is on the disk by then, milliseconds.
const WRITTEN: u64 = 5_000;

impl World {
    /// What holds once the orders of a decision are given.
    pub(in crate::world) fn check_conduct(&mut self, i: usize, reason: Reason) {
        let wrong = self.wrong_master(i).or_else(|| self.unwritten(i, reason));
        if let Some(wrong) = wrong {
            self.blame(wrong);
        }
    }

    /// A master that its agent knows to run: killed once the Lease names somebody else, and before its permit ends.
    fn wrong_master(&self, i: usize) -> Option<String> {
        let machine = self.machine(i);
        let agent = machine.agent.as_ref().filter(|_| machine.launches())?;
        let known = match &agent.seen.launcher.last()?.process {
            Process::Live { term, .. } => *term,
            Process::Idle | Process::Ended { .. } => return None,
        };
        let jvm = machine
            .jvm
            .as_ref()
            .filter(|j| j.term == known && !j.dying)?;
        if jvm.role != Role::Master {
            return None;
        }
        let (name, term) = (&machine.name, jvm.term);
        if let Some(LeaseSeen::Record { record, .. }) = agent.seen.lease.last()
            && (record.holder != machine.instance || record.term.id != term)
        {
            let other = record.term.id;
            return Some(format!(
                "{name} goes on in term {term} though it sees term {other} of {:?}",
                record.holder.as_str()
            ));
        }
        let timing = self.policy.timing();
        let held = agent.state.held.as_ref().filter(|h| h.term == term);
        let earned = held.and_then(|h| h.renewed).map(|r| r.plus(timing.permit));
        let limit = jvm.permit.max(earned.unwrap_or_default());
        let due = machine.now(self.t).boot >= limit.minus(timing.kill_lead);
        due.then(|| format!("fence: the agent of {name} does not kill term {term} in time"))
    }

    /// I2: an epoch that a member waits on survives its agent.
    fn unwritten(&mut self, i: usize, reason: Reason) -> Option<String> {
        let t = self.t;
        let machine = &mut self.machines[i];
        let (disk, well) = (machine.disk.volume.highest_epoch, machine.well_since);
        let agent = machine.agent.as_mut()?;
        let waits = matches!(reason, Reason::WaitingForMaster | Reason::WaitingForAnswer);
        let highest = agent.state.highest;
        if !waits || highest <= disk {
            agent.unwritten = None;
            return None;
        }
        let (known, since) = *agent.unwritten.get_or_insert((highest, t));
        let due = known > disk && t > since.max(well) + WRITTEN;
        due.then(|| {
            let name = &machine.name;
            format!("I2: {name} waits on epoch {known} and has only {disk} on its disk")
        })
    }

    /// H3: one write at a time, and after one that failed only on a view that was read since.
    pub(in crate::world) fn check_pace(&mut self, i: usize) {
        let machine = self.machine(i);
        let Some(agent) = &machine.agent else { return };
        let name = &machine.name;
        let wrong = if agent.writing {
            Some(format!(
                "H3: {name} writes while its last write is under way"
            ))
        } else {
            let blind = agent
                .failed_at
                .is_some_and(|at| agent.seen.lease.since(at).is_none());
            blind.then(|| format!("H3: {name} writes again without having looked"))
        };
        if let Some(wrong) = wrong {
            self.blame(wrong);
        }
    }

    /// H23: no gate opens before the record says that this term serves.
    pub(in crate::world) fn check_gate(&mut self, i: usize, term: TermId) {
        if !self.served.contains(&term) {
            let name = &self.names[i];
            self.blame(format!(
                "H23: {name} opens its gate before term {term} serves"
            ));
        }
    }

    /// H34: who failed to serve keeps out for its back-off.
    pub(in crate::world) fn check_backoff(&mut self, i: usize) {
        let machine = self.machine(i);
        let Some(failure) = machine.failure.filter(|f| f.life == machine.life) else {
            return;
        };
        let pause = self
            .policy
            .backoff
            .saturating_mul(1 << (failure.times - 1).min(10));
        let pause = pause.min(self.policy.backoff_cap);
        let passed = Duration::from_millis(self.t.saturating_sub(failure.at) * 1100 / 1000);
        if passed < pause {
            let name = &machine.name;
            self.blame(format!(
                "H34: {name} wins {passed:?} after its start failed for the {}. time",
                failure.times
            ));
        }
    }

    /// Remembers a promotion that was given up because its broker died of itself.
    pub(in crate::world) fn note_failure(&mut self, i: usize, write: &LeaseWrite) {
        let machine = &mut self.machines[i];
        let term = &write.record.term;
        if term.stage == Stage::Serving {
            machine.failure = None;
            return;
        }
        let crashed = machine.ended == Some((Role::Master, term.id, EndCause::Crashed));
        let started = machine.started == Some((term.id, machine.life));
        if !write.record.holder.is_empty() || !crashed || !started {
            return;
        }
        let life = machine.life;
        let before = machine.failure.filter(|f| f.life == life);
        machine.failure = Some(Failure {
            life,
            at: machine.ended_at,
            times: before.map_or(0, |f| f.times) + 1,
        });
    }

    /// H7: an empty volume never wins over data.
    pub(in crate::world) fn check_blank(&mut self, i: usize, history: usize) {
        let holds = |n: &usize| *n != i && self.machine(*n).disk.log.end() > 0;
        let empty = self.machine(i).disk.log.end() == 0 && history == 1;
        let other = (0..self.machines.len()).find(holds);
        if let Some(other) = other.filter(|_| empty && !self.served.is_empty()) {
            let what = format!(
                "H7: {} wins with an empty volume, {} has data",
                self.names[i], self.names[other]
            );
            self.blame(what);
        }
    }
}
