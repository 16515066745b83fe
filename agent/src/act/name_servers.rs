//! Tells a running broker which name servers there are now.
//!
//! The broker keeps what it was started with and looks at its own configuration again every 120 s (facts §3.3), so a list
//! that changes is put into that configuration at once. Until it looks, the old name servers must go on answering: that
//! is why httpSite keeps a leaving one on its list for a while. The next start takes the new list from the rendered conf.

use std::net::SocketAddr;
use std::time::Duration;

use launcher::protocol::BrokerState;
use remoting::calls::{BrokerConfig, GetBrokerConfig, UpdateBrokerConfig};
use remoting::{CallError, Client, ClientOptions};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::nameservers::NameServers;
use crate::observe::broker::{Life, life};
use crate::observe::launcher::StatusSeen;

/// The broker's key.
const KEY: &str = "namesrvAddr";
/// Between two tries on a broker that did not take it.
const RETRY: Duration = Duration::from_secs(5);

/// What is kept in step, and with what.
pub struct NameServersKept {
    /// The broker's own port.
    pub broker: SocketAddr,
    /// Deadlines and credentials.
    pub options: ClientOptions,
    /// `brokerClusterName`.
    pub cluster: String,
    /// `brokerName`.
    pub broker_name: String,
    /// The broker that runs.
    pub status: watch::Receiver<StatusSeen>,
    /// The list.
    pub list: watch::Receiver<NameServers>,
}

#[derive(Debug, thiserror::Error)]
enum TellError {
    #[error(transparent)]
    Call(#[from] Box<CallError>),
    #[error("the broker did not take it: it has {0:?}")]
    NotTaken(String),
    #[error("another broker listens on our port")]
    Stranger,
}

impl From<CallError> for TellError {
    fn from(error: CallError) -> Self {
        Self::Call(Box::new(error))
    }
}

impl NameServersKept {
    /// Keeps the broker's list in step for ever.
    pub async fn run(mut self) {
        let mut told: Option<(Life, String)> = None;
        let mut failing = false;
        loop {
            let running = running(&self.status.borrow_and_update());
            let list = joined(&self.list.borrow_and_update());
            let wanted = running.zip(list);
            let mut again = false;
            if let Some((_, list)) = wanted.as_ref().filter(|_| told != wanted) {
                match self.tell(list).await {
                    Ok(news) => {
                        failing = false;
                        if news {
                            info!(
                                list,
                                "broker told of the name servers; it turns to them within 120 s"
                            );
                        }
                    }
                    Err(error) => {
                        again = true;
                        let error = crate::error_chain(&error);
                        // Said once: it is tried for as long as this broker runs and this list is in force.
                        if std::mem::replace(&mut failing, true) {
                            debug!(list, error, "broker not told of the name servers yet");
                        } else {
                            warn!(list, error, "broker not told of the name servers yet");
                        }
                    }
                }
            }
            if !again {
                told = wanted;
            }
            tokio::select! {
                () = sleep(RETRY), if again => {}
                ended = self.status.wait_for(|seen| self::running(seen) != running) => if ended.is_err() { return },
                changed = self.list.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Whether the broker had another list. Its own word is asked for first, so that nothing has to be remembered of what
    /// it was started with, and a stranger on our port is never changed.
    async fn tell(&self, list: &str) -> Result<bool, TellError> {
        let client = Client::connect(self.broker, &self.options).await?;
        let before = client.ask(&GetBrokerConfig).await?;
        let ours = before.get("brokerClusterName") == Some(&*self.cluster)
            && before.get("brokerName") == Some(&*self.broker_name);
        if !ours {
            return Err(TellError::Stranger);
        }
        if has(&before, list) {
            return Ok(false);
        }
        client.ask(&UpdateBrokerConfig::set(KEY, list)).await?;
        // Success proves nothing: a broker ignores silently what it cannot use.
        let after = client.ask(&GetBrokerConfig).await?;
        if has(&after, list) {
            return Ok(true);
        }
        let it_has = after.get(KEY).unwrap_or_default();
        Err(TellError::NotTaken(it_has.to_owned()))
    }
}

fn has(config: &BrokerConfig, list: &str) -> bool {
    config.get(KEY).is_some_and(|has| has.trim() == list)
}

fn joined(servers: &NameServers) -> Option<String> {
    let all: Vec<String> = servers.servers.iter().map(ToString::to_string).collect();
    (!all.is_empty()).then(|| all.join(";"))
}

fn running(seen: &StatusSeen) -> Option<Life> {
    let (status, _) = seen.as_ref()?;
    life(seen).filter(|_| status.broker.state == BrokerState::Running)
}
