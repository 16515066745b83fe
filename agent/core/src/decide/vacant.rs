//! The Lease is free, or about to be: freeze, collect, rank, take (safety rules 1.3).

use super::Turn;
use crate::action::{Action, Event, WriteReason};
use crate::election::{self, Answer, Ballot, Verdict};
use crate::ids::{Epoch, Instance, Member};
use crate::lease::{self, Cause, Vacancy};
use crate::lineage::{LEASE_LINEAGE, LineageEntry};
use crate::observation::{Extent, Launcher, Peer, Requests, Volume};
use crate::reason::Reason;
use crate::record::{FORMAT, GroupRecord, Phase, Stage, Term, TermId, Tuple};
use crate::report::{LogReport, Report};
use crate::state::{Election, PendingKind};
use crate::time::Tick;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

impl<'a> Turn<'a> {
    pub(super) fn vacant(&mut self, vacancy: &Vacancy<'_>) -> Reason {
        if let Some(reason) = self.give_up_own(vacancy).or_else(|| self.stopped()) {
            return reason;
        }
        if vacancy.paused && vacancy.cause != Cause::Own {
            // Each member sees the end of the pause at another moment: nobody's turn counts from before it.
            self.next.election = None;
            return self.look_on(Reason::Paused);
        }
        let Some(launcher) = self.launcher() else {
            return Reason::LauncherUnknown;
        };
        if let Some(live) = self.any_live() {
            self.kill(live.term, Reason::Freezing);
            return Reason::Freezing;
        }
        let Some((volume, extent)) = self.frozen(vacancy) else {
            return self.freeze(vacancy);
        };
        let answers = self.answers(vacancy, volume, extent);
        if vacancy.cause == Cause::Own {
            return self.stand_in_place(vacancy, &answers, extent, launcher);
        }
        self.stand(vacancy, &answers, extent, launcher)
    }

    /// Asked to stop on a term of our own that nobody serves: nothing of it runs, so it is given up at once, and nobody
    /// has to wait for our silence.
    fn give_up_own(&mut self, vacancy: &Vacancy<'_>) -> Option<Reason> {
        let dead = self.launcher().is_some() && self.any_live().is_none();
        if !self.stopping() || vacancy.cause != Cause::Own || !dead {
            return None;
        }
        self.release_own(vacancy)
    }

    fn release_own(&mut self, vacancy: &Vacancy<'_>) -> Option<Reason> {
        let (record, rv) = vacancy.record.zip(vacancy.carries)?;
        let seen = lease::Held {
            record,
            rv,
            requests: &Requests::default(),
        };
        Some(self.release(seen, None, Reason::Released))
    }

    /// Our volume and log, if our end is fixed for this vacancy. In place our own renewals go on meanwhile, so there
    /// only holder and term must be the same.
    fn frozen(&self, vacancy: &Vacancy<'_>) -> Option<(&'a Volume, Extent)> {
        let volume = self.volume().filter(|v| v.pending_cut.is_none())?;
        let extent = volume.extent?;
        let frozen = volume.frozen.as_ref()?;
        same_vacancy(&frozen.vacancy, vacancy).then_some((volume, extent))
    }

    fn freeze(&mut self, vacancy: &Vacancy<'_>) -> Reason {
        if !self.idle() {
            return Reason::JobRunning;
        }
        match self.volume() {
            Some(volume) if volume.pending_cut.is_none() => {
                self.actions.push(Action::Freeze {
                    vacancy: vacancy.id.clone(),
                });
                Reason::Freezing
            }
            Some(_) | None => {
                self.actions.push(Action::Examine);
                Reason::VolumeUnknown
            }
        }
    }

    /// Everybody's frozen end for this vacancy, ours among them. Who does not answer is Unknown and is left out.
    fn answers(
        &self,
        vacancy: &Vacancy<'_>,
        volume: &Volume,
        extent: Extent,
    ) -> BTreeMap<Member, Answer> {
        let mut answers = BTreeMap::new();
        for (member, peer) in &self.seen.peers {
            let word = self.frozen_word(vacancy, peer);
            let answer = word.and_then(|r| Answer::of(r, &vacancy.id));
            if let Some(answer) = answer.filter(|a| a.who.member == *member) {
                answers.insert(member.clone(), answer);
            }
        }
        let me = &self.seen.me;
        let log = LogReport {
            min: extent.min,
            end: extent.end,
        };
        let mine = Answer {
            who: volume.who.clone(),
            zone: me.zone.clone(),
            priority: me.priority,
            electable: self.electable(volume, Some(log)),
            last_epoch: volume.lineage.last_epoch(extent.end),
            log: extent,
            blank: volume.lineage.is_empty() && extent.is_empty(),
            lineage: volume.lineage.clone(),
        };
        answers.insert(me.member.clone(), mine);
        answers
    }

    /// A member's word about this vacancy: what it says, else what it published. Where no record names the vacancy, an
    /// older word may mean an earlier one: there only what was said since we see this one counts.
    fn frozen_word(&self, vacancy: &Vacancy<'_>, peer: &'a Peer) -> Option<&'a Report> {
        let (now, age) = (self.now.tick, self.policy.reading_age);
        let about = |r: &&Report| {
            let frozen = r.frozen.as_ref();
            frozen.is_some_and(|f| f.vacancy == vacancy.id)
        };
        let spoken = peer.answer.fresh(now, age).filter(about);
        if vacancy.record.is_none() {
            return spoken.filter(|_| peer.answer.since(vacancy.since).is_some());
        }
        spoken.or_else(|| peer.published.fresh(now, age).filter(about))
    }

    fn judge(&self, vacancy: &Vacancy<'_>, answers: &BTreeMap<Member, Answer>) -> Verdict {
        let members = lease::members(self.seen, vacancy.record);
        let known = self.seen.peers.values().filter_map(|p| p.published.last());
        let history = self.next.highest > Epoch::default() || known.into_iter().any(|r| !r.blank);
        let qos = vacancy.record.map_or(self.policy.qos, |r| r.qos_enforced);
        election::judge(&Ballot {
            record: vacancy.record,
            qos,
            members: &members,
            answers,
            history,
        })
    }

    /// Our own Lease, our own dead process. Nobody else is frozen while we hold it, so only the right of the last
    /// serving master with its life unbroken counts; without it the Lease is given up for an election of all.
    fn stand_in_place(
        &mut self,
        vacancy: &Vacancy<'_>,
        answers: &BTreeMap<Member, Answer>,
        extent: Extent,
        launcher: &Launcher,
    ) -> Reason {
        let me = &self.seen.me.member;
        let alone = answers
            .iter()
            .filter(|(m, _)| *m == me)
            .map(|(m, a)| (m.clone(), a.clone()))
            .collect();
        let entitled = match self.judge(vacancy, &alone) {
            Verdict::Order { order, loss, .. } => !loss && order.first() == Some(me),
            Verdict::Nobody(_) | Verdict::Missing(_) => false,
        };
        if !entitled {
            let released = self.release_own(vacancy);
            return released.unwrap_or(Reason::LeaseUnknown);
        }
        self.take(vacancy, extent, launcher, Reason::InPlace)
    }

    fn stand(
        &mut self,
        vacancy: &Vacancy<'_>,
        answers: &BTreeMap<Member, Answer>,
        extent: Extent,
        launcher: &Launcher,
    ) -> Reason {
        let since = self.collect_since(&vacancy.id);
        let me = &self.seen.me.member;
        let target = vacancy
            .record
            .and_then(|r| r.target.as_ref())
            .filter(|_| vacancy.cause == Cause::Released);
        let (order, ready_at) = match self.judge(vacancy, answers) {
            Verdict::Nobody(why) => return why,
            Verdict::Missing(order) => (order, vacancy.free_at.plus(self.policy.absent_wait)),
            Verdict::Order {
                order, sure: true, ..
            } => (order, since),
            Verdict::Order {
                order, sure: false, ..
            } => (order, since.plus(self.policy.collect)),
        };
        let Some(position) = order.iter().position(|m| m == me) else {
            return Reason::NotElectable;
        };
        let given = self.given_to_better(vacancy.cause, order.get(..position).unwrap_or_default());
        let position = u32::try_from(position).unwrap_or(u32::MAX);
        let mut at = ready_at
            .max(vacancy.free_at)
            .max(given)
            .plus(self.policy.rank_step.saturating_mul(position));
        let mut waiting = if position == 0 {
            Reason::Collecting
        } else {
            Reason::BetterCandidate
        };
        if let Some(target) = target {
            if target == me {
                at = vacancy.free_at;
            } else {
                at = at.max(vacancy.free_at.plus(self.policy.target_wait));
                waiting = Reason::TargetFirst;
            }
        }
        if self.now.tick < at {
            self.wake_at(at);
            return waiting;
        }
        self.warn_of_loss(vacancy, extent);
        self.take(vacancy, extent, launcher, Reason::Acquire)
    }

    /// Until when those who go before us have their turn at least: who answered late, because it only just came up, may
    /// find the Lease free, or every answer there, one collect time later than we do.
    fn given_to_better(&mut self, cause: Cause, before: &[Member]) -> Tick {
        let now = self.now.tick;
        let Some(election) = self.next.election.as_mut() else {
            return now;
        };
        if election.before != before {
            election.before = before.to_vec();
            election.before_since = now;
        }
        if before.is_empty() {
            return election.since;
        }
        match cause {
            Cause::Own => election.before_since,
            // A release is seen by all alike, but who is best may still wait for an answer that we have.
            Cause::Released | Cause::Silence | Cause::Dead | Cause::Absent | Cause::Rewound => {
                election.before_since.plus(self.policy.collect)
            }
        }
    }

    /// Since when we take part in this election.
    pub(super) fn collect_since(&mut self, vacancy: &Tuple) -> Tick {
        let now = self.now.tick;
        match &self.next.election {
            Some(election) if election.vacancy == *vacancy => election.since,
            Some(_) | None => {
                self.next.election = Some(Election {
                    vacancy: vacancy.clone(),
                    since: now,
                    before: Vec::new(),
                    before_since: now,
                });
                now
            }
        }
    }

    /// Says how many bytes the last serving master is known to have had above our end.
    fn warn_of_loss(&mut self, vacancy: &Vacancy<'_>, extent: Extent) {
        let Some(replication) = vacancy.record.and_then(|r| r.replication.as_ref()) else {
            return;
        };
        let peer = self.seen.peers.get(&replication.master.member);
        let words = peer
            .into_iter()
            .flat_map(|p| [p.answer.last(), p.published.last()])
            .flatten();
        let ends = words
            .filter(|r| r.who == replication.master)
            .filter_map(|r| r.log.map(|l| l.end));
        let known = ends.fold(replication.confirmed, Ord::max);
        let bytes = known.since(extent.end);
        if bytes > 0 && self.next.pending.is_none() {
            self.announce(Event::DataLossPossible { bytes });
        }
    }

    /// The compare-and-swap that makes a term.
    fn take(
        &mut self,
        vacancy: &Vacancy<'_>,
        extent: Extent,
        launcher: &Launcher,
        why: Reason,
    ) -> Reason {
        if !self.may_write() {
            return Reason::WriteUnsettled;
        }
        let Some(volume) = self.volume() else {
            return Reason::VolumeUnknown;
        };
        let id = TermId {
            epoch: self.next_epoch(vacancy.cause),
            nonce: self.seen.nonce,
        };
        let entry = LineageEntry {
            epoch: id.epoch,
            nonce: id.nonce,
            start: extent.end,
            master: self.seen.me.member.clone(),
        };
        // Who was handed the Lease by plan fails nobody over.
        let planned = vacancy.record.and_then(|r| r.target.as_ref()) == Some(&self.seen.me.member);
        let last = vacancy
            .record
            .and_then(|r| r.replication.as_ref())
            .map(|r| r.master.member.clone())
            .filter(|_| !planned);
        let record = self.new_record(vacancy, volume, extent, launcher.instance.clone(), entry);
        self.opening_of(id, last);
        self.write(
            WriteReason::Acquire,
            PendingKind::Acquire,
            vacancy.carries,
            record,
            false,
        );
        why
    }

    fn next_epoch(&self, cause: Cause) -> Epoch {
        let highest = self.next.highest;
        match cause {
            // Numbers may have been used that nobody present remembers (H8).
            Cause::Absent | Cause::Rewound if highest > Epoch::default() => highest.next_thousand(),
            Cause::Absent | Cause::Rewound => highest.next(),
            Cause::Released | Cause::Silence | Cause::Dead | Cause::Own => highest.next(),
        }
    }

    fn new_record(
        &self,
        vacancy: &Vacancy<'_>,
        volume: &Volume,
        extent: Extent,
        holder: Instance,
        entry: LineageEntry,
    ) -> GroupRecord {
        let old = vacancy.record;
        let mut members = old.map(|r| r.members.clone()).unwrap_or_default();
        members.insert(volume.who.member.clone(), volume.who.volume.clone());
        for peer in self.seen.peers.values() {
            if let Some(word) = peer.answer.last() {
                members
                    .entry(word.who.member.clone())
                    .or_insert_with(|| word.who.volume.clone());
            }
        }
        let wait = u64::try_from(self.policy.timing().take_wait.as_millis()).unwrap_or(u64::MAX);
        GroupRecord {
            format: FORMAT,
            term: Term {
                id: entry.term(),
                start: entry.start,
                master: entry.master.clone(),
                stage: Stage::Opening,
            },
            holder,
            containers: self.seen.me.containers.clone(),
            seq: old.map_or(1, |r| r.seq.saturating_add(1)),
            // It describes the last serving term until this one serves (H24).
            replication: old.and_then(|r| r.replication.clone()),
            members,
            lineage: volume
                .lineage
                .extended(extent.end, entry)
                .newest(LEASE_LINEAGE),
            log_min: extent.min,
            qos_enforced: old.map_or(self.policy.qos, |r| r.qos_enforced),
            phase: Phase::Single,
            target: None,
            take_wait_ms: wait,
        }
    }
}

fn same_vacancy(frozen: &Tuple, vacancy: &Vacancy<'_>) -> bool {
    let same_life = frozen.holder == vacancy.id.holder && frozen.term == vacancy.id.term;
    *frozen == vacancy.id || (vacancy.cause == Cause::Own && same_life)
}
