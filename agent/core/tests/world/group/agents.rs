//! The agents: what each sees, decides and does.

use super::Group;
use super::api::Asked;
use crate::show;
use agent_core::action::{Action, LeaseWrite, WriteReason};
use agent_core::ids::*;
use agent_core::observation::*;
use agent_core::report::Role;
use agent_core::{Reason, decide};

impl Group {
    pub(super) fn look(&mut self, i: usize) {
        let t = self.t;
        let m = &self.members[i];
        let now = m.now(t);
        let Some(agent) = &m.agent else { return };
        let (ask_peers, ask_broker) = (agent.asked_peers_at <= t, agent.asked_broker_at <= t);
        let first = agent.view.is_none() && !agent.reading;
        if first {
            if let Some(agent) = &mut self.members[i].agent {
                agent.reading = true;
            }
            self.ask(i, Asked::Read { at: now.tick });
        }
        if ask_peers {
            for of in 0..self.members.len() {
                if of == i {
                    continue;
                }
                let word = self.members[of]
                    .agent
                    .as_ref()
                    .and_then(|a| a.report.clone());
                let Some(word) = word else { continue };
                if self.linked(i, of) {
                    let at = t + self.chance.range(10, 150);
                    self.words.push((at, i, of, word.clone(), true));
                }
                let both = self.members[i].cut_off.is_none() && self.members[of].cut_off.is_none();
                if both && self.members[of].up() && self.chance.often(10) {
                    let at = t + self.chance.range(100, 4_000);
                    self.words.push((at, i, of, word, false));
                }
            }
        }
        let next_peers = t + self.chance.range(100, 900);
        let next_broker = t + self.chance.range(100, 700);
        let m = &mut self.members[i];
        let broker = m
            .jvm
            .as_ref()
            .filter(|j| t >= j.up_at && j.hangs.is_none())
            .map(|j| {
                (
                    j.id,
                    Broker {
                        min: Offset::ZERO,
                        end: Offset::new(m.disk.log.end()),
                        recovered: j.recovered.filter(|_| j.id % 3 != 0),
                        gate: j.gate,
                    },
                    now.tick,
                )
            });
        let Some(agent) = &mut m.agent else { return };
        if ask_peers {
            agent.asked_peers_at = next_peers;
        }
        if ask_broker {
            agent.asked_broker_at = next_broker;
            if broker.is_some() {
                agent.broker = broker;
            }
        }
    }

    pub(super) fn think(&mut self, i: usize) {
        let nonce = self.chance.next();
        let m = &self.members[i];
        let now = m.now(self.t);
        let Some(seen) = m.observation(self.t, &self.names, nonce) else {
            return;
        };
        self.note_sights(i);
        let Some(agent) = &self.members[i].agent else {
            return;
        };
        let decision = decide(&agent.state, &seen, now, &self.policy);
        self.decisions += 1;
        let told = format!(
            "{} [{}]",
            decision.reason,
            decision
                .actions
                .iter()
                .filter(|a| !show::quiet(a))
                .map(show::action)
                .collect::<Vec<_>>()
                .join("; ")
        );
        // Two words in turn are one state of affairs.
        let changed = !agent.told.contains(&told);
        if let Some(agent) = &mut self.members[i].agent {
            agent.state = decision.next.clone();
            agent.report = decision.report.map(|r| *r);
            if changed {
                agent.told.push_back(told.clone());
                if agent.told.len() > 3 {
                    agent.told.pop_front();
                }
            }
        }
        if changed {
            self.say(i, &told);
        }
        self.check_wait(i);
        let actions = decision.actions.clone();
        for action in &actions {
            self.act(i, action);
        }
        if decision.reason == Reason::Stopped {
            self.check_stop(i);
            self.say(i, "agent has stopped");
            self.agent_dies(i);
            let later = self.t + self.chance.range(1_000, 8_000);
            let m = &mut self.members[i];
            // The pod is replaced.
            m.launcher_gone();
            m.away = Some(later);
            self.show_pod(i);
        }
    }

    pub(super) fn act(&mut self, i: usize, action: &Action) {
        self.count(i, action);
        let t = self.t;
        let soon = t + self.chance.range(20, 150);
        match action {
            Action::ReadLease => {
                let m = &mut self.members[i];
                let at = m.now(t).tick;
                let Some(agent) = &mut m.agent else { return };
                if !agent.reading {
                    agent.reading = true;
                    self.ask(i, Asked::Read { at });
                }
            }
            Action::Write(write) => self.write(i, write),
            Action::Permit { term, until, .. } => {
                let role = self.members[i].jvm.as_ref().map(|j| j.role);
                self.check_permit(i, role.unwrap_or(Role::Slave), *term, *until);
                if let Some(jvm) = &mut self.members[i].jvm
                    && jvm.term == *term
                {
                    jvm.permit = jvm.permit.max(*until);
                }
            }
            Action::Kill { .. } | Action::Stop => {
                if let Some(agent) = &mut self.members[i].agent {
                    agent.start = None;
                }
                if let Some(jvm) = &mut self.members[i].jvm
                    && jvm.dies.is_none()
                {
                    jvm.dies = Some((jvm.killed_at(soon), EndCause::Ordered));
                }
            }
            Action::Shut { term } => self.gate(i, *term, Gate::Shut),
            Action::Open { term, before } => {
                self.check_open(i);
                if self.members[i].now(t).boot < *before {
                    self.gate(i, *term, Gate::Open);
                }
            }
            Action::Register { .. } => {}
            Action::Examine
            | Action::Freeze { .. }
            | Action::Repair { .. }
            | Action::Prove { .. }
            | Action::Cut { .. }
            | Action::Persist { .. } => {
                let Some(agent) = &mut self.members[i].agent else {
                    return;
                };
                if agent.job.is_none() && agent.start.is_none() {
                    agent.job = Some((soon, action.clone()));
                }
            }
            Action::Start { .. } => {
                let Some(agent) = &mut self.members[i].agent else {
                    return;
                };
                if agent.start.is_none() {
                    agent.start = Some((soon, action.clone()));
                }
            }
            Action::Admit { term, members, .. } => {
                self.members[i].admitted = Some((*term, members.clone()));
            }
            Action::Attach {
                term,
                holder,
                instance,
            } => {
                let m = &mut self.members[i];
                m.attached = Some((*term, holder.clone(), instance.clone()));
                m.upstream = Upstream::Connecting { term: *term };
            }
            Action::Announce(_) => {}
        }
    }

    pub(super) fn write(&mut self, i: usize, write: &LeaseWrite) {
        let m = &mut self.members[i];
        let sent = m.now(self.t).boot;
        let Some(agent) = &mut m.agent else { return };
        let carries = match &agent.view {
            Some((LeaseSeen::Record { rv, .. } | LeaseSeen::Damaged { rv, .. }, _)) => Some(*rv),
            _ => None,
        };
        if carries != write.carries {
            self.blame(format!(
                "J6: {} writes on version {:?} but sees {carries:?}",
                self.names[i], write.carries
            ));
            return;
        }
        if write.why == WriteReason::Release && m.jvm.is_some() {
            let what = format!("H45: {} releases with a live broker", self.names[i]);
            self.blame(what);
            return;
        }
        if write.why == WriteReason::Release
            && let Some(target) = &write.record.target
        {
            self.check_handover(i, &target.clone());
        }
        let write = write.clone();
        self.ask(i, Asked::Write { write, sent });
    }
}
