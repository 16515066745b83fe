//! A producer that knows the fate of each of its messages.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use remoting::calls::{SendMessage, SendStatus};
use remoting::{CallError, Client, ClientOptions};
use tokio::task::JoinHandle;

use super::ledger::{Attempt, Ledger, Outcome};
use super::numbered::{Number, Stamp};
use super::route::{Master, NameServers};
use crate::clock::{LOOK_AGAIN, now};
use crate::wait::until;

/// What to send where.
#[derive(Debug, Clone)]
pub struct ProducerSpec {
    /// Where the master is found.
    pub name_servers: NameServers,
    /// The topic; created by the first message (`autoCreateTopicEnable`).
    pub topic: String,
    /// Between two messages.
    pub pause: Duration,
    /// How long a message may go without an answer. A stock client waits 3 s.
    pub answer_limit: Duration,
    /// Size of a body in bytes, at least.
    pub body_bytes: usize,
}

impl ProducerSpec {
    /// About 200 messages of 200 bytes a second; 1 s for an answer.
    #[must_use]
    pub fn new(name_servers: NameServers, topic: &str) -> Self {
        Self {
            name_servers,
            topic: topic.to_owned(),
            pause: Duration::from_millis(5),
            answer_limit: Duration::from_secs(1),
            body_bytes: 200,
        }
    }
}

/// Sends one message after the other until it is stopped or dropped. Each number is sent once: what a broker
/// does not acknowledge is recorded, not repeated. A number is used up only when there is a master to send to.
#[derive(Debug)]
pub struct Producer {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    spec: ProducerSpec,
    stamp: Stamp,
    start: Instant,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    ledger: Ledger,
    next: u64,
    accepted: u64,
    stopping: bool,
}

impl Producer {
    /// Starts sending.
    ///
    /// # Errors
    /// When the machine gives no random bytes for its stamp.
    pub fn start(spec: ProducerSpec) -> Result<Self> {
        let shared = Arc::new(Shared {
            spec,
            stamp: Stamp::random()?,
            start: now(),
            books: Mutex::default(),
        });
        let task = tokio::spawn(produce(Arc::clone(&shared)));
        Ok(Self { shared, task })
    }

    /// Its mark on its messages.
    #[must_use]
    pub fn stamp(&self) -> &Stamp {
        &self.shared.stamp
    }

    /// Time since its start: the clock of its ledger.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.shared.start.elapsed()
    }

    /// How many were acknowledged so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.books().accepted
    }

    /// Waits until `count` more are acknowledged than now.
    ///
    /// # Errors
    /// When they are not within `limit`.
    pub async fn accept_more(&self, count: u64, limit: Duration) -> Result<()> {
        let goal = self.accepted() + count;
        until("acknowledged messages", limit, async || {
            let accepted = self.accepted();
            if accepted < goal {
                bail!("{accepted} of {goal} so far");
            }
            Ok(())
        })
        .await
    }

    /// The books so far.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.shared.books().ledger.clone()
    }

    /// Stops after the message that is on its way; gives the books.
    ///
    /// # Errors
    /// When it ended before (a bug of ours).
    pub async fn stop(mut self) -> Result<Ledger> {
        self.shared.books().stopping = true;
        (&mut self.task).await.context("stop the producer")?;
        Ok(self.ledger())
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn produce(shared: Arc<Shared>) {
    while !shared.books().stopping {
        let Ok((master, client)) = connect(&shared.spec).await else {
            tokio::time::sleep(LOOK_AGAIN).await;
            continue;
        };
        send_while_it_works(&shared, master, &client).await;
        // Refused or broken off: the route may not know yet, so ask it again, but not in a tight loop.
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn connect(spec: &ProducerSpec) -> Result<(Master, Client)> {
    let master = spec.name_servers.master(&spec.topic).await?;
    let options = ClientOptions {
        connect_timeout: spec.answer_limit,
        call_timeout: spec.answer_limit,
        ..ClientOptions::default()
    };
    let client = Client::connect(master.address, &options).await?;
    Ok((master, client))
}

async fn send_while_it_works(shared: &Shared, master: Master, client: &Client) {
    loop {
        let number = {
            let mut books = shared.books();
            if books.stopping {
                return;
            }
            books.next += 1;
            Number::new(books.next - 1)
        };
        let outcome = send(shared, master, client, number).await;
        if outcome != Outcome::Accepted {
            return;
        }
        tokio::time::sleep(shared.spec.pause).await;
    }
}

async fn send(shared: &Shared, master: Master, client: &Client, number: Number) -> Outcome {
    let sent = shared.start.elapsed();
    let queue = u32::try_from(number.get() % u64::from(master.queues)).unwrap_or(0);
    let body = shared.stamp.body(number, shared.spec.body_bytes);
    let outcome = match message(&shared.spec.topic, queue, body, &shared.stamp.key(number)) {
        Ok(message) => outcome(client.ask(&message).await.map(|sent| sent.status)),
        Err(_) => Outcome::Refused,
    };
    let mut books = shared.books();
    books.accepted += u64::from(outcome == Outcome::Accepted);
    books.ledger.record(Attempt {
        number,
        sent,
        settled: shared.start.elapsed(),
        outcome,
    });
    outcome
}

fn message(topic: &str, queue: u32, body: Vec<u8>, key: &str) -> Result<SendMessage> {
    let message = SendMessage::new(topic, queue, body);
    let message = message.property("KEYS", key)?;
    Ok(message.property("UNIQ_KEY", key)?)
}

/// What an answer means for the books.
fn outcome(answer: Result<SendStatus, CallError>) -> Outcome {
    match answer {
        Ok(SendStatus::Ok) => Outcome::Accepted,
        // Stored, but the broker does not vouch for it.
        Ok(
            SendStatus::FlushDiskTimeout
            | SendStatus::FlushSlaveTimeout
            | SendStatus::SlaveNotAvailable,
        ) => Outcome::Unknown,
        Err(error) if error.refusal().is_some() => Outcome::Refused,
        // Connection lost, no answer in time, or an answer that cannot be read: it may be stored.
        Err(_) => Outcome::Unknown,
    }
}
