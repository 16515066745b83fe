//! A name server of our own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use remoting::calls::ProbeNameServer;
use remoting::{Client, ClientOptions};

use crate::java::{Jvm, Program};
use crate::network::Host;
use crate::ports::PortBlock;
use crate::process::{Process, ProcessSpec, Spawner};
use crate::wait::until;

/// Seen: 2.2–5 s on a busy machine.
pub const READY_LIMIT: Duration = Duration::from_secs(60);

/// A running (or ended) name server. Dropped, it is killed.
#[derive(Debug)]
pub struct NameServer {
    name: String,
    home: PathBuf,
    ports: PortBlock,
    // Its network lives as long as it does.
    _host: Option<Arc<Host>>,
    spec: ProcessSpec,
    spawner: Spawner,
    process: Process,
}

impl NameServer {
    pub(crate) fn start(
        name: &str,
        home: PathBuf,
        ports: PortBlock,
        host: Option<Arc<Host>>,
        jvm: &Jvm,
        spawner: &Spawner,
    ) -> Result<Self> {
        let conf = home.join("namesrv.conf");
        std::fs::write(&conf, conf_text(&home, ports.port(0)))
            .with_context(|| format!("write {}", conf.display()))?;
        let spec = jvm.process(
            &format!("name server {name}"),
            Program::NameServer,
            &home,
            &conf,
        )?;
        let spec = match &host {
            Some(host) => host.enter(spec),
            None => spec,
        };
        Ok(Self {
            name: name.to_owned(),
            home,
            ports,
            _host: host,
            process: spawner.start(&spec)?,
            spec,
            spawner: spawner.clone(),
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its folder.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.ports.address(0)
    }

    /// Its process: to kill, freeze, stop.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// When it ends, or does not answer within `limit`.
    pub async fn ready(&mut self, limit: Duration) -> Result<()> {
        let address = self.address();
        let options = ClientOptions::default();
        let what = format!("name server {} at {address}", self.name);
        let process = &mut self.process;
        until(&what, limit, async || {
            if !process.is_running() {
                return Ok(Err(process.describe_end()));
            }
            let client = Client::connect(address, &options).await?;
            client.ask(&ProbeNameServer).await.map(Ok)
        })
        .await?
        .map(drop)
        .or_else(|end| bail!(end))
    }

    /// Starts it again after its end, at the same address. It knows no broker until each one's next
    /// registration (≤ 30 s, facts §6.5).
    ///
    /// # Errors
    /// When it still runs or cannot be started.
    pub fn restart(&mut self) -> Result<()> {
        if self.process.is_running() {
            bail!("start name server {}: it runs already", self.name);
        }
        self.process = self.spawner.start(&self.spec)?;
        Ok(())
    }
}

fn conf_text(home: &Path, port: u16) -> String {
    let home = home.display();
    format!(
        "listenPort={port}\nkvConfigPath={home}/kv.json\nconfigStorePath={home}/namesrv.properties\n"
    )
}
