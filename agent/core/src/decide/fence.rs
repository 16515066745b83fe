//! The deadline of a running master: gate, then kill, before anyone may take over.
//!
//! The watchdog thread and the launcher obey the same deadline on their own; this is the first of three layers.

use super::{Live, Turn};
use crate::action::{Action, Event};
use crate::observation::Gate;
use crate::reason::Reason;
use crate::record::TermId;
use crate::report::Role;
use crate::state::GateOrder;
use crate::time::Boot;

impl Turn<'_> {
    pub(super) fn fence(&mut self) {
        let Some(live) = self.live(Role::Master) else {
            return;
        };
        let limit = self.limit(live);
        let timing = self.policy.timing();
        let (gate_at, kill_at) = (limit.minus(timing.gate_lead), limit.minus(timing.kill_lead));
        if self.now.boot < gate_at {
            self.wake_at_boot(gate_at);
            return;
        }
        self.shut(live.term);
        if self.now.boot < kill_at {
            self.wake_at_boot(kill_at);
            return;
        }
        self.kill(live.term, Reason::PermitEnding);
        if self.next.fenced != Some(live.term) {
            self.next.fenced = Some(live.term);
            self.announce(Event::Fenced { term: live.term });
        }
    }

    /// Until when this master may serve: what the launcher has, or what a renewal earned and is on its way there.
    pub(super) fn limit(&self, live: Live<'_>) -> Boot {
        let earned = self.earned(live.term).unwrap_or_default();
        live.permit.max(earned)
    }

    /// D after the last successful renewal of this term was sent.
    pub(super) fn earned(&self, term: TermId) -> Option<Boot> {
        let held = self.next.held.as_ref().filter(|h| h.term == term)?;
        held.renewed
            .map(|sent| sent.plus(self.policy.timing().permit))
    }

    /// Whether the deadline is near: no gate is opened and nothing is started.
    pub(super) fn ending(&self, term: TermId) -> bool {
        let safe = self
            .policy
            .timing()
            .gate_lead
            .max(self.policy.timing().kill);
        self.earned(term)
            .is_none_or(|until| self.now.boot >= until.minus(safe))
    }

    /// Orders the gate shut, once, and again when a later reading shows it open.
    pub(super) fn shut(&mut self, term: TermId) {
        if self.gate_ordered(term, Gate::Shut) {
            return;
        }
        self.next.gate_order = Some(GateOrder {
            term,
            gate: Gate::Shut,
            at: self.now.tick,
        });
        self.actions.push(Action::Shut { term });
    }

    /// Orders the gate open while the permit has time left.
    pub(super) fn open(&mut self, term: TermId) -> bool {
        if self.ending(term) {
            return false;
        }
        if self.gate_ordered(term, Gate::Open) {
            return true;
        }
        let Some(until) = self.earned(term) else {
            return false;
        };
        let before = until.minus(self.policy.timing().kill);
        self.next.gate_order = Some(GateOrder {
            term,
            gate: Gate::Open,
            at: self.now.tick,
        });
        self.actions.push(Action::Open { term, before });
        true
    }

    /// Whether the last order was this one and no reading made after it says otherwise.
    fn gate_ordered(&self, term: TermId, gate: Gate) -> bool {
        let Some(order) = self.next.gate_order else {
            return false;
        };
        let same = order.term == term && order.gate == gate;
        let later = order.at.plus(super::RETRY);
        same && self.seen.broker.since(later).is_none_or(|b| b.gate == gate)
    }

    /// Whether a reading made after the order shows the gate shut.
    pub(super) fn gate_is_shut(&self, term: TermId) -> Option<crate::ids::Offset> {
        let order = self
            .next
            .gate_order
            .filter(|o| o.term == term && o.gate == Gate::Shut)?;
        let broker = self.seen.broker.since(order.at)?;
        (broker.gate == Gate::Shut).then_some(broker.end)
    }
}
