//! Who waits for which reply.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};

use crate::command::Command;

/// The calls that wait for a reply on one connection.
#[derive(Debug, Default)]
pub(super) struct Pending {
    waiting: Mutex<HashMap<i32, oneshot::Sender<Command>>>,
    /// Why the connection ended. Changed only with `waiting` locked, so that nobody starts to wait after the end.
    end: watch::Sender<Option<String>>,
}

/// One call's wait. Dropping it ends the wait; a reply that comes later is nobody's.
pub(super) struct Waiting<'a> {
    pending: &'a Pending,
    opaque: i32,
    reply: oneshot::Receiver<Command>,
}

impl Pending {
    /// Starts to wait for the reply with this number, unless the connection has ended.
    pub(super) fn wait_for(&self, opaque: i32) -> Option<Waiting<'_>> {
        let (sender, reply) = oneshot::channel();
        let mut waiting = self.lock();
        if self.end.borrow().is_some() {
            return None;
        }
        waiting.insert(opaque, sender);
        Some(Waiting {
            pending: self,
            opaque,
            reply,
        })
    }

    /// Gives a reply to whom it belongs. False: nobody waits for it.
    pub(super) fn fulfil(&self, reply: Command) -> bool {
        let waiting = self.lock().remove(&reply.opaque);
        waiting.is_some_and(|waiting| waiting.send(reply).is_ok())
    }

    /// Ends every wait; none can start any more.
    pub(super) fn close(&self, reason: String) {
        let mut waiting = self.lock();
        self.end.send_replace(Some(reason));
        waiting.clear();
    }

    /// Why the connection ended, if it has.
    pub(super) fn reason(&self) -> Option<String> {
        self.end.borrow().clone()
    }

    /// Waits for the end of the connection.
    pub(super) async fn closed(&self) -> String {
        let mut end = self.end.subscribe();
        let reason = end.wait_for(Option::is_some).await;
        reason
            .ok()
            .and_then(|reason| reason.clone())
            .unwrap_or_default()
    }

    /// Nothing is left half done where the lock is held, so a panic elsewhere does not matter.
    fn lock(&self) -> MutexGuard<'_, HashMap<i32, oneshot::Sender<Command>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting<'_> {
    /// The reply; `None` when the connection ended.
    pub(super) async fn reply(mut self) -> Option<Command> {
        (&mut self.reply).await.ok()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pending.lock().remove(&self.opaque);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_starts_to_wait_after_the_end() {
        let pending = Pending::default();
        let waiting = pending.wait_for(1).unwrap();
        pending.close("over".to_owned());
        assert_eq!(waiting.reply().await, None);
        assert!(pending.wait_for(2).is_none());
        assert_eq!(pending.closed().await, "over");
    }

    #[test]
    fn who_gives_up_leaves_nothing_behind() {
        let pending = Pending::default();
        drop(pending.wait_for(1).unwrap());
        assert!(pending.lock().is_empty());
        let late = Command::reply_to(&Command::request(0), 0);
        assert!(!pending.fulfil(late));
    }
}
