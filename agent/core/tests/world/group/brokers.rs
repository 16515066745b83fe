//! The launchers' brokers and the replication between them.

use super::{END, Group};
use crate::member::{Jvm, Walked};
use agent_core::action::Action;
use agent_core::ids::*;
use agent_core::observation::*;
use agent_core::record::TermId;
use agent_core::report::Role;

impl Group {
    pub(super) fn brokers(&mut self, i: usize) {
        let t = self.t;
        let boot = self.members[i].now(t).boot;
        // The launcher's kill at the permit's end takes up to G.
        let slow = self.chance.range(0, 850);
        let more = self.chance.range(0, 20) == 0;
        let m = &mut self.members[i];
        let Some(jvm) = &mut m.jvm else { return };
        if boot >= jvm.permit && jvm.dies.is_none() {
            jvm.dies = Some((jvm.killed_at(t + slow), EndCause::Fenced));
        }
        if let Some((at, why)) = jvm.dies
            && t >= at
        {
            m.jvm_ends(why);
            self.say(i, &format!("broker is gone: {why:?}"));
            return;
        }
        let (id, up) = (jvm.id, t >= jvm.up_at);
        let starting = up && jvm.recovered.is_none();
        if starting {
            jvm.recovered = Some(Offset::new(m.disk.log.end()));
            if jvm.role == Role::Master && more {
                // A delayed message is due at once (H28).
                m.disk.log.append(id, 100);
            }
        }
        if m.accepts(t) && self.t < END - 20_000 {
            let m = &mut self.members[i];
            m.disk.log.append(id, 1_000);
            m.acked = m.disk.log.end();
        }
    }

    pub(super) fn linked(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.members[a], &self.members[b]);
        a.up() && b.up() && a.alone.is_none() && b.alone.is_none()
    }

    pub(super) fn replicate(&mut self) {
        for i in 0..self.members.len() {
            let Some((term, holder, instance)) = self.members[i].attached.clone() else {
                continue;
            };
            let runs = self.members[i].jvm.as_ref().is_some_and(|j| {
                j.role == Role::Slave && j.term == term && j.hangs.is_none() && self.t >= j.up_at
            });
            if !self.members[i].up() {
                continue;
            }
            if !runs {
                continue;
            }
            let from = self.names.iter().position(|n| *n == holder);
            let Some(from) = from.filter(|from| self.admits(*from, i, term, &instance)) else {
                self.members[i].upstream = Upstream::Connecting { term };
                self.forget_replica(i);
                continue;
            };
            let source = self.members[from].disk.log.clone();
            let log = &self.members[i].disk.log;
            if !log.is_prefix_of(&source) {
                let (end, common) = (log.end(), log.common(&source));
                self.blame(format!(
                    "I4: {} attaches to {holder} in term {term} with a log that ends at {end} and is equal only up to {common}",
                    self.names[i]
                ));
                return;
            }
            if self.chance.range(0, 300) == 0 {
                self.members[i].stalls = self.t + self.chance.range(200, 3_000);
            }
            if self.t >= self.members[i].stalls || self.t >= END - 20_000 {
                self.members[i].disk.log.copy(&source, 4_000);
            }
            self.members[i].upstream = Upstream::Streaming { term };
            let end = Offset::new(self.members[i].disk.log.end());
            let name = self.names[i].clone();
            self.members[from].replicas.insert(name, end);
        }
    }

    pub(super) fn forget_replica(&mut self, i: usize) {
        let name = self.names[i].clone();
        for m in &mut self.members {
            m.replicas.remove(&name);
        }
    }

    pub(super) fn admits(&self, from: usize, i: usize, term: TermId, instance: &Instance) -> bool {
        let master = &self.members[from];
        let boot = master.now(self.t).boot;
        let runs = master.jvm.as_ref().is_some_and(|j| {
            j.role == Role::Master
                && j.term == term
                && j.hangs.is_none()
                && boot < j.permit
                && self.t >= j.up_at
        });
        let admitted = master
            .admitted
            .as_ref()
            .is_some_and(|(of, k)| *of == term && k.contains(&self.members[i].disk.who));
        self.linked(from, i) && runs && admitted && master.instance() == *instance
    }

    pub(super) fn launch(&mut self, i: usize, start: &Action) {
        let Action::Start {
            role,
            term,
            instance,
            permit,
        } = start
        else {
            return;
        };
        let up_at = self.t + self.chance.range(300, 5_000);
        self.jvms += 1;
        let id = self.jvms;
        let m = &mut self.members[i];
        let boot = m.now(self.t).boot;
        if *instance != m.instance() || m.jvm.is_some() || boot >= *permit {
            return;
        }
        m.disk.frozen = None;
        if let Some(agent) = &mut m.agent {
            agent.walked = Walked::default();
            agent.broker = None;
        }
        m.jvm = Some(Jvm {
            id,
            role: *role,
            term: *term,
            instance: instance.clone(),
            permit: *permit,
            up_at,
            recovered: None,
            gate: match role {
                Role::Master => Gate::Shut,
                Role::Slave => Gate::Open,
            },
            dies: None,
            hangs: None,
        });
        m.upstream = Upstream::Parked;
        m.attached = None;
        self.say(
            i,
            &format!("broker starts as {} in term {term}", role.as_str()),
        );
        if *role == Role::Master {
            let end = self.members[i].disk.log.end();
            let last = self.members[i].disk.lineage.last().cloned();
            if !self.masters.insert(*term) {
                self.blame(format!("H9: a second master process in term {term}"));
            }
            if last
                .as_ref()
                .is_none_or(|e| e.term() != *term || e.start.get() != end)
            {
                self.blame(format!(
                    "J8: master of term {term} starts at {end}, its history says {last:?}"
                ));
            }
        }
        self.check_permit(i, *role, *term, *permit);
    }

    pub(super) fn gate(&mut self, i: usize, term: TermId, gate: Gate) {
        let t = self.t;
        if let Some(jvm) = &mut self.members[i].jvm
            && jvm.term == term
            && t >= jvm.up_at
            && jvm.hangs.is_none()
        {
            jvm.gate = gate;
        }
    }
}
