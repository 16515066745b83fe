//! The API server and the ways to it: requests that are late or lost, watches.

use super::{Event, World};
use crate::machine::Window;
use agent_core::action::{LeaseWrite, WriteReason};
use agent_core::ids::Instance;
use agent_core::observation::{LeaseSeen, WriteOutcome, WriteResult};
use agent_core::record::Stage;
use agent_core::time::{Boot, Tick};
use std::rc::Rc;

/// X of the policy: when a request without an answer is given up.
const TIMEOUT: u64 = 2_000;

#[derive(Debug)]
pub(super) enum Asked {
    Read { at: Tick },
    Write { write: Box<LeaseWrite>, sent: Boot },
}

/// A request on its way to the API server.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) i: usize,
    pub(super) life: u64,
    pub(super) instance: Instance,
    pub(super) asked: Asked,
    /// Its sender has given it up, or will.
    pub(super) lost: bool,
    /// The server says no.
    pub(super) refused: bool,
}

/// What the sender learns.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) i: usize,
    pub(super) life: u64,
    pub(super) read: Option<Tick>,
    pub(super) outcome: Option<WriteOutcome>,
    pub(super) view: Option<(u64, Rc<LeaseSeen>)>,
}

impl World {
    /// Tells everybody's watch that something changed.
    pub(super) fn publish(&mut self) {
        let rv = self.store.rv;
        for i in 0..self.machines.len() {
            let life = self.machine(i).life;
            self.soon(0, 300, Event::Watch { i, life, rv });
        }
    }

    /// A watch shows what is there by then; what it missed meanwhile does not matter to it.
    pub(super) fn watched(&mut self, i: usize, life: u64, rv: u64) {
        let t = self.t;
        let machine = &self.machines[i];
        if machine.life != life || !machine.up() {
            return;
        }
        let held = [Window::Deaf, Window::CutOff, Window::AgentFrozen];
        if held.iter().any(|w| machine.is(*w)) {
            return;
        }
        let tick = machine.now(t).tick;
        let (now_rv, store) = (self.store.rv.max(rv), &self.store);
        let Some(agent) = &mut self.machines[i].agent else {
            return;
        };
        if agent.see(now_rv, || store.seen(), tick) {
            self.think(i);
        }
    }

    pub(super) fn ask(&mut self, i: usize, asked: Asked) {
        let t = self.t;
        let machine = self.machine(i);
        let flaps = machine.is(Window::Flaps);
        let away = machine.is(Window::CutOff);
        let refused = machine.is(Window::Refused) && matches!(asked, Asked::Write { .. });
        let (life, instance) = (machine.life, machine.instance.clone());
        let calm = self.troubled_at + 60_000 < t;
        let often = if flaps { 60 } else { 2 };
        let lost = away || (!calm && self.chance.often(often));
        let lands = if !lost {
            Some(t + self.chance.range(5, 120))
        } else {
            // It may still arrive, now or much later.
            match self.chance.range(0, 9) {
                0 => Some(t + self.chance.range(5, 1_900)),
                1 => Some(t + self.chance.range(2_000, 9_000)),
                2..=5 if !away => Some(t + self.chance.range(5, 6_000)),
                _ => None,
            }
        };
        if lost {
            let (read, outcome) = match &asked {
                Asked::Read { at } => (Some(*at), None),
                Asked::Write { write, sent } => {
                    let result = WriteResult::Unknown;
                    let (id, sent) = (write.id, *sent);
                    (None, Some(WriteOutcome { id, sent, result }))
                }
            };
            let reply = Reply {
                i,
                life,
                read,
                outcome,
                view: None,
            };
            // A server error comes at once, silence ends with the time-out.
            let when = if flaps && self.chance.often(50) {
                self.chance.range(10, 200)
            } else {
                TIMEOUT
            };
            self.at(t + when, Event::Reply(Box::new(reply)));
        }
        if let Some(lands) = lands {
            let request = Request {
                i,
                life,
                instance,
                asked,
                lost,
                refused,
            };
            self.at(lands, Event::Land(Box::new(request)));
        }
    }

    pub(super) fn land(&mut self, request: &Request) {
        let (t, i, life) = (self.t, request.i, request.life);
        let mut outcome = None;
        let mut read = None;
        match &request.asked {
            Asked::Read { at } => read = Some(*at),
            Asked::Write { write, sent } => {
                let result = if request.refused {
                    WriteResult::Refused
                } else if self.store.would_take(write.carries) {
                    self.commit(i, write, &request.instance, *sent);
                    WriteResult::Committed
                } else {
                    WriteResult::Conflict
                };
                let (id, sent) = (write.id, *sent);
                outcome = Some(WriteOutcome { id, sent, result });
            }
        }
        if request.lost {
            return;
        }
        // A refusal or a conflict tells nothing of what is there.
        let told = !matches!(
            outcome.as_ref().map(|o| o.result),
            Some(WriteResult::Refused | WriteResult::Conflict)
        );
        let view = told.then(|| (self.store.rv, Rc::new(self.store.seen())));
        let reply = Reply {
            i,
            life,
            read,
            outcome,
            view,
        };
        let later = t + self.chance.range(5, 120);
        self.at(later, Event::Reply(Box::new(reply)));
    }

    fn commit(&mut self, i: usize, write: &LeaseWrite, instance: &Instance, sent: Boot) {
        self.counts.writes += 1;
        if write.why == WriteReason::Acquire {
            self.check_acquire(i, write);
        }
        let record = &write.record;
        let (term, released) = (record.term.id, record.holder.is_empty());
        let tuple = (term.epoch.get(), term.nonce.get(), record.seq, released);
        if !self.tuples.insert(tuple) {
            self.blame(format!(
                "H14: term {term} seq {} was written before",
                record.seq
            ));
        }
        if !released {
            let renewed = &mut self.machines[i].renewed;
            let known = renewed.iter_mut().rev();
            match known
                .into_iter()
                .find(|(of, by, _)| *of == term && by == instance)
            {
                Some((_, _, at)) => *at = sent.max(*at),
                None => renewed.push((term, instance.clone(), sent)),
            }
        }
        if record.term.stage == Stage::Serving {
            self.served.insert(term);
        }
        self.note_failure(i, write);
        self.store.put(write, self.t);
        let (why, seq) = (write.why, record.seq);
        if why != WriteReason::Renew {
            self.say(i, || format!("committed: {why:?} term {term} seq {seq}"));
        }
        self.publish();
    }

    pub(super) fn reply(&mut self, reply: Reply) {
        let t = self.t;
        let i = reply.i;
        let machine = &mut self.machines[i];
        if machine.life != reply.life || machine.is(Window::Away) {
            return;
        }
        if machine.agent.is_some() && !machine.minds() {
            // It lies in the socket until somebody reads it.
            self.soon(100, 400, Event::Reply(Box::new(reply)));
            return;
        }
        let tick = machine.now(t).tick;
        let Some(agent) = &mut machine.agent else {
            return;
        };
        if let Some((rv, seen)) = reply.view {
            let at = reply.read.unwrap_or(tick);
            agent.see(rv, || Rc::unwrap_or_clone(seen), at);
        }
        if reply.read.is_some() {
            agent.reading = false;
        }
        if let Some(outcome) = reply.outcome {
            agent.writing = false;
            agent.failed_at = match outcome.result {
                WriteResult::Conflict | WriteResult::Unknown => Some(tick),
                WriteResult::Committed | WriteResult::Refused => None,
            };
            agent.seen.write = Some(outcome);
        }
        self.think(i);
    }
}
