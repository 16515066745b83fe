//! What is to be done. Plain values, idempotent, stamped with the term they were decided under.

use crate::ids::{Epoch, Instance, Member, Offset, Rv};
use crate::lineage::Lineage;
use crate::reason::Reason;
use crate::record::{GroupRecord, MemberSession, TermId, Tuple};
use crate::report::{Report, Role};
use crate::state::State;
use crate::time::{Boot, Tick};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use serde::Serialize;

/// The answer of [`crate::decide`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// What to remember.
    pub next: State,
    /// What to do, in order.
    pub actions: Vec<Action>,
    /// Why this and nothing else.
    pub reason: Reason,
    /// When to decide again even if nothing changes.
    pub wake_at: Option<Tick>,
    /// Our word about ourselves, for peers and the member Lease.
    pub report: Option<Box<Report>>,
}

/// Why a Lease write is sent. Part of the action, so that a log or a model can hold each write to its reason (J6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteReason {
    /// The holder is alive.
    Renew,
    /// A vacancy is taken: a new term.
    Acquire,
    /// The promotion is complete.
    Serve,
    /// K changed.
    Members,
    /// A request was answered and is taken off.
    Answer,
    /// The Lease is given up.
    Release,
}

/// One compare-and-swap on the group Lease.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeaseWrite {
    /// Tells its outcome from others'.
    pub id: u64,
    /// The version it is decided on; absent: create, and only if there is none.
    pub carries: Option<Rv>,
    /// What to write.
    pub record: Box<GroupRecord>,
    /// Why.
    pub why: WriteReason,
    /// Take the switchover request off.
    pub clear_switchover: bool,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Read the Lease now: silence counts only on a view known to be current.
    ReadLease,
    /// Compare-and-swap.
    Write(LeaseWrite),
    /// Tell the launcher until when the broker may run.
    Permit {
        /// For which process.
        term: TermId,
        /// Of which launcher.
        instance: Instance,
        /// Until when.
        until: Boot,
    },
    /// SIGKILL the broker and its whole process group.
    Kill {
        /// The term it runs in, as far as known.
        term: TermId,
        /// Why.
        why: Reason,
    },
    /// Stop the broker in order: only a slave, and only when the member itself stops.
    Stop,
    /// Shut the broker's gate.
    Shut {
        /// The term it runs in.
        term: TermId,
    },
    /// Open the broker's gate. Dropped by the shell once `before` has passed.
    Open {
        /// The term it serves in.
        term: TermId,
        /// Not after this.
        before: Boot,
    },
    /// Evict the old master's route and register this one with every name server.
    Register {
        /// The term it serves in.
        term: TermId,
    },
    /// Job: finish a cut that a dead predecessor began, walk the stopped log, settle the session.
    Examine,
    /// Job: as [`Action::Examine`], and write the log's end down for this vacancy.
    Freeze {
        /// Which vacancy.
        vacancy: Tuple,
    },
    /// Job: make the log's tail clean before a start.
    Repair {
        /// The term it starts in.
        term: TermId,
        /// The log end that was walked, and for a master claimed.
        end: Offset,
    },
    /// Job: compare our bytes with the master's.
    Prove {
        /// Under which term.
        term: TermId,
        /// Whose bytes.
        holder: Member,
        /// From here; the whole range is compared.
        from: Offset,
        /// Up to here.
        upto: Offset,
    },
    /// Job: archive and cut the log.
    Cut {
        /// Under which term.
        term: TermId,
        /// What is kept.
        to: Offset,
        /// What is there.
        end: Offset,
    },
    /// Write the history down (temp, fsync, rename, fsync).
    Persist {
        /// The history.
        lineage: Lineage,
        /// The highest epoch ever seen.
        highest: Epoch,
        /// The term the log was proven for.
        joined: Option<TermId>,
        /// Until where the log is a copy in the making.
        seeding: Option<Offset>,
    },
    /// Start the broker. A master is born fenced.
    Start {
        /// As what.
        role: Role,
        /// In which term.
        term: TermId,
        /// Of which launcher.
        instance: Instance,
        /// Until when it may run.
        permit: Boot,
    },
    /// Tell our relay whom to admit.
    Admit {
        /// For which term.
        term: TermId,
        /// K.
        members: BTreeSet<MemberSession>,
        /// k.
        acks: u32,
    },
    /// Tell our relay where to get bytes from.
    Attach {
        /// For which term.
        term: TermId,
        /// From whom.
        holder: Member,
        /// In which life.
        instance: Instance,
    },
    /// Tell people.
    Announce(Event),
}

/// Something a person wants to know. Each becomes a Kubernetes Event and a log line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A term was won.
    LeaderElected {
        /// Which.
        term: TermId,
        /// From which log end.
        start: Offset,
    },
    /// A master serves that was not master before.
    FailOver {
        /// Its term.
        term: TermId,
        /// Who reigned before.
        from: Member,
    },
    /// A promotion failed.
    FailOverFailed {
        /// Its term.
        term: TermId,
        /// Why.
        why: Reason,
    },
    /// A planned switchover released the Lease.
    SwitchOver {
        /// To whom.
        target: Member,
    },
    /// A planned switchover was given up; the old master goes on.
    SwitchOverFailed {
        /// Why.
        why: Reason,
    },
    /// A master was stopped by its deadline.
    Fenced {
        /// Its term.
        term: TermId,
    },
    /// Our log and the master's part at this offset; what lies above is archived and cut.
    Diverged {
        /// What is kept.
        keep: Offset,
        /// What is there.
        end: Offset,
    },
    /// A broker is started again.
    BrokerRestarted {
        /// Why.
        why: Reason,
    },
    /// Acknowledged messages may be missing from the new master.
    DataLossPossible {
        /// Bytes known to be missing, as far as anyone present can tell.
        bytes: u64,
    },
    /// This member lacks history and is filled from the master.
    SlaveHollow {
        /// Until here.
        until: Offset,
    },
}
