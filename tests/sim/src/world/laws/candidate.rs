//! What a candidate must have seen before it may take the Lease, checked when its acquisition is sent: who answered,
//! who is better, how long it waited. Worked out anew from the words themselves, not with the core's own functions.

use crate::world::World;
use agent_core::action::LeaseWrite;
use agent_core::ids::{Epoch, Offset};
use agent_core::observation::{LeaseSeen, Volume};
use agent_core::record::{GroupRecord, Replication, Tuple};
use agent_core::report::{Electable, Report};
use agent_core::time::Tick;
use agent_core::{Lineage, Member};
use std::time::Duration;

/// A clock that runs fast by ρ, and what one decision may take, milliseconds.
const SLACK: u64 = 300;

/// A candidate at the moment it writes.
struct Candidate<'a> {
    name: &'a Member,
    volume: &'a Volume,
    vacancy: &'a Tuple,
    /// Who answered for this vacancy.
    words: Vec<&'a Report>,
    /// Who is expected and did not.
    missing: Option<&'a Member>,
    /// Since its own log is frozen, on its own clock.
    waited: Duration,
}

impl World {
    /// Checks an acquisition that is about to be sent.
    pub(in crate::world) fn check_candidate(&mut self, i: usize, write: &LeaseWrite) {
        let tick = self.machine(i).now(self.t).tick;
        let answered = self.candidate(i, tick).map_or_else(Vec::new, |c| {
            c.words.iter().map(|w| w.who.member.clone()).collect()
        });
        self.machines[i].answered = answered;
        if let Some(wrong) = self.wrong_candidate(i, write) {
            self.blame(wrong);
        }
    }

    fn wrong_candidate(&self, i: usize, write: &LeaseWrite) -> Option<String> {
        let machine = self.machine(i);
        let agent = machine.agent.as_ref()?;
        let lease = agent.seen.lease.last()?;
        let held = match lease {
            LeaseSeen::Record { record, .. } => Some(&**record),
            LeaseSeen::Absent
            | LeaseSeen::Damaged { .. }
            | LeaseSeen::Stranger { .. }
            | LeaseSeen::Newer { .. } => None,
        };
        let name = &machine.name;
        let own = held.filter(|r| r.holder == machine.instance);
        if lease.paused() && own.is_none() {
            return Some(format!("H43: {name} stands for election in a pause"));
        }
        let tick = machine.now(self.t).tick;
        let candidate = self.candidate(i, tick)?;
        let vacancy = candidate.vacancy;
        let same = |r: &&GroupRecord| r.holder == vacancy.holder && r.term.id == vacancy.term;
        if let Some(record) = own.filter(same) {
            return candidate.in_place(record);
        }
        match held.filter(|r| r.tuple() == *candidate.vacancy) {
            Some(record) => candidate.elected(record, self),
            None => self.founded(&candidate, write),
        }
    }

    fn candidate(&self, i: usize, tick: Tick) -> Option<Candidate<'_>> {
        let machine = self.machine(i);
        let agent = machine.agent.as_ref()?;
        let volume = agent.seen.volume.last()?;
        let (_, since) = agent.frozen.as_ref()?;
        let vacancy = &volume.frozen.as_ref()?.vacancy;
        let age = self.policy.reading_age;
        let word = |name: &Member| {
            let peer = agent.seen.peers.get(name)?;
            let said = [
                peer.answer.fresh(tick, age),
                peer.published.fresh(tick, age),
            ];
            let about = |w: &&Report| w.frozen.as_ref().is_some_and(|f| f.vacancy == *vacancy);
            said.into_iter().flatten().find(about)
        };
        let others = || {
            agent
                .seen
                .me
                .expected
                .iter()
                .filter(|n| **n != machine.name)
        };
        Some(Candidate {
            name: &machine.name,
            volume,
            vacancy,
            words: others().filter_map(word).collect(),
            missing: others().find(|n| word(n).is_none()),
            waited: tick.since(*since),
        })
    }

    /// Since when an agent sees its log frozen for a vacancy: all its collecting lies after that.
    pub(in crate::world) fn note_frozen(&mut self, i: usize) {
        let t = self.t;
        let machine = &mut self.machines[i];
        let tick = machine.now(t).tick;
        let Some(agent) = &mut machine.agent else {
            return;
        };
        if agent.seen.lease.last().is_some_and(LeaseSeen::paused) {
            // Nobody's turn counts from before a pause.
            agent.frozen = None;
            return;
        }
        let volume = agent.seen.volume.last().filter(|v| v.extent.is_some());
        let Some(frozen) = volume.and_then(|v| v.frozen.as_ref()) else {
            return;
        };
        if agent
            .frozen
            .as_ref()
            .is_none_or(|(of, _)| *of != frozen.vacancy)
        {
            agent.frozen = Some((frozen.vacancy.clone(), tick));
        }
    }

    /// H7: nobody founds a group, or goes on without its record, while somebody is missing who may know better.
    fn founded(&self, candidate: &Candidate<'_>, write: &LeaseWrite) -> Option<String> {
        let (name, missing) = (candidate.name, candidate.missing?);
        if self.counts.terms == 0 {
            return Some(format!("H7: {name} founds the group without {missing}"));
        }
        let wait = self.policy.timing().take_wait + self.policy.absent_wait;
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX) * 1000 / 1100;
        let silent = self.t.saturating_sub(self.store.tuple_since);
        let term = write.record.term.id;
        (silent + SLACK < wait).then(|| {
            format!("H7: {name} makes term {term} without record and {missing} after {silent} ms")
        })
    }
}

impl Candidate<'_> {
    /// J11: in place only by right, with the very life that served.
    fn in_place(&self, record: &GroupRecord) -> Option<String> {
        let served = record.replication.as_ref().map(|r| &r.master);
        let alone = served.is_none() && self.missing.is_none() && self.words.is_empty();
        let wrong = served != Some(&self.volume.who) && !alone;
        wrong.then(|| {
            let who = &self.volume.who;
            format!("J11: {who:?} starts in place, {served:?} served")
        })
    }

    fn elected(&self, record: &GroupRecord, world: &World) -> Option<String> {
        let name = self.name;
        if record.target.as_ref() == Some(name) {
            return None;
        }
        let Some(served) = &record.replication else {
            let without = |m| format!("H7: {name} is elected without {m} before anybody served");
            return self.missing.map(without);
        };
        if served.master == self.volume.who {
            return None;
        }
        let (waited, collect) = (self.waited, world.policy.collect);
        if let Some(missing) = self.missing.filter(|_| waited < collect) {
            return Some(format!(
                "H33: {name} does not wait for {missing}: {waited:?} since it froze"
            ));
        }
        let turn = collect + world.policy.rank_step;
        let better = self.words.iter().find(|w| self.better(w, served));
        better.filter(|_| waited < turn).map(|w| {
            let better = &w.who.member;
            format!("H29: {name} goes before {better}, which has more, {waited:?} since it froze")
        })
    }

    /// Whether this word shows a better right or a better log than ours.
    fn better(&self, word: &Report, served: &Replication) -> bool {
        let Some(frozen) = &word.frozen else {
            return false;
        };
        if word.electable != Electable::Yes || word.blank {
            return false;
        }
        let mine = self.volume.frozen.as_ref().map_or(Offset::ZERO, |f| f.end);
        let ours = (wrote_last(&self.volume.lineage, mine), mine);
        let told = word.lineage.as_ref();
        let epoch = told.map_or(frozen.last_epoch, |l| wrote_last(l, frozen.end));
        let knows = told.is_some_and(|l| l.entries().iter().any(|e| e.term() == served.term));
        let rights = word.who == served.master && knows && frozen.end >= served.confirmed;
        rights || (epoch, frozen.end) > ours
    }
}

/// The last term that wrote a byte into a log of this length (H29).
fn wrote_last(lineage: &Lineage, end: Offset) -> Epoch {
    let wrote = lineage.entries().iter().filter(|e| e.start < end);
    wrote.map(|e| e.epoch).max().unwrap_or_default()
}
