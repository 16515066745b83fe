//! The slave's side of the relay: the only "master" that the slave's JVM ever sees.
//!
//! Two threads: one accepts the JVM, reads its reports and keeps it alive; the other opens the link, proves the log,
//! and forwards. Only the second changes the state, so once it says [`SlaveState::Parked`] nothing more is forwarded.

use crate::socket::Waker;
use crate::threads::Threads;
use crate::{GroupKey, GroupName, RelayError, SlaveOrders, SlaveState, SlaveStatus, Tuning};
use desk::Desk;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

mod desk;
mod jvm_side;
mod stream;
mod upstream;

/// What dropping the relay waits for its threads; they end within a tick or a connection attempt.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Listens for the slave's JVM, and attaches to a master's relay when ordered to.
#[derive(Debug)]
pub struct SlaveRelay {
    inner: Arc<Inner>,
}

/// What the threads share.
#[derive(Debug)]
struct Inner {
    local: SocketAddr,
    group: GroupName,
    key: GroupKey,
    tuning: Tuning,
    waker: Waker,
    threads: Threads,
    desk: Mutex<Desk>,
    changed: Condvar,
    /// Held while a frame is written to the JVM. Taken before `desk`, never after.
    jvm_write: Mutex<()>,
}

impl SlaveRelay {
    /// Starts to listen, parked.
    ///
    /// # Errors
    /// [`RelayError::Bind`] if the address cannot be taken, [`RelayError::Thread`] if the system gives no thread.
    pub fn bind(local: SocketAddr, group: GroupName, key: GroupKey) -> Result<Self, RelayError> {
        Self::bind_tuned(local, group, key, Tuning::default())
    }

    /// [`SlaveRelay::bind`] with other times and sizes.
    ///
    /// # Errors
    /// As [`SlaveRelay::bind`].
    pub fn bind_tuned(
        local: SocketAddr,
        group: GroupName,
        key: GroupKey,
        tuning: Tuning,
    ) -> Result<Self, RelayError> {
        let bind = |source| RelayError::Bind {
            address: local,
            source,
        };
        let thread = |source| RelayError::Thread { source };
        let listener = TcpListener::bind(local).map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let inner = Inner {
            local: listener.local_addr().map_err(bind)?,
            group,
            key,
            tuning,
            waker: Waker::new().map_err(thread)?,
            threads: Threads::default(),
            desk: Mutex::default(),
            changed: Condvar::new(),
            jvm_write: Mutex::default(),
        };
        let relay = Self {
            inner: Arc::new(inner),
        };
        let (jvm_side, upstream) = (Arc::clone(&relay.inner), Arc::clone(&relay.inner));
        relay
            .inner
            .threads
            .spawn("relay-slave", move || jvm_side::run(&jvm_side, &listener))
            .map_err(thread)?;
        relay
            .inner
            .threads
            .spawn("relay-attach", move || upstream::run(&upstream))
            .map_err(thread)?;
        Ok(relay)
    }

    /// Where the JVM is to connect.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.inner.local
    }

    /// Replaces the orders. Returns at once; [`SlaveRelay::status`] tells when they are in effect. After `Park` the
    /// member is frozen once the state is [`SlaveState::Parked`] and `reported == forwarded`.
    pub fn order(&self, orders: SlaveOrders) {
        self.inner.desk().order(orders);
        self.inner.changed.notify_all();
    }

    /// How it goes.
    #[must_use]
    pub fn status(&self) -> SlaveStatus {
        self.inner.desk().status(self.inner.local)
    }
}

impl Drop for SlaveRelay {
    fn drop(&mut self) {
        self.inner.desk().stop();
        self.inner.changed.notify_all();
        self.inner.waker.wake();
        self.inner.threads.wait(END_LIMIT);
    }
}

impl Inner {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change of the desk, at most `limit`.
    fn wait<'a>(&self, desk: MutexGuard<'a, Desk>, limit: Duration) -> MutexGuard<'a, Desk> {
        self.changed
            .wait_timeout(desk, limit)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    fn set_state(&self, state: SlaveState) {
        self.desk().set_state(state);
    }
}

#[cfg(test)]
mod tests;
