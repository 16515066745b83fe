//! Tells a running broker which name servers there are now.
//!
//! The broker keeps what it was started with and looks at its own configuration again every 120 s (facts §3.3), so a list
//! that changes is put into that configuration at once. Until it looks, the old name servers must go on answering: that
//! is why httpSite keeps a leaving one on its list for a while. The next start takes the new list from the rendered conf.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use launcher::protocol::BrokerState;
use remoting::calls::{GetBrokerConfig, UpdateBrokerConfig};
use remoting::{CallError, Client, ClientOptions};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::nameservers::NameServers;
use crate::observe::broker::{Life, life};
use crate::observe::launcher::StatusSeen;
use crate::properties::Properties;

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
    /// What the broker was started with.
    pub rendered: PathBuf,
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
        loop {
            let running = running(&self.status.borrow_and_update());
            let list = joined(&self.list.borrow_and_update());
            let wanted = running.zip(list);
            let mut again = false;
            if let Some((life, list)) = wanted.clone()
                && told.as_ref() != Some(&(life, list.clone()))
                && self.knows(&told, life).as_deref() != Some(&*list)
            {
                match self.tell(&list).await {
                    Ok(()) => info!(
                        list,
                        "broker told of the name servers; it turns to them within 120 s"
                    ),
                    Err(error) => {
                        warn!(list, error = %crate::error_chain(&error), "broker not told of the name servers yet");
                        again = true;
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

    /// What this life of the broker has, as far as we know: what we told it, or what it was started with.
    fn knows(&self, told: &Option<(Life, String)>, life: Life) -> Option<String> {
        match told {
            Some((of, list)) if *of == life => Some(list.clone()),
            _ => started_with(&self.rendered),
        }
    }

    async fn tell(&self, list: &str) -> Result<(), TellError> {
        let client = Client::connect(self.broker, &self.options).await?;
        client.ask(&UpdateBrokerConfig::set(KEY, list)).await?;
        // Success proves nothing: a broker ignores silently what it cannot use.
        let config = client.ask(&GetBrokerConfig).await?;
        match config.get(KEY).map(str::trim) {
            Some(has) if has == list => Ok(()),
            has => Err(TellError::NotTaken(has.unwrap_or_default().to_owned())),
        }
    }
}

fn started_with(rendered: &Path) -> Option<String> {
    let text = fs::read(rendered).ok()?;
    Some(Properties::parse(&text).ok()?.get(KEY)?.value.clone())
}

fn joined(servers: &NameServers) -> Option<String> {
    let all: Vec<String> = servers.servers.iter().map(ToString::to_string).collect();
    (!all.is_empty()).then(|| all.join(";"))
}

fn running(seen: &StatusSeen) -> Option<Life> {
    let (status, _) = seen.as_ref()?;
    life(seen).filter(|_| status.broker.state == BrokerState::Running)
}
