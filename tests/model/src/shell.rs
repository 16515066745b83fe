//! What the shell does with an agent's actions: at once, and in order.

use crate::laws::Law;
use crate::machine::{Jvm, Request, Way};
use crate::time;
use crate::world::World;
use agent_core::action::{Action, LeaseWrite, WriteReason};
use agent_core::ids::Offset;
use agent_core::observation::{EndCause, Extent, Gate, Proof, Upstream, WriteOutcome};
use agent_core::report::{Frozen, Role};

/// What becomes of a Lease write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It lands at once, and the answer comes at once.
    Answered,
    /// It stays on its way.
    Delayed,
    /// It lands, and the answer is lost.
    Unheard,
}

impl World {
    pub(crate) fn act(&mut self, i: usize, action: Action, fate: Fate) {
        match action {
            Action::Write(write) => self.send(i, write, fate),
            Action::Permit { term, until, .. } => {
                self.judge_permit(i, term, until);
                if let Some(jvm) = self.machines[i].jvm.as_mut().filter(|j| j.term == term) {
                    jvm.permit = jvm.permit.max(until);
                }
            }
            Action::Kill { .. } | Action::Stop => self.machines[i].ends(EndCause::Ordered),
            Action::Shut { term } => self.turn_gate(i, term, Gate::Shut),
            Action::Open { term, before } => {
                if time::now().boot < before {
                    self.turn_gate(i, term, Gate::Open);
                }
            }
            Action::Examine
            | Action::Freeze { .. }
            | Action::Repair { .. }
            | Action::Prove { .. }
            | Action::Cut { .. } => {
                if self.machines[i].jvm.is_some() {
                    self.blame(Law::Jobs);
                } else {
                    self.work(i, action);
                }
            }
            Action::Persist { .. } => self.work(i, action),
            Action::Start {
                role,
                term,
                instance,
                permit,
            } => {
                let machine = &self.machines[i];
                let late = time::now().boot >= permit;
                if late || machine.jvm.is_some() || machine.instance() != instance {
                    return;
                }
                self.judge_start(i, role, term, permit);
                let machine = &mut self.machines[i];
                machine.volume.frozen = None;
                machine.forget_walk();
                machine.upstream = Upstream::Parked;
                machine.attached = None;
                machine.jvm = Some(Jvm {
                    role,
                    term,
                    instance,
                    permit,
                    up: false,
                    recovered: Offset::ZERO,
                    gate: match role {
                        Role::Master => Gate::Shut,
                        Role::Slave => Gate::Open,
                    },
                });
            }
            Action::Admit { term, members, .. } => {
                self.machines[i].admitted = Some((term, members));
            }
            Action::Attach {
                term,
                holder,
                instance,
            } => {
                let from = self.machines.iter().position(|m| m.name == holder);
                if let Some(from) = from {
                    self.machines[i].attached = Some((term, from, instance));
                    self.machines[i].upstream = Upstream::Connecting { term };
                }
            }
            Action::ReadLease | Action::Register { .. } | Action::Announce(_) => {}
        }
    }

    fn send(&mut self, i: usize, write: LeaseWrite, fate: Fate) {
        if write.why == WriteReason::Acquire {
            self.machines[i].tries = (self.machines[i].tries + 1) % 4;
        }
        let sent = time::now().boot;
        self.machines[i].outcome = None;
        let cut = self.machines[i].api == Way::Cut;
        let request = |write, dead| Request {
            write,
            sent,
            told: false,
            dead,
        };
        if cut || fate == Fate::Delayed {
            self.machines[i].requests.push(request(write, cut));
            return;
        }
        let result = self.land(i, &write, sent);
        if fate == Fate::Unheard {
            self.machines[i].requests.push(request(write, true));
            return;
        }
        let id = write.id;
        self.machines[i].outcome = Some(WriteOutcome { id, sent, result });
    }

    fn turn_gate(&mut self, i: usize, term: agent_core::TermId, gate: Gate) {
        let machine = &mut self.machines[i];
        let jvm = machine.jvm.as_mut().filter(|j| j.term == term && j.up);
        let Some(jvm) = jvm else { return };
        jvm.gate = gate;
        let first = machine.log.all().last().is_none_or(|m| m.term != term);
        if gate == Gate::Open && first {
            let msg = machine.log.append(term);
            self.written.insert(msg);
        }
    }

    /// Work on the volume.
    fn work(&mut self, i: usize, job: Action) {
        let end = self.machines[i].log.end();
        let extent = Extent {
            min: Offset::ZERO,
            end,
        };
        let volume = &mut self.machines[i].volume;
        match job {
            Action::Examine => volume.extent = Some(extent),
            Action::Freeze { vacancy } => {
                volume.extent = Some(extent);
                volume.frozen = Some(Frozen {
                    vacancy,
                    end,
                    last_epoch: volume.lineage.last_epoch(end),
                });
            }
            Action::Repair { term, end: wanted } => {
                volume.extent = Some(extent);
                if wanted == end {
                    volume.repaired = Some(term);
                }
            }
            Action::Prove {
                term,
                holder,
                from,
                upto,
            } => {
                let master = self.machines.iter().position(|m| m.name == holder);
                let Some(master) = master.filter(|m| self.reach(i, *m)) else {
                    return;
                };
                let common = self.machines[i].log.common(&self.machines[master].log);
                let equal = common.min(upto).max(from);
                self.machines[i].volume.proof = Some(Proof { term, upto, equal });
            }
            Action::Cut {
                term,
                to,
                end: wanted,
            } if wanted == end => {
                self.judge_cut(i, term, to);
                let machine = &mut self.machines[i];
                let off = machine.log.cut(to);
                machine.archived.extend(off);
                machine.archived.sort();
                machine.archived.dedup();
                machine.new_session();
                machine.volume.frozen = None;
                machine.forget_walk();
                let end = machine.log.end();
                machine.volume.extent = Some(Extent {
                    min: Offset::ZERO,
                    end,
                });
            }
            Action::Persist {
                lineage,
                highest,
                joined,
                seeding,
            } => {
                volume.lineage = lineage;
                volume.highest_epoch = highest;
                volume.joined = joined;
                volume.seeding = seeding;
            }
            Action::Cut { .. }
            | Action::ReadLease
            | Action::Write(_)
            | Action::Permit { .. }
            | Action::Kill { .. }
            | Action::Stop
            | Action::Shut { .. }
            | Action::Open { .. }
            | Action::Register { .. }
            | Action::Start { .. }
            | Action::Admit { .. }
            | Action::Attach { .. }
            | Action::Announce(_) => {}
        }
    }
}
