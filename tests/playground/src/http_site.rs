//! Our own httpsite as a process, whose list is a file that it watches.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::broker::name_server_list;
use crate::http;
use crate::ports::PortBlock;
use crate::process::{Process, ProcessSpec, Spawner};
use crate::wait::until;

/// Far more than it takes to start: the machine may be busy.
pub const READY_LIMIT: Duration = Duration::from_secs(15);

/// The list that clients ask for by default.
pub const LIST: &str = "nsaddr";

/// Ports inside its block.
const LISTEN: u16 = 0;
const ADMIN: u16 = 1;

/// Short spans of time, so that a story need not wait for what production waits for.
const HASTE: [&str; 5] = [
    "--overlap-seconds=2",
    "--hold-seconds=2",
    "--probe-period-ms=500",
    "--probe-deadline-ms=400",
    "--drain-delay-ms=500",
];

/// A running (or ended) httpsite. Dropped, it is killed.
#[derive(Debug)]
pub struct HttpSite {
    ports: PortBlock,
    file: PathBuf,
    spec: ProcessSpec,
    spawner: Spawner,
    process: Process,
}

impl HttpSite {
    /// Starts it in `home`; `file` names the name servers, and need not be there yet. `flags` come on top.
    pub(crate) fn start(
        name: &str,
        program: &Path,
        (home, ports): (&Path, PortBlock),
        (file, flags): (&Path, &[String]),
        spawner: &Spawner,
    ) -> Result<Self> {
        let mut spec = ProcessSpec::new(name, program, home, home.join("httpsite.out"));
        spec = spec.arguments([
            format!("--list={LIST}=file:{}", file.display()),
            format!("--listen={}", ports.address(LISTEN)),
            format!("--admin-listen={}", ports.address(ADMIN)),
        ]);
        spec = spec.arguments(HASTE).arguments(flags);
        Ok(Self {
            process: spawner.start(&spec)?,
            ports,
            file: file.to_owned(),
            spec,
            spawner: spawner.clone(),
        })
    }

    /// Where clients ask.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.ports.address(LISTEN)
    }

    /// Where probes and metrics are.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.ports.address(ADMIN)
    }

    /// `http://127.0.0.1:…/rocketmq/nsaddr`
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}{}", self.address(), path())
    }

    /// Names these servers in its file, as `mv` does it: nobody reads half a list.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn name(&self, servers: &[SocketAddr]) -> Result<()> {
        let fresh = self.file.with_extension("fresh");
        let text = format!("{}\n", name_server_list(servers));
        std::fs::write(&fresh, text).with_context(|| format!("write {}", fresh.display()))?;
        std::fs::rename(&fresh, &self.file).with_context(|| format!("rename {}", fresh.display()))
    }

    /// The list it answers with now.
    ///
    /// # Errors
    /// When it does not answer, or with something else than a list.
    pub async fn list(&self) -> Result<String> {
        self.list_of(LIST).await
    }

    /// The list of this name it answers with now.
    ///
    /// # Errors
    /// As [`HttpSite::list`].
    pub async fn list_of(&self, name: &str) -> Result<String> {
        let path = format!("/rocketmq/{name}");
        let answer = http::get(self.address(), &path).await?;
        ensure!(answer.status == 200, "it answered {}", answer.status);
        Ok(answer.body.trim_end().to_owned())
    }

    /// Waits until it answers with these servers.
    ///
    /// # Errors
    /// When it does not within `limit`.
    pub async fn shows(&self, servers: &[SocketAddr], limit: Duration) -> Result<()> {
        let wanted = name_server_list(servers);
        let what = format!("{} to show {wanted}", self.url());
        until(&what, limit, async || {
            let shown = self.list().await?;
            ensure!(shown == wanted, "it shows {shown}");
            Ok(())
        })
        .await
    }

    /// Waits until it answers at all, if only that it has no list.
    ///
    /// # Errors
    /// When it ends, or does not answer within [`READY_LIMIT`].
    pub async fn answers(&mut self) -> Result<u16> {
        let address = self.address();
        let process = &mut self.process;
        until("httpsite to answer", READY_LIMIT, async || {
            if !process.is_running() {
                return Ok(Err(process.describe_end()));
            }
            http::get(address, &path()).await.map(|a| Ok(a.status))
        })
        .await?
        .or_else(|end| bail!(end))
    }

    /// How many requests it answered with this status since it was started.
    ///
    /// # Errors
    /// When its metrics cannot be read.
    pub async fn answered(&self, status: u16) -> Result<u64> {
        let metrics = http::get(self.admin(), "/metrics").await?.body;
        let wanted = format!("rocketmq_httpsite_requests_total{{code=\"{status}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&wanted));
        line.map_or(Ok(0), |count| {
            count.parse().with_context(|| format!("read {count:?}"))
        })
    }

    /// Its process: to kill, freeze, stop.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Starts it again after its end, at the same address, with a list of this name instead.
    ///
    /// # Errors
    /// When it still runs or cannot be started.
    pub fn restart_as(&mut self, list: &str, file: &Path) -> Result<()> {
        if self.process.is_running() {
            bail!("start {}: it runs already", self.spec.name);
        }
        file.clone_into(&mut self.file);
        if let Some(first) = self.spec.arguments.first_mut() {
            *first = format!("--list={list}=file:{}", file.display()).into();
        }
        self.process = self.spawner.start(&self.spec)?;
        Ok(())
    }
}

fn path() -> String {
    format!("/rocketmq/{LIST}")
}
