//! I5: from every state, once nothing breaks any more, the group becomes whole by itself.

use crate::machine::Mind;
use crate::shell::Fate;
use crate::world::World;
use agent_core::policy::Policy;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// More ticks than any healing takes.
const LIMIT: u32 = 60;

/// Ticks until the group is whole, of states that were healed before.
#[derive(Debug, Default)]
pub(crate) struct Healed(HashMap<u64, u32>);

impl Healed {
    /// The most ticks that any healing took.
    pub(crate) fn longest(&self) -> u32 {
        self.0.values().copied().max().unwrap_or_default()
    }

    /// Ticks until this group is whole, if it ever is.
    pub(crate) fn heal(&mut self, world: &World, policy: &Policy) -> Option<u32> {
        let mut world = world.clone();
        world.mend_all();
        let mut way = Vec::new();
        let ticks = loop {
            while let Some(i) = world.members().find(|i| world.machines[*i].due()) {
                world.think(i, policy, Fate::Answered, None);
            }
            world.settle();
            if world.whole() {
                break 0;
            }
            // What was counted has no part in what comes.
            (world.faults, world.terms) = (0, 0);
            let print = print(&world);
            if let Some(ticks) = self.0.get(&print) {
                break *ticks;
            }
            if way.len() >= usize::try_from(LIMIT).unwrap_or(usize::MAX) || way.contains(&print) {
                return None;
            }
            way.push(print);
            world.tick();
            world.replicate();
        };
        let mut left = ticks;
        for print in way.into_iter().rev() {
            left += 1;
            self.0.insert(print, left);
        }
        Some(left)
    }
}

impl World {
    /// Nothing is broken any more; what was on its way has landed.
    pub(crate) fn mend_all(&mut self) {
        for i in self.members() {
            for _ in 0..3 {
                for mend in self.mends(i) {
                    self.mend(i, mend);
                }
            }
            while let Some(n) = self.machines[i].requests.iter().position(|r| !r.dead) {
                self.land_late(i, n);
            }
            debug_assert!(
                matches!(self.machines[i].mind, Mind::Awake(_)),
                "everything is mended"
            );
        }
        self.replicate();
    }
}

fn print(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}
