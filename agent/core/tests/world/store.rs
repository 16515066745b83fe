//! The group Lease and the API server in front of it: compare-and-swap, late commits, lost replies.

use agent_core::action::LeaseWrite;
use agent_core::ids::Rv;
use agent_core::observation::{LeaseSeen, Requests};
use agent_core::record::GroupRecord;

#[derive(Clone, Debug)]
pub struct Object {
    pub record: GroupRecord,
    pub requests: Requests,
    /// Somebody edited the record: its digest is wrong.
    pub damaged: bool,
}

#[derive(Default)]
pub struct Store {
    pub rv: u64,
    pub object: Option<Object>,
    /// When the renewal tuple last changed, in true time.
    pub tuple_since: u64,
    /// What once was, for a restore.
    pub past: Vec<Object>,
    /// The versions at which something else changed than what any bystander may change.
    pub eras: Vec<u64>,
}

impl Store {
    pub fn seen(&self) -> LeaseSeen {
        match &self.object {
            None => LeaseSeen::Absent,
            Some(o) if o.damaged => LeaseSeen::Damaged {
                rv: Rv::new(self.rv),
                why: "changed by hand".into(),
                requests: o.requests.clone(),
            },
            Some(o) => LeaseSeen::Record {
                rv: Rv::new(self.rv),
                record: Box::new(o.record.clone()),
                requests: o.requests.clone(),
            },
        }
    }

    /// Whether a write with this version would succeed now.
    pub fn would_take(&self, carries: Option<Rv>) -> bool {
        match (carries, &self.object) {
            (None, None) => true,
            (Some(rv), Some(_)) => rv.get() == self.rv,
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    pub fn put(&mut self, write: &LeaseWrite, t: u64) {
        let mut requests = self
            .object
            .as_ref()
            .map(|o| o.requests.clone())
            .unwrap_or_default();
        if write.clear_switchover {
            requests.switchover = None;
        }
        let record = (*write.record).clone();
        let damaged = false;
        self.set(
            Some(Object {
                record,
                requests,
                damaged,
            }),
            t,
        );
    }

    pub fn set(&mut self, object: Option<Object>, t: u64) {
        self.rv += 1;
        self.eras.push(self.rv);
        if let Some(old) = self.object.take() {
            self.past.push(old);
        }
        self.object = object;
        self.tuple_since = t;
    }

    /// A bystander's edit: another version, the same record.
    pub fn touch(&mut self, change: impl FnOnce(&mut Requests)) {
        if let Some(object) = &mut self.object {
            self.rv += 1;
            change(&mut object.requests);
        }
    }

    /// A bystander edits the record itself, or puts back what it edited.
    pub fn damage(&mut self, damaged: bool) {
        if let Some(object) = &mut self.object {
            self.rv += 1;
            object.damaged = damaged;
        }
    }

    /// The newest change at or before this version that no bystander may make.
    pub fn era(&self, rv: u64) -> u64 {
        self.eras.iter().rev().find(|e| **e <= rv).map_or(0, |e| *e)
    }
}
