//! Probers, one pinned to each broker: who acknowledges writes, whatever the name servers say.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use remoting::calls::{SendMessage, SendStatus};
use remoting::{Client, ClientOptions};
use tokio::task::JoinHandle;

use super::reigns::Acceptance;
use crate::clock::now;

/// Their own topic, so that the producer's books stay clean.
pub const TOPIC: &str = "playground-probe";

/// Between two probes of one broker.
const PAUSE: Duration = Duration::from_millis(20);

/// A frozen broker keeps the probe that is in its hands: the answer it gives after its thaw must not be
/// missed, for it may be one too many.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// One broker to probe.
#[derive(Debug, Clone)]
pub struct Prober {
    /// Its name in the findings.
    pub broker: String,
    /// Where it serves clients.
    pub address: SocketAddr,
}

/// Running probers, until they are dropped.
#[derive(Debug)]
pub struct Probers {
    start: Instant,
    found: Arc<Mutex<Vec<Acceptance>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Probers {
    /// Starts one per broker.
    #[must_use]
    pub fn start(brokers: Vec<Prober>) -> Self {
        let start = now();
        let found = Arc::new(Mutex::new(Vec::new()));
        let tasks = brokers
            .into_iter()
            .map(|broker| tokio::spawn(probe(broker, start, Arc::clone(&found))))
            .collect();
        Self {
            start,
            found,
            tasks,
        }
    }

    /// Time since the start: the clock of the findings.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// What was accepted so far, in no particular order.
    #[must_use]
    pub fn acceptances(&self) -> Vec<Acceptance> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.clone()
    }
}

impl Drop for Probers {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn probe(broker: Prober, start: Instant, found: Arc<Mutex<Vec<Acceptance>>>) {
    let options = ClientOptions {
        connect_timeout: Duration::from_secs(1),
        call_timeout: ANSWER_LIMIT,
        ..ClientOptions::default()
    };
    loop {
        if let Ok(client) = Client::connect(broker.address, &options).await {
            let mut works = true;
            while works {
                let sent = start.elapsed();
                let answer = client.ask(&SendMessage::new(TOPIC, 0, "probe")).await;
                if answer
                    .as_ref()
                    .is_ok_and(|sent| sent.status == SendStatus::Ok)
                {
                    let acceptance = Acceptance {
                        broker: broker.broker.clone(),
                        sent,
                        acknowledged: start.elapsed(),
                    };
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    found.push(acceptance);
                }
                // A refusal comes over a connection that works.
                works = answer
                    .as_ref()
                    .err()
                    .is_none_or(|error| error.refusal().is_some());
                tokio::time::sleep(PAUSE).await;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
