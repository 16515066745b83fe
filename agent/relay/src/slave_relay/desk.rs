//! What the slave's side knows: orders, the JVM's connection, the link, counters. Shared by its two threads.

use crate::clock::boottime_ms;
use crate::ha_stream::Report;
use crate::socket;
use crate::{Attach, SlaveOrders, SlaveState, SlaveStatus};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Desk {
    pub(super) stopped: bool,
    orders: SlaveOrders,
    /// Rises with every change of the orders.
    generation: u64,
    /// The log's end as walked before the JVM's start, until a JVM connects.
    hint: Option<u64>,
    pub(super) jvm: Option<Jvm>,
    jvm_connects: u64,
    link: Option<Link>,
    /// The forwarding thread waits for the JVM's reports.
    pub(super) window_awaited: bool,
    state: SlaveState,
    since_ms: u64,
    pub(super) counters: Counters,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) bytes_total: u64,
    pub(super) proved: u64,
    pub(super) proved_total: u64,
    pub(super) master_min: Option<u64>,
    pub(super) attaches: u64,
    pub(super) failures: u64,
    pub(super) last_error: Option<String>,
}

/// The JVM's connection.
#[derive(Debug)]
pub(super) struct Jvm {
    pub(super) id: u64,
    pub(super) stream: Arc<TcpStream>,
    /// Its last report.
    pub(super) reported: Option<u64>,
    /// Everything below was written to it, or was there before.
    pub(super) forwarded: Option<u64>,
    /// The end before anything was forwarded.
    pub(super) base: u64,
    /// Where forwarding begins: the end, or for an empty log the master's first offset.
    pub(super) begun: u64,
    pub(super) written_ms: u64,
}

/// The connection to the master's relay.
#[derive(Debug)]
struct Link {
    stream: Arc<TcpStream>,
    phase: Phase,
    told_ms: u64,
}

/// What may be said on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing: the handshake is running.
    Handshake,
    /// That we are alive.
    Proving,
    /// Acknowledgements; told up to here.
    Proved(u64),
}

/// What the forwarding thread is to do, and under which circumstances it is still valid.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) attach: Attach,
    pub(super) generation: u64,
    pub(super) jvm_id: u64,
    pub(super) jvm: Arc<TcpStream>,
    /// The log's end.
    pub(super) end: u64,
}

/// What a report means for the JVM's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    /// It makes no sense; the connection must go.
    CutJvm,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            stopped: false,
            orders: SlaveOrders::Park,
            generation: 0,
            hint: None,
            jvm: None,
            jvm_connects: 0,
            link: None,
            window_awaited: false,
            state: SlaveState::Parked,
            since_ms: boottime_ms(),
            counters: Counters::default(),
        }
    }
}

impl Desk {
    pub(super) fn order(&mut self, orders: SlaveOrders) {
        let same = match (&self.orders, &orders) {
            (SlaveOrders::Park, SlaveOrders::Park) => true,
            (SlaveOrders::Attach(old), SlaveOrders::Attach(new)) => old.same_stream(new),
            (SlaveOrders::Park, SlaveOrders::Attach(_))
            | (SlaveOrders::Attach(_), SlaveOrders::Park) => false,
        };
        self.take_hint(&orders);
        if !same {
            self.orders = orders;
            self.generation += 1;
            self.close_link();
        }
    }

    /// A hint counts for a JVM that has not reported yet, now or when it connects.
    fn take_hint(&mut self, orders: &SlaveOrders) {
        let hint = match orders {
            SlaveOrders::Park => None,
            SlaveOrders::Attach(attach) => attach.end_hint,
        };
        self.hint = hint.filter(|_| self.jvm.as_ref().is_none_or(|jvm| jvm.forwarded.is_none()));
        if let Some(jvm) = &mut self.jvm
            && let Some(end) = self.hint.take()
        {
            jvm.begin_at(end);
        }
    }

    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.close_link();
        if let Some(jvm) = self.jvm.take() {
            socket::close(&jvm.stream);
        }
    }

    /// What to do now, if anything can be done: attach is ordered, the JVM is there, and its end is certain (it has
    /// reported all that was forwarded to it).
    pub(super) fn job(&self) -> Option<Job> {
        let SlaveOrders::Attach(attach) = &self.orders else {
            return None;
        };
        let jvm = self.jvm.as_ref()?;
        let end = jvm.forwarded?;
        (jvm.reported.unwrap_or(jvm.base) == end).then(|| Job {
            attach: (**attach).clone(),
            generation: self.generation,
            jvm_id: jvm.id,
            jvm: Arc::clone(&jvm.stream),
            end,
        })
    }

    /// Nobody forwards: a report may make that possible.
    pub(super) const fn is_idle(&self) -> bool {
        self.link.is_none()
    }

    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) const fn is_parked_by_order(&self) -> bool {
        matches!(self.orders, SlaveOrders::Park)
    }

    /// Whether orders and the JVM's connection are still those of the job.
    pub(super) fn stands(&self, job: &Job) -> bool {
        let jvm = self.jvm.as_ref().map(|jvm| jvm.id);
        !self.stopped && self.generation == job.generation && jvm == Some(job.jvm_id)
    }

    /// The JVM's connection, if the job still stands and its link is not given up.
    pub(super) fn jvm_of(&mut self, job: &Job) -> Option<&mut Jvm> {
        let stands = self.stands(job) && self.link.is_some();
        self.jvm.as_mut().filter(|_| stands)
    }

    // ---- the JVM

    pub(super) fn adopt(&mut self, stream: TcpStream) {
        self.close_link();
        if let Some(old) = self.jvm.take() {
            socket::reset(&old.stream);
        }
        self.jvm_connects += 1;
        let mut jvm = Jvm {
            id: self.jvm_connects,
            stream: Arc::new(stream),
            reported: None,
            forwarded: None,
            base: 0,
            begun: 0,
            written_ms: boottime_ms(),
        };
        if let Some(end) = self.hint.take() {
            jvm.begin_at(end);
        }
        self.jvm = Some(jvm);
    }

    pub(super) fn jvm_gone(&mut self, id: u64) {
        if self.jvm.as_ref().is_some_and(|jvm| jvm.id == id) {
            self.jvm = None;
            self.close_link();
        }
    }

    /// The JVM says that its log ends at `end`.
    pub(super) fn report(&mut self, id: u64, end: u64) -> Verdict {
        let Some(jvm) = self.jvm.as_mut().filter(|jvm| jvm.id == id) else {
            return Verdict::Fine;
        };
        let untouched = jvm.forwarded.is_none_or(|forwarded| forwarded == jvm.base);
        match (jvm.reported, jvm.forwarded) {
            (None, None) => jvm.begin_at(end),
            // The hint was wrong, and nothing rests on it yet but the link.
            (None, Some(hint)) if hint != end && untouched => {
                jvm.begin_at(end);
                self.close_link();
            }
            // Below what it had, or above what it was given: not the log we knew.
            (reported, Some(forwarded))
                if end > forwarded || end < reported.unwrap_or(jvm.base) =>
            {
                return Verdict::CutJvm;
            }
            (_, Some(_)) | (Some(_), None) => {}
        }
        if let Some(jvm) = &mut self.jvm {
            jvm.reported = Some(end);
        }
        self.acknowledge();
        Verdict::Fine
    }

    // ---- the link

    /// Takes the new link in if the job still stands.
    pub(super) fn open_link(&mut self, job: &Job, stream: &Arc<TcpStream>) -> bool {
        let stands =
            self.stands(job) && self.jvm.as_ref().and_then(|jvm| jvm.forwarded) == Some(job.end);
        if stands {
            self.link = Some(Link {
                stream: Arc::clone(stream),
                phase: Phase::Handshake,
                told_ms: boottime_ms(),
            });
        }
        stands
    }

    pub(super) fn close_link(&mut self) {
        if let Some(link) = self.link.take() {
            socket::close(&link.stream);
        }
    }

    pub(super) fn set_phase(&mut self, phase: Phase) {
        if let Some(link) = &mut self.link {
            link.phase = phase;
            link.told_ms = boottime_ms();
        }
        self.acknowledge();
    }

    /// Tells the master what the JVM has reported, if the log is proved and there is news.
    fn acknowledge(&mut self) {
        let reported = self.jvm.as_ref().and_then(|jvm| jvm.reported);
        if let (Some(link), Some(reported)) = (&mut self.link, reported)
            && let Phase::Proved(told) = link.phase
            && reported > told
            && link.say(Report::End(reported))
        {
            link.phase = Phase::Proved(reported);
        }
    }

    /// Says on a quiet link that we are alive, and what found no room before.
    pub(super) fn keep_link(&mut self, quiet_ms: u64) {
        self.acknowledge();
        if let Some(link) = &mut self.link
            && boottime_ms().saturating_sub(link.told_ms) >= quiet_ms
        {
            match link.phase {
                Phase::Handshake => {}
                Phase::Proving | Phase::Proved(0) => drop(link.say(Report::Alive)),
                Phase::Proved(told) => drop(link.say(Report::End(told))),
            }
        }
    }

    // ---- status

    pub(super) fn set_state(&mut self, state: SlaveState) {
        if self.state != state {
            self.state = state;
            self.since_ms = boottime_ms();
        }
    }

    pub(super) fn status(&self, local: SocketAddr) -> SlaveStatus {
        let jvm = self.jvm.as_ref();
        SlaveStatus {
            local,
            jvm_connected: jvm.is_some(),
            state: self.state.clone(),
            since_ms: self.since_ms,
            reported: jvm.and_then(|jvm| jvm.reported),
            forwarded: jvm.and_then(|jvm| jvm.forwarded),
            proved: self.counters.proved,
            bytes_total: self.counters.bytes_total,
            proved_total: self.counters.proved_total,
            master_min: self.counters.master_min,
            jvm_connects: self.jvm_connects,
            attaches: self.counters.attaches,
            failures: self.counters.failures,
            last_error: self.counters.last_error.clone(),
        }
    }
}

impl Jvm {
    const fn begin_at(&mut self, end: u64) {
        self.forwarded = Some(end);
        self.base = end;
        self.begun = end;
    }

    /// Bytes written and not yet reported. A full copy begins with a jump from 0 to the master's first offset, which
    /// is no byte in flight.
    pub(super) fn outstanding(&self) -> u64 {
        self.forwarded
            .unwrap_or(0)
            .saturating_sub(self.reported.unwrap_or(0).max(self.begun))
    }
}

impl Link {
    /// Without waiting; `false` if there was no room, or the link is lost and will be closed by its reader.
    fn say(&mut self, report: Report) -> bool {
        match socket::write_now(&self.stream, &report.encode()) {
            Ok(true) => {
                self.told_ms = boottime_ms();
                true
            }
            Ok(false) => false,
            Err(_) => {
                socket::close(&self.stream);
                false
            }
        }
    }
}
