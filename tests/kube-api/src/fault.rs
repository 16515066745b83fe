//! What a test may break, and what it may count.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// How the server behaves towards its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As it should.
    Up,
    /// Open connections are cut and new ones closed at once, as after a crash behind a live load balancer.
    Down,
    /// Connections stay open; no request is carried out or answered, no watch says anything, until the mode changes.
    /// A request whose client has given up by then is never carried out.
    Silent,
    /// Every request is refused with this HTTP status, such as 403, 429 or 500; watches that are open go on.
    Failing(u16),
    /// Requests are carried out but never answered: the writer cannot know. Watches go on.
    ReplyLost,
}

/// What a request asks for, in Kubernetes' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "Kubernetes' own words")]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    /// Whether it counts as an API write.
    pub const fn is_write(self) -> bool {
        match self {
            Self::Get | Self::List | Self::Watch => false,
            Self::Create | Self::Update | Self::Patch | Self::Delete | Self::DeleteCollection => {
                true
            }
        }
    }
}

/// Requests by verb and plural resource name.
pub(crate) type Counts = BTreeMap<(Verb, &'static str), u64>;

#[derive(Debug)]
pub(crate) struct Faults {
    mode: watch::Sender<Mode>,
    latency: Mutex<Duration>,
    counts: Mutex<Counts>,
}

impl Faults {
    pub(crate) fn new() -> Self {
        Self {
            mode: watch::Sender::new(Mode::Up),
            latency: Mutex::new(Duration::ZERO),
            counts: Mutex::new(Counts::new()),
        }
    }

    pub(crate) fn mode(&self) -> watch::Receiver<Mode> {
        self.mode.subscribe()
    }

    pub(crate) fn set_mode(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    pub(crate) fn current(&self) -> Mode {
        *self.mode.borrow()
    }

    /// Returns when the server is in none of the modes in which it says nothing.
    pub(crate) async fn speaking(&self) {
        let mut mode = self.mode();
        // The sender lives as long as self, so this cannot end early.
        let _ = mode.wait_for(|mode| *mode != Mode::Silent).await;
    }

    pub(crate) fn latency(&self) -> Duration {
        *locked(&self.latency)
    }

    pub(crate) fn set_latency(&self, latency: Duration) {
        *locked(&self.latency) = latency;
    }

    pub(crate) fn count(&self, verb: Verb, plural: &'static str) {
        *locked(&self.counts).entry((verb, plural)).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> Counts {
        locked(&self.counts).clone()
    }
}

/// A panic of another holder leaves these values whole: each critical section is one assignment.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
