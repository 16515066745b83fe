//! One form for all states that differ only in when they were, and in how often the Lease was renewed before.

use crate::machine::{Jvm, Machine, Mind, Request};
use crate::time::aged;
use crate::world::World;
use agent_core::action::LeaseWrite;
use agent_core::ids::Rv;
use agent_core::observation::{LeaseSeen, Reading};
use agent_core::record::{GroupRecord, TermId, Tuple};
use agent_core::state::{LeaseWatch, PendingWrite, Sight};
use agent_core::time::{Boot, Tick};
use agent_core::{Report, State};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Larger gaps between two renewal numbers are made this large: so many renewals fit in between before one is met again.
const GAP: u64 = 4;

/// A number in the state.
enum Number<'a> {
    Version(&'a mut Rv),
    /// A renewal of a term.
    Renewal(TermId, &'a mut u64),
}

impl World {
    /// Everything is a tick older.
    pub(crate) fn age(&mut self) {
        for machine in &mut self.machines {
            if let Reading::Known { at, .. } = &mut machine.view {
                older(at);
            }
            if let Some(outcome) = &mut machine.outcome {
                earlier(&mut outcome.sent);
            }
            if let Some((_, sent)) = &mut machine.landed {
                earlier(sent);
            }
            for request in &mut machine.requests {
                earlier(&mut request.sent);
            }
            if let Some(Jvm { permit, .. }) = &mut machine.jvm {
                earlier(permit);
            }
            match &mut machine.mind {
                Mind::Awake(state) | Mind::Frozen(state) => age_state(state),
                Mind::Away => {}
            }
        }
    }

    /// Numbers versions and renewals anew, and drops what can have no effect any more.
    pub(crate) fn settle(&mut self) {
        let takes: Vec<Vec<bool>> = self
            .machines
            .iter()
            .map(|m| {
                m.requests
                    .iter()
                    .map(|r| r.dead || self.would_take(&r.write))
                    .collect()
            })
            .collect();
        for (machine, takes) in self.machines.iter_mut().zip(takes) {
            let mut takes = takes.into_iter();
            // Given up, and the Lease has moved on: it is never heard of again.
            machine
                .requests
                .retain(|r| takes.next().unwrap_or(true) || !r.told);
            machine.settle_writes();
        }
        let (mut versions, mut renewals) = (BTreeSet::new(), BTreeMap::new());
        self.numbers(&mut |n| match n {
            Number::Version(rv) => {
                versions.insert(rv.get());
            }
            Number::Renewal(term, seq) => {
                let of: &mut BTreeSet<u64> = renewals.entry(term).or_default();
                of.insert(*seq);
            }
        });
        let versions: BTreeMap<u64, u64> = versions.into_iter().zip(1..).collect();
        let renewals: BTreeMap<TermId, BTreeMap<u64, u64>> = renewals
            .into_iter()
            .map(|(term, of)| (term, closed_up(&of)))
            .collect();
        self.numbers(&mut |n| match n {
            Number::Version(rv) => {
                *rv = Rv::new(versions.get(&rv.get()).copied().unwrap_or_default());
            }
            Number::Renewal(term, seq) => {
                let of = renewals.get(&term).and_then(|of| of.get(seq));
                *seq = of.copied().unwrap_or_default();
            }
        });
    }

    fn numbers(&mut self, visit: &mut impl FnMut(Number<'_>)) {
        visit(Number::Version(&mut self.store.rv));
        if let Some(record) = &mut self.store.record {
            of_record(record, visit);
        }
        for machine in &mut self.machines {
            if let Reading::Known { value, .. } = &mut machine.view {
                of_lease(value, visit);
            }
            for Request { write, .. } in &mut machine.requests {
                let LeaseWrite {
                    carries, record, ..
                } = write;
                if let Some(rv) = carries {
                    visit(Number::Version(rv));
                }
                of_record(record, visit);
            }
            if let Some(frozen) = &mut machine.volume.frozen {
                of_tuple(&mut frozen.vacancy, visit);
            }
            if let Some(report) = &mut machine.report {
                of_report(report, visit);
            }
            match &mut machine.mind {
                Mind::Awake(state) | Mind::Frozen(state) => of_state(state, visit),
                Mind::Away => {}
            }
        }
    }
}

/// The same order, and gaps of at most [`GAP`].
fn closed_up(of: &BTreeSet<u64>) -> BTreeMap<u64, u64> {
    let mut last = (0, 0);
    let mut all = BTreeMap::new();
    for seq in of {
        let gap = if all.is_empty() { 1 } else { seq - last.0 };
        last = (*seq, last.1 + gap.min(GAP));
        all.insert(*seq, last.1);
    }
    all
}

fn older(at: &mut Tick) {
    *at = Tick::from_millis(aged(at.as_millis()));
}

fn earlier(at: &mut Boot) {
    *at = Boot::from_millis(aged(at.as_millis()));
}

fn age_state(state: &mut State) {
    let State {
        started,
        watch,
        pending,
        writes: _,
        held,
        highest: _,
        election,
        opening,
        crashes,
        backoff,
        handover,
        wished,
        answered: _,
        gate_order,
        registered: _,
        fenced: _,
    } = state;
    started.iter_mut().for_each(older);
    if let Some(LeaseWatch { since, other, .. }) = watch {
        older(since);
        other.iter_mut().for_each(|(_, since)| older(since));
    }
    if let Some(PendingWrite { ended, .. }) = pending {
        ended.iter_mut().for_each(|(_, at)| older(at));
    }
    if let Some(held) = held {
        held.renewed.iter_mut().for_each(earlier);
    }
    if let Some(election) = election {
        older(&mut election.since);
        older(&mut election.before_since);
    }
    opening.iter_mut().for_each(|o| older(&mut o.since));
    crashes.iter_mut().for_each(|c| older(&mut c.at));
    backoff.iter_mut().for_each(|b| older(&mut b.until));
    if let Some(handover) = handover {
        older(&mut handover.since);
        older(&mut handover.limit);
    }
    wished.iter_mut().for_each(|(_, since)| older(since));
    gate_order.iter_mut().for_each(|o| older(&mut o.at));
}

impl Machine {
    /// Numbers of Lease writes are only compared with the one that is not settled.
    fn settle_writes(&mut self) {
        let state = match &mut self.mind {
            Mind::Awake(state) | Mind::Frozen(state) => state,
            Mind::Away => return,
        };
        let pending = state.pending.as_mut();
        let id = pending.as_ref().map(|p| p.id);
        for request in &mut self.requests {
            request.told |= Some(request.write.id) != id;
            request.write.id = 1;
        }
        self.outcome = self.outcome.take().filter(|o| Some(o.id) == id);
        if let Some(outcome) = &mut self.outcome {
            outcome.id = 1;
        }
        state.writes = u64::from(id.is_some());
        if let Some(pending) = pending {
            pending.id = 1;
        }
    }
}

fn of_state(state: &mut State, visit: &mut impl FnMut(Number<'_>)) {
    if let Some(watch) = &mut state.watch {
        of_sight(&mut watch.sight, visit);
        if let Some(rv) = &mut watch.rv {
            visit(Number::Version(rv));
        }
        if let Some((sight, _)) = &mut watch.other {
            of_sight(sight, visit);
        }
    }
    if let Some(pending) = &mut state.pending {
        if let Some(rv) = &mut pending.carried {
            visit(Number::Version(rv));
        }
        of_record(&mut pending.record, visit);
    }
    if let Some(held) = &mut state.held {
        of_record(&mut held.record, visit);
    }
    if let Some(election) = &mut state.election {
        of_tuple(&mut election.vacancy, visit);
    }
}

fn of_sight(sight: &mut Sight, visit: &mut impl FnMut(Number<'_>)) {
    match sight {
        Sight::Absent | Sight::Damaged => {}
        Sight::Rewound { tuple, .. } | Sight::Held(tuple) => of_tuple(tuple, visit),
    }
}

fn of_lease(lease: &mut LeaseSeen, visit: &mut impl FnMut(Number<'_>)) {
    match lease {
        LeaseSeen::Record { rv, record, .. } => {
            visit(Number::Version(rv));
            of_record(record, visit);
        }
        LeaseSeen::Damaged { rv, .. } => visit(Number::Version(rv)),
        LeaseSeen::Absent | LeaseSeen::Stranger { .. } | LeaseSeen::Newer { .. } => {}
    }
}

fn of_record(record: &mut GroupRecord, visit: &mut impl FnMut(Number<'_>)) {
    visit(Number::Renewal(record.term.id, &mut record.seq));
}

fn of_tuple(tuple: &mut Tuple, visit: &mut impl FnMut(Number<'_>)) {
    // The vacancy of an absent Lease has no number.
    if tuple.seq > 0 {
        visit(Number::Renewal(tuple.term, &mut tuple.seq));
    }
}

fn of_report(report: &mut Arc<Report>, visit: &mut impl FnMut(Number<'_>)) {
    if report.frozen.is_some()
        && let Some(frozen) = &mut Arc::make_mut(report).frozen
    {
        of_tuple(&mut frozen.vacancy, visit);
    }
}
