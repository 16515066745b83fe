//! The relay's threads, counted, so that the relay's end can wait for theirs.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Enough for a handshake's JSON; only touched pages take memory.
const STACK_BYTES: usize = 256 * 1024;

/// A bounded family of threads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Threads {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    alive: Mutex<usize>,
    ended: Condvar,
}

/// Says that a thread ended, also if it panicked.
struct Alive(Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        let mut alive = self.0.alive.lock().unwrap_or_else(PoisonError::into_inner);
        *alive = alive.saturating_sub(1);
        self.0.ended.notify_all();
    }
}

impl Threads {
    pub(crate) fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        *self
            .shared
            .alive
            .lock()
            .unwrap_or_else(PoisonError::into_inner) += 1;
        let alive = Alive(Arc::clone(&self.shared));
        let body = move || {
            let _alive = alive;
            run();
        };
        // A failed spawn drops the body and with it the guard.
        std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(STACK_BYTES)
            .spawn(body)
            .map(drop)
    }

    /// Waits until all have ended, or the limit is over.
    pub(crate) fn wait(&self, limit: Duration) {
        let alive = self
            .shared
            .alive
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let _unused = self
            .shared
            .ended
            .wait_timeout_while(alive, limit, |alive| *alive > 0);
    }
}
