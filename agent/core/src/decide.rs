//! The decision: a pure function from what was seen to what is done.
//!
//! Level-triggered: everything is derived from the whole snapshot, never from what changed. In order: settle the last
//! Lease write, watch the Lease, count epochs, obey the deadline; then, by where the Lease stands, [`lead`],
//! [`follow`] or stand for election ([`vacant`]).

mod fence;
mod follow;
mod handover;
mod lead;
mod opening;
mod settle;
mod vacant;
mod word;

use crate::action::{Action, Decision, Event, LeaseWrite, WriteReason};
use crate::ids::{Epoch, Rv};
use crate::lease::{self, Cause, Standing};
use crate::observation::{Job, Launcher, Observation, Process, Reading, Stopping, Volume};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::record::{GroupRecord, TermId};
use crate::report::Role;
use crate::state::{PendingKind, PendingWrite, State};
use crate::time::{Boot, Now, Tick};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

/// How long after a write that failed the next one may be tried.
const RETRY: Duration = Duration::from_millis(250);

/// Decides.
pub fn decide(state: &State, seen: &Observation, now: Now, policy: &Policy) -> Decision {
    let mut turn = Turn {
        seen,
        now,
        policy,
        next: state.clone(),
        actions: Vec::new(),
        wake: None,
    };
    turn.next.started.get_or_insert(now.tick);
    turn.settle();
    turn.count_epochs();
    turn.next.watch = lease::watch(&turn.next, seen, now.tick);
    turn.fence();
    let reason = turn.choose();
    let report = turn.word();
    Decision {
        next: turn.next,
        actions: turn.actions,
        reason,
        wake_at: turn.wake,
        report,
    }
}

/// One decision in the making.
struct Turn<'a> {
    seen: &'a Observation,
    now: Now,
    policy: &'a Policy,
    next: State,
    actions: Vec<Action>,
    wake: Option<Tick>,
}

/// A running broker, as the launcher shows it.
#[derive(Clone, Copy)]
struct Live<'a> {
    role: Role,
    term: TermId,
    instance: &'a crate::ids::Instance,
    permit: Boot,
}

impl<'a> Live<'a> {
    /// The master of this very term, if this very launcher runs it.
    fn master_of(launcher: &'a Launcher, term: TermId) -> Option<Self> {
        let live = Self::of(launcher)?;
        let own = live.role == Role::Master && live.term == term;
        (own && *live.instance == launcher.instance).then_some(live)
    }

    fn of(launcher: &'a Launcher) -> Option<Self> {
        match &launcher.process {
            Process::Live {
                role,
                term,
                instance,
                permit,
            } => Some(Self {
                role: *role,
                term: *term,
                instance,
                permit: *permit,
            }),
            Process::Idle | Process::Ended { .. } => None,
        }
    }
}

impl<'a> Turn<'a> {
    fn choose(&mut self) -> Reason {
        let seen = self.seen;
        let standing = lease::standing(&self.next, seen, self.now.tick, self.policy);
        if !matches!(standing, Standing::Mine(_)) && self.lost_record().is_none() {
            self.disown(&standing);
        }
        match standing {
            Standing::Unknown => self.look_on(Reason::LeaseUnknown),
            Standing::Stranger => self.stand_aside(Reason::LeaseStranger),
            Standing::Newer => self.look_on(Reason::LeaseNewer),
            Standing::Mine(held) => self.lead(held),
            Standing::Theirs(held) => self.follow(held),
            Standing::Waiting { until } => self.wait_for_silence(until),
            Standing::Vacant(vacancy) => {
                if let Some(reason) = self.restore() {
                    return reason;
                }
                self.keep_view(vacancy.cause);
                self.vacant(&vacancy)
            }
        }
    }

    /// The Lease is known not to name our running master: it is stopped at once, whatever its permit says. While the
    /// Lease cannot be read, only the deadline counts.
    fn disown(&mut self, standing: &Standing<'_>) {
        let known = match standing {
            Standing::Unknown | Standing::Newer => false,
            Standing::Stranger | Standing::Mine(_) | Standing::Theirs(_) => true,
            Standing::Waiting { .. } | Standing::Vacant(_) => true,
        };
        if known && let Some(live) = self.live(Role::Master) {
            self.kill(live.term, Reason::LeaseLost);
        }
    }

    /// Nothing is begun and nothing is ended: a slave runs on while its agent lives, a master until its deadline.
    fn look_on(&mut self, why: Reason) -> Reason {
        if let Some(reason) = self.stopped() {
            return reason;
        }
        self.keep_slave();
        why
    }

    /// A slave can do no harm behind our relay; its permit only ends with its agent.
    fn keep_slave(&mut self) {
        let Some(live) = self.live(Role::Slave) else {
            return;
        };
        let soon = self
            .now
            .boot
            .plus(self.policy.slave_permit.saturating_mul(2) / 3);
        if live.permit < soon {
            self.extend(live, Some(self.now.boot.plus(self.policy.slave_permit)));
        }
    }

    fn stand_aside(&mut self, why: Reason) -> Reason {
        if let Some(live) = self.any_live() {
            self.kill(live.term, why);
        }
        why
    }

    fn wait_for_silence(&mut self, until: Tick) -> Reason {
        if until <= self.now.tick {
            // The wait is over, but silence counts only on a view known to be current.
            self.actions.push(Action::ReadLease);
        } else {
            self.wake_at(until);
        }
        if let Some(reason) = self.restore() {
            return reason;
        }
        self.look_on(Reason::LeaseSilent)
    }

    /// Silence and absence count only on a current view: it is read again before it grows old, so that a long vacancy
    /// (a pause, nobody electable) is one state and not two that alternate.
    fn keep_view(&mut self, cause: Cause) {
        let by_view = match cause {
            Cause::Silence | Cause::Absent | Cause::Rewound => true,
            Cause::Released | Cause::Dead | Cause::Own => false,
        };
        if let (true, Reading::Known { at, .. }) = (by_view, &self.seen.lease) {
            let due = at.plus(lease::VIEW_AGE / 2);
            if self.now.tick >= due {
                self.actions.push(Action::ReadLease);
            } else {
                self.wake_at(due);
            }
        }
    }

    fn count_epochs(&mut self) {
        let seen = self.seen;
        let volume = seen.volume.last().map(|v| v.highest_epoch);
        let lineage = seen
            .volume
            .last()
            .and_then(|v| v.lineage.last())
            .map(|e| e.epoch);
        let process = self.any_live().map(|l| l.term.epoch);
        let lease = match seen.lease.last() {
            Some(crate::observation::LeaseSeen::Record { record, .. }) => {
                Some(record.term.id.epoch)
            }
            Some(_) | None => None,
        };
        let peers = seen
            .peers
            .values()
            .flat_map(|p| [p.answer.last(), p.published.last()]);
        let peers = peers.flatten().map(|r| r.highest_epoch).max();
        let all = [volume, lineage, process, lease, peers];
        self.next.highest = all
            .into_iter()
            .flatten()
            .fold(self.next.highest, Epoch::max);
    }

    fn launcher(&self) -> Option<&'a Launcher> {
        self.seen
            .launcher
            .fresh(self.now.tick, self.policy.reading_age)
    }

    fn volume(&self) -> Option<&'a Volume> {
        self.seen.volume.last()
    }

    /// The running broker, of whichever role. A launcher that fell silent may still run it.
    fn any_live(&self) -> Option<Live<'a>> {
        Live::of(self.seen.launcher.last()?)
    }

    fn live(&self, role: Role) -> Option<Live<'a>> {
        self.any_live().filter(|l| l.role == role)
    }

    fn idle(&self) -> bool {
        self.seen.job == Job::Idle
    }

    fn stopping(&self) -> bool {
        self.seen.stopping == Stopping::Yes
    }

    /// The end of a stop: nothing runs here any more.
    fn stopped(&mut self) -> Option<Reason> {
        if !self.stopping() {
            return None;
        }
        match self.any_live() {
            Some(_) => {
                self.actions.push(Action::Stop);
                Some(Reason::Stopping)
            }
            None => Some(Reason::Stopped),
        }
    }

    fn announce(&mut self, event: Event) {
        self.actions.push(Action::Announce(event));
    }

    fn kill(&mut self, term: TermId, why: Reason) {
        let again = self
            .actions
            .iter()
            .any(|a| matches!(a, Action::Kill { .. }));
        if !again {
            self.actions.push(Action::Kill { term, why });
        }
    }

    /// Whether our broker has shown no sign of life for too long. Only findings count, not the time since one: we may have
    /// stood still ourselves. While the group is paused a person may be looking at the broker with a debugger, which looks
    /// just like that.
    fn hangs(&self, paused: bool) -> bool {
        let found = self.seen.hung.filter(|_| !paused);
        found.is_some_and(|hung| hung.seen.since(hung.since) >= self.policy.hung_wait)
    }

    fn wake_at(&mut self, at: Tick) {
        let sooner = self.wake.is_none_or(|wake| at < wake);
        if sooner {
            self.wake = Some(at);
        }
    }

    fn wake_at_boot(&mut self, at: Boot) {
        self.wake_at(self.now.tick.plus(at.since(self.now.boot)));
    }

    /// Whether a Lease write may be sent now. Asks for a reading where the last one must be settled first (H3).
    fn may_write(&mut self) -> bool {
        let Some(pending) = &self.next.pending else {
            return true;
        };
        let Some((_, at)) = pending.ended else {
            return false;
        };
        let retry = at.plus(RETRY);
        if self.seen.lease.since(at).is_none() {
            self.actions.push(Action::ReadLease);
            self.wake_at(retry);
            return false;
        }
        if self.now.tick < retry {
            self.wake_at(retry);
            return false;
        }
        true
    }

    fn write(
        &mut self,
        why: WriteReason,
        kind: PendingKind,
        carries: Option<Rv>,
        record: GroupRecord,
        clear_switchover: bool,
    ) {
        let id = self.next.writes.saturating_add(1);
        if let Some(held) = self.next.held.as_mut()
            && held.term == record.term.id
        {
            held.record.seq = held.record.seq.max(record.seq);
        }
        let record = Box::new(record);
        self.next.writes = id;
        self.next.pending = Some(PendingWrite {
            id,
            carried: carries,
            record: record.clone(),
            kind,
            ended: None,
        });
        self.actions.push(Action::Write(LeaseWrite {
            id,
            carries,
            record,
            why,
            clear_switchover,
        }));
    }
}
