//! What must hold in every state.

use crate::machine::Machine;
use crate::time;
use crate::world::World;
use agent_core::action::LeaseWrite;
use agent_core::ids::Offset;
use agent_core::record::TermId;
use agent_core::report::Role;
use agent_core::time::Boot;
use serde::Serialize;

/// A law that an act broke; laws of a state are judged on the state itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Law {
    /// Epochs rise.
    I2,
    /// Who attaches is a prefix of its master.
    I4,
    /// Nothing is cut that the group has.
    I6,
    /// One term is one process, and starts where its history says.
    H9,
    /// No permit beyond what a write that landed earned.
    J5,
    /// No work on a volume while a broker runs on it.
    Jobs,
    /// An agent comes to rest within a tick.
    Rest,
}

impl World {
    /// I1: at most one acknowledges.
    pub(crate) fn one_acknowledges(&self) -> bool {
        self.machines.iter().filter(|m| m.accepts()).count() <= 1
    }

    /// J3: at most one has a master that is permitted, whoever stands still.
    pub(crate) fn one_is_permitted(&self) -> bool {
        let now = time::now().boot;
        let permitted = |m: &&Machine| m.master().is_some_and(|j| j.permit > now);
        self.machines.iter().filter(permitted).count() <= 1
    }

    /// I6: what was answered is in a log or in an archive.
    pub(crate) fn nothing_vanished(&self) -> bool {
        let kept = |m: &Machine, msg| m.log.all().contains(msg) || m.archived.contains(msg);
        let mut written = self.written.iter();
        written.all(|msg| self.machines.iter().any(|m| kept(m, msg)))
    }

    /// J20: no other term without a cause.
    pub(crate) fn no_idle_term(&self) -> bool {
        self.faults > 0 || self.terms <= 1
    }

    pub(crate) fn judge_acquire(&mut self, write: &LeaseWrite) {
        let epoch = write.record.term.id.epoch;
        if epoch <= self.top {
            self.blame(Law::I2);
        }
        self.top = self.top.max(epoch);
    }

    /// J5: a master is permitted for D after the send of a write that landed, and no longer.
    pub(crate) fn judge_permit(&mut self, i: usize, term: TermId, until: Boot) {
        let machine = &self.machines[i];
        if machine.jvm.as_ref().is_some_and(|j| j.role == Role::Slave) {
            return;
        }
        let landed = machine.landed.filter(|(of, _)| *of == term);
        let limit = landed.map(|(_, sent)| sent.plus(time::PERMIT));
        if limit.is_none_or(|limit| until > limit) {
            self.blame(Law::J5);
        }
    }

    pub(crate) fn judge_start(&mut self, i: usize, role: Role, term: TermId, permit: Boot) {
        if role == Role::Slave {
            return;
        }
        self.judge_permit(i, term, permit);
        let machine = &self.machines[i];
        let (end, last) = (machine.log.end(), machine.volume.lineage.last());
        let named = last.is_some_and(|e| e.term() == term && e.start == end);
        let first = self.masters.insert(term);
        if !named || !first {
            self.blame(Law::H9);
        }
    }

    /// A cut takes nothing off that the master of this term has.
    pub(crate) fn judge_cut(&mut self, i: usize, term: TermId, to: Offset) {
        let runs = |m: &&Machine| m.master().is_some_and(|j| j.term == term);
        let Some(master) = self.machines.iter().find(runs) else {
            return;
        };
        if to < self.machines[i].log.common(&master.log) {
            self.blame(Law::I6);
        }
    }
}
