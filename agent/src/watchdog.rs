//! The second layer of the fence: a thread of its own that orders the kill when the deadline passes.
//!
//! The cycle tells it the deadline; if the cycle, the runtime or any of its tasks hangs, the thread still acts, over a
//! connection of its own and with nothing but blocking calls. (The third layer is the launcher itself: it kills at the
//! permit's end even when this whole process is frozen.)

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use agent_core::Boot;
use launcher::client::{Client, ClientError};
use launcher::protocol::Op;
use tracing::{error, warn};

use crate::clock::Clock;
use crate::metrics::Metrics;

/// How often the deadline is looked at. thread::sleep counts CLOCK_MONOTONIC, so a suspend is noticed at the first look
/// after it (safety H5).
const LOOK: Duration = Duration::from_millis(50);

/// How long one order may take.
const LIMIT: Duration = Duration::from_millis(500);

/// No master of ours runs.
const NONE: u64 = u64::MAX;

/// The deadline, shared with the thread.
#[derive(Clone, Debug)]
pub struct Deadline(Arc<AtomicU64>);

impl Default for Deadline {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(NONE)))
    }
}

impl Deadline {
    /// The running master is to be dead by then; `None` when none runs.
    pub fn set(&self, at: Option<Boot>) {
        self.0
            .store(at.map_or(NONE, Boot::as_millis), Ordering::SeqCst);
    }

    fn passed(&self, now: Boot) -> Option<u64> {
        let at = self.0.load(Ordering::SeqCst);
        (at != NONE && now.as_millis() >= at).then_some(at)
    }

    /// Only the deadline that was acted on is taken off: the cycle may have set a later one meanwhile.
    fn done(&self, at: u64) {
        let _ = self
            .0
            .compare_exchange(at, NONE, Ordering::SeqCst, Ordering::SeqCst);
    }
}

/// Starts the thread. It ends with the process.
///
/// # Errors
/// The system gives no thread.
pub fn start(
    deadline: Deadline,
    socket: PathBuf,
    clock: Clock,
    metrics: Metrics,
) -> std::io::Result<()> {
    thread::Builder::new()
        .name("watchdog".to_owned())
        .stack_size(256 * 1024)
        .spawn(move || {
            loop {
                if let Some(at) = deadline.passed(clock.boot()) {
                    act(&deadline, at, &socket, &metrics);
                }
                thread::sleep(LOOK);
            }
        })?;
    Ok(())
}

fn act(deadline: &Deadline, at: u64, socket: &std::path::Path, metrics: &Metrics) {
    match kill(socket) {
        Ok(()) => {
            deadline.done(at);
            metrics.watchdog_kills.inc();
            warn!("the watchdog ordered the master killed: its deadline passed");
        }
        // Tried again at the next look; the launcher kills at the permit's end in any case.
        Err(error) => {
            error!(error = %crate::error_chain(&error), "the watchdog could not order the kill");
        }
    }
}

fn kill(socket: &std::path::Path) -> Result<(), ClientError> {
    let mut client = Client::connect(socket)?;
    client.hello(crate::VERSION, LIMIT)?;
    client.ask(Op::Kill, LIMIT)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_that_was_moved_meanwhile_stands() {
        let deadline = Deadline::default();
        assert_eq!(deadline.passed(Boot::from_millis(u64::MAX - 1)), None);
        deadline.set(Some(Boot::from_millis(100)));
        assert_eq!(deadline.passed(Boot::from_millis(99)), None);
        let at = deadline.passed(Boot::from_millis(100)).unwrap();
        deadline.set(Some(Boot::from_millis(200)));
        deadline.done(at);
        assert_eq!(deadline.passed(Boot::from_millis(200)), Some(200));
        deadline.done(200);
        assert_eq!(deadline.passed(Boot::from_millis(u64::MAX)), None);
    }
}
