//! Who is master, as the name servers tell it: what every client goes by.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use remoting::calls::{GetClusterInfo, GetRoute, Route};
use remoting::{Client, ClientOptions};

/// The topic that every master with `autoCreateTopicEnable` registers: a client uses its route for a topic
/// that does not exist yet.
const DEFAULT_TOPIC: &str = "TBW102";

/// A name server on loopback answers in a few milliseconds; a frozen one must not hold up a reading.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// The name servers, and the group that is looked for.
#[derive(Debug, Clone)]
pub struct NameServers {
    /// Asked in this order.
    pub addresses: Vec<SocketAddr>,
    /// `brokerName`.
    pub group: String,
}

/// A master and the queues that a topic has there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Master {
    /// Where it serves clients.
    pub address: SocketAddr,
    /// Queue ids are 0 to one less.
    pub queues: u32,
}

impl NameServers {
    /// The master as the first name server sees it that knows one.
    ///
    /// # Errors
    /// When none knows one: with the last one's reason.
    pub async fn master(&self, topic: &str) -> Result<Master> {
        let mut last = anyhow!("no name server is given");
        for address in &self.addresses {
            match self.master_at(*address, topic).await {
                Ok(master) => return Ok(master),
                Err(error) => last = error.context(format!("ask name server {address}")),
            }
        }
        Err(last.context(format!("find the master of group {}", self.group)))
    }

    /// The master as one name server sees it.
    ///
    /// # Errors
    /// When it does not answer or knows none.
    pub async fn master_at(&self, address: SocketAddr, topic: &str) -> Result<Master> {
        let client = connect(address).await?;
        for topic in [topic, DEFAULT_TOPIC] {
            let topic = topic.to_owned();
            if let Some(route) = client.ask(&GetRoute { topic }).await?
                && let Some(master) = self.master_in(&route)?
            {
                return Ok(master);
            }
        }
        bail!("no master is registered")
    }

    /// All addresses of the group by id, as one name server sees them; empty when it knows none.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn registered_at(&self, address: SocketAddr) -> Result<Vec<(u64, String)>> {
        let cluster = connect(address).await?.ask(&GetClusterInfo).await?;
        let group = cluster.groups.get(&self.group);
        Ok(group
            .into_iter()
            .flat_map(|group| group.addresses.clone())
            .collect())
    }

    fn master_in(&self, route: &Route) -> Result<Option<Master>> {
        let group = route
            .groups
            .iter()
            .find(|one| one.broker_name == self.group);
        let queues = route
            .queues
            .iter()
            .find(|one| one.broker_name == self.group);
        let (Some(address), Some(queues)) = (group.and_then(|one| one.master()), queues) else {
            return Ok(None);
        };
        Ok(Some(Master {
            address: address
                .parse()
                .with_context(|| format!("read the master's address {address:?}"))?,
            queues: queues.write_queue_nums.clamp(1, 1024),
        }))
    }
}

async fn connect(address: SocketAddr) -> Result<Client> {
    let options = ClientOptions {
        connect_timeout: ANSWER_LIMIT,
        call_timeout: ANSWER_LIMIT,
        ..ClientOptions::default()
    };
    Ok(Client::connect(address, &options).await?)
}
