//! A group at one moment.

use crate::fault::Fault;
use crate::laws::Law;
use crate::machine::{Machine, Power, Way};
use crate::msg::Msg;
use crate::time;
use agent_core::action::{LeaseWrite, WriteReason};
use agent_core::ids::{Epoch, Rv};
use agent_core::observation::{LeaseSeen, Requests, WriteOutcome, WriteResult};
use agent_core::record::{GroupRecord, Stage, TermId};
use agent_core::report::Role;
use agent_core::time::Boot;
use serde::Serialize;
use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::io;

/// What members are called; the name is the last word when two logs are equal.
const NAMES: &[&str] = &["a", "b", "c"];

/// The group Lease.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Store {
    pub(crate) rv: Rv,
    pub(crate) record: Option<Box<GroupRecord>>,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct World {
    pub(crate) machines: Vec<Machine>,
    pub(crate) store: Store,
    /// What went wrong so far; its number counts, its kinds are told by the walk.
    pub(crate) faults: u32,
    pub(crate) terms: u32,
    pub(crate) top: Epoch,
    /// Terms that had a master process.
    pub(crate) masters: BTreeSet<TermId>,
    /// Messages that were answered and not lost with a disk.
    pub(crate) written: BTreeSet<Msg>,
    pub(crate) wrong: Option<Law>,
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        struct Into<'a, H>(&'a mut H);
        impl<H: Hasher> io::Write for Into<'_, H> {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.write(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut text = Vec::with_capacity(8 * 1024);
        serde_json::to_writer(&mut text, self).expect("a world is plain data with text keys");
        io::Write::write_all(&mut Into(state), &text).expect("a hasher takes everything");
    }
}

impl World {
    /// Members with volumes that have nothing.
    pub(crate) fn blank(members: usize) -> Self {
        let machines = NAMES.iter().take(members).map(|n| Machine::new(n));
        Self {
            machines: machines.collect(),
            store: Store {
                rv: Rv::new(1),
                record: None,
            },
            faults: 0,
            terms: 0,
            top: Epoch::default(),
            masters: BTreeSet::new(),
            written: BTreeSet::new(),
            wrong: None,
        }
    }

    pub(crate) fn members(&self) -> std::ops::Range<usize> {
        0..self.machines.len()
    }

    pub(crate) fn blame(&mut self, law: Law) {
        self.wrong.get_or_insert(law);
    }

    /// The Lease as a reader finds it now.
    pub(crate) fn lease(&self) -> LeaseSeen {
        match &self.store.record {
            Some(record) => LeaseSeen::Record {
                rv: self.store.rv,
                record: record.clone(),
                requests: Requests::default(),
            },
            None => LeaseSeen::Absent,
        }
    }

    /// Whether the two agents and launchers reach each other.
    pub(crate) fn reach(&self, i: usize, n: usize) -> bool {
        let open = |m: &Machine| m.peers == Way::Open && m.power == Power::On;
        i != n && open(&self.machines[i]) && open(&self.machines[n])
    }

    /// Something the others may see changed.
    pub(crate) fn tell_others(&mut self, i: usize) {
        for (n, machine) in self.machines.iter_mut().enumerate() {
            machine.news |= n != i;
        }
    }

    pub(crate) fn would_take(&self, write: &LeaseWrite) -> bool {
        match (write.carries, &self.store.record) {
            (None, None) => true,
            (Some(rv), Some(_)) => rv == self.store.rv,
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    /// A Lease write reaches the API server.
    pub(crate) fn land(&mut self, i: usize, write: &LeaseWrite, sent: Boot) -> WriteResult {
        if !self.would_take(write) {
            return WriteResult::Conflict;
        }
        if write.why == WriteReason::Acquire {
            self.judge_acquire(write);
            self.terms += 1;
            for machine in &mut self.machines {
                machine.tries = 0;
            }
        }
        let term = write.record.term.id;
        let landed = &mut self.machines[i].landed;
        let known = landed.filter(|(of, _)| *of == term).map(|(_, sent)| sent);
        *landed = Some((term, known.unwrap_or(sent).max(sent)));
        self.store.rv = Rv::new(self.store.rv.get() + 1);
        self.store.record = Some(write.record.clone());
        self.tell_others(i);
        WriteResult::Committed
    }

    /// A delayed write lands; its sender hears of it if it still waits.
    pub(crate) fn land_late(&mut self, i: usize, n: usize) {
        let request = self.machines[i].requests.remove(n);
        let result = self.land(i, &request.write, request.sent);
        if !request.told {
            let machine = &mut self.machines[i];
            machine.outcome = Some(WriteOutcome {
                id: request.write.id,
                sent: request.sent,
                result,
            });
        }
        self.machines[i].news = true;
    }

    /// One tick passes.
    pub(crate) fn tick(&mut self) {
        self.age();
        for machine in &mut self.machines {
            for request in machine.requests.iter_mut().filter(|r| !r.told) {
                request.told = true;
                let (id, sent) = (request.write.id, request.sent);
                let result = WriteResult::Unknown;
                machine.outcome = Some(WriteOutcome { id, sent, result });
            }
            machine.requests.retain(|r| !r.dead);
            machine.obey_permit(time::KILL);
            machine.come_up();
            machine.news = true;
        }
    }

    /// One serves, and all others follow with the same log.
    pub(crate) fn whole(&self) -> bool {
        let serves = |m: &&Machine| m.accepts();
        let Some(master) = self.machines.iter().find(serves) else {
            return false;
        };
        let record = self.store.record.as_ref();
        let held =
            record.is_some_and(|r| r.holder == master.instance() && r.term.stage == Stage::Serving);
        let follows = |m: &Machine| {
            let slave = m
                .jvm
                .as_ref()
                .is_some_and(|j| j.role == Role::Slave && j.up);
            m.name == master.name || (slave && m.link.is_some() && m.log == master.log)
        };
        held && self.machines.iter().all(follows)
    }

    /// What may break in this state.
    pub(crate) fn faults_now(&self, i: usize) -> Vec<Fault> {
        Fault::ALL
            .iter()
            .copied()
            .filter(|f| self.can(i, *f))
            .collect()
    }
}

impl std::fmt::Display for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.store.record {
            None => write!(f, "no Lease")?,
            Some(r) => write!(
                f,
                "Lease {:?} term {} seq {} {:?}",
                r.holder.as_str(),
                r.term.id,
                r.seq,
                r.term.stage
            )?,
        }
        for m in &self.machines {
            write!(f, " | {m}")?;
        }
        match self.wrong {
            Some(law) => write!(f, " ** {law:?}"),
            None => Ok(()),
        }
    }
}
