//! Tells a running broker which name servers there are now.
//!
//! The broker keeps what it was started with and looks at its own configuration again every 120 s, from 5.3.1 on every
//! second ([`NAME_SERVER_PERIOD_MS`](crate::broker_conf::NAME_SERVER_PERIOD_MS)), so a list that changes is put into that
//! configuration at once. Until it has looked and registered, which it does every 30 s, the agent stands in for it on the
//! new name servers ([`StandIn`]). The old ones must go on answering meanwhile: that is why httpSite keeps a leaving one on
//! its list for a while. The next start takes the new list from the rendered conf.
//!
//! From the change of httpSite's list until master and slave are in the new name server's route (medians of 3 or 6, 2 busy cores),
//! and until the broker has come there itself:
//!
//! | broker | stood in for | by itself |
//! |---|---|---|
//! | 4.9.7 | 0.42 s | 105–120 s |
//! | 5.1.4 | 0.34 s | 105–120 s |
//! | 5.3.3 | 0.65 s | 16–33 s |
//! | 5.5.0 | 0.73 s | 16–33 s |
//!
//! A name server that leaves the list is not told: the broker's entry there goes stale, and is gone about 115 s (5.1.4,
//! 5.5.0) or 206 s (4.9.7) after the change.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use launcher::protocol::BrokerState;
use remoting::calls::{BrokerConfig, GetBrokerConfig, UpdateBrokerConfig};
use remoting::{CallError, Client, ClientOptions};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::act::stand_in::{PATIENCE, StandIn};
use crate::clock::Clock;
use crate::nameservers::{HostPort, NameServers};
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
    /// Our clocks.
    pub clock: Clock,
}

/// What the broker's own configuration said before it was told.
enum Told {
    /// The list that it should have.
    Nothing,
    /// Another one.
    News { before: String },
}

/// Those who register one life of the broker in its place, by name server. Dropping them takes it back.
struct StandIns {
    life: Option<Life>,
    tasks: JoinSet<()>,
    servers: BTreeMap<HostPort, AbortHandle>,
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
        let mut stand_ins = StandIns {
            life: None,
            tasks: JoinSet::new(),
            servers: BTreeMap::new(),
        };
        let mut failing = false;
        loop {
            let running = running(&self.status.borrow_and_update());
            let servers = self.list.borrow_and_update().clone();
            let wanted = running.zip(joined(&servers));
            stand_ins.only_for(running);
            let mut again = false;
            if let Some((life, list)) = wanted.as_ref().filter(|_| told != wanted) {
                // A broker that dies while it is asked must not be spoken for a moment longer.
                let mut status = self.status.clone();
                let answer = tokio::select! {
                    answer = self.tell(list) => answer,
                    ended = status.wait_for(|seen| self::running(seen) != running) => {
                        if ended.is_err() {
                            return;
                        }
                        continue;
                    }
                };
                match answer {
                    Ok(answer) => {
                        failing = false;
                        if let Told::News { before } = &answer {
                            info!(list, before, "broker told of the name servers");
                        }
                        self.stand_in(&mut stand_ins, *life, &servers, &answer);
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

    /// Its own word is asked for first, so that nothing has to be remembered of what it was started with, and a stranger on
    /// our port is never changed.
    async fn tell(&self, list: &str) -> Result<Told, TellError> {
        let client = Client::connect(self.broker, &self.options).await?;
        let before = client.ask(&GetBrokerConfig).await?;
        let ours = before.get("brokerClusterName") == Some(&*self.cluster)
            && before.get("brokerName") == Some(&*self.broker_name);
        if !ours {
            return Err(TellError::Stranger);
        }
        if has(&before, list) {
            return Ok(Told::Nothing);
        }
        client.ask(&UpdateBrokerConfig::set(KEY, list)).await?;
        // Success proves nothing: a broker ignores silently what it cannot use.
        let after = client.ask(&GetBrokerConfig).await?;
        if has(&after, list) {
            let before = before.get(KEY).unwrap_or_default().to_owned();
            return Ok(Told::News { before });
        }
        let it_has = after.get(KEY).unwrap_or_default();
        Err(TellError::NotTaken(it_has.to_owned()))
    }

    /// One for every name server of the list: at once where the broker has just been told of it, later where it should
    /// know it already.
    fn stand_in(&self, all: &mut StandIns, life: Life, list: &NameServers, told: &Told) {
        all.servers.retain(|server, task| {
            let listed = list.servers.contains(server);
            if !listed {
                task.abort();
            }
            listed
        });
        for server in list.servers.iter() {
            let is_new = match told {
                Told::Nothing => false,
                Told::News { before } => {
                    let name = server.to_string();
                    !before.split(';').any(|known| known.trim() == name)
                }
            };
            let works = all
                .servers
                .get(server)
                .is_some_and(|task| !task.is_finished());
            if works && !is_new {
                continue;
            }
            let stand_in = StandIn {
                server: server.clone(),
                life,
                broker: self.broker,
                options: self.options.clone(),
                cluster: self.cluster.clone(),
                broker_name: self.broker_name.clone(),
                status: self.status.clone(),
                clock: self.clock,
            };
            let patience = if is_new { Duration::ZERO } else { PATIENCE };
            let task = all.tasks.spawn(stand_in.run(patience));
            if let Some(before) = all.servers.insert(server.clone(), task) {
                before.abort();
            }
        }
    }
}

impl StandIns {
    /// Ends those of every other life. Their connections close with them, and name servers forget what hung on them.
    fn only_for(&mut self, life: Option<Life>) {
        while self.tasks.try_join_next().is_some() {}
        if self.life != life {
            self.tasks.abort_all();
            self.servers.clear();
            self.life = life;
        }
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
