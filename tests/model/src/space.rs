//! Everything that can happen, as `stateright` asks for it.

use crate::bounds::Bounds;
use crate::fault::{Fault, Mend};
use crate::heal::Healed;
use crate::laws::Law;
use crate::shell::Fate;
use crate::time;
use crate::world::World;
use agent_core::policy::{Policy, PolicyError};
use stateright::{Model, Property};
use std::sync::{Mutex, PoisonError};

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// A member thinks until it has nothing more to do.
    Think(usize),
    /// … and its first Lease write stays on its way (a fault).
    ThinkDelayed(usize),
    /// … and its first Lease write lands without an answer (a fault).
    ThinkUnheard(usize),
    /// … and its pod is gone after so many rounds (a fault).
    ThinkCut(usize, usize),
    /// A delayed write lands.
    Land(usize, usize),
    /// A broker comes up at once, and not with the next tick.
    Up(usize),
    /// A tick passes.
    Tick,
    /// Something breaks.
    Break(usize, Fault),
    /// Something is mended.
    Mend(usize, Mend),
}

/// All states within bounds.
#[derive(Debug)]
pub struct Space {
    pub(crate) bounds: Bounds,
    pub(crate) policy: Policy,
    healed: Mutex<Healed>,
}

impl Space {
    /// The space within these bounds.
    ///
    /// # Errors
    /// When the core does not accept the model's timing.
    pub fn new(bounds: Bounds) -> Result<Self, PolicyError> {
        Ok(Self {
            bounds,
            policy: time::policy()?,
            healed: Mutex::default(),
        })
    }

    /// The most ticks from any state to a whole group, once nothing breaks any more.
    pub fn longest_healing(&self) -> u32 {
        let healed = self.healed.lock();
        healed.unwrap_or_else(PoisonError::into_inner).longest()
    }

    fn heals(&self, world: &World) -> bool {
        let healed = self.healed.lock();
        let mut healed = healed.unwrap_or_else(PoisonError::into_inner);
        healed.heal(world, &self.policy).is_some()
    }

    /// A group that serves: the first term, after nothing ever went wrong.
    fn served(&self) -> World {
        let mut world = World::blank(self.bounds.members);
        for _ in 0..20 {
            while let Some(i) = world.members().find(|i| world.machines[*i].due()) {
                world.think(i, &self.policy, Fate::Answered, None);
            }
            world.settle();
            if world.whole() {
                break;
            }
            world.tick();
            world.replicate();
        }
        // So that what is remembered of the founding is as old as it gets.
        for _ in 0..10 {
            world.tick();
            while let Some(i) = world.members().find(|i| world.machines[*i].due()) {
                world.think(i, &self.policy, Fate::Answered, None);
            }
            world.settle();
        }
        world
    }

    fn done(&self, world: &World) -> bool {
        world.wrong.is_some() || world.terms > self.bounds.terms
    }
}

impl Model for Space {
    type State = World;
    type Action = Act;

    fn init_states(&self) -> Vec<World> {
        let world = if self.bounds.blank {
            World::blank(self.bounds.members)
        } else {
            self.served()
        };
        vec![world]
    }

    fn actions(&self, world: &World, acts: &mut Vec<Act>) {
        if self.done(world) {
            return;
        }
        let more = world.faults < self.bounds.faults;
        for i in world.members() {
            let machine = &world.machines[i];
            if machine.due() {
                acts.push(Act::Think(i));
                if more {
                    acts.push(Act::ThinkDelayed(i));
                    acts.push(Act::ThinkUnheard(i));
                    acts.extend((1..4).map(|n| Act::ThinkCut(i, n)));
                }
            }
            if machine.starts() {
                acts.push(Act::Up(i));
            }
            let late = machine.requests.iter().enumerate().filter(|(_, r)| !r.dead);
            acts.extend(late.map(|(n, _)| Act::Land(i, n)));
            acts.extend(world.mends(i).into_iter().map(|m| Act::Mend(i, m)));
            if more {
                acts.extend(world.faults_now(i).into_iter().map(|f| Act::Break(i, f)));
            }
        }
        if !world.machines.iter().any(crate::machine::Machine::due) {
            acts.push(Act::Tick);
        }
    }

    fn next_state(&self, last: &World, act: Act) -> Option<World> {
        let mut world = last.clone();
        match act {
            Act::Think(i) => {
                world.think(i, &self.policy, Fate::Answered, None);
            }
            Act::ThinkDelayed(i) => {
                let turned = world.think(i, &self.policy, Fate::Delayed, None);
                world.faults += 1;
                if !turned.wrote {
                    return None;
                }
            }
            Act::ThinkUnheard(i) => {
                let turned = world.think(i, &self.policy, Fate::Unheard, None);
                world.faults += 1;
                if !turned.wrote {
                    return None;
                }
            }
            Act::ThinkCut(i, rounds) => {
                let turned = world.think(i, &self.policy, Fate::Answered, Some(rounds));
                if turned.quiet {
                    return None;
                }
                world.strike(i, Fault::Crash);
            }
            Act::Land(i, n) => world.land_late(i, n),
            Act::Up(i) => world.machines[i].come_up(),
            Act::Tick => world.tick(),
            Act::Break(i, fault) => world.strike(i, fault),
            Act::Mend(i, mend) => world.mend(i, mend),
        }
        world.replicate();
        world.settle();
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("I1 one member acknowledges", |_, w: &World| {
                w.one_acknowledges()
            }),
            Property::always("J3 one master is permitted", |_, w: &World| {
                w.one_is_permitted()
            }),
            Property::always("I2 epochs rise", |_, w: &World| w.wrong != Some(Law::I2)),
            Property::always("I4 who attaches is a prefix", |_, w: &World| {
                w.wrong != Some(Law::I4)
            }),
            Property::always("I6 no cut of what the group has", |_, w: &World| {
                w.wrong != Some(Law::I6)
            }),
            Property::always(
                "I6 what was answered is in a log or archived",
                |_, w: &World| w.nothing_vanished(),
            ),
            Property::always("H9 one term is one process", |_, w: &World| {
                w.wrong != Some(Law::H9)
            }),
            Property::always("J5 no permit beyond its renewal", |_, w: &World| {
                w.wrong != Some(Law::J5)
            }),
            Property::always("no work under a running broker", |_, w: &World| {
                w.wrong != Some(Law::Jobs)
            }),
            Property::always("an agent comes to rest", |_, w: &World| {
                w.wrong != Some(Law::Rest)
            }),
            Property::always("J20 no term without a cause", |_, w: &World| {
                w.no_idle_term()
            }),
            Property::always("I5 heals by itself", |space: &Self, w: &World| {
                space.heals(w)
            }),
            Property::sometimes("a fail-over", |space: &Self, w: &World| {
                let holder = |m: &crate::machine::Machine| m.name.as_str() != "a" && m.accepts();
                space.bounds.faults == 0 || w.machines.iter().any(holder)
            }),
            Property::sometimes("a tail is archived", |space: &Self, w: &World| {
                space.bounds.faults == 0 || w.machines.iter().any(|m| !m.archived.is_empty())
            }),
            Property::sometimes(
                "as many terms as faults, and one",
                |space: &Self, w: &World| {
                    w.terms >= space.bounds.terms.min(space.bounds.faults + 1)
                },
            ),
        ]
    }
}
