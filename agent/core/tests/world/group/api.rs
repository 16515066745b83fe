//! The API server and the ways to it: requests that are late or lost, watches, other members' words.

use super::{FAULTS, Group};
use crate::member::Agent;
use agent_core::action::{LeaseWrite, WriteReason};
use agent_core::ids::*;
use agent_core::observation::*;
use agent_core::report::Report;
use agent_core::time::{Boot, Tick};

pub(super) enum Asked {
    Read { at: Tick },
    Write { write: LeaseWrite, sent: Boot },
}

/// A request to the API server.
pub(super) struct Request {
    pub(super) member: usize,
    pub(super) life: u64,
    pub(super) instance: Instance,
    pub(super) asked: Asked,
    /// When it reaches the store, if it does.
    pub(super) lands: Option<u64>,
    /// When the member learns something.
    pub(super) answers: u64,
    pub(super) answered: bool,
    /// The reply is lost.
    pub(super) lost: bool,
    pub(super) result: Option<WriteResult>,
    pub(super) view: Option<(u64, LeaseSeen)>,
}

impl Group {
    /// Tells everybody's watch what the store holds now.
    pub(super) fn publish(&mut self) {
        let seen = self.store.seen();
        for i in 0..self.members.len() {
            let at = self.t + self.chance.range(0, 300);
            let life = self.members[i].life;
            self.events.push((at, i, life, self.store.rv, seen.clone()));
        }
    }

    pub(super) fn ask(&mut self, i: usize, asked: Asked) {
        let x = 2_000;
        let c = &mut self.chance;
        let (mut lands, mut answers) = (Some(self.t + c.range(5, 120)), 0);
        let mut lost = false;
        let away = self.members[i].cut_off.is_some();
        if away || (self.t < FAULTS && c.often(3)) {
            lost = true;
            answers = self.t + x;
            // It may still arrive, now or much later.
            lands = match c.range(0, 9) {
                0 => Some(self.t + c.range(5, 1_900)),
                1 => Some(self.t + c.range(2_000, 9_000)),
                _ => None,
            };
            if !away && lands.is_none() {
                lands = Some(self.t + c.range(5, 6_000));
            }
        } else if let Some(at) = lands {
            answers = at + c.range(5, 120);
        }
        let m = &self.members[i];
        self.requests.push(Request {
            member: i,
            life: m.life,
            instance: m.instance(),
            asked,
            lands,
            answers,
            answered: false,
            lost,
            result: None,
            view: None,
        });
    }

    pub(super) fn serve_requests(&mut self) {
        let mut requests = std::mem::take(&mut self.requests);
        requests.sort_by_key(|r| r.lands.unwrap_or(r.answers));
        for request in &mut requests {
            if request.lands.is_some_and(|at| at <= self.t) {
                request.lands = None;
                self.land(request);
            }
        }
        for request in &mut requests {
            if request.answers <= self.t && !request.answered {
                request.answered = true;
                self.answer(request);
            }
        }
        requests.retain(|r| !r.answered || r.lands.is_some());
        self.requests.append(&mut requests);
    }

    pub(super) fn land(&mut self, request: &mut Request) {
        if let Asked::Write { write, sent } = &request.asked {
            if !self.store.would_take(write.carries) {
                request.result = Some(WriteResult::Conflict);
                return;
            }
            request.result = Some(WriteResult::Committed);
            self.commit(request.member, write, &request.instance, *sent);
        }
        request.view = Some((self.store.rv, self.store.seen()));
    }

    pub(super) fn commit(&mut self, i: usize, write: &LeaseWrite, instance: &Instance, sent: Boot) {
        let term = write.record.term.id;
        if write.why == WriteReason::Acquire {
            if term.epoch <= self.top_epoch && !self.forgotten {
                self.blame(format!(
                    "I2: epoch {} was won after {}",
                    term.epoch, self.top_epoch
                ));
            }
            self.top_epoch = term.epoch;
            self.terms += 1;
            self.last_term = self.t;
            self.check_free(i);
            self.check_rights(i, &write.record);
            self.check_lineage(i, &write.record.lineage);
        }
        if !self.tuples.insert(write.record.tuple()) {
            let tuple = write.record.tuple();
            self.blame(format!("H14: {tuple:?} was written before"));
        }
        if !write.record.holder.is_empty() {
            self.renewed
                .entry((term, instance.clone()))
                .or_default()
                .push(sent);
        }
        self.store.put(write, self.t);
        let what = format!(
            "committed: {:?} term {} seq {}",
            write.why, term, write.record.seq
        );
        if write.why != WriteReason::Renew {
            self.say(i, &what);
        }
        self.publish();
    }

    pub(super) fn answer(&mut self, request: &mut Request) {
        let m = &mut self.members[request.member];
        let now = m.now(self.t);
        if m.life != request.life || m.away.is_some() {
            return;
        }
        let Some(agent) = &mut m.agent else { return };
        if !request.lost
            && let Some((rv, seen)) = &request.view
        {
            let at = match &request.asked {
                Asked::Read { at } => *at,
                Asked::Write { .. } => now.tick,
            };
            see(agent, *rv, seen.clone(), at);
        }
        match &request.asked {
            Asked::Read { .. } => agent.reading = false,
            Asked::Write { write, sent } => {
                let result = if request.lost {
                    WriteResult::Unknown
                } else {
                    request.result.unwrap_or(WriteResult::Unknown)
                };
                agent.write = Some(WriteOutcome {
                    id: write.id,
                    sent: *sent,
                    result,
                });
            }
        }
    }

    pub(super) fn deliver(&mut self) {
        let t = self.t;
        let members = &mut self.members;
        let mut waiting = Vec::new();
        for (at, i, life, rv, seen) in std::mem::take(&mut self.events) {
            let m = &mut members[i];
            let held = m.deaf.is_some() || m.cut_off.is_some() || m.paused.is_some();
            if m.life != life || m.away.is_some() {
                continue;
            }
            if at > t || held {
                waiting.push((at, i, life, rv, seen));
                continue;
            }
            let tick = m.now(t).tick;
            if let Some(agent) = &mut m.agent {
                see(agent, rv, seen, tick);
            }
        }
        self.events = waiting;
        let mut waiting = Vec::new();
        for (at, to, of, word, spoken) in std::mem::take(&mut self.words) {
            if at > t {
                waiting.push((at, to, of, word, spoken));
                continue;
            }
            let name = self.names[of].clone();
            let m = &mut members[to];
            let tick = m.now(t).tick;
            if !m.up() {
                continue;
            }
            if let Some(agent) = &mut m.agent {
                let peer = agent.peers.entry(name).or_default();
                if spoken {
                    peer.answer = Reading::known(word, tick);
                } else {
                    let word = Report {
                        lineage: None,
                        ..word
                    };
                    peer.published = Reading::known(word, tick);
                }
            }
        }
        self.words = waiting;
        let mut waiting = Vec::new();
        for (at, to, of, pod) in std::mem::take(&mut self.kubelet) {
            let m = &mut members[to];
            if at > t || m.cut_off.is_some() || m.paused.is_some() {
                waiting.push((at, to, of, pod));
                continue;
            }
            let tick = m.now(t).tick;
            if let Some(agent) = &mut m.agent {
                let peer = agent.peers.entry(self.names[of].clone()).or_default();
                peer.pod = Reading::known(pod, tick);
            }
        }
        self.kubelet = waiting;
    }
}

/// Puts a view in unless something newer is known; a view is never made to look older.
fn see(agent: &mut Agent, rv: u64, seen: LeaseSeen, at: Tick) {
    if rv < agent.newest {
        return;
    }
    let at = match &agent.view {
        Some((_, known)) if rv == agent.newest => at.max(*known),
        _ => at,
    };
    agent.newest = rv;
    agent.view = Some((seen, at));
}
