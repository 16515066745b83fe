//! A broker of our own, without an agent: its role is what we write into its configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use remoting::calls;
use remoting::{Client, ClientOptions};

use crate::contact::{Contact, Role};
use crate::ground::CLUSTER;
use crate::java::{Jvm, Program};
use crate::ports::PortBlock;
use crate::process::{Process, Spawner};
use crate::rocketmq::Generation;
use crate::wait::until;

/// Seen: 1–6 s to an open port, up to 1.5 s more to the first answer.
pub const READY_LIMIT: Duration = Duration::from_secs(90);

/// Which broker.
#[derive(Debug, Clone)]
pub struct BrokerSpec {
    /// The member: names its folder and process.
    pub member: String,
    /// The group: `brokerName`.
    pub group: String,
    /// Its role at the first start.
    pub role: Role,
    /// Where it registers; empty: the settings tell it where to look.
    pub name_servers: Vec<SocketAddr>,
    /// Settings beside and above ours, as in broker.conf.
    pub settings: BTreeMap<String, String>,
}

/// Ports of a broker inside its block. RocketMQ also takes listenPort−2.
const LISTEN: u16 = 2;
const HA: u16 = 3;

/// A broker. Dropped, it is killed.
#[derive(Debug)]
pub struct Broker {
    spec: BrokerSpec,
    home: PathBuf,
    ports: PortBlock,
    jvm: Jvm,
    spawner: Spawner,
    process: Option<Process>,
}

impl Broker {
    pub(crate) fn new(
        spec: BrokerSpec,
        home: PathBuf,
        ports: PortBlock,
        jvm: Jvm,
        spawner: Spawner,
    ) -> Self {
        Self {
            spec,
            home,
            ports,
            jvm,
            spawner,
            process: None,
        }
    }

    /// Its member name.
    #[must_use]
    pub fn member(&self) -> &str {
        &self.spec.member
    }

    /// Its folder.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// `storePathRootDir`.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.home.join("store")
    }

    /// `storePathCommitLog`.
    #[must_use]
    pub fn commit_log(&self) -> PathBuf {
        self.store().join("commitlog")
    }

    /// Where clients reach it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.ports.address(LISTEN)
    }

    /// Where slaves reach it.
    #[must_use]
    pub fn ha_address(&self) -> SocketAddr {
        self.ports.address(HA)
    }

    /// How it is asked things.
    #[must_use]
    pub fn contact(&self) -> Contact {
        Contact {
            member: self.spec.member.clone(),
            address: self.address(),
            ha_address: self.ha_address(),
        }
    }

    /// The role of its next start.
    pub fn set_role(&mut self, role: Role) {
        self.spec.role = role;
    }

    /// A setting of its next start.
    pub fn set(&mut self, key: &str, value: impl fmt::Display) {
        self.spec.settings.insert(key.to_owned(), value.to_string());
    }

    /// Writes its configuration and starts it. Wait for it with [`Broker::ready`].
    ///
    /// # Errors
    /// When it runs already, or its files or process cannot be made.
    pub fn start(&mut self) -> Result<()> {
        if self.process.as_mut().is_some_and(Process::is_running) {
            bail!("start broker {}: it runs already", self.spec.member);
        }
        let conf = self.home.join("broker.conf");
        std::fs::write(&conf, self.conf_text())
            .with_context(|| format!("write {}", conf.display()))?;
        let name = format!("broker {}", self.spec.member);
        let spec = self
            .jvm
            .process(&name, Program::Broker, &self.home, &conf)?;
        self.process = Some(self.spawner.start(&spec)?);
        Ok(())
    }

    /// Its process: to kill, freeze, stop.
    ///
    /// # Errors
    /// When it was never started.
    pub fn process(&mut self) -> Result<&mut Process> {
        let member = &self.spec.member;
        self.process
            .as_mut()
            .with_context(|| format!("find the process of broker {member}: never started"))
    }

    /// Waits until it answers; an open port is not enough (facts §6.2).
    ///
    /// # Errors
    /// When it ends, or does not answer within `limit`.
    pub async fn ready(&mut self, limit: Duration) -> Result<()> {
        let address = self.address();
        let options = ClientOptions::default();
        let what = format!("broker {} at {address}", self.spec.member);
        let process = self.process()?;
        until(&what, limit, async || {
            if !process.is_running() {
                return Ok(Err(process.describe_end()));
            }
            let client = Client::connect(address, &options).await?;
            client.ask(&calls::GetRuntimeInfo).await.map(Ok)
        })
        .await?
        .map(drop)
        .or_else(|end| bail!(end))
    }
}

impl Broker {
    fn conf_text(&self) -> String {
        let mut settings = small_store();
        let (role, id) = match self.spec.role {
            Role::Master => ("ASYNC_MASTER", 0),
            Role::Slave(id) => ("SLAVE", id),
        };
        let fixed = [
            ("brokerClusterName", CLUSTER.to_owned()),
            ("brokerName", self.spec.group.clone()),
            ("brokerId", id.to_string()),
            ("brokerRole", role.to_owned()),
            ("brokerIP1", self.address().ip().to_string()),
            ("brokerIP2", self.address().ip().to_string()),
            ("listenPort", self.address().port().to_string()),
            ("haListenPort", self.ha_address().port().to_string()),
            ("storePathRootDir", self.store().display().to_string()),
            (
                "storePathCommitLog",
                self.commit_log().display().to_string(),
            ),
        ];
        settings.extend(fixed.map(|(key, value)| (key.to_owned(), value)));
        // An empty list would be one: the broker would not look for another (5.x and 4.9 alike, seen).
        if !self.spec.name_servers.is_empty() {
            let list = name_server_list(&self.spec.name_servers);
            settings.insert("namesrvAddr".to_owned(), list);
        }
        settings.extend(self.spec.settings.clone());
        settings
            .iter()
            .map(|(key, value)| format!("{key}={value}\n"))
            .collect()
    }

    /// True when it knows requests 906 and 907.
    #[must_use]
    pub fn speaks_ha_info(&self) -> bool {
        self.jvm.rocketmq.version.generation() == Generation::Five
    }
}

/// `a:1;b:2`, as RocketMQ writes lists of name servers.
#[must_use]
pub fn name_server_list(addresses: &[SocketAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    texts.join(";")
}

/// `mappedFileSizeCommitLog` of [`small_store`].
pub const COMMIT_LOG_FILE_BYTES: u64 = 16 << 20;
/// `mappedFileSizeConsumeQueue` of [`small_store`]: 5000 entries.
pub const CONSUME_QUEUE_FILE_BYTES: u64 = 20 * 5_000;

/// Settings of a store that starts quickly and takes little room: 16 MiB commit-log files instead of 1 GiB.
/// Everything else stays as RocketMQ has it, but for a busy machine's sake: fewer threads, and patience
/// with a slow page cache.
#[must_use]
pub fn small_store() -> BTreeMap<String, String> {
    [
        ("mappedFileSizeCommitLog", COMMIT_LOG_FILE_BYTES),
        ("mappedFileSizeConsumeQueue", CONSUME_QUEUE_FILE_BYTES),
        ("mappedFileSizeTimerLog", 1 << 20),
        ("maxIndexNum", 10_000),
        ("maxHashSlotNum", 5_000),
        ("diskMaxUsedSpaceRatio", 95),
        ("sendMessageThreadPoolNums", 4),
        ("pullMessageThreadPoolNums", 4),
        ("osPageCacheBusyTimeOutMills", 5_000),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_string()))
    .collect()
}
