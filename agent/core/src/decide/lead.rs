//! Holding the Lease: renew, serve, answer for our own process.

use super::{Live, Turn};
use crate::action::{Action, Event, WriteReason};
use crate::ids::{Instance, Rv};
use crate::lease::{Cause, Held as Seen, Vacancy};
use crate::observation::{EndCause, Launcher, LeaseSeen, Process};
use crate::reason::Reason;
use crate::record::{GroupRecord, MemberSession, Phase, Stage, TermId, Tuple};
use crate::report::{Electable, Report, Role};
use crate::state::{Backoff, Crash, Held, PendingKind};
use crate::time::Boot;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use core::time::Duration;

impl Turn<'_> {
    pub(super) fn lead(&mut self, seen: Seen<'_>) -> Reason {
        let Some(launcher) = self.launcher() else {
            // Nobody may vouch for a process that nobody watches: no renewal, and the gate shuts (H11).
            if let Some(live) = self.live(Role::Master) {
                self.shut(live.term);
            }
            return Reason::LauncherUnknown;
        };
        self.adopt(seen, launcher);
        let reason = match seen.record.term.stage {
            Stage::Opening => self.opening(seen, launcher),
            Stage::Serving => self.serve(seen, launcher),
        };
        // One that cannot even be killed must not keep the Lease: its permit ends, and somebody else takes over.
        if reason != Reason::BrokerHung {
            self.renew(seen);
        }
        reason
    }

    /// The record names our instance and term, but this agent never renewed it: it was restarted. That grants no time.
    fn adopt(&mut self, seen: Seen<'_>, launcher: &Launcher) {
        let term = seen.record.term.id;
        if self
            .next
            .held
            .as_ref()
            .is_some_and(|h| h.term == term && h.instance == launcher.instance)
        {
            return;
        }
        let mut record = Box::new(seen.record.clone());
        record.seq = self.leap(seen.record);
        self.next.held = Some(Held {
            term,
            instance: launcher.instance.clone(),
            renewed: None,
            record,
        });
    }

    fn serve(&mut self, seen: Seen<'_>, launcher: &Launcher) -> Reason {
        let term = seen.record.term.id;
        if let Some(live) = Live::master_of(launcher, term) {
            return self.serve_live(seen, launcher, live);
        }
        match &launcher.process {
            Process::Live { term: running, .. } => {
                self.kill(*running, Reason::LeaseLost);
                Reason::LeaseLost
            }
            Process::Ended {
                term: ended, why, ..
            } if *ended == term => self.own_death(seen, *why),
            Process::Idle | Process::Ended { .. } => self.own_death(seen, EndCause::Crashed),
        }
    }

    fn serve_live(&mut self, seen: Seen<'_>, launcher: &Launcher, live: Live<'_>) -> Reason {
        self.promoted(seen.record);
        if self.hangs(seen.requests.paused) {
            self.crashed(live.term, Reason::BrokerHung);
            self.kill(live.term, Reason::BrokerHung);
            return Reason::BrokerHung;
        }
        self.extend(live, self.earned(live.term));
        self.admit(seen.record, launcher);
        if let Some(reason) = self.hand_over(seen, launcher) {
            return reason;
        }
        if self.ending(live.term) {
            return Reason::PermitEnding;
        }
        if !self.open(live.term) {
            return Reason::GateOpening;
        }
        if self.next.registered != Some(live.term) {
            self.next.registered = Some(live.term);
            self.actions.push(Action::Register { term: live.term });
        }
        self.members(seen);
        Reason::Serving
    }

    fn promoted(&mut self, record: &GroupRecord) {
        let Some(opening) = self.next.opening.take() else {
            return;
        };
        self.next.backoff = None;
        let term = record.term.id;
        self.announce(Event::LeaderElected {
            term,
            start: record.term.start,
        });
        if let Some(from) = opening.from.filter(|from| *from != self.seen.me.member) {
            self.announce(Event::FailOver { term, from });
        }
    }

    /// Passes on what a renewal earned.
    pub(super) fn extend(&mut self, live: Live<'_>, until: Option<Boot>) {
        let Some(until) = until.filter(|u| *u > live.permit) else {
            return;
        };
        self.actions.push(Action::Permit {
            term: live.term,
            instance: live.instance.clone(),
            until,
        });
    }

    /// Tells our relay whom the record admits.
    pub(super) fn admit(&mut self, record: &GroupRecord, launcher: &Launcher) {
        let Some(replication) = record
            .replication
            .as_ref()
            .filter(|r| r.term == record.term.id)
        else {
            return;
        };
        let wanted = (replication.term, replication.members.clone());
        if launcher.admitted.as_ref() != Some(&wanted) {
            let (term, members) = wanted;
            self.actions.push(Action::Admit {
                term,
                members,
                acks: replication.acks,
            });
        }
    }

    /// Brings K up to date: who proved its log for this term joins, and a member that came back with another life
    /// replaces its old entry. With k = 0 no acknowledgement rests on K, so nothing has to be waited for (1.6).
    fn members(&mut self, seen: Seen<'_>) {
        let next = self.refreshed(seen.record);
        let old = seen.record.replication.as_ref().map(|r| &r.members);
        let changed = next.replication.as_ref().map(|r| &r.members) != old
            || next.members != seen.record.members;
        if changed && self.may_write() {
            self.write(
                WriteReason::Members,
                PendingKind::Keep,
                Some(seen.rv),
                next,
                false,
            );
        }
    }

    fn renew(&mut self, seen: Seen<'_>) {
        let held = self
            .next
            .held
            .as_ref()
            .filter(|h| h.term == seen.record.term.id);
        let Some(held) = held else { return };
        let due = held
            .renewed
            .map(|sent| sent.plus(self.policy.timing().renew));
        if let Some(due) = due.filter(|due| self.now.boot < *due) {
            self.wake_at_boot(due);
            return;
        }
        let written = self.actions.iter().any(|a| matches!(a, Action::Write(_)));
        if !written && self.may_write() {
            let record = self.refreshed(seen.record);
            self.write(
                WriteReason::Renew,
                PendingKind::Keep,
                Some(seen.rv),
                record,
                false,
            );
        }
    }

    /// The record with everything that a renewal carries along.
    pub(super) fn refreshed(&self, record: &GroupRecord) -> GroupRecord {
        let mut next = record.clone();
        next.seq = self.next_seq(record);
        let wait = u64::try_from(self.policy.timing().take_wait.as_millis()).unwrap_or(u64::MAX);
        next.take_wait_ms = next.take_wait_ms.max(wait);
        next.containers.clone_from(&self.seen.me.containers);
        if let Some(broker) = self.seen.broker.last() {
            next.log_min = broker.min;
        }
        if record.term.stage == Stage::Serving {
            self.refresh_members(&mut next);
        }
        next
    }

    /// Above every number of this term that was ever sent: a tuple that comes twice would look like silence to a member
    /// that missed what lay between, after a restore or when a deleted Lease is made again (H14).
    fn next_seq(&self, record: &GroupRecord) -> u64 {
        let held = self.next.held.as_ref();
        let ours = held.filter(|h| h.term == record.term.id);
        let sent = ours.map_or_else(|| self.leap(record), |h| h.record.seq);
        record.seq.max(sent).saturating_add(1)
    }

    /// What was sent for a term that we do not hold, or gave up already, is not known here, and after a restore the record
    /// does not tell: a number well above it (H14).
    fn leap(&self, record: &GroupRecord) -> u64 {
        record.seq.saturating_add(self.seen.nonce.get() % 1_000_000)
    }

    fn refresh_members(&self, next: &mut GroupRecord) {
        if let Some(volume) = self.volume() {
            next.members
                .insert(volume.who.member.clone(), volume.who.volume.clone());
        }
        let joined: BTreeSet<MemberSession> =
            self.joined(next.term.id).map(|r| r.who.clone()).collect();
        for who in &joined {
            next.members.insert(who.member.clone(), who.volume.clone());
        }
        let Some(replication) = next.replication.as_mut() else {
            return;
        };
        replication
            .members
            .retain(|k| !joined.iter().any(|j| j.member == k.member));
        replication.members.extend(joined);
        let streaming = self.launcher().is_some_and(|l| !l.replicas.is_empty());
        next.phase = if streaming {
            Phase::Async
        } else {
            Phase::Single
        };
    }

    /// Members that say now that their log was proven for this term.
    pub(super) fn joined(&self, term: TermId) -> impl Iterator<Item = &Report> {
        let (now, age) = (self.now.tick, self.policy.reading_age);
        let answers = self
            .seen
            .peers
            .iter()
            .filter_map(move |(m, p)| Some((m, p.answer.fresh(now, age)?)));
        let joined =
            answers.filter(move |(m, r)| r.who.member == **m && r.joined && r.term == Some(term));
        joined.map(|(_, r)| r)
    }

    /// Our master's process is gone. The page cache survives a process: in place nothing is lost, while a fail-over of
    /// an asynchronous group could lose something. So in place first, another member after too many crashes.
    fn own_death(&mut self, seen: Seen<'_>, why: EndCause) -> Reason {
        let term = seen.record.term.id;
        let handing_over = self.next.handover.as_ref().is_some_and(|h| h.term == term);
        if handing_over && let Some(reason) = self.hand_over_dead(seen) {
            return reason;
        }
        if self.stopping() {
            return self.release(seen, None, Reason::Stopping);
        }
        self.count_crash(term, why);
        let crashes = self.next.crashes.len();
        let limit = usize::try_from(self.policy.crashes_in_place).unwrap_or(usize::MAX);
        let fail_over = crashes > limit && !seen.requests.paused && self.successor(term);
        if fail_over {
            self.back_off(term);
            return self.release(seen, None, Reason::CrashLoop);
        }
        if let Some(until) = self.crash_pause(crashes, limit) {
            self.wake_at(until);
            return Reason::CrashLoop;
        }
        self.in_place(seen)
    }

    fn count_crash(&mut self, term: TermId, why: EndCause) {
        let (now, window) = (self.now.tick, self.policy.crash_window);
        self.next.crashes.retain(|c| now.since(c.at) < window);
        if why == EndCause::Crashed {
            self.crashed(term, Reason::InPlace);
        }
    }

    /// One for each term, however often it is seen.
    fn crashed(&mut self, term: TermId, why: Reason) {
        if !self.next.crashes.iter().any(|c| c.term == term) {
            let at = self.now.tick;
            self.next.crashes.push(Crash { term, at });
            self.announce(Event::BrokerRestarted { why });
        }
    }

    /// A lone member that crashes again and again is given longer and longer pauses.
    fn crash_pause(&self, crashes: usize, limit: usize) -> Option<crate::time::Tick> {
        let over = u32::try_from(crashes.checked_sub(limit)?).ok()?;
        let last = self.next.crashes.last()?;
        if over == 0 {
            return None;
        }
        let until = last
            .at
            .plus(doubled(self.policy.backoff, over - 1).min(self.policy.backoff_cap));
        (self.now.tick < until).then_some(until)
    }

    /// Whether somebody else could take over.
    fn successor(&self, term: TermId) -> bool {
        self.joined(term).any(|r| r.electable == Electable::Yes)
    }

    /// Once for each term: a release takes many decisions, and each of them would double the pause.
    pub(super) fn back_off(&mut self, term: TermId) {
        if self.next.backoff.is_some_and(|b| b.term == term) {
            return;
        }
        let failures = self.next.backoff.map_or(0, |b| b.failures);
        let pause = doubled(self.policy.backoff, failures).min(self.policy.backoff_cap);
        let until = self.now.tick.plus(pause);
        self.next.backoff = Some(Backoff {
            term,
            failures: failures.saturating_add(1),
            until,
        });
    }

    fn in_place(&mut self, seen: Seen<'_>) -> Reason {
        let term = seen.record.term.id;
        if self.in_place_too_long(seen) && !seen.requests.paused && self.successor(term) {
            self.back_off(term);
            return self.release(seen, None, Reason::OpeningTimeout);
        }
        let vacancy = Vacancy {
            id: seen.record.tuple(),
            cause: Cause::Own,
            carries: Some(seen.rv),
            record: Some(seen.record),
            paused: seen.requests.paused,
            since: self.now.tick,
            free_at: self.now.tick,
        };
        self.vacant(&vacancy)
    }

    /// Whether our dead broker waits for its next start longer than a promotion may take: a volume that cannot be
    /// walked any more must not hold the Lease while somebody else could serve.
    fn in_place_too_long(&mut self, seen: Seen<'_>) -> bool {
        // Our renewals go on meanwhile.
        let life = Tuple {
            seq: 0,
            ..seen.record.tuple()
        };
        let since = self.collect_since(&life);
        self.now.tick >= since.plus(self.policy.opening_limit)
    }

    /// Gives the Lease up. Nothing of ours runs any more when this is called.
    pub(super) fn release(
        &mut self,
        seen: Seen<'_>,
        target: Option<crate::ids::Member>,
        why: Reason,
    ) -> Reason {
        if !self.may_write() {
            return Reason::WriteUnsettled;
        }
        let mut record = seen.record.clone();
        record.seq = self.next_seq(&record);
        record.holder = Instance::default();
        record.containers.clear();
        record.target = target;
        self.write(
            WriteReason::Release,
            PendingKind::Release,
            Some(seen.rv),
            record,
            true,
        );
        why
    }

    /// What our lost record must be written over, while we serve under a valid permit: None is an absent Lease, made
    /// again by create (H7); Some is the version of one that somebody edited, where the holder restores what it wrote
    /// (H46). A sound record of an older term is neither: then history itself was turned back (H6).
    pub(super) fn lost_record(&self) -> Option<Option<Rv>> {
        let carries = match self.seen.lease.last()? {
            LeaseSeen::Absent => None,
            LeaseSeen::Damaged { rv, .. } => Some(*rv),
            LeaseSeen::Stranger { .. } | LeaseSeen::Newer { .. } | LeaseSeen::Record { .. } => {
                return None;
            }
        };
        self.serves_held().then_some(carries)
    }

    fn serves_held(&self) -> bool {
        let Some(live) = self.live(Role::Master) else {
            return false;
        };
        let held = self
            .next
            .held
            .as_ref()
            .is_some_and(|h| h.term == live.term && h.instance == *live.instance);
        held && self.now.boot < self.limit(live)
    }

    /// Writes the lost record again.
    pub(super) fn restore(&mut self) -> Option<Reason> {
        let carries = self.lost_record()?;
        let held = self.next.held.clone()?;
        if self.may_write() {
            let record = self.refreshed(&held.record);
            self.write(
                WriteReason::Renew,
                PendingKind::Keep,
                carries,
                record,
                false,
            );
        }
        Some(Reason::Renew)
    }
}

fn doubled(base: Duration, times: u32) -> Duration {
    base.saturating_mul(1u32.checked_shl(times.min(16)).unwrap_or(u32::MAX))
}
