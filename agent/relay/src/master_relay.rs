//! The master's side of the relay: admit, open an HA connection per slave, pass data down and acknowledgements up.

use crate::handshake::{self, HandshakeError, Hello, Welcome};
use crate::socket::{self, Waker};
use crate::threads::Threads;
use crate::{GroupKey, GroupName, MasterOrders, MasterStatus, Refusal, RelayError, Term, Tuning};
use connection::Connection;
use ledger::Ledger;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

mod connection;
mod ledger;
mod local_acker;

/// The JVM is on loopback: it accepts at once or not at all.
const JVM_CONNECT: Duration = Duration::from_secs(1);
/// What dropping the relay waits for its threads; they end within a tick or a handshake.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Listens for slaves' relays. Refuses everybody, with a reason, while it has no orders.
#[derive(Debug)]
pub struct MasterRelay {
    inner: Arc<Inner>,
}

/// What the threads share.
#[derive(Debug)]
struct Inner {
    listen: SocketAddr,
    group: GroupName,
    key: GroupKey,
    tuning: Tuning,
    waker: Waker,
    threads: Threads,
    ledger: Mutex<Ledger>,
    /// Orders, permit or the end of the relay: what the local acker waits for.
    changed: Condvar,
}

impl MasterRelay {
    /// Starts to listen, without orders.
    ///
    /// # Errors
    /// [`RelayError::Bind`] if the address cannot be taken, [`RelayError::Thread`] if the system gives no thread.
    pub fn bind(listen: SocketAddr, group: GroupName, key: GroupKey) -> Result<Self, RelayError> {
        Self::bind_tuned(listen, group, key, Tuning::default())
    }

    /// [`MasterRelay::bind`] with other times and sizes.
    ///
    /// # Errors
    /// As [`MasterRelay::bind`].
    pub fn bind_tuned(
        listen: SocketAddr,
        group: GroupName,
        key: GroupKey,
        tuning: Tuning,
    ) -> Result<Self, RelayError> {
        let bind = |source| RelayError::Bind {
            address: listen,
            source,
        };
        let listener = TcpListener::bind(listen).map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let inner = Inner {
            listen: listener.local_addr().map_err(bind)?,
            group,
            key,
            tuning,
            waker: Waker::new().map_err(|source| RelayError::Thread { source })?,
            threads: Threads::default(),
            ledger: Mutex::default(),
            changed: Condvar::new(),
        };
        let relay = Self {
            inner: Arc::new(inner),
        };
        let accepting = Arc::clone(&relay.inner);
        let thread = relay
            .inner
            .threads
            .spawn("relay-master", move || accepting.accept_all(&listener));
        thread.map_err(|source| RelayError::Thread { source })?;
        let acking = Arc::clone(&relay.inner);
        relay
            .inner
            .threads
            .spawn("relay-local", move || local_acker::run(&acking))
            .map_err(|source| RelayError::Thread { source })?;
        Ok(relay)
    }

    /// Where it listens.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        self.inner.listen
    }

    /// Replaces the orders. When it returns, connections of another term, broker or launcher, and of slaves no longer
    /// admitted, are closed and no acknowledgement of theirs reaches the JVM any more; a local acker that was ordered to
    /// stop has told the JVM its last offset. A term's permit and memory survive `None` followed by the same term.
    pub fn order(&self, orders: Option<MasterOrders>) {
        self.inner.ledger().order(orders);
        self.inner.changed.notify_all();
    }

    /// Lets acknowledgements of `term` pass while CLOCK_BOOTTIME is below `until_boottime_ms`. Never shortens; `false`
    /// if the orders are of another term.
    #[must_use = "a permit for another term than the orders' has no effect"]
    pub fn permit(&self, term: Term, until_boottime_ms: u64) -> bool {
        let taken = self.inner.ledger().permit(term, until_boottime_ms);
        self.inner.changed.notify_all();
        taken
    }

    /// How it goes.
    #[must_use]
    pub fn status(&self) -> MasterStatus {
        self.inner.ledger().status(self.inner.listen)
    }
}

impl Drop for MasterRelay {
    fn drop(&mut self) {
        self.inner.ledger().stop();
        self.inner.changed.notify_all();
        self.inner.waker.wake();
        self.inner.threads.wait(END_LIMIT);
    }
}

impl Inner {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept_all(self: &Arc<Self>, listener: &TcpListener) {
        loop {
            let ready =
                socket::readable([listener.as_fd(), self.waker.fd()], Duration::from_secs(60));
            if self.ledger().is_stopped() {
                return;
            }
            self.waker.clear();
            let accepted = ready.and_then(|_| listener.accept());
            match accepted {
                Ok((stream, address)) => self.greet(stream, address),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // No descriptor left, or the like: it would be tried again at once, so wait a little first.
                Err(_) => drop(socket::readable([self.waker.fd()], self.tuning.tick)),
            }
        }
    }

    /// Answers one caller in a thread of its own, if there is room.
    fn greet(self: &Arc<Self>, stream: TcpStream, address: SocketAddr) {
        let stream = Arc::new(stream);
        let Some(id) = self
            .ledger()
            .open_half(self.caller_limit(), address.ip(), &stream)
        else {
            return;
        };
        let relay = Arc::clone(self);
        let spawned = self
            .threads
            .spawn("relay-link", move || relay.serve(id, &stream, address));
        if spawned.is_err() {
            self.ledger().close_half(id, Some(Refusal::Busy));
        }
    }

    const fn caller_limit(&self) -> (usize, usize) {
        self.tuning.half_open
    }

    fn serve(self: &Arc<Self>, id: u64, stream: &Arc<TcpStream>, address: SocketAddr) {
        // `accept` hands the listener's non-blocking mode on only on some systems; be sure.
        let blocking = stream.set_nonblocking(false).map_err(HandshakeError::from);
        let admit = |hello: &Hello, end| self.admit(hello, end, id, stream, address);
        let answered = blocking.and_then(|()| {
            handshake::answer(stream, self.tuning.handshake, &self.key, &self.group, admit)
        });
        let refusal = match &answered {
            Ok(_) => None,
            Err(HandshakeError::Refused(refusal)) => Some(refusal.clone()),
            Err(_) => Some(Refusal::Garbage),
        };
        self.ledger().close_half(id, refusal);
        if let Ok(admitted) = answered {
            connection::run(&admitted);
        }
    }

    /// Decides on a caller that has shown the key; if admitted, the request to the JVM is out when this returns.
    fn admit(
        self: &Arc<Self>,
        hello: &Hello,
        end: u64,
        id: u64,
        link: &Arc<TcpStream>,
        address: SocketAddr,
    ) -> Result<(Welcome, Admitted), Refusal> {
        let orders = self.ledger().check(hello)?;
        let min = crate::commit_log::min_offset(&orders.commitlog_dir)
            .map_err(|_| Refusal::NoCommitLog)?;
        if end > 0 && min >= end {
            return Err(Refusal::BelowMin { min });
        }
        let jvm =
            TcpStream::connect_timeout(&orders.ha, JVM_CONNECT).map_err(|_| Refusal::BrokerAway)?;
        socket::prepare(&jvm, self.tuning.tick).map_err(|_| Refusal::BrokerAway)?;
        let mut ledger = self.ledger();
        // The orders may have changed while the JVM was reached.
        ledger.check(hello)?;
        let from = ledger.request_offset(end, self.tuning.proof_bytes, min);
        let connection = Arc::new(Connection::new(
            id,
            hello.peer(),
            orders.term,
            address,
            Arc::clone(link),
            jvm,
            from,
        ));
        ledger.insert(&connection, from)?;
        drop(ledger);
        Ok((
            Welcome { min, from },
            Admitted {
                relay: Arc::clone(self),
                connection,
            },
        ))
    }
}

/// An admitted connection; dropping it closes it and strikes it off the ledger.
#[derive(Debug)]
struct Admitted {
    relay: Arc<Inner>,
    connection: Arc<Connection>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.connection.close();
        self.relay.ledger().remove(self.connection.id);
    }
}

/// Whether one more caller from `ip` may begin a handshake.
fn has_room(
    limits: (usize, usize),
    callers: impl Iterator<Item = IpAddr> + Clone,
    ip: IpAddr,
) -> bool {
    let (all, from_one) = limits;
    callers.clone().count() < all && callers.filter(|caller| *caller == ip).count() < from_one
}

#[cfg(test)]
mod tests;
