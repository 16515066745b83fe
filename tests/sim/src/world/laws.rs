//! The laws, checked when something happens that could break them, and at the end.

mod candidate;
mod conduct;

use super::World;
use crate::machine::{Machine, Window};
use crate::show;
use agent_core::action::{Action, LeaseWrite};
use agent_core::ids::{Instance, Member, Offset};
use agent_core::lineage::{Common, Lineage, LineageEntry};
use agent_core::observation::{LeaseSeen, Reading, Upstream};
use agent_core::record::{GroupRecord, TermId};
use agent_core::report::Role;
use agent_core::state::{PendingKind, Sight};
use agent_core::time::Boot;

/// With every fault over, a group serves and follows within this: back-off cap, absent wait, W, collect, start, seed.
const LIVENESS: u64 = 200_000;

impl World {
    /// I1: at most one acknowledges.
    pub(super) fn check_accepting(&mut self) {
        let accepting = self.machines.iter().filter(|m| m.accepts());
        let names: Vec<&str> = accepting.map(|m| m.name.as_str()).collect();
        if names.len() > 1 {
            let what = format!("I1: {} accept writes", names.join(" and "));
            self.blame(what);
        }
    }

    /// What an election must keep.
    pub(super) fn check_acquire(&mut self, i: usize, write: &LeaseWrite) {
        let (t, record) = (self.t, &*write.record);
        let term = record.term.id;
        if term.epoch <= self.top_epoch && !self.forgotten {
            self.blame(format!(
                "I2: epoch {} was won after {}",
                term.epoch, self.top_epoch
            ));
        }
        self.top_epoch = term.epoch;
        self.counts.terms += 1;
        if t > self.troubled_at + LIVENESS {
            self.blame(format!("J20: term {term} is won without a cause"));
        }
        self.check_free(i, &record.holder);
        self.check_rights(i, record);
        self.check_backoff(i);
        self.check_blank(i, record.lineage.entries().len());
        self.check_lineage(i, &record.lineage);
        self.check_best(i, record);
        self.count_loss(i, record);
    }

    /// J6: a Lease is taken only when it was given up, proven dead, ours, or silent for W on a clock within ρ. An absent
    /// one is silent since it is absent (H7), and an earlier life of our own pod is somebody else (H1).
    fn check_free(&mut self, i: usize, winner: &Instance) {
        let silent = self.t.saturating_sub(self.store.tuple_since);
        // Whoever slept through a term that a backup took back sees the tuple it knows: no rule can tell (H6).
        if silent >= 10_000 * 1000 / 1100 - 300 || self.forgotten {
            return;
        }
        let Some(object) = &self.store.object else {
            let what = format!("H7: {} founds after {silent} ms of absence", self.names[i]);
            self.blame(what);
            return;
        };
        let holder = &object.record.holder;
        let me = self.machine(i);
        if holder.is_empty() || holder == winner {
            return;
        }
        let lives = |m: &Machine| m.instance == *holder && !m.is(Window::Away);
        let own_past = object.record.term.master == me.name;
        if own_past || self.machines.iter().any(lives) {
            let what = format!("J6: taken from {holder} after {silent} ms of silence");
            self.blame(what);
        }
    }

    /// H6: a record older than what the winner knows gives it no rights: neither R nor a number right behind its own.
    fn check_rights(&mut self, i: usize, record: &GroupRecord) {
        let Some(object) = &self.store.object else {
            return;
        };
        let old = object.record.term.id;
        let volume = &self.machine(i).disk.volume;
        let ours = volume.lineage.entries();
        // One number for two terms: two histories, whatever the core calls the same.
        let forked = |e: &LineageEntry| {
            let twin = ours.iter().find(|o| o.epoch == e.epoch);
            twin.is_some_and(|o| o.nonce != e.nonce || o.start != e.start)
        };
        let forks = object.record.lineage.entries().iter().any(forked);
        let older = old.epoch < volume.highest_epoch || forks;
        let rests =
            record.replication.is_some() || !record.term.id.epoch.get().is_multiple_of(1000);
        if older && rests {
            let won = record.term.id;
            let what = format!(
                "H6: term {won} rests on a record of term {old}, which is older or another history's"
            );
            self.blame(what);
        }
    }

    /// The winner's log is the best of those that answered it: nobody who could stand had more of what was acknowledged
    /// last (H29, H33). Who reigned last with its life unbroken has everything.
    fn check_best(&mut self, i: usize, record: &GroupRecord) {
        let Some(old) = self.store.object.as_ref().map(|o| o.record.clone()) else {
            return;
        };
        let Some(served) = old.replication.as_ref() else {
            return;
        };
        let Some(master) = self.index_of(&served.master.member) else {
            return;
        };
        let rewound = record.replication.is_none() || self.forgotten;
        let whole = self.machine(master).disk.volume.who == served.master;
        if rewound || master == i || !whole {
            return;
        }
        let truth = &self.machine(master).disk.log;
        let mine = self.machine(i).disk.log.common(truth);
        let Some(agent) = &self.machine(i).agent else {
            return;
        };
        let winner = self.machine(i);
        let now = winner.now(self.t).tick;
        let vacancy = old.tuple();
        for (n, name) in self.names.iter().enumerate() {
            let word = agent.seen.peers.get(name).map(|p| &p.answer);
            let word = word.and_then(|w| w.fresh(now, self.policy.reading_age));
            let stands = word.is_some_and(|w| {
                w.electable == agent_core::report::Electable::Yes
                    && winner.answered.contains(name)
                    && w.frozen.as_ref().is_some_and(|f| f.vacancy == vacancy)
            });
            let machine = self.machine(n);
            // Who was in trouble a moment ago may not have been able to take its turn.
            let well = !machine.troubled() && self.t > machine.well_since + 20_000;
            // Nor who tried and does not know what became of it.
            let agent = machine.agent.as_ref();
            let tries = agent.is_some_and(|a| a.state.pending.is_some());
            let stands = stands && well && !tries;
            let disk = &machine.disk;
            let theirs = disk.log.common(truth);
            if n != i && stands && theirs > mine && !disk.rotten && !self.machine(i).disk.rotten {
                let what = format!(
                    "H29: {} wins with {mine} bytes of the last term, {name} stood with {theirs}",
                    self.names[i]
                );
                self.blame(what);
                return;
            }
        }
    }

    /// What the last serving master had acknowledged and the winner has not.
    fn count_loss(&mut self, i: usize, record: &GroupRecord) {
        let Some(served) = &record.replication else {
            return;
        };
        let Some(master) = self.index_of(&served.master.member).filter(|m| *m != i) else {
            return;
        };
        let truth = &self.machine(master).disk.log;
        let common = self.machine(i).disk.log.common(truth);
        self.counts.lost += truth.end().saturating_sub(common);
    }

    /// A history is in order.
    fn check_lineage(&mut self, i: usize, lineage: &Lineage) {
        if let Err(n) = Lineage::new(lineage.entries().to_vec()) {
            let what = format!(
                "{}: entry {n} of its history is out of order: {:?}",
                self.names[i],
                lineage.entries()
            );
            self.blame(what);
        }
    }

    /// J5: no permit beyond D after the send of a renewal that was committed. J3: two permits never overlap.
    pub(super) fn check_permit(&mut self, i: usize, role: Role, term: TermId, until: Boot) {
        if role == Role::Slave {
            return;
        }
        let t = self.t;
        let machine = self.machine(i);
        let mut renewed = machine.renewed.iter().rev();
        let sent = renewed.find(|(of, by, _)| *of == term && *by == machine.instance);
        let limit = sent.map(|(_, _, sent)| sent.plus(self.policy.timing().permit));
        if limit.is_none_or(|limit| until > limit) {
            self.blame(format!(
                "J5: {} permits term {term} until {until:?}, earned is {limit:?}",
                self.names[i]
            ));
            return;
        }
        if until <= self.machine(i).now(t).boot {
            return;
        }
        let permitted = |m: &&Machine| {
            let valid = |j: &crate::machine::Jvm| {
                j.role == Role::Master && j.permit > m.now(t).boot && !j.dying
            };
            m.index != i && m.jvm.as_ref().is_some_and(valid)
        };
        let other = self.machines.iter().find(permitted).map(|m| m.index);
        if let Some(other) = other {
            let what = format!(
                "J3: {} and {} both have a permit",
                self.names[i], self.names[other]
            );
            self.blame(what);
        }
    }

    /// A broker starts: its history says which bytes are whose, and one term is one process.
    pub(super) fn check_start(&mut self, i: usize, role: Role, term: TermId, permit: Boot) {
        self.check_permit(i, role, term, permit);
        let disk = &self.machine(i).disk;
        let (end, lineage) = (disk.log.end(), &disk.volume.lineage);
        let mut wrong = None;
        if !disk.rotten {
            // J13: what lies below the end was once written by a term of its history.
            for (who, start, _) in disk.log.runs() {
                let index = usize::try_from(who).unwrap_or(0).checked_sub(1);
                let of = index.and_then(|n| self.processes.get(n)).copied();
                let named = lineage
                    .entries()
                    .iter()
                    .any(|e| Some(e.term()) == of && e.start.get() <= start);
                if !named {
                    wrong = Some(format!(
                        "J13: {} starts with bytes of term {of:?} at {start}, which its history does not name",
                        self.names[i]
                    ));
                }
            }
        }
        if role == Role::Master {
            let last = lineage.last();
            if last.is_none_or(|e| e.term() != term || e.start.get() != end) {
                wrong = Some(format!(
                    "J8: master of term {term} starts at {end}, its history says {last:?}"
                ));
            }
            if !self.masters.insert(term) {
                wrong = Some(format!("H9: a second master process in term {term}"));
            }
        }
        if let Some(wrong) = wrong {
            self.blame(wrong);
        }
    }

    /// J14: a cut takes nothing off that the group has, and everything it takes off is archived.
    pub(super) fn check_cut(&mut self, i: usize, term: TermId, to: u64, end: u64) {
        let Some(master) = self.masters_of(i, term) else {
            return;
        };
        self.flow(master);
        let disk = &self.machine(i).disk;
        let common = disk.log.common(&self.machine(master).disk.log);
        let known = !disk.volume.lineage.is_empty();
        if to < common && known && common > 64 * 1024 && !disk.rotten {
            let what = format!(
                "J14: {} cuts {end}->{to} though {common} bytes are the group's",
                self.names[i]
            );
            self.blame(what);
        }
    }

    /// J8: what two histories call the same bytes are the same bytes.
    pub(super) fn check_persisted(&mut self, i: usize) {
        let lineage = self.machine(i).disk.volume.lineage.clone();
        self.check_lineage(i, &lineage);
        for n in 0..self.machines.len() {
            let (x, y) = (&self.machine(i).disk, &self.machine(n).disk);
            if n == i || x.rotten || y.rotten {
                continue;
            }
            let (piece, known) = x.volume.lineage.common_prefix(
                Offset::new(x.log.end()),
                &y.volume.lineage,
                Offset::new(y.log.end()),
            );
            let common = x.log.common(&y.log);
            if matches!(piece, Common::Term(_)) && common < known.get() {
                let what = format!(
                    "J8: {} and {} share {known} bytes by history ({piece:?}), {common} in truth",
                    self.names[i], self.names[n]
                );
                self.blame(what);
                return;
            }
        }
    }

    /// What the wait may count from: the first sight of what the last holder, deletion or restore left behind.
    pub(super) fn note_sights(&mut self, i: usize) {
        let t = self.t;
        let machine = &mut self.machines[i];
        let tick = machine.now(t).tick;
        let lineage = &machine.disk.volume.lineage;
        let last = lineage.last().map(|e| e.nonce).unwrap_or_default();
        let history = (lineage.entries().len(), last);
        let Some(agent) = &mut machine.agent else {
            return;
        };
        if agent.sights.newest != agent.newest {
            agent.sights.newest = agent.newest;
            let era = self.store.era(agent.newest);
            if agent.sights.era != era {
                (agent.sights.era, agent.sights.sound, agent.sights.damaged) = (era, None, None);
            }
        }
        match agent.seen.lease.last() {
            Some(LeaseSeen::Damaged { .. }) => {
                agent.sights.damaged.get_or_insert(tick);
            }
            Some(_) => {
                if agent.sights.sound.is_none() {
                    // It may be a renewal, which ends what damage was seen before it.
                    (agent.sights.sound, agent.sights.damaged) = (Some(tick), None);
                }
            }
            None => return,
        }
        let known = agent.sights.lineage;
        if (known.0, known.1) != history {
            agent.sights.lineage = (history.0, history.1, tick);
        }
    }

    /// J21: no edit of a bystander postpones when the Lease is free.
    pub(super) fn check_wait(&mut self, i: usize) {
        let t = self.t;
        let machine = &mut self.machines[i];
        let tick = machine.now(t).tick;
        let Some(agent) = &mut machine.agent else {
            return;
        };
        if agent.sights.highest.0 != agent.state.highest {
            agent.sights.highest = (agent.state.highest, tick);
        }
        let Some(watch) = &agent.state.watch else {
            return;
        };
        let masters = agent.seen.peers.values().filter_map(|p| match &p.answer {
            Reading::Known { value, at } => (value.role == Some(Role::Master)).then_some(*at),
            Reading::Unknown => None,
        });
        let word = masters.fold(agent.sights.master, Ord::max);
        agent.sights.master = word;
        let sights = &agent.sights;
        // Whether a record is rewound also rests on what we know ourselves.
        let known = sights.highest.1.max(sights.lineage.2);
        let latest = match &watch.sight {
            Sight::Absent => sights.sound,
            // The damage may have hidden a renewal, and the copy that was put back an older one.
            Sight::Held(_) if sights.damaged.is_some() => {
                sights.sound.map(|at| at.max(word).max(known))
            }
            Sight::Held(_) => sights.sound.map(|at| at.max(known)),
            Sight::Damaged => sights.damaged.map(|at| at.max(word)),
            Sight::Rewound { .. } => sights.sound.map(|at| at.max(word).max(known)),
        };
        if latest.is_some_and(|latest| watch.since > latest) {
            let what = format!(
                "J21: {} waits on {:?} since {:?}, the last change that is no bystander's was seen at {latest:?}",
                self.names[i], watch.sight, watch.since
            );
            self.blame(what);
        }
    }

    /// No order is given over and over.
    pub(super) fn count(&mut self, i: usize, action: &Action) {
        let (kind, name, most) = show::bound(action);
        if !self.machine(i).launches() {
            // Orders to a launcher that stands still run into their time-out.
            return;
        }
        let t = self.t;
        let Some(agent) = &mut self.machines[i].agent else {
            return;
        };
        let Some(times) = agent.counts.get_mut(kind) else {
            return;
        };
        times.push_back(t);
        while times.front().is_some_and(|first| *first + 1_000 <= t) {
            times.pop_front();
        }
        if times.len() > most {
            let n = times.len();
            self.blame(format!("{}: {n} times {name} in a second", self.names[i]));
        }
    }

    /// J7: no gate opens while a release of ours could still land.
    pub(super) fn check_open(&mut self, i: usize) {
        let state = self.machine(i).agent.as_ref().map(|a| &a.state);
        let pending = state.and_then(|s| s.pending.as_ref());
        if pending.is_some_and(|p| p.kind == PendingKind::Release) {
            self.blame(format!(
                "J7: {} opens its gate while its release may land",
                self.names[i]
            ));
        }
    }

    /// Who ends in order does not leave a Lease behind that only silence frees.
    pub(super) fn check_stop(&mut self, i: usize) {
        let machine = self.machine(i);
        let Some(agent) = &machine.agent else { return };
        let sees_own = match agent.seen.lease.last() {
            Some(LeaseSeen::Record { record, .. }) => record.holder == machine.instance,
            Some(_) | None => false,
        };
        let watch = agent.state.watch.as_ref();
        if sees_own && watch.is_some_and(|w| matches!(w.sight, Sight::Held(_))) {
            let what = format!("{} ends in order and keeps the Lease", self.names[i]);
            self.blame(what);
        }
    }

    /// A planned switchover loses nothing.
    pub(super) fn check_handover(&mut self, i: usize, target: &Member) {
        let Some(n) = self.index_of(target) else {
            return;
        };
        self.flow_all();
        let (source, disk) = (&self.machine(i).disk, &self.machine(n).disk);
        let common = disk.log.common(&source.log);
        let acked = source.log.end();
        // A target that lost its machine or its volume meanwhile is not the switchover's fault.
        let lost = self.machine(n).lost_at;
        let lost = lost.is_some_and(|at| at + 40_000 > self.t);
        if common < acked && !lost && !disk.rotten {
            self.blame(format!(
                "handed over to {target}, which has {common} of {acked} acknowledged bytes"
            ));
        }
    }

    /// A group at rest writes no more than it may: 0.7 in a second.
    pub(super) fn check_budget(&mut self, since: u64) {
        let writes = self.counts.writes.saturating_sub(self.writes_at_quiet);
        let span = self.t.saturating_sub(since);
        // One at each end of the span, and a renewal whose reply was lost lands beside the next one.
        if writes.saturating_sub(2) * 10_000 > span * 7 {
            self.blame(format!("{writes} Lease writes in {span} ms of rest"));
        }
    }

    /// I5, I6, J20: everybody is back, and nothing is left over.
    pub(super) fn judge_end(&mut self) {
        if self.t < self.troubled_at + LIVENESS && self.quiet_since.is_none() {
            // The last fault's cure ended late; nothing can be asked yet.
            return;
        }
        self.flow_all();
        let serving: Vec<usize> = (0..self.machines.len())
            .filter(|i| self.machine(*i).accepts())
            .collect();
        let [master] = serving[..] else {
            self.blame(format!("I5: {} serving masters at the end", serving.len()));
            return;
        };
        for i in 0..self.machines.len() {
            let machine = self.machine(i);
            let streams = matches!(machine.upstream, Upstream::Streaming { .. });
            let source = &self.machine(master).disk.log;
            let behind = source.end().saturating_sub(machine.disk.log.end());
            let whole = machine.disk.log.is_prefix_of(source) && behind < 10_000_000;
            if i != master && machine.belongs && !(streams && whole) {
                self.blame(format!("I5: {} does not follow at the end", self.names[i]));
                return;
            }
        }
        let asked = self.store.object.as_ref().map(|o| &o.requests.switchover);
        if let Some(Some(request)) = asked {
            let what = format!("a switchover request is never answered: {request:?}");
            self.blame(what);
        }
        let unarchived = self.machines.iter().find(|m| m.disk.cut != m.disk.archived);
        if let Some(name) = unarchived.map(|m| m.name.clone()) {
            self.blame(format!("I6: {name} cut without an archive"));
        }
    }
}
