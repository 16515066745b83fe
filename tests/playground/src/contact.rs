//! How a running broker is asked things, whoever started it.

use std::fmt;
use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use remoting::calls::{self, BrokerRole, RuntimeInfo};
use remoting::{Call, Client, ClientOptions, LogOffset};

/// What a broker is, or is told to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `ASYNC_MASTER` (or `SYNC_MASTER`), id 0.
    Master,
    /// `SLAVE` with this id, 1 or more.
    Slave(u32),
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Master => f.write_str("master"),
            Self::Slave(id) => write!(f, "slave {id}"),
        }
    }
}

/// A broker's name and addresses. Every call takes a connection of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// The member's name.
    pub member: String,
    /// Where clients reach it.
    pub address: SocketAddr,
    /// Where slaves reach it.
    pub ha_address: SocketAddr,
}

impl Contact {
    /// A connection to it.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn client(&self) -> Result<Client> {
        let client = Client::connect(self.address, &ClientOptions::default()).await;
        client.with_context(|| format!("connect to broker {}", self.member))
    }

    /// One call.
    ///
    /// # Errors
    /// When it does not answer or refuses.
    pub async fn ask<C: Call>(&self, call: &C) -> Result<C::Answer> {
        let answer = self.client().await?.ask(call).await;
        answer.with_context(|| format!("ask broker {}", self.member))
    }

    /// Its offsets and counters (28).
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn runtime(&self) -> Result<RuntimeInfo> {
        self.ask(&calls::GetRuntimeInfo).await
    }

    /// The role and id that it says it has (26).
    ///
    /// # Errors
    /// When it does not answer or says neither.
    pub async fn role(&self) -> Result<Role> {
        let config = self.ask(&calls::GetBrokerConfig).await?;
        let id = config.broker_id().and_then(|id| u32::try_from(id).ok());
        match (config.role(), id) {
            (Some(BrokerRole::AsyncMaster | BrokerRole::SyncMaster), Some(0)) => Ok(Role::Master),
            (Some(BrokerRole::Slave), Some(id)) => Ok(Role::Slave(id)),
            (role, id) => bail!(
                "read the role of broker {}: it says {role:?}, id {id:?}",
                self.member
            ),
        }
    }

    /// The name servers that it has in its running configuration (26).
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn name_servers(&self) -> Result<Option<String>> {
        let config = self.ask(&calls::GetBrokerConfig).await?;
        Ok(config.get("namesrvAddr").map(str::to_owned))
    }

    /// Makes it register with its name servers now: a start-time registration is often skipped and
    /// comes 10 s later (facts §6.4).
    ///
    /// # Errors
    /// When it does not answer or refuses.
    pub async fn register_now(&self) -> Result<()> {
        let config = self.ask(&calls::GetBrokerConfig).await?;
        let permission = config.get("brokerPermission").unwrap_or("6");
        self.ask(&calls::UpdateBrokerConfig::force_registration(permission))
            .await
    }

    /// Tells it (a slave) to replicate from `master`, without waiting for the name servers' word (906). A 4.9
    /// broker does not know the request: set `haMasterAddress` before its start instead, which 5.x must not have
    /// (facts §2.4).
    ///
    /// # Errors
    /// When it does not answer or refuses.
    pub async fn attach_to(&self, master: &Self) -> Result<()> {
        self.ask(&calls::SetHaMaster {
            ha_address: master.ha_address.to_string(),
            address: master.address.to_string(),
            flush_offset: LogOffset::new(0),
        })
        .await
    }
}
