//! An agent thinks until it has nothing more to do: see, decide, act, and again.

use crate::machine::{Jvm, Machine, Mind, Way};
use crate::shell::Fate;
use crate::time;
use crate::world::World;
use agent_core::action::Action;
use agent_core::ids::{Member, Nonce, Offset};
use agent_core::observation::{Broker, Job, Launcher, Me, Observation, Peer, Reading, Stopping};
use agent_core::policy::Policy;
use agent_core::report::Addresses;
use agent_core::{State, decide};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// More rounds than any way from a dead broker to a served Lease takes.
const ROUNDS: usize = 40;

/// What became of a turn.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turned {
    /// So often it decided.
    pub(crate) rounds: usize,
    /// A Lease write was sent.
    pub(crate) wrote: bool,
    /// It has nothing more to do.
    pub(crate) quiet: bool,
}

impl World {
    /// At most `limit` rounds, if given; the first Lease write is treated as said.
    pub(crate) fn think(
        &mut self,
        i: usize,
        policy: &Policy,
        fate: Fate,
        limit: Option<usize>,
    ) -> Turned {
        let mut turned = Turned::default();
        let mut fate = fate;
        self.machines[i].news = false;
        while turned.rounds < limit.unwrap_or(ROUNDS) {
            self.look(i);
            let Mind::Awake(state) = &self.machines[i].mind else {
                break;
            };
            let seen = self.observation(i);
            let decision = decide(state, &seen, time::now(), policy);
            let before = self.machines[i].clone();
            turned.rounds += 1;
            self.machines[i].mind = Mind::Awake(Box::new(decision.next));
            let report = decision.report.map(|r| Arc::new(*r));
            if self.machines[i].report != report {
                self.machines[i].report = report;
                self.tell_others(i);
            }
            for action in decision.actions {
                let writes = matches!(action, Action::Write(_));
                turned.wrote |= writes;
                self.act(i, action, fate);
                if writes {
                    fate = Fate::Answered;
                }
            }
            self.replicate();
            if same(&before, &self.machines[i]) {
                self.machines[i].news = false;
                turned.quiet = true;
                break;
            }
        }
        if turned.rounds >= ROUNDS {
            self.blame(crate::laws::Law::Rest);
        }
        turned
    }

    /// The Lease is watched as long as the API server is in reach.
    fn look(&mut self, i: usize) {
        if self.machines[i].api == Way::Open {
            let lease = self.lease();
            self.machines[i].view = Reading::known(lease, time::now().tick);
        }
    }

    fn observation(&self, i: usize) -> Observation {
        let machine = &self.machines[i];
        let tick = time::now().tick;
        let names: BTreeSet<Member> = self.machines.iter().map(|m| m.name.clone()).collect();
        let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let broker = |j: &Jvm| Broker {
            min: Offset::ZERO,
            end: machine.log.end(),
            recovered: Some(j.recovered),
            gate: j.gate,
        };
        let broker = machine.jvm.as_ref().filter(|j| j.up).map(broker);
        Observation {
            me: Me {
                member: machine.name.clone(),
                zone: "z".into(),
                priority: 0,
                expected: names,
                no_failover: false,
                containers: Vec::new(),
                addresses: Addresses::default(),
                version: String::new(),
            },
            lease: machine.view.clone(),
            write: machine.outcome.clone(),
            volume: Reading::known(machine.volume.clone(), tick),
            launcher: Reading::known(self.launcher(i), tick),
            broker: broker.map_or(Reading::Unknown, |b| Reading::known(b, tick)),
            hung: None,
            peers: self.peers(i),
            job: Job::Idle,
            stopping: Stopping::No,
            nonce: Nonce::new(u64::from(self.terms) * 100 + number(i) * 10 + machine.tries),
        }
    }

    fn launcher(&self, i: usize) -> Launcher {
        let machine = &self.machines[i];
        let linked = self.machines.iter().filter(|m| m.link == Some(i));
        let ends = linked.map(|m| (m.name.clone(), m.log.end()));
        // An empty slave acknowledges nothing.
        let replicas = ends.filter(|(_, end)| *end > Offset::ZERO).collect();
        Launcher {
            instance: machine.instance(),
            process: machine.process(),
            replicas,
            admitted: machine.admitted.clone(),
            upstream: machine.upstream.clone(),
        }
    }

    fn peers(&self, i: usize) -> BTreeMap<Member, Peer> {
        let others = self.members().filter(|n| *n != i);
        let peer = |n: usize| {
            let machine = &self.machines[n];
            let heard = self.reach(i, n) && machine.minds();
            let word = machine.report.as_ref().filter(|_| heard);
            let peer = Peer {
                answer: word.map_or(Reading::Unknown, |r| {
                    Reading::known((**r).clone(), time::now().tick)
                }),
                published: Reading::Unknown,
                pod: Reading::Unknown,
            };
            (machine.name.clone(), peer)
        };
        others.map(peer).collect()
    }
}

/// Whether another round would see and do the same.
fn same(before: &Machine, after: &Machine) -> bool {
    let count = |m: &Machine| match &m.mind {
        Mind::Awake(state) | Mind::Frozen(state) => state.writes,
        Mind::Away => State::default().writes,
    };
    count(before) == count(after) && before == after
}
