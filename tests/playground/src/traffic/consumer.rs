//! A consumer that knows what it has seen, and a reader of everything that can be read.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use remoting::calls::{PullMessages, PullStatus, Pulled};
use remoting::{Client, ClientOptions, QueueOffset};
use tokio::task::JoinHandle;

use super::ledger::Consumed;
use super::numbered::{Number, Stamp};
use super::route::NameServers;
use crate::clock::LOOK_AGAIN;

/// What a broker gives at most in one pull.
const AT_MOST: u32 = 32;
const GROUP: &str = "playground-consumer";

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    queue: u32,
    offset: QueueOffset,
}

#[derive(Debug, Default)]
struct Seen {
    places: BTreeMap<Number, Place>,
    counts: Consumed,
    stopping: bool,
}

impl Seen {
    /// Every member's log has a message at the same place, so a second sighting there is no repetition: it
    /// comes from reading again after a change of master.
    fn note(&mut self, number: Number, place: Place) {
        match self.places.insert(number, place) {
            None => self.counts.different += 1,
            Some(before) if before != place => self.counts.repeated += 1,
            Some(_) => (),
        }
    }
}

/// Reads all queues of a topic from whoever is master, until it is stopped or dropped.
///
/// It keeps its own positions. When the master changes it reads everything from the start again: an
/// asynchronous fail-over may have given places to other messages than those it saw there.
#[derive(Debug)]
pub struct Consumer {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Consumer {
    /// Starts reading messages with this stamp.
    #[must_use]
    pub fn start(name_servers: NameServers, topic: &str, stamp: Stamp) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let reader = Reader {
            name_servers,
            topic: topic.to_owned(),
            stamp,
            seen: Arc::clone(&seen),
        };
        let task = tokio::spawn(reader.run());
        Self { seen, task }
    }

    /// What it has seen so far.
    #[must_use]
    pub fn consumed(&self) -> Consumed {
        lock(&self.seen).counts
    }

    /// Stops it; tells what it has seen.
    ///
    /// # Errors
    /// When it ended before (a bug of ours).
    pub async fn stop(mut self) -> Result<Consumed> {
        lock(&self.seen).stopping = true;
        (&mut self.task).await.context("stop the consumer")?;
        Ok(self.consumed())
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Reader {
    name_servers: NameServers,
    topic: String,
    stamp: Stamp,
    seen: Arc<Mutex<Seen>>,
}

impl Reader {
    async fn run(self) {
        while !lock(&self.seen).stopping {
            // A master that is gone, refuses or is not there yet: look for one again.
            let _ = self.follow_one_master().await;
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn follow_one_master(&self) -> Result<()> {
        let master = self.name_servers.master(&self.topic).await?;
        let client = connect(master.address).await?;
        let mut positions = BTreeMap::<u32, QueueOffset>::new();
        loop {
            let mut found = 0;
            for queue in 0..master.queues {
                if lock(&self.seen).stopping {
                    return Ok(());
                }
                let at = positions.entry(queue).or_default();
                let pulled = client.ask(&pull(&self.topic, queue, *at)).await?;
                found += pulled.messages.len();
                self.note(queue, &pulled);
                *at = next_position(*at, &pulled);
            }
            if found == 0 {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }

    fn note(&self, queue: u32, pulled: &Pulled) {
        let mut seen = lock(&self.seen);
        seen.counts.rewound += u64::from(pulled.status == PullStatus::Moved);
        for message in &pulled.messages {
            if let Some(number) = self.stamp.number(&message.body) {
                let offset = message.queue_offset;
                seen.note(number, Place { queue, offset });
            }
        }
    }
}

/// Everything that can be read from one broker now, in the order of its queues: each message as often as it
/// is there.
///
/// # Errors
/// When the broker does not answer or does not give what it has.
pub async fn read_all(
    broker: SocketAddr,
    topic: &str,
    queues: u32,
    stamp: &Stamp,
) -> Result<Vec<Number>> {
    let client = connect(broker).await?;
    let mut numbers = Vec::new();
    for queue in 0..queues {
        let mut at = QueueOffset::default();
        loop {
            let pulled = client
                .ask(&pull(topic, queue, at))
                .await
                .with_context(|| format!("read queue {queue} of {topic} from {at}"))?;
            let bodies = pulled.messages.iter().map(|message| &message.body);
            numbers.extend(bodies.filter_map(|body| stamp.number(body)));
            let next = next_position(at, &pulled);
            let at_end = pulled.max.is_none_or(|max| next >= max);
            // A broker that neither gives messages nor moves on has no more.
            if at_end || (next == at && pulled.messages.is_empty()) {
                break;
            }
            at = next;
        }
    }
    Ok(numbers)
}

/// Where to read on. A position beyond the end goes back to the end: some versions would send us to the start.
fn next_position(at: QueueOffset, pulled: &Pulled) -> QueueOffset {
    match (pulled.status, pulled.max) {
        (PullStatus::Moved, Some(max)) if at > max => max,
        _ => pulled.next,
    }
}

fn pull(topic: &str, queue: u32, from: QueueOffset) -> PullMessages {
    PullMessages {
        topic: topic.to_owned(),
        queue_id: queue,
        from,
        at_most: AT_MOST,
        group: GROUP.to_owned(),
    }
}

async fn connect(address: SocketAddr) -> Result<Client> {
    let options = ClientOptions {
        call_timeout: Duration::from_secs(3),
        ..ClientOptions::default()
    };
    Ok(Client::connect(address, &options).await?)
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(queue: u32, offset: u64) -> Place {
        Place {
            queue,
            offset: QueueOffset::new(offset),
        }
    }

    #[test]
    fn only_another_place_is_a_repetition() {
        let mut seen = Seen::default();
        seen.note(Number::new(1), place(0, 5));
        seen.note(Number::new(1), place(0, 5));
        assert_eq!((seen.counts.different, seen.counts.repeated), (1, 0));
        seen.note(Number::new(1), place(0, 6));
        assert_eq!((seen.counts.different, seen.counts.repeated), (1, 1));
    }

    fn pulled(status: PullStatus, next: u64, max: u64) -> Pulled {
        Pulled {
            status,
            next: QueueOffset::new(next),
            min: Some(QueueOffset::new(0)),
            max: Some(QueueOffset::new(max)),
            messages: vec![],
        }
    }

    #[test]
    fn beyond_the_end_means_back_to_the_end() {
        let at = QueueOffset::new(100);
        let moved = pulled(PullStatus::Moved, 0, 70);
        assert_eq!(next_position(at, &moved), QueueOffset::new(70));
        let below_the_start = pulled(PullStatus::Moved, 200, 300);
        assert_eq!(next_position(at, &below_the_start), QueueOffset::new(200));
        let found = pulled(PullStatus::Found, 132, 300);
        assert_eq!(next_position(at, &found), QueueOffset::new(132));
    }
}
