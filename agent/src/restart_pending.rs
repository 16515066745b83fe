//! Tells when the running broker does not have what the operator's broker.conf says now.
//!
//! A changed base counts from the broker's next start. Nothing restarts a broker for it unasked: which minute is a good one,
//! only the operator knows. So this says, as a metric, an Event and a log line, that the change waits, and how it is let in.

use std::fs;
use std::path::PathBuf;

use tokio::sync::watch;
use tracing::debug;

use crate::act::event::{Announcer, Note};
use crate::base_conf::Reading;
use crate::broker_conf::is_made_from;
use crate::metrics::Metrics;
use crate::observe::broker::{Life, life};
use crate::observe::launcher::StatusSeen;

/// What is compared, and who is told.
pub struct RestartPending {
    /// The operator's conf.
    pub base: watch::Receiver<Reading>,
    /// The broker that runs.
    pub status: watch::Receiver<StatusSeen>,
    /// What it was started with.
    pub rendered: PathBuf,
    /// Our metrics.
    pub metrics: Metrics,
    /// Our Events.
    pub announcer: Announcer,
}

/// How the base stands to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// No broker runs, or it has what the base says.
    Current,
    /// A sound base waits for the broker's next start.
    Waiting,
    /// The base is refused; the last sound one counts.
    Refused(String),
}

impl RestartPending {
    /// Follows both for ever.
    pub async fn run(mut self) {
        let mut told = Standing::Current;
        loop {
            let now = self.standing();
            self.metrics.config(
                now == Standing::Waiting,
                !matches!(now, Standing::Refused(_)),
            );
            if now != told {
                if let Some(note) = note(&now) {
                    self.announcer.say(note);
                }
                told = now;
            }
            if !self.changed().await {
                return;
            }
        }
    }

    fn standing(&mut self) -> Standing {
        let running = life(&self.status.borrow_and_update()).is_some();
        let base = self.base.borrow_and_update();
        let latest = match base.latest() {
            Ok(latest) => latest,
            Err(error) => return Standing::Refused(crate::error_chain(error.as_ref())),
        };
        if !running {
            return Standing::Current;
        }
        match fs::read(&self.rendered) {
            Ok(rendered) if !is_made_from(&rendered, latest) => Standing::Waiting,
            Ok(_) => Standing::Current,
            Err(error) => {
                debug!(path = %self.rendered.display(), %error, "rendered broker.conf not read");
                Standing::Current
            }
        }
    }

    /// Until the base or the broker's life is another. False: nobody tells of them any more.
    async fn changed(&mut self) -> bool {
        let before: Option<Life> = life(&self.status.borrow());
        tokio::select! {
            base = self.base.changed() => base.is_ok(),
            other = self.status.wait_for(|seen| life(seen) != before) => other.is_ok(),
        }
    }
}

fn note(standing: &Standing) -> Option<Note> {
    match standing {
        Standing::Current => None,
        Standing::Waiting => Some(Note {
            reason: "ConfigRestartPending",
            warning: false,
            message: "broker.conf changed and counts from the broker's next start: restart the slaves, switch over, then \
                      restart the old master"
                .to_owned(),
        }),
        Standing::Refused(error) => Some(Note {
            reason: "ConfigRefused",
            warning: true,
            message: format!("broker.conf changed and is refused; going on with the last good one: {error}"),
        }),
    }
}
