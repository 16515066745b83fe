//! A promotion: from the won Lease to serving (safety rules 1.4).

use super::{Live, Turn};
use crate::action::{Action, Event, WriteReason};
use crate::lease::Held as Seen;
use crate::observation::{Launcher, Process};
use crate::reason::Reason;
use crate::record::{Replication, Stage, TermId};
use crate::report::Role;
use crate::state::{Opening, PendingKind};
use alloc::collections::BTreeSet;

impl Turn<'_> {
    pub(super) fn opening(&mut self, seen: Seen<'_>, launcher: &Launcher) -> Reason {
        let term = seen.record.term.id;
        if self.next.backoff.is_some_and(|b| b.term == term) {
            return self.give_back(seen, launcher);
        }
        if self.stopping() {
            return self.give_back(seen, launcher);
        }
        if self.next.opening.as_ref().is_none_or(|o| o.term != term) {
            self.next.opening = Some(Opening {
                term,
                since: self.now.tick,
                from: None,
            });
        }
        if let Some(live) = Live::master_of(launcher, term) {
            return self.come_up(seen, launcher, live);
        }
        match &launcher.process {
            Process::Live { term: running, .. } => {
                self.kill(*running, Reason::TermChanged);
                Reason::Opening
            }
            // One term is one process (H9): it is not started a second time.
            Process::Ended { term: ended, .. } if *ended == term => {
                self.fail(seen, launcher, Reason::OpeningFailed)
            }
            Process::Idle | Process::Ended { .. } => self.prepare(seen, launcher),
        }
    }

    /// P2 to P4: a clean tail, the history on disk, then the process, born fenced.
    fn prepare(&mut self, seen: Seen<'_>, launcher: &Launcher) -> Reason {
        let record = seen.record;
        let term = &record.term;
        // A volume that cannot be made ready must not hold the Lease while others could serve.
        let since = self.next.opening.as_ref().map(|o| o.since);
        if since.is_some_and(|s| self.now.tick >= s.plus(self.policy.opening_limit)) {
            return self.fail(seen, launcher, Reason::OpeningTimeout);
        }
        let Some(volume) = self.volume() else {
            return Reason::VolumeUnknown;
        };
        if !self.idle() {
            return Reason::JobRunning;
        }
        if volume.repaired != Some(term.id) {
            self.actions.push(Action::Repair {
                term: term.id,
                end: term.start,
            });
            return Reason::Repairing;
        }
        if volume.lineage.last() != Some(&term.entry()) || volume.highest_epoch < term.id.epoch {
            let lineage = volume.lineage.extended(term.start, term.entry());
            let highest = self.next.highest;
            self.actions.push(Action::Persist {
                lineage,
                highest,
                joined: None,
                seeding: None,
            });
            return Reason::Opening;
        }
        if record.containers != self.seen.me.containers {
            // What proves our death must be in the Lease before there is anything to prove (H38): the next renewal has it.
            self.renew_now();
            return Reason::Opening;
        }
        let Some(permit) = self.earned(term.id).filter(|_| !self.ending(term.id)) else {
            return Reason::PermitEnding;
        };
        let instance = launcher.instance.clone();
        self.actions.push(Action::Start {
            role: Role::Master,
            term: term.id,
            instance,
            permit,
        });
        Reason::Opening
    }

    fn renew_now(&mut self) {
        if let Some(held) = self.next.held.as_mut() {
            held.renewed = None;
        }
    }

    /// P5 and P6: the broker answers, its recovered end is the term's start, the record says `serving`.
    fn come_up(&mut self, seen: Seen<'_>, launcher: &Launcher, live: Live<'_>) -> Reason {
        self.extend(live, self.earned(live.term));
        let Some(opening) = &self.next.opening else {
            return Reason::Opening;
        };
        let since = opening.since;
        let limit = since.plus(self.policy.opening_limit);
        let Some(broker) = self.seen.broker.since(since) else {
            if self.now.tick >= limit {
                return self.fail(seen, launcher, Reason::OpeningTimeout);
            }
            self.wake_at(limit);
            return Reason::Opening;
        };
        // 5.x says where it recovered to; 4.9 has only the moving end (H28).
        let start = seen.record.term.start;
        let as_claimed = broker
            .recovered
            .map_or(broker.end >= start, |recovered| recovered == start);
        if !as_claimed {
            return self.fail(seen, launcher, Reason::StartMismatch);
        }
        let Some(volume) = self.volume() else {
            return Reason::VolumeUnknown;
        };
        if !self.may_write() {
            return Reason::WriteUnsettled;
        }
        let mut record = self.refreshed(seen.record);
        record.term.stage = Stage::Serving;
        record.target = None;
        record.qos_enforced = self.policy.qos.min(crate::record::Qos::BoundedLag);
        record.replication = Some(Replication {
            term: live.term,
            master: volume.who.clone(),
            members: BTreeSet::new(),
            acks: 0,
            confirmed: start,
        });
        record
            .members
            .insert(volume.who.member.clone(), volume.who.volume.clone());
        self.write(
            WriteReason::Serve,
            PendingKind::Keep,
            Some(seen.rv),
            record,
            false,
        );
        Reason::Opening
    }

    fn fail(&mut self, seen: Seen<'_>, launcher: &Launcher, why: Reason) -> Reason {
        let term = seen.record.term.id;
        self.back_off(term);
        self.announce(Event::FailOverFailed { term, why });
        self.give_back(seen, launcher)
    }

    /// Kill, then release; the replication record still describes the last serving term (H24).
    fn give_back(&mut self, seen: Seen<'_>, launcher: &Launcher) -> Reason {
        match &launcher.process {
            Process::Live { term, .. } => {
                self.kill(*term, Reason::OpeningFailed);
                Reason::OpeningFailed
            }
            Process::Idle | Process::Ended { .. } => {
                self.release(seen, None, Reason::OpeningFailed)
            }
        }
    }

    pub(super) fn opening_of(&mut self, term: TermId, from: Option<crate::ids::Member>) {
        self.next.opening = Some(Opening {
            term,
            since: self.now.tick,
            from,
        });
    }
}
