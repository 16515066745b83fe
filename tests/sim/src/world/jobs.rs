//! The shell's long-running work on a volume.

use super::World;
use crate::machine::{Disk, Window};
use crate::show;
use agent_core::action::Action;
use agent_core::ids::{Offset, Session};
use agent_core::observation::{Extent, Proof};
use agent_core::report::{Frozen, Role};

impl World {
    pub(super) fn job_due(&mut self, i: usize, life: u64, n: u64) {
        let machine = &mut self.machines[i];
        if machine.life != life || machine.is(Window::Away) {
            return;
        }
        if !machine.minds() {
            self.soon(200, 600, super::Event::Job { i, life, n });
            return;
        }
        let Some(agent) = self.machines[i].agent.as_mut().filter(|a| a.jobs == n) else {
            return;
        };
        let Some(job) = agent.job.take() else { return };
        self.job_done(i, &job);
        self.machines[i].show_volume(self.t);
        self.think(i);
    }

    fn job_done(&mut self, i: usize, job: &Action) {
        let t = self.t;
        let machine = self.machine(i);
        if machine.jvm.is_some() && !matches!(job, Action::Persist { .. }) {
            self.blame(format!(
                "{}: {} ends while a broker runs",
                machine.name,
                show::action(job)
            ));
            return;
        }
        let end = machine.disk.log.end();
        let extent = Extent {
            min: Offset::ZERO,
            end: Offset::new(end),
        };
        let volume = &mut self.machines[i].disk.volume;
        match job {
            Action::Examine => self.examine(i),
            Action::Freeze { vacancy } => {
                if volume.pending_cut.is_none() {
                    volume.extent = Some(extent);
                    volume.frozen = Some(Frozen {
                        vacancy: vacancy.clone(),
                        end: extent.end,
                        last_epoch: volume.lineage.last_epoch(extent.end),
                    });
                }
            }
            Action::Repair { term, end: wanted } => {
                volume.extent = Some(extent);
                if wanted.get() == end {
                    volume.repaired = Some(*term);
                }
            }
            Action::Prove {
                term,
                holder,
                from,
                upto,
            } => {
                let master = self.index_of(holder);
                let Some(master) = master.filter(|m| self.linked(i, *m)) else {
                    return;
                };
                self.flow(master);
                let theirs = &self.machine(master).disk.log;
                let common = self.machine(i).disk.log.common(theirs);
                let equal = Offset::new(common.min(upto.get()).max(from.get()));
                self.machines[i].disk.volume.proof = Some(Proof {
                    term: *term,
                    upto: *upto,
                    equal,
                });
            }
            Action::Cut { term, to, end: was } if was.get() == end => {
                self.check_cut(i, *term, to.get(), end);
                let name = self.machine(i).name.clone();
                let disk = &mut self.machines[i].disk;
                disk.archived += end - to.get().min(end);
                disk.take_off(to.get(), Session::new(format!("{name}-c{t}")));
            }
            Action::Persist {
                lineage,
                highest,
                joined,
                seeding,
            } => {
                volume.lineage = lineage.clone();
                volume.highest_epoch = *highest;
                volume.joined = *joined;
                volume.seeding = *seeding;
                self.check_persisted(i);
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

    /// Finishes what a dead predecessor began, and walks the log.
    fn examine(&mut self, i: usize) {
        let t = self.t;
        let name = self.machine(i).name.clone();
        let disk = &mut self.machines[i].disk;
        if let Some(to) = disk.volume.pending_cut.take() {
            let end = disk.log.end();
            disk.archived += end.saturating_sub(to.get());
            disk.take_off(to.get(), Session::new(format!("{name}-f{t}")));
        }
        disk.volume.extent = Some(Extent {
            min: Offset::ZERO,
            end: Offset::new(disk.log.end()),
        });
    }

    /// The logs of the masters that a cut under this term could mean.
    pub(super) fn masters_of(&self, i: usize, term: agent_core::TermId) -> Option<usize> {
        let runs = |n: &usize| {
            let jvm = self.machine(*n).jvm.as_ref();
            *n != i && jvm.is_some_and(|j| j.role == Role::Master && j.term == term)
        };
        (0..self.machines.len()).find(runs)
    }
}

impl Disk {
    /// Cuts the log: another life of it begins.
    fn take_off(&mut self, to: u64, session: Session) {
        let end = self.log.end();
        self.cut += end - to.min(end);
        self.log.cut(to);
        if to == 0 {
            self.rotten = false;
        }
        self.volume.who.session = session;
        self.volume.frozen = None;
        self.forget_walk();
        self.volume.extent = Some(Extent {
            min: Offset::ZERO,
            end: Offset::new(self.log.end()),
        });
    }
}
