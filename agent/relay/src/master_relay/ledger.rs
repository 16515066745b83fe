//! What the master's side knows and has promised: orders, permit, who is connected, who acknowledged what.
//!
//! Everything that must not happen after an order or a permit's end happens under this one lock: an acknowledgement is
//! written to the JVM with the lock held and without waiting, so when `order` returns the old term is silent.

use super::connection::Connection;
use super::has_room;
use crate::ack_rule;
use crate::clock::boottime_ms;
use crate::ha_stream::Report;
use crate::handshake::Hello;
use crate::socket;
use crate::{ConnectionState, ConnectionStatus, MasterOrders, MasterStatus, Member, Refusal, Term};
use local::Local;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;

pub(super) mod local;

/// The JVM drops a connection that was silent for 20 s (`haHousekeepingInterval`); a stock slave speaks every 5 s.
const JVM_QUIET_MS: u64 = 5_000;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    stopped: bool,
    orders: Option<MasterOrders>,
    reign: Option<Reign>,
    slaves: BTreeMap<u64, Slave>,
    half_open: BTreeMap<u64, (IpAddr, Arc<TcpStream>)>,
    next_id: u64,
    refused: BTreeMap<&'static str, u64>,
    last_refusal: Option<Refusal>,
    admitted_total: u64,
    /// Of connections that are gone.
    bytes_before: u64,
    /// The local acker's connection to the JVM.
    local: Option<Local>,
}

/// What is remembered for as long as a term lasts, also without orders.
#[derive(Debug)]
struct Reign {
    term: Term,
    permit_until_ms: u64,
    /// The JVM's log reaches at least here.
    known_end: u64,
    /// The JVM was told of acknowledgements up to here, by whomever; requests are acknowledgements too.
    forwarded: u64,
    /// [`Reign::forwarded`] when the rule of who must acknowledge last changed.
    border: u64,
    /// The local acker told the JVM up to here.
    local_up_to: u64,
}

#[derive(Debug)]
struct Slave {
    connection: Arc<Connection>,
    acked: Option<u64>,
    /// What the JVM was last told on this connection; begins with the request.
    forwarded: u64,
    /// The JVM has sent its first frame. Before that it takes the last report it reads as the request (rmq/RELAY R1).
    started: bool,
    told_ms: u64,
    since_ms: u64,
}

impl Ledger {
    pub(super) fn order(&mut self, orders: Option<MasterOrders>) {
        if self.orders == orders {
            return;
        }
        self.slaves.retain(|_, slave| {
            let stays = orders.as_ref().is_some_and(|new| {
                let same_broker = self.orders.as_ref().is_some_and(|old| {
                    MasterOrders {
                        admit: new.admit.clone(),
                        k: new.k,
                        local_ack: new.local_ack,
                        ..old.clone()
                    } == *new
                });
                same_broker && new.admit.contains(&slave.connection.peer)
            });
            if !stays {
                Self::forget(&mut self.reign, &mut self.bytes_before, slave);
            }
            stays
        });
        self.order_local(orders.as_ref());
        if let Some(new) = &orders {
            let known = self.reign.take().filter(|reign| reign.term == new.term);
            self.reign = known.or(Some(Reign {
                term: new.term,
                permit_until_ms: 0,
                known_end: new.start,
                forwarded: new.start,
                border: new.start,
                local_up_to: new.start,
            }));
        }
        if let Some(reign) = &mut self.reign {
            // Everything told so far was told by the old rule. Set too often it costs the agent a wait, never a byte.
            reign.border = reign.forwarded;
        }
        self.orders = orders;
        self.tell_broker();
    }

    pub(super) fn permit(&mut self, term: Term, until_ms: u64) -> bool {
        let Some(reign) = self.reign.as_mut().filter(|reign| reign.term == term) else {
            return false;
        };
        reign.permit_until_ms = reign.permit_until_ms.max(until_ms);
        self.tell_broker();
        true
    }

    pub(super) const fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.order(None);
        for (_, stream) in self.half_open.values() {
            socket::close(stream);
        }
    }

    /// Notes a caller; `None` (and closed) if there are too many.
    pub(super) fn open_half(
        &mut self,
        limits: (usize, usize),
        ip: IpAddr,
        stream: &Arc<TcpStream>,
    ) -> Option<u64> {
        if self.stopped || !has_room(limits, self.half_open.values().map(|(ip, _)| *ip), ip) {
            self.note_refusal(Refusal::Busy);
            return None;
        }
        self.next_id += 1;
        self.half_open
            .insert(self.next_id, (ip, Arc::clone(stream)));
        Some(self.next_id)
    }

    pub(super) fn close_half(&mut self, id: u64, refusal: Option<Refusal>) {
        self.half_open.remove(&id);
        if let Some(refusal) = refusal {
            self.note_refusal(refusal);
        }
    }

    fn note_refusal(&mut self, refusal: Refusal) {
        *self.refused.entry(refusal.word()).or_default() += 1;
        self.last_refusal = Some(refusal);
    }

    /// Whether this slave may replicate now, and by which orders.
    pub(super) fn check(&self, hello: &Hello) -> Result<MasterOrders, Refusal> {
        let (Some(orders), Some(reign), false) = (&self.orders, &self.reign, self.stopped) else {
            return Err(Refusal::NoOrders);
        };
        if hello.term != orders.term {
            return Err(Refusal::OtherTerm { mine: orders.term });
        }
        if hello.holder_member != orders.member || hello.holder_instance != orders.instance {
            return Err(Refusal::OtherHolder);
        }
        if !orders.admit.contains(&hello.peer()) {
            return Err(Refusal::NotAdmitted);
        }
        if boottime_ms() >= reign.permit_until_ms {
            return Err(Refusal::NoPermit);
        }
        Ok(orders.clone())
    }

    /// From where to request for a slave whose log is said to end at `end`. Until it is proved, nothing is requested
    /// that would tell the JVM more than it could know: at k = 0 no offset above its own log (an ahead slave would
    /// poison later acknowledgements, H22), at k ≥ 1 none above what k others hold or what was told before.
    pub(super) fn request_offset(&self, end: u64, proof: u64, min: u64) -> u64 {
        let Some((orders, reign)) = self.orders.as_ref().zip(self.reign.as_ref()) else {
            return 1;
        };
        let cap = match usize::try_from(orders.k).unwrap_or(usize::MAX) {
            0 => self.known_end(reign),
            k => ack_rule::kth_largest(self.acks(), k)
                .unwrap_or(0)
                .max(reign.forwarded),
        };
        ack_rule::request(end, proof, cap, min)
    }

    /// Takes the connection in and sends its request. An older connection of the same slave ends.
    pub(super) fn insert(
        &mut self,
        connection: &Arc<Connection>,
        from: u64,
    ) -> Result<(), Refusal> {
        let old: Vec<u64> = self
            .slaves
            .values()
            .map(|slave| &slave.connection)
            .filter(|old| old.peer == connection.peer)
            .map(|old| old.id)
            .collect();
        old.into_iter().for_each(|id| self.remove(id));
        match socket::write_now(&connection.jvm, &Report::End(from).encode()) {
            Ok(true) => {}
            Ok(false) | Err(_) => return Err(Refusal::BrokerAway),
        }
        let now = boottime_ms();
        let slave = Slave {
            connection: Arc::clone(connection),
            acked: None,
            forwarded: from,
            started: false,
            told_ms: now,
            since_ms: now,
        };
        self.slaves.insert(connection.id, slave);
        if let Some(reign) = &mut self.reign {
            reign.forwarded = reign.forwarded.max(from);
        }
        self.admitted_total += 1;
        Ok(())
    }

    pub(super) fn remove(&mut self, id: u64) {
        if let Some(slave) = self.slaves.remove(&id) {
            Self::forget(&mut self.reign, &mut self.bytes_before, &slave);
        }
    }

    /// Closes a connection and keeps what it taught us of the JVM's log.
    fn forget(reign: &mut Option<Reign>, bytes: &mut u64, slave: &Slave) {
        slave.connection.close();
        *bytes += slave.connection.bytes();
        if let Some(reign) = reign
            .as_mut()
            .filter(|reign| reign.term == slave.connection.term)
        {
            reign.known_end = reign.known_end.max(slave.connection.sent());
        }
    }

    /// The JVM has sent this connection's first frame.
    pub(super) fn started(&mut self, id: u64) {
        if let Some(slave) = self.slaves.get_mut(&id) {
            slave.started = true;
        }
        self.tell_broker();
    }

    /// A slave acknowledged everything below `offset`.
    pub(super) fn acknowledge(&mut self, id: u64, offset: u64) {
        if let Some(slave) = self.slaves.get_mut(&id) {
            slave.acked = slave.acked.max(Some(offset));
        }
        self.tell_broker();
    }

    /// Keeps quiet connections to the JVM alive by repeating what it knows, and retries what had no room.
    pub(super) fn tick(&mut self) {
        self.tell_broker();
        let now = boottime_ms();
        for slave in self
            .slaves
            .values_mut()
            .filter(|slave| slave.started && now.saturating_sub(slave.told_ms) >= JVM_QUIET_MS)
        {
            slave.tell(slave.forwarded, now);
        }
    }

    #[cfg(test)]
    pub(super) fn ids(&self) -> Vec<u64> {
        self.slaves.keys().copied().collect()
    }

    /// The JVM's log is known to reach here.
    fn known_end(&self, reign: &Reign) -> u64 {
        self.slaves
            .values()
            .map(|slave| slave.connection.sent())
            .fold(reign.known_end, u64::max)
    }

    /// One acknowledgement per member of K: a member that is named with two sessions is still one copy, and counts as
    /// the shorter one. Nobody outside K is connected; were somebody, he would not count (H16).
    fn acks(&self) -> impl Iterator<Item = u64> {
        let mut acks: BTreeMap<&Member, u64> = BTreeMap::new();
        for slave in self.slaves.values().filter(|slave| self.admits(slave)) {
            if let Some(acked) = slave.acked {
                let least = acks.entry(&slave.connection.peer.member).or_insert(acked);
                *least = acked.min(*least);
            }
        }
        acks.into_values()
    }

    fn admits(&self, slave: &Slave) -> bool {
        self.orders
            .as_ref()
            .is_some_and(|orders| orders.admit.contains(&slave.connection.peer))
    }

    /// Passes on every acknowledgement that the rule and the permit allow now.
    fn tell_broker(&mut self) {
        self.tell_locally();
        let (Some(orders), Some(reign)) = (&self.orders, &self.reign) else {
            return;
        };
        let (k, permit_until_ms) = (orders.k, reign.permit_until_ms);
        let due: Vec<(u64, u64)> = self
            .slaves
            .iter()
            .filter(|(_, slave)| slave.started)
            .filter_map(|(id, slave)| {
                Some((*id, ack_rule::allowed(slave.acked?, self.acks(), k)?))
                    .filter(|(_, told)| *told > slave.forwarded)
            })
            .collect();
        for (id, offset) in due {
            // Read for each write: the permit may end, or the machine be paused, in between.
            let now = boottime_ms();
            if now >= permit_until_ms {
                return;
            }
            if let (Some(slave), Some(reign)) = (self.slaves.get_mut(&id), self.reign.as_mut()) {
                slave.tell(offset, now);
                reign.forwarded = reign.forwarded.max(slave.forwarded);
            }
        }
    }

    pub(super) fn status(&self, listen: SocketAddr) -> MasterStatus {
        MasterStatus {
            listen,
            term: self.orders.as_ref().map(|orders| orders.term),
            permit_until_ms: self.reign.as_ref().map_or(0, |reign| reign.permit_until_ms),
            connections: self.slaves.values().map(Slave::status).collect(),
            half_open: self.half_open.len(),
            refused: self
                .refused
                .iter()
                .map(|(word, count)| ((*word).to_owned(), *count))
                .collect(),
            last_refusal: self.last_refusal.clone(),
            admitted_total: self.admitted_total,
            bytes_total: self.bytes_before
                + self
                    .slaves
                    .values()
                    .map(|slave| slave.connection.bytes())
                    .sum::<u64>(),
            local_ack: self.local_status(),
        }
    }
}

impl Slave {
    fn tell(&mut self, offset: u64, now_ms: u64) {
        match socket::write_now(&self.connection.jvm, &Report::End(offset).encode()) {
            Ok(true) => {
                self.forwarded = offset;
                self.told_ms = now_ms;
            }
            // The JVM does not read: the next tick tries again.
            Ok(false) => {}
            Err(_) => self.connection.close(),
        }
    }

    fn status(&self) -> ConnectionStatus {
        let sent = self.connection.sent();
        let state = match (self.started, self.acked) {
            (false, _) => ConnectionState::Requested,
            (true, None) => ConnectionState::Proving,
            (true, Some(_)) => ConnectionState::Streaming,
        };
        ConnectionStatus {
            member: self.connection.peer.member.clone(),
            session: self.connection.peer.session.clone(),
            address: self.connection.address,
            state,
            acked: self.acked,
            forwarded_acks: self.forwarded,
            sent,
            lag: sent.saturating_sub(self.acked.unwrap_or(0)),
            since_ms: self.since_ms,
        }
    }
}
