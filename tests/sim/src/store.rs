//! The group Lease in its API server: compare-and-swap, and what a backup remembers.

use agent_core::action::LeaseWrite;
use agent_core::ids::Rv;
use agent_core::observation::{LeaseSeen, Requests};
use agent_core::record::GroupRecord;
use std::collections::VecDeque;
use std::rc::Rc;

/// How many earlier states a backup may come from.
const PAST: usize = 40;

#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) record: Rc<GroupRecord>,
    pub(crate) requests: Requests,
    /// Somebody edited the record: its digest is wrong.
    pub(crate) damaged: bool,
}

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) rv: u64,
    pub(crate) object: Option<Object>,
    /// When the renewal tuple last changed, in true time.
    pub(crate) tuple_since: u64,
    /// What once was, for a restore; oldest first.
    pub(crate) past: VecDeque<Object>,
    /// The versions at which something else changed than what any bystander may change.
    eras: Vec<u64>,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            rv: 100,
            object: None,
            tuple_since: 0,
            past: VecDeque::new(),
            eras: Vec::new(),
        }
    }

    pub(crate) fn seen(&self) -> LeaseSeen {
        match &self.object {
            None => LeaseSeen::Absent,
            Some(o) if o.damaged => LeaseSeen::Damaged {
                rv: Rv::new(self.rv),
                why: "changed by hand".into(),
                requests: o.requests.clone(),
            },
            Some(o) => LeaseSeen::Record {
                rv: Rv::new(self.rv),
                record: Box::new((*o.record).clone()),
                requests: o.requests.clone(),
            },
        }
    }

    /// Whether a write with this version would succeed now.
    pub(crate) fn would_take(&self, carries: Option<Rv>) -> bool {
        match (carries, &self.object) {
            (None, None) => true,
            (Some(rv), Some(_)) => rv.get() == self.rv,
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    pub(crate) fn put(&mut self, write: &LeaseWrite, t: u64) {
        let old = self.object.as_ref().map(|o| o.requests.clone());
        let mut requests = old.unwrap_or_default();
        if write.clear_switchover {
            requests.switchover = None;
        }
        let object = Object {
            record: Rc::new((*write.record).clone()),
            requests,
            damaged: false,
        };
        self.set(Some(object), t);
    }

    pub(crate) fn set(&mut self, object: Option<Object>, t: u64) {
        self.rv += 1;
        self.eras.push(self.rv);
        if let Some(old) = self.object.take() {
            if self.past.len() >= PAST {
                self.past.pop_front();
            }
            self.past.push_back(old);
        }
        self.object = object;
        self.tuple_since = t;
    }

    /// A bystander's edit: another version, the same record.
    pub(crate) fn touch(&mut self, change: impl FnOnce(&mut Requests)) {
        if let Some(object) = &mut self.object {
            self.rv += 1;
            change(&mut object.requests);
        }
    }

    /// A bystander edits the record itself, or puts back what it edited.
    pub(crate) fn damage(&mut self, damaged: bool) {
        if let Some(object) = &mut self.object {
            self.rv += 1;
            object.damaged = damaged;
        }
    }

    /// The newest change at or before this version that no bystander may make.
    pub(crate) fn era(&self, rv: u64) -> u64 {
        self.eras
            .iter()
            .rev()
            .find(|e| **e <= rv)
            .copied()
            .unwrap_or(0)
    }
}
