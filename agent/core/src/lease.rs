//! When a Lease is free for us (safety rules 1.1): only silence on our own clock, a release, or a proof of death.

use crate::ids::{Instance, Member, Rv};
use crate::observation::{Launcher, LeaseSeen, Observation, PodSeen, Process, Reading, Requests};
use crate::policy::Policy;
use crate::record::{GroupRecord, Tuple};
use crate::report::Role;
use crate::state::{LeaseWatch, Sight, State};
use crate::time::Tick;
use core::time::Duration;

/// How old a view of the Lease may be for its silence to count.
pub const VIEW_AGE: Duration = Duration::from_millis(1500);

/// A sound record, its version and what anyone asked.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// What it says.
    pub record: &'a GroupRecord,
    /// Its version.
    pub rv: Rv,
    /// What anyone asked.
    pub requests: &'a Requests,
}

/// A Lease that may be taken.
#[derive(Clone, Debug)]
pub struct Vacancy<'a> {
    /// What all members call it.
    pub id: Tuple,
    /// Why it is free.
    pub cause: Cause,
    /// What a take-over must carry; absent: create.
    pub carries: Option<Rv>,
    /// The record left behind; absent where it gives no rights.
    pub record: Option<&'a GroupRecord>,
    /// Whether elections rest.
    pub paused: bool,
    /// Since when we see it so.
    pub since: Tick,
    /// When it is (or will be) free for us.
    pub free_at: Tick,
}

/// Why a Lease is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its holder gave it up.
    Released,
    /// Nothing changed for the whole take-over wait.
    Silence,
    /// The kubelet shows exactly the holder's containers terminated (H38).
    Dead,
    /// There is none.
    Absent,
    /// It gives no rights: damaged, or older than what we know (H6).
    Rewound,
    /// It names our own launcher, which runs nothing.
    Own,
}

/// Where the Lease stands for us.
#[derive(Clone, Debug)]
pub enum Standing<'a> {
    /// Not read.
    Unknown,
    /// Another group's.
    Stranger,
    /// Of a newer version.
    Newer,
    /// Ours.
    Mine(Held<'a>),
    /// Another's, and alive as far as we know.
    Theirs(Held<'a>),
    /// Free now, or at `free_at` if nothing changes and it is time to prepare.
    Vacant(Vacancy<'a>),
    /// Silent, absent or without rights, but not for long enough.
    Waiting {
        /// When to look again.
        until: Tick,
    },
}

/// Takes the newest view into account. The wait starts when a sight is first seen, and another sight restarts it; but
/// nothing that a bystander can change is part of a sight (H14, J21).
pub(crate) fn watch(state: &State, seen: &Observation, now: Tick) -> Option<LeaseWatch> {
    let Some(lease) = seen.lease.last() else {
        return state.watch.clone();
    };
    let (sight, rv) = match lease {
        LeaseSeen::Absent => (Sight::Absent, None),
        LeaseSeen::Stranger { .. } | LeaseSeen::Newer { .. } => return None,
        LeaseSeen::Damaged { rv, .. } => (Sight::Damaged, Some(*rv)),
        LeaseSeen::Record { rv, record, .. } if rewound(state, seen, record) => {
            let (tuple, after) = (record.tuple(), state.highest);
            (Sight::Rewound { tuple, after }, Some(*rv))
        }
        LeaseSeen::Record { rv, record, .. } => (Sight::Held(record.tuple()), Some(*rv)),
    };
    let mut watch = turned(state.watch.as_ref(), sight, now);
    watch.rv = rv;
    let hiding = matches!(watch.sight, Sight::Damaged | Sight::Rewound { .. });
    if hiding || watch.other.is_some() {
        // A renewal may be, or have been, hidden from us here, so who says that it runs a master is believed: it can only
        // delay. (A bystander that damages every renewal and then puts an old copy back shows us the old tuple again.)
        watch.since = masters_word(seen).map_or(watch.since, |at| watch.since.max(at));
    }
    Some(watch)
}

/// The watch after this sight. Damage hides the renewal tuple: it restarts the wait once, and neither more damage nor
/// the same tuple afterwards does so again. Another tuple is a renewal, and everything begins anew.
fn turned(old: Option<&LeaseWatch>, sight: Sight, now: Tick) -> LeaseWatch {
    let fresh = |sight, other| LeaseWatch {
        sight,
        since: now,
        rv: None,
        other,
    };
    let Some(old) = old else {
        return fresh(sight, None);
    };
    if old.sight == sight {
        return old.clone();
    }
    let left = Some((old.sight.clone(), old.since));
    match &old.other {
        Some((seen, since)) if *seen == sight => LeaseWatch {
            sight,
            since: *since,
            rv: None,
            other: left,
        },
        Some(_) | None if sight == Sight::Damaged => fresh(sight, left),
        Some(_) | None => fresh(sight, None),
    }
}

/// When a peer last said that it runs a master.
fn masters_word(seen: &Observation) -> Option<Tick> {
    let words = seen.peers.values().filter_map(|peer| match &peer.answer {
        Reading::Known { value, at } if value.role == Some(Role::Master) => Some(*at),
        Reading::Known { .. } | Reading::Unknown => None,
    });
    words.max()
}

/// A record older than what we know: an etcd backup came back, or somebody wrote it by hand (H6).
fn rewound(state: &State, seen: &Observation, record: &GroupRecord) -> bool {
    let known = seen
        .volume
        .last()
        .is_some_and(|v| v.lineage.contradicts(&record.lineage));
    record.term.id.epoch < state.highest || known
}

/// Where the Lease stands. `state` already carries the newest [`watch`].
pub(crate) fn standing<'a>(
    state: &State,
    seen: &'a Observation,
    now: Tick,
    policy: &Policy,
) -> Standing<'a> {
    let (Some(lease), Reading::Known { at, .. }) = (seen.lease.last(), &seen.lease) else {
        return Standing::Unknown;
    };
    let current = now.since(*at) <= VIEW_AGE;
    let held = match lease {
        LeaseSeen::Stranger { .. } => return Standing::Stranger,
        LeaseSeen::Newer { .. } => return Standing::Newer,
        LeaseSeen::Absent | LeaseSeen::Damaged { .. } => None,
        LeaseSeen::Record {
            rv,
            record,
            requests,
        } => Some(Held {
            record,
            rv: *rv,
            requests,
        }),
    };
    let Some(watch) = &state.watch else {
        return Standing::Unknown;
    };
    let without_rights = |cause, id| {
        let vacancy = Vacancy {
            id,
            cause,
            carries: watch.rv,
            record: None,
            paused: lease.paused(),
            since: watch.since,
            free_at: watch.since.plus(policy.timing().take_wait),
        };
        silent(vacancy, watch.since, current, now, policy)
    };
    match (&watch.sight, held) {
        (Sight::Absent, _) => without_rights(Cause::Absent, Tuple::default()),
        (Sight::Damaged, _) => without_rights(Cause::Rewound, named("damaged", &Tuple::default())),
        (Sight::Rewound { tuple, after }, held) => {
            let standing = without_rights(Cause::Rewound, named("rewound", tuple));
            match (&standing, held) {
                // Not older than what we know: our history forked from it, and whoever renews it holds the Lease.
                (Standing::Waiting { until }, Some(held))
                    if now < *until && held.record.term.id.epoch >= *after =>
                {
                    Standing::Theirs(held)
                }
                _ => standing,
            }
        }
        (Sight::Held(_), Some(held)) => {
            of_record(held, state, seen, watch.since, current, now, policy)
        }
        (Sight::Held(_), None) => Standing::Unknown,
    }
}

/// The name of a vacancy without rights: never that of the same record where it has them.
fn named(what: &str, tuple: &Tuple) -> Tuple {
    Tuple {
        holder: Instance::from(what),
        ..tuple.clone()
    }
}

fn of_record<'a>(
    held: Held<'a>,
    state: &State,
    seen: &'a Observation,
    since: Tick,
    current: bool,
    now: Tick,
    policy: &Policy,
) -> Standing<'a> {
    let record = held.record;
    let vacancy = |cause, free_at| Vacancy {
        id: record.tuple(),
        cause,
        carries: Some(held.rv),
        record: Some(record),
        paused: held.requests.paused,
        since,
        free_at,
    };
    if record.holder.is_empty() {
        return Standing::Vacant(vacancy(Cause::Released, since));
    }
    if let Some(launcher) = seen.launcher.last()
        && launcher.instance == record.holder
        && record.term.master == seen.me.member
    {
        return own(held, state, launcher, || vacancy(Cause::Own, now));
    }
    if record.term.master != seen.me.member && proven_dead(record, seen) {
        // Free since long ago: were it always free only now, who is second in rank would never see its time come.
        return Standing::Vacant(vacancy(Cause::Dead, since));
    }
    let theirs = Duration::from_millis(record.take_wait_ms);
    let free_at = since.plus(policy.timing().take_wait.max(theirs));
    let standing = silent(
        vacancy(Cause::Silence, free_at),
        since,
        current,
        now,
        policy,
    );
    if let Standing::Waiting { until } = standing
        && now < until
    {
        // Not silent for long: a living holder, as far as we know.
        return Standing::Theirs(held);
    }
    standing
}

/// It names our launcher. Ours if we hold that term, or if the launcher runs it (an adoption, H12); else it is a
/// leftover of our own that nobody serves.
fn own<'a>(
    held: Held<'a>,
    state: &State,
    launcher: &Launcher,
    vacancy: impl FnOnce() -> Vacancy<'a>,
) -> Standing<'a> {
    let term = held.record.term.id;
    let runs = match &launcher.process {
        Process::Live {
            term: running,
            instance,
            ..
        } => *running == term && *instance == launcher.instance,
        Process::Idle | Process::Ended { .. } => false,
    };
    let holds = state
        .held
        .as_ref()
        .is_some_and(|h| h.term == term && h.instance == launcher.instance);
    if runs || holds {
        Standing::Mine(held)
    } else {
        Standing::Vacant(vacancy())
    }
}

/// The preparations begin one collect time before the Lease is free: the old master's permit has long run out by then,
/// and freezing a slave early costs nothing that is not lost already. The Lease itself is not touched before.
fn silent<'a>(
    vacancy: Vacancy<'a>,
    since: Tick,
    current: bool,
    now: Tick,
    policy: &Policy,
) -> Standing<'a> {
    let prepare_at = vacancy.free_at.minus(policy.collect).max(since);
    if now < prepare_at || !current {
        return Standing::Waiting { until: prepare_at };
    }
    Standing::Vacant(vacancy)
}

/// Whether exactly the containers that the holder named are shown terminated in exactly its pod. No clock is read.
fn proven_dead(record: &GroupRecord, seen: &Observation) -> bool {
    let pod = seen
        .peers
        .get(&record.term.master)
        .and_then(|p| p.pod.last());
    let named = !record.containers.is_empty();
    named && pod.is_some_and(|pod| of_pod(&record.holder, pod) && shown(record, pod))
}

fn of_pod(holder: &Instance, pod: &PodSeen) -> bool {
    let uid = holder.as_str().rsplit_once('.').map(|(uid, _)| uid);
    !pod.uid.is_empty() && uid == Some(pod.uid.as_str())
}

fn shown(record: &GroupRecord, pod: &PodSeen) -> bool {
    record
        .containers
        .iter()
        .all(|id| pod.terminated.contains(id))
}

/// Everybody who belongs to the group: who the settings expect and who the record names.
pub(crate) fn members(
    seen: &Observation,
    record: Option<&GroupRecord>,
) -> alloc::collections::BTreeSet<Member> {
    let named = record.into_iter().flat_map(|r| r.members.keys());
    seen.me
        .expected
        .iter()
        .chain(named)
        .chain(core::iter::once(&seen.me.member))
        .cloned()
        .collect()
}
