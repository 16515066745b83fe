//! What members tell each other: by HTTP, in their member Leases, and what the kubelet shows of them.

use super::{Event, World};
use crate::machine::Window;
use agent_core::ids::Offset;
use agent_core::observation::{PodSeen, Reading};
use agent_core::report::{Report, Role};
use std::rc::Rc;
use std::time::Duration;

/// Between two questions to a peer, at most: milliseconds.
const ASKS: u64 = 900;

impl World {
    /// Whether `to` can ask `of` and is answered.
    pub(super) fn linked(&self, to: usize, of: usize) -> bool {
        let (a, b) = (self.machine(to), self.machine(of));
        let cut = a.is(Window::Alone) || b.is(Window::Alone) || a.is(Window::HearsNobody);
        a.up() && b.up() && !cut
    }

    /// It says something new: everybody hears of it at its next question.
    pub(super) fn speak(&mut self, of: usize) {
        for to in 0..self.machines.len() {
            if to != of {
                self.send_word(to, of);
            }
        }
        let life = self.machine(of).life;
        if let Some(agent) = self.machines[of].agent.as_mut().filter(|a| !a.publishing) {
            agent.publishing = true;
            self.soon(100, 3_000, Event::Publish { of, life });
        }
    }

    /// It writes its newest word into its member Lease.
    pub(super) fn put_report(&mut self, of: usize, life: u64) {
        let machine = &mut self.machines[of];
        if machine.life != life {
            return;
        }
        if machine.is(Window::CutOff) || !machine.minds() {
            self.soon(500, 1_500, Event::Publish { of, life });
            return;
        }
        let Some(agent) = machine.agent.as_mut() else {
            return;
        };
        agent.publishing = false;
        let version = agent.version;
        let Some(word) = agent.report.clone() else {
            return;
        };
        for to in 0..self.machines.len() {
            if to != of {
                let word = word.clone();
                let event = Event::Published {
                    to,
                    of,
                    version,
                    word,
                };
                self.soon(10, 1_000, event);
            }
        }
    }

    /// Everybody asks everybody again: a way opened.
    pub(super) fn talk(&mut self) {
        for of in 0..self.machines.len() {
            for to in 0..self.machines.len() {
                if to != of {
                    self.send_word(to, of);
                }
            }
        }
    }

    fn send_word(&mut self, to: usize, of: usize) {
        if !self.linked(to, of) || !self.machine(of).minds() {
            return;
        }
        let speaker = self.machines[of].agent.as_ref();
        let Some((version, word)) = speaker.and_then(|a| Some((a.version, a.report.clone()?)))
        else {
            return;
        };
        let Some(hearer) = self.machines[to].agent.as_ref() else {
            return;
        };
        if hearer.heard.get(of) == Some(&version) {
            return;
        }
        self.soon(
            10,
            ASKS,
            Event::Word {
                to,
                of,
                version,
                word,
            },
        );
    }

    pub(super) fn hear(&mut self, to: usize, of: usize, version: u64, word: &Rc<Report>) {
        let t = self.t;
        let arrives = self.linked(to, of) && !self.machine(to).is(Window::AgentFrozen);
        let tick = self.machine(to).now(t).tick;
        let name = self.names[of].clone();
        let Some(agent) = self.machines[to].agent.as_mut() else {
            return;
        };
        let Some(heard) = agent.heard.get_mut(of).filter(|heard| version > **heard) else {
            return;
        };
        if !arrives {
            return;
        }
        *heard = version;
        let peer = agent.seen.peers.entry(name).or_default();
        peer.answer = Reading::known((**word).clone(), tick);
        self.think(to);
    }

    /// Who starts reads the member Leases that are there.
    pub(super) fn tell_published(&mut self, of: usize, to: usize) {
        let agent = self.machines[of].agent.as_ref();
        let told = agent.and_then(|a| Some((a.version, a.report.clone()?)));
        if let Some((version, word)) = told {
            let event = Event::Published {
                to,
                of,
                version,
                word,
            };
            self.soon(10, 1_000, event);
        }
    }

    pub(super) fn read_published(&mut self, to: usize, of: usize, version: u64, word: Rc<Report>) {
        let t = self.t;
        let machine = &mut self.machines[to];
        if !machine.up() || machine.is(Window::CutOff) {
            // It is read when the API can be reached again.
            if machine.agent.is_some() {
                let event = Event::Published {
                    to,
                    of,
                    version,
                    word,
                };
                self.soon(500, 1_500, event);
            }
            return;
        }
        let tick = machine.now(t).tick;
        let name = self.names[of].clone();
        let Some(agent) = machine.agent.as_mut() else {
            return;
        };
        let Some(read) = agent.read.get_mut(of).filter(|read| version > **read) else {
            return;
        };
        *read = version;
        let peer = agent.seen.peers.entry(name).or_default();
        let word = Report {
            lineage: None,
            ..(*word).clone()
        };
        peer.published = Reading::known(word, tick);
        self.think(to);
    }

    /// What was heard is as fresh as the last question that could have brought something newer.
    pub(super) fn freshen(&mut self, i: usize) {
        let t = self.t;
        let tick = self.machine(i).now(t).tick;
        let at = tick.minus(Duration::from_millis(ASKS / 3));
        for of in 0..self.machines.len() {
            if of == i || !self.linked(i, of) || !self.machine(of).minds() {
                continue;
            }
            let version = self.machines[of].agent.as_ref().map_or(0, |a| a.version);
            let (master, end) = {
                let m = self.machine(of);
                let master = m.answers() && m.jvm.as_ref().is_some_and(|j| j.role == Role::Master);
                (master, self.end_at(of, t.saturating_sub(ASKS / 3)))
            };
            let name = &self.names[of];
            let Some(agent) = self.machines[i].agent.as_mut() else {
                return;
            };
            if agent.heard.get(of) != Some(&version) {
                continue;
            }
            let Some(peer) = agent.seen.peers.get_mut(name) else {
                continue;
            };
            if let Reading::Known { value, at: known } = &mut peer.answer {
                *known = at.max(*known);
                if master
                    && value.role == Some(Role::Master)
                    && let Some(log) = &mut value.log
                {
                    log.end = log.end.max(Offset::new(end));
                }
            }
        }
    }

    /// The kubelet shows the pod to everybody, sooner or later.
    pub(super) fn show_pod(&mut self, of: usize) {
        let seen = Rc::new(self.machine(of).pod_seen());
        for to in 0..self.machines.len() {
            if to == of {
                continue;
            }
            let seen = seen.clone();
            self.soon(200, 3_000, Event::Pod { to, of, seen });
        }
    }

    pub(super) fn see_pod(&mut self, to: usize, of: usize, seen: Rc<PodSeen>) {
        let t = self.t;
        let machine = &mut self.machines[to];
        if machine.is(Window::CutOff) || !machine.up() {
            // It is told again when it can hear.
            if !machine.is(Window::Away) {
                self.at(t + 500, Event::Pod { to, of, seen });
            }
            return;
        }
        let tick = machine.now(t).tick;
        let name = self.names[of].clone();
        let Some(agent) = machine.agent.as_mut() else {
            return;
        };
        let peer = agent.seen.peers.entry(name).or_default();
        peer.pod = Reading::known((*seen).clone(), tick);
        self.think(to);
    }
}
