//! What became of our last Lease write (H3).

use super::{RETRY, Turn};
use crate::action::Event;
use crate::observation::{LeaseSeen, WriteResult};
use crate::state::{Held, PendingKind, PendingWrite};
use crate::time::Boot;

impl Turn<'_> {
    pub(super) fn settle(&mut self) {
        self.take_outcome();
        self.take_sight();
    }

    fn take_outcome(&mut self) {
        let Some(pending) = self.next.pending.clone() else {
            return;
        };
        let Some(outcome) = self.seen.write.as_ref().filter(|o| o.id == pending.id) else {
            return;
        };
        match outcome.result {
            WriteResult::Committed => self.committed(pending, Some(outcome.sent)),
            WriteResult::Conflict | WriteResult::Refused | WriteResult::Unknown => {
                let ended = pending.ended.unwrap_or((outcome.result, self.now.tick));
                self.next.pending = Some(PendingWrite {
                    ended: Some(ended),
                    ..pending
                });
            }
        }
    }

    /// A newer version than the one the write carried settles it: it landed, or it never will. Nothing else does.
    fn take_sight(&mut self) {
        let Some(pending) = self.next.pending.clone() else {
            return;
        };
        let Some((result, at)) = pending.ended else {
            return;
        };
        let Some(lease) = self.seen.lease.since(at) else {
            return;
        };
        match lease {
            LeaseSeen::Record { rv, record, .. } => {
                if record.tuple() == pending.record.tuple() {
                    // It landed after all. When it was sent does not count: no permit from an unknown outcome.
                    self.committed(pending, None);
                } else if pending.carried.is_none_or(|carried| *rv > carried) {
                    self.next.pending = None;
                }
            }
            LeaseSeen::Damaged { rv, .. } => {
                if pending.carried.is_none_or(|carried| *rv > carried) {
                    self.next.pending = None;
                }
            }
            // Carrying a version, it can no longer land; creating, it still can.
            LeaseSeen::Absent => {
                if pending.carried.is_some() || result != WriteResult::Unknown {
                    self.next.pending = None;
                }
            }
            LeaseSeen::Stranger { .. } | LeaseSeen::Newer { .. } => self.next.pending = None,
        }
        // It never landed; but who refuses it now is not asked again at once (H34).
        if result == WriteResult::Refused && self.now.tick >= at.plus(RETRY) {
            self.next.pending = None;
        }
    }

    fn committed(&mut self, pending: PendingWrite, sent: Option<Boot>) {
        self.next.pending = None;
        let term = pending.record.term.id;
        match pending.kind {
            PendingKind::Acquire => {
                let instance = pending.record.holder.clone();
                self.next.held = Some(Held {
                    term,
                    instance,
                    renewed: sent,
                    record: pending.record,
                });
                self.next.election = None;
                self.next.handover = None;
            }
            PendingKind::Keep => {
                if let Some(held) = self.next.held.as_mut().filter(|h| h.term == term) {
                    held.renewed = held.renewed.max(sent);
                    held.record = pending.record;
                }
            }
            PendingKind::Release => {
                self.next.held = None;
                self.handed_over();
                self.next.opening = None;
            }
        }
    }

    /// A release that stands ends its hand-over: from here on the target's turn has come, and not before.
    fn handed_over(&mut self) {
        let Some(handover) = self.next.handover.take() else {
            return;
        };
        if let Some(target) = handover.target {
            self.next.answered = handover.request.or_else(|| self.next.answered.take());
            self.announce(Event::SwitchOver { target });
        }
    }
}
