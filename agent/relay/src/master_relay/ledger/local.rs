//! The local acker's part of the ledger: whether it may work, what it has told the JVM, and where it stopped.

use super::{JVM_QUIET_MS, Ledger};
use crate::clock::boottime_ms;
use crate::ha_stream::Report;
use crate::socket;
use crate::{LocalAckState, LocalAckStatus, MasterOrders, Term};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

/// Where the local acker is to connect, and under which term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::master_relay) struct Target {
    pub(in crate::master_relay) term: Term,
    pub(in crate::master_relay) ha: SocketAddr,
    pub(in crate::master_relay) commitlog_dir: PathBuf,
}

/// The local acker's connection to the JVM.
#[derive(Debug)]
pub(super) struct Local {
    id: u64,
    jvm: Arc<TcpStream>,
    /// What the JVM was last told on this connection; begins with the request.
    told: u64,
    /// The JVM has sent everything below; `None` before its first frame, until which nothing may follow the request.
    read: Option<u64>,
    told_ms: u64,
}

impl Ledger {
    /// What the local acker is to do now: ordered, and under a valid permit.
    pub(in crate::master_relay) fn local_target(&self) -> Option<Target> {
        let (Some(orders), Some(reign), false) = (&self.orders, &self.reign, self.stopped) else {
            return None;
        };
        let may = orders.acknowledges_locally() && boottime_ms() < reign.permit_until_ms;
        may.then(|| Target {
            term: orders.term,
            ha: orders.ha,
            commitlog_dir: orders.commitlog_dir.clone(),
        })
    }

    /// Requests the JVM's log from its known end, at least `min`, over a new connection; says under which id and from
    /// where. `None`: the orders or the permit changed meanwhile, or the JVM takes nothing.
    pub(in crate::master_relay) fn open_local(
        &mut self,
        target: &Target,
        jvm: &Arc<TcpStream>,
        min: u64,
    ) -> Option<(u64, u64)> {
        if self.local_target().as_ref() != Some(target) {
            return None;
        }
        // Never 0: to the JVM that means "from the start of your last file" (facts §4.4).
        let from = self.known_end(self.reign.as_ref()?).max(min).max(1);
        if !matches!(
            socket::write_now(jvm, &Report::End(from).encode()),
            Ok(true)
        ) {
            return None;
        }
        self.next_id += 1;
        self.local = Some(Local {
            id: self.next_id,
            jvm: Arc::clone(jvm),
            told: from,
            read: None,
            told_ms: boottime_ms(),
        });
        self.note_local(from);
        Some((self.next_id, from))
    }

    /// The JVM sent everything below `end`. `false` if this connection is not the acker's any more.
    pub(in crate::master_relay) fn local_read(&mut self, id: u64, end: u64) -> bool {
        let Some(local) = self.local.as_mut().filter(|local| local.id == id) else {
            return false;
        };
        local.read = Some(end);
        if let Some(reign) = &mut self.reign {
            reign.known_end = reign.known_end.max(end);
        }
        self.tell_locally();
        true
    }

    /// Repeats what had no room, or what the JVM knows already, so that it does not take the connection for dead.
    pub(in crate::master_relay) fn local_tick(&mut self, id: u64) {
        self.tell_locally();
        let now = boottime_ms();
        if let Some(local) = self
            .local
            .as_mut()
            .filter(|local| local.id == id && local.read.is_some())
            && now.saturating_sub(local.told_ms) >= JVM_QUIET_MS
        {
            local.tell(local.told, now);
        }
    }

    /// The connection is over.
    pub(in crate::master_relay) fn local_gone(&mut self, id: u64) {
        if let Some(local) = self.local.take_if(|local| local.id == id) {
            socket::reset(&local.jvm);
        }
    }

    /// Ends the connection unless the new orders go on with it. Called under the old orders.
    pub(super) fn order_local(&mut self, new: Option<&MasterOrders>) {
        let goes_on = self.orders.as_ref().zip(new).is_some_and(|(old, new)| {
            new.acknowledges_locally()
                && (old.term, &old.instance, old.ha) == (new.term, &new.instance, new.ha)
        });
        if !goes_on && let Some(local) = self.local.take() {
            // What the JVM has not read yet is thrown away; what it has read ends at or below what was noted.
            socket::reset(&local.jvm);
        }
    }

    /// Acknowledges what the JVM has sent, if the permit allows it now.
    pub(super) fn tell_locally(&mut self) {
        let Some(permit_until_ms) = self.reign.as_ref().map(|reign| reign.permit_until_ms) else {
            return;
        };
        let Some(local) = &mut self.local else { return };
        let Some(read) = local.read.filter(|read| *read > local.told) else {
            return;
        };
        let now = boottime_ms();
        if now < permit_until_ms && local.tell(read, now) {
            self.note_local(read);
        }
    }

    fn note_local(&mut self, told: u64) {
        if let Some(reign) = &mut self.reign {
            reign.local_up_to = reign.local_up_to.max(told);
            reign.forwarded = reign.forwarded.max(told);
        }
    }

    pub(super) fn local_status(&self) -> Option<LocalAckStatus> {
        let (orders, reign) = self.orders.as_ref().zip(self.reign.as_ref())?;
        let ordered = orders.acknowledges_locally();
        let connected = self
            .local
            .as_ref()
            .is_some_and(|local| local.read.is_some());
        let state = match (ordered, connected && boottime_ms() < reign.permit_until_ms) {
            (false, _) => LocalAckState::Off,
            (true, false) => LocalAckState::Waiting,
            (true, true) => LocalAckState::Acking,
        };
        Some(LocalAckStatus {
            state,
            up_to: reign.local_up_to,
            stopped_at: (!ordered).then_some(reign.border),
        })
    }
}

impl Local {
    fn tell(&mut self, offset: u64, now_ms: u64) -> bool {
        match socket::write_now(&self.jvm, &Report::End(offset).encode()) {
            Ok(true) => {
                self.told = offset;
                self.told_ms = now_ms;
                true
            }
            // The JVM does not read: the next tick tries again.
            Ok(false) => false,
            Err(_) => {
                socket::close(&self.jvm);
                false
            }
        }
    }
}
