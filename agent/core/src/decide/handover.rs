//! A planned hand-over: gate, final offset, the target has it, kill, release (design 6, H44, H45).

use super::Turn;
use crate::action::{Event, WriteReason};
use crate::ids::{Member, Offset};
use crate::lease::Held as Seen;
use crate::observation::{Launcher, SwitchoverRequest};
use crate::reason::Reason;
use crate::record::TermId;
use crate::report::{Electable, Report, Role};
use crate::state::{Handover, HandoverStep, PendingKind};
use alloc::string::String;
use core::time::Duration;

impl Turn<'_> {
    /// Begins or goes on with a hand-over of a living master. None: there is none, serve.
    pub(super) fn hand_over(&mut self, seen: Seen<'_>, launcher: &Launcher) -> Option<Reason> {
        let term = seen.record.term.id;
        if self.next.handover.as_ref().is_some_and(|h| h.term != term) {
            self.next.handover = None;
        }
        if self.next.handover.is_none() {
            let begun = self.begin(seen, launcher);
            if begun.is_some() {
                return begun;
            }
        }
        let handover = self.next.handover.clone()?;
        match handover.step {
            HandoverStep::Gating => self.gating(seen, handover),
            HandoverStep::Draining { last } => self.draining(seen, launcher, handover, last),
            HandoverStep::Killing => Some(self.killing(term)),
        }
    }

    /// The broker of a hand-over is dead: the Lease can be given up. None: it died too early for that.
    pub(super) fn hand_over_dead(&mut self, seen: Seen<'_>) -> Option<Reason> {
        let handover = self.next.handover.clone()?;
        match handover.step {
            HandoverStep::Killing => Some(self.release(seen, handover.target, Reason::Switchover)),
            HandoverStep::Gating | HandoverStep::Draining { .. } => {
                self.next.handover = None;
                None
            }
        }
    }

    /// Some(reason) only where a request was turned down.
    fn begin(&mut self, seen: Seen<'_>, launcher: &Launcher) -> Option<Reason> {
        let term = seen.record.term.id;
        if self.stopping() {
            let target = self.best_slave(term, launcher);
            self.start_handover(None, term, target, self.policy.switchover_limit);
            return None;
        }
        let Some(request) = seen.requests.switchover.as_ref() else {
            self.next.wished = None;
            return None;
        };
        if self.next.answered.as_ref() == Some(&request.id) {
            // Told already, but the answer never reached the Lease.
            self.answer(seen);
            return None;
        }
        if seen.requests.paused {
            return None;
        }
        match self.target_of(request, term, launcher) {
            Ok(target) => {
                let limit = request
                    .limit_ms
                    .map_or(self.policy.switchover_limit, Duration::from_millis);
                self.start_handover(Some(request.id.clone()), term, Some(target), limit);
                None
            }
            Err(Reason::SwitchoverTarget) if self.asks_again(&request.id) => None,
            Err(why) => Some(self.turn_down(seen, Some(request.id.clone()), why)),
        }
    }

    /// What is known of a member may be one round of questions old: who has joined since is able, and is not turned down.
    fn asks_again(&mut self, request: &str) -> bool {
        let since = match &self.next.wished {
            Some((known, since)) if known == request => *since,
            _ => {
                self.next.wished = Some((String::from(request), self.now.tick));
                self.now.tick
            }
        };
        let until = since.plus(self.policy.collect);
        self.wake_at(until);
        self.now.tick < until
    }

    fn start_handover(
        &mut self,
        request: Option<String>,
        term: TermId,
        target: Option<Member>,
        limit: Duration,
    ) {
        let since = self.now.tick;
        let limit = since.plus(limit);
        self.next.wished = None;
        self.next.handover = Some(Handover {
            request,
            term,
            target,
            since,
            limit,
            step: HandoverStep::Gating,
        });
    }

    fn target_of(
        &self,
        request: &SwitchoverRequest,
        term: TermId,
        launcher: &Launcher,
    ) -> Result<Member, Reason> {
        if request.term != term {
            return Err(Reason::SwitchoverStale);
        }
        let best = || self.best_slave(term, launcher);
        let target = request
            .target
            .clone()
            .or_else(best)
            .ok_or(Reason::SwitchoverTarget)?;
        if !self
            .joined(term)
            .any(|r| r.who.member == target && usable(r))
        {
            return Err(Reason::SwitchoverTarget);
        }
        let acked = self
            .acked(term, launcher, &target)
            .ok_or(Reason::SwitchoverTarget)?;
        let end = self
            .seen
            .broker
            .last()
            .map(|b| b.end)
            .ok_or(Reason::SwitchoverTarget)?;
        if end.since(acked) > self.policy.switchover_lag {
            return Err(Reason::SwitchoverLag);
        }
        Ok(target)
    }

    /// The slave that has most, then the one the operator prefers, then the first by name.
    fn best_slave(&self, term: TermId, launcher: &Launcher) -> Option<Member> {
        let usable = self.joined(term).filter(|r| usable(r));
        let streaming = usable.filter_map(|r| {
            let acked = self.acked(term, launcher, &r.who.member)?;
            Some((acked, r))
        });
        let best = streaming.max_by(|(a, x), (b, y)| {
            a.cmp(b)
                .then(x.priority.cmp(&y.priority))
                .then_with(|| y.who.member.cmp(&x.who.member))
        });
        best.map(|(_, r)| r.who.member.clone())
    }

    /// How much of our log a member is known to have. An empty slave acknowledges nothing; while our own log is empty
    /// too and our relay admits it, it has all there is.
    fn acked(&self, term: TermId, launcher: &Launcher, member: &Member) -> Option<Offset> {
        let acked = launcher.replicas.get(member).copied();
        acked.or_else(|| {
            let (of, admitted) = launcher.admitted.as_ref().filter(|(of, _)| *of == term)?;
            let word = self.joined(*of).find(|r| r.who.member == *member)?;
            let ends = [self.seen.broker.last()?.end, word.log?.end];
            let nothing = ends == [Offset::ZERO; 2] && admitted.contains(&word.who);
            nothing.then_some(Offset::ZERO)
        })
    }

    fn gating(&mut self, seen: Seen<'_>, handover: Handover) -> Option<Reason> {
        if self.now.tick >= handover.limit {
            return self.out_of_time(seen, handover);
        }
        self.shut(handover.term);
        self.wake_at(handover.limit);
        if let Some(last) = self.gate_is_shut(handover.term) {
            self.next.handover = Some(Handover {
                step: HandoverStep::Draining { last },
                ..handover
            });
        }
        Some(Reason::Switchover)
    }

    fn draining(
        &mut self,
        seen: Seen<'_>,
        launcher: &Launcher,
        handover: Handover,
        last: Offset,
    ) -> Option<Reason> {
        let has_all = |target: &Member| {
            self.acked(handover.term, launcher, target)
                .is_some_and(|acked| acked >= last)
        };
        let ready = handover.target.as_ref().is_none_or(has_all);
        if ready {
            let term = handover.term;
            self.next.handover = Some(Handover {
                step: HandoverStep::Killing,
                ..handover
            });
            return Some(self.killing(term));
        }
        if self.now.tick >= handover.limit {
            return self.out_of_time(seen, handover);
        }
        self.shut(handover.term);
        self.wake_at(handover.limit);
        Some(Reason::Switchover)
    }

    fn killing(&mut self, term: TermId) -> Reason {
        self.kill(term, Reason::Switchover);
        Reason::Switchover
    }

    /// Nothing was released yet. A request is given up and the master goes on; an agent that stops goes on stopping.
    fn out_of_time(&mut self, seen: Seen<'_>, handover: Handover) -> Option<Reason> {
        if handover.request.is_none() {
            let term = handover.term;
            self.next.handover = Some(Handover {
                step: HandoverStep::Killing,
                target: None,
                ..handover
            });
            return Some(self.killing(term));
        }
        self.next.handover = None;
        Some(self.turn_down(seen, handover.request, Reason::SwitchoverTimeout))
    }

    fn turn_down(&mut self, seen: Seen<'_>, request: Option<String>, why: Reason) -> Reason {
        self.next.answered = request;
        self.next.wished = None;
        self.announce(Event::SwitchOverFailed { why });
        self.answer(seen);
        why
    }

    /// Takes the request off the Lease.
    fn answer(&mut self, seen: Seen<'_>) {
        if self.may_write() {
            let record = self.refreshed(seen.record);
            self.write(
                WriteReason::Answer,
                PendingKind::Keep,
                Some(seen.rv),
                record,
                true,
            );
        }
    }
}

fn usable(report: &Report) -> bool {
    report.electable == Electable::Yes && report.role == Some(Role::Slave)
}
