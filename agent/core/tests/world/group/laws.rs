//! The laws, checked at every step and at the end.

use super::api::Asked;
use super::{END, Group};
use crate::member::MemberWorld;
use crate::show;
use agent_core::Lineage;
use agent_core::action::{Action, WriteReason};
use agent_core::ids::*;
use agent_core::lineage::Common;
use agent_core::observation::*;
use agent_core::record::{GroupRecord, TermId};
use agent_core::report::Role;
use agent_core::state::{PendingKind, Sight};
use agent_core::time::Boot;

impl Group {
    /// J6: a Lease is taken only when it was given up, proven dead, ours, or silent for W on a clock within ρ. An absent
    /// one is silent since it is absent (H7), and an earlier life of our own pod is somebody else (H1).
    pub(super) fn check_free(&mut self, i: usize) {
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
        let holder = object.record.holder.clone();
        let me = &self.members[i];
        if holder.is_empty() || holder == me.instance() {
            return;
        }
        let lives = |m: &MemberWorld| m.instance() == holder && m.away.is_none();
        let own_past = object.record.term.master == me.name;
        if own_past || self.members.iter().any(lives) {
            let what = format!("J6: taken from {holder:?} after {silent} ms of silence");
            self.blame(what);
        }
    }

    /// H6: a record older than what the winner knows gives it no rights: neither R nor a number right behind its own.
    pub(super) fn check_rights(&mut self, i: usize, record: &GroupRecord) {
        let Some(object) = &self.store.object else {
            return;
        };
        let older = object.record.term.id.epoch < self.members[i].disk.highest;
        if older
            && (record.replication.is_some() || !record.term.id.epoch.get().is_multiple_of(1000))
        {
            let (won, old) = (record.term.id, object.record.term.id);
            let what = format!("H6: term {won} rests on a record of term {old}, which is older");
            self.blame(what);
        }
    }

    /// A history is in order, and it ends where the log of its newest term began.
    pub(super) fn check_lineage(&mut self, i: usize, lineage: &Lineage) {
        if let Err(n) = Lineage::new(lineage.entries().to_vec()) {
            let what = format!(
                "{}: entry {n} of its history is out of order: {:?}",
                self.names[i],
                lineage.entries()
            );
            self.blame(what);
        }
    }

    /// J5: no permit beyond D after the send of a renewal that was committed.
    pub(super) fn check_permit(&mut self, i: usize, role: Role, term: TermId, until: Boot) {
        if role == Role::Slave {
            return;
        }
        let key = (term, self.members[i].instance());
        let sent = self.renewed.get(&key).and_then(|s| s.iter().max());
        let limit = sent.map(|s| s.plus(self.policy.timing().permit));
        if limit.is_none_or(|limit| until > limit) {
            self.blame(format!(
                "J5: {} permits term {term} until {until:?}, earned is {limit:?}",
                self.names[i]
            ));
        }
    }

    /// What the wait may count from: the first sight of what the last holder, deletion or restore left behind.
    pub(super) fn note_sights(&mut self, i: usize) {
        let m = &mut self.members[i];
        let tick = m.now(self.t).tick;
        let lineage = m.disk.lineage.clone();
        let Some(agent) = &mut m.agent else { return };
        let era = self.store.era(agent.newest);
        if agent.sights.era != era {
            (agent.sights.era, agent.sights.sound, agent.sights.damaged) = (era, None, None);
        }
        match &agent.view {
            Some((LeaseSeen::Damaged { .. }, _)) => {
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
        if agent.sights.lineage.0 != lineage {
            agent.sights.lineage = (lineage, tick);
        }
    }

    /// J21: no edit of a bystander postpones when the Lease is free.
    pub(super) fn check_wait(&mut self, i: usize) {
        let m = &mut self.members[i];
        let tick = m.now(self.t).tick;
        let Some(agent) = &mut m.agent else { return };
        if agent.sights.highest.0 != agent.state.highest {
            agent.sights.highest = (agent.state.highest, tick);
        }
        let Some(watch) = &agent.state.watch else {
            return;
        };
        let masters = agent.peers.values().filter_map(|p| match &p.answer {
            Reading::Known { value, at } => (value.role == Some(Role::Master)).then_some(*at),
            Reading::Unknown => None,
        });
        let word = masters.fold(agent.sights.master, Ord::max);
        agent.sights.master = word;
        let sights = &agent.sights;
        // Whether a record is rewound also rests on what we know ourselves.
        let known = sights.highest.1.max(sights.lineage.1);
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

    pub(super) fn count(&mut self, i: usize, action: &Action) {
        let (kind, most) = show::bound(action);
        let t = self.t;
        let times = self.counts.entry((i, kind)).or_default();
        times.push_back(t);
        while times.front().is_some_and(|first| *first + 1_000 <= t) {
            times.pop_front();
        }
        if times.len() > most {
            let n = times.len();
            self.blame(format!("{}: {n} times {kind} in a second", self.names[i]));
        }
    }

    /// J7: no gate opens while a release of ours could still land.
    pub(super) fn check_open(&mut self, i: usize) {
        let instance = self.members[i].instance();
        let pending = self.members[i]
            .agent
            .as_ref()
            .and_then(|a| a.state.pending.as_ref())
            .is_some_and(|p| p.kind == PendingKind::Release);
        let flying = self.requests.iter().any(|r| {
            r.instance == instance
                && r.lands.is_some()
                && matches!(&r.asked, Asked::Write { write, .. }
                    if write.why == WriteReason::Release && self.store.would_take(write.carries))
        });
        if pending || flying {
            self.blame(format!(
                "J7: {} opens its gate while its release may land",
                self.names[i]
            ));
        }
    }

    /// Who ends in order does not leave a Lease behind that only silence frees.
    pub(super) fn check_stop(&mut self, i: usize) {
        let m = &self.members[i];
        let Some(agent) = &m.agent else { return };
        let sees_own = match &agent.view {
            Some((LeaseSeen::Record { record, .. }, _)) => record.holder == m.instance(),
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
        let Some(n) = self.names.iter().position(|m| m == target) else {
            return;
        };
        let common = self.members[n].disk.log.common(&self.members[i].disk.log);
        let acked = self.members[i].acked;
        // A target that lost its machine or its volume meanwhile is not the switchover's fault.
        let lost = self.members[n]
            .lost_at
            .is_some_and(|at| at + 40_000 > self.t);
        if common < acked && !lost {
            self.blame(format!(
                "handed over to {target}, which has {common} of {acked} acknowledged bytes"
            ));
        }
    }

    pub(super) fn check(&mut self) {
        let t = self.t;
        let accepting: Vec<String> = self
            .members
            .iter()
            .filter(|m| m.accepts(t))
            .map(|m| m.name.to_string())
            .collect();
        if accepting.len() > 1 {
            self.blame(format!("I1: {} accept writes", accepting.join(" and ")));
        }
        let unarchived = self
            .members
            .iter()
            .find(|m| m.disk.cut != m.disk.archived)
            .map(|m| m.name.clone());
        if let Some(name) = unarchived {
            self.blame(format!("I6: {name} cut without an archive"));
        }
    }

    /// J8: what two histories call the same bytes are the same bytes.
    pub(super) fn check_histories(&mut self) {
        for a in 0..self.members.len() {
            for b in 0..a {
                let (x, y) = (&self.members[a].disk, &self.members[b].disk);
                let (piece, known) = x.lineage.common_prefix(
                    Offset::new(x.log.end()),
                    &y.lineage,
                    Offset::new(y.log.end()),
                );
                let common = x.log.common(&y.log);
                if matches!(piece, Common::Term(_)) && common < known.get() {
                    let what = format!(
                        "J8: {} and {} share {known} bytes by history ({piece:?}), {common} in truth",
                        self.names[a], self.names[b]
                    );
                    self.blame(what);
                    return;
                }
            }
        }
    }

    pub(super) fn judge_end(&mut self) {
        let t = self.t;
        let serving: Vec<usize> = (0..self.members.len())
            .filter(|i| self.members[*i].accepts(t))
            .collect();
        let [master] = serving[..] else {
            self.blame(format!("I5: {} serving masters at the end", serving.len()));
            return;
        };
        for i in 0..self.members.len() {
            let streams = matches!(self.members[i].upstream, Upstream::Streaming { .. });
            let whole = self.members[i].disk.log == self.members[master].disk.log;
            if i != master && !(streams && whole) {
                self.blame(format!("I5: {} does not follow at the end", self.names[i]));
                return;
            }
        }
        let asked = self.store.object.as_ref().map(|o| &o.requests.switchover);
        if let Some(Some(request)) = asked {
            let what = format!("a switchover request is never answered: {request:?}");
            self.blame(what);
        }
        if self.last_term > END - 30_000 {
            self.blame("J20: terms still change at the end".into());
        }
    }
}
