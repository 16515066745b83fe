//! The shell's long-running work on a volume.

use super::Group;
use crate::log::Log;
use crate::member::{MemberWorld, Walked};
use crate::show;
use agent_core::action::Action;
use agent_core::ids::*;
use agent_core::observation::*;
use agent_core::report::{Frozen, Role};

impl Group {
    pub(super) fn jobs(&mut self, i: usize) {
        let t = self.t;
        let due = |slot: &Option<(u64, Action)>| slot.as_ref().is_some_and(|(at, _)| *at <= t);
        let Some(agent) = &mut self.members[i].agent else {
            return;
        };
        if due(&agent.job) {
            let job = agent.job.take();
            if let Some((_, job)) = job {
                self.job_done(i, &job);
            }
        }
        let Some(agent) = &mut self.members[i].agent else {
            return;
        };
        if due(&agent.start) {
            let start = agent.start.take();
            if let Some((_, start)) = start {
                self.launch(i, &start);
            }
        }
    }

    pub(super) fn job_done(&mut self, i: usize, job: &Action) {
        let t = self.t;
        let only_files = matches!(job, Action::Persist { .. });
        if self.members[i].jvm.is_some() && !only_files {
            self.blame(format!(
                "{}: {} ends while a broker runs",
                self.names[i],
                show::action(job)
            ));
            return;
        }
        let master = match job {
            Action::Prove { holder, .. } => self.names.iter().position(|n| n == holder),
            _ => None,
        };
        let theirs = master
            .filter(|m| self.linked(*m, i))
            .map(|m| self.members[m].disk.log.clone());
        let others: Vec<Log> = self.master_logs(i, job);
        let m = &mut self.members[i];
        let Some(agent) = &mut m.agent else { return };
        let end = m.disk.log.end();
        let extent = Extent {
            min: Offset::ZERO,
            end: Offset::new(end),
        };
        let mut blamed = None;
        match job {
            Action::Examine | Action::Freeze { .. } => {
                if let Some(to) = m
                    .disk
                    .pending_cut
                    .filter(|_| matches!(job, Action::Examine))
                {
                    m.disk.pending_cut = None;
                    m.disk.who.session = Session::new(format!("{}-c{t}", m.name));
                    m.disk.cut += end.saturating_sub(to);
                    m.disk.archived += end.saturating_sub(to);
                    m.disk.log.cut(to);
                }
                let extent = Extent {
                    min: Offset::ZERO,
                    end: Offset::new(m.disk.log.end()),
                };
                agent.walked.extent = Some(extent);
                if let Action::Freeze { vacancy } = job {
                    m.disk.frozen = Some(Frozen {
                        vacancy: vacancy.clone(),
                        end: extent.end,
                        last_epoch: m.disk.lineage.last_epoch(extent.end),
                    });
                }
            }
            Action::Repair { term, end: wanted } => {
                agent.walked.extent = Some(extent);
                if wanted.get() == end {
                    agent.walked.repaired = Some(*term);
                }
            }
            Action::Prove {
                term, from, upto, ..
            } => {
                if let Some(theirs) = theirs {
                    let equal = m.disk.log.common(&theirs).min(upto.get()).max(from.get());
                    agent.walked.proof = Some(Proof {
                        term: *term,
                        upto: *upto,
                        equal: Offset::new(equal),
                    });
                }
            }
            Action::Cut { to, end: was, .. } if was.get() == end => {
                let common = others.iter().map(|o| m.disk.log.common(o)).max();
                let known = !m.disk.lineage.is_empty();
                if common.is_some_and(|common| to.get() < common && known && common > 64 * 1024) {
                    blamed = Some(format!(
                        "J14: {} cuts {end}->{to} though {common:?} bytes are the group's",
                        m.name
                    ));
                }
                m.disk.who.session = Session::new(format!("{}-c{t}", m.name));
                m.disk.frozen = None;
                m.disk.cut += end - to.get();
                m.disk.archived += end - to.get();
                m.disk.log.cut(to.get());
                agent.walked = Walked::default();
                agent.walked.extent = Some(Extent {
                    min: Offset::ZERO,
                    end: *to,
                });
            }
            Action::Persist {
                lineage,
                highest,
                joined,
                seeding,
            } => {
                m.disk.lineage = lineage.clone();
                m.disk.highest = *highest;
                m.disk.joined = *joined;
                m.disk.seeding = *seeding;
            }
            _ => {}
        }
        if let Some(blamed) = blamed {
            self.blame(blamed);
        }
        if let Action::Persist { lineage, .. } = job {
            self.check_lineage(i, lineage);
            self.check_histories();
        }
    }

    /// Logs of the masters that a cut under this term could mean.
    pub(super) fn master_logs(&self, i: usize, job: &Action) -> Vec<Log> {
        let Action::Cut { term, .. } = job else {
            return vec![];
        };
        let runs = |m: &&MemberWorld| {
            m.jvm
                .as_ref()
                .is_some_and(|j| j.role == Role::Master && j.term == *term)
        };
        let masters = self.members.iter().enumerate().filter(|(n, _)| *n != i);
        masters
            .map(|(_, m)| m)
            .filter(runs)
            .map(|m| m.disk.log.clone())
            .collect()
    }
}
