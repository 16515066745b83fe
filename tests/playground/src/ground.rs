//! Where name servers and brokers are made: one folder, one RocketMQ version, one set of ports.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::broker::{Broker, BrokerSpec};
use crate::cache::Cache;
use crate::guard::Guard;
use crate::http_site::HttpSite;
use crate::java::Jvm;
use crate::kube::NAMESPACE;
use crate::member::{GroupSpec, Member};
use crate::nameserver::NameServer;
use crate::network::{Host, Network};
use crate::ports::{PortBlock, Ports};
use crate::process::Spawner;
use crate::programs::{self, Programs};
use crate::real_api::RealApi;
use crate::real_api::program::{self, Found};
use crate::rocketmq::{RocketMq, Version};
use crate::run_dir::{Afterwards, RunDir, random_word};
use crate::timeline::Timeline;
use crate::toolchain;

/// The cluster's name of everything made here.
pub const CLUSTER: &str = "playground";

/// How to set one up.
#[derive(Debug, Clone)]
pub struct Options {
    /// RocketMQ's version.
    pub version: Version,
    /// What becomes of the folder.
    pub afterwards: Afterwards,
    /// How children are tied to our life.
    pub guard: Guard,
}

impl Options {
    /// For tests: nothing stays, children are guarded as well as a test program can.
    #[must_use]
    pub fn for_tests(version: Version) -> Self {
        Self {
            version,
            afterwards: Afterwards::Remove,
            guard: Guard::for_tests(),
        }
    }
}

/// A ready playground. Keep it until everything made in it is gone: it owns the folder.
#[derive(Debug)]
pub struct Playground {
    jvm: Jvm,
    spawner: Spawner,
    ports: Ports,
    timeline: Timeline,
    // Last: removed after all else.
    run: RunDir,
}

impl Playground {
    /// Gets Java and RocketMQ, by installation and download when they are missing, and makes the folder.
    ///
    /// # Errors
    /// When one of them cannot be had; the message tells the remedy.
    pub async fn set_up(options: Options, timeline: Timeline) -> Result<Self> {
        let cache = Cache::of_user()?;
        let spawner = Spawner::new(options.guard)?;
        let run = RunDir::create(options.afterwards)?;
        let java = toolchain::java(&spawner, run.path(), &timeline).await?;
        let rocketmq = RocketMq::get(options.version, &cache, &spawner, &timeline).await?;
        Ok(Self {
            jvm: Jvm { java, rocketmq },
            spawner,
            ports: Ports::new(&cache)?,
            timeline,
            run,
        })
    }

    /// RocketMQ's version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.jvm.rocketmq.version
    }

    /// Java with RocketMQ's jars: for command lines of one's own.
    #[must_use]
    pub fn jvm(&self) -> &Jvm {
        &self.jvm
    }

    /// Starts processes of any kind that die with us.
    #[must_use]
    pub fn spawner(&self) -> &Spawner {
        &self.spawner
    }

    /// Where it tells people what happens.
    #[must_use]
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// The run's folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.run.path()
    }

    /// A folder of the run, created when absent.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn folder(&self, name: impl AsRef<Path>) -> Result<PathBuf> {
        self.run.folder(name)
    }

    /// Ten ports of one's own.
    ///
    /// # Errors
    /// When none are free.
    pub fn ports(&self) -> Result<PortBlock> {
        self.ports.block()
    }

    /// A network for hosts of its own.
    ///
    /// # Errors
    /// When there can be none: see [`lacking`](crate::network::lacking).
    pub async fn network(&self) -> Result<Network> {
        Network::new(&self.spawner, self.folder("network")?).await
    }

    /// A name server called `name`, started. Wait for it with [`NameServer::ready`].
    ///
    /// # Errors
    /// When there is no port for it, or it cannot be started.
    pub fn name_server(&self, name: &str) -> Result<NameServer> {
        let home = self.folder(name)?;
        NameServer::start(name, home, self.ports()?, None, &self.jvm, &self.spawner)
    }

    /// The same on a host of a network.
    ///
    /// # Errors
    /// As [`Self::name_server`].
    pub fn name_server_on(&self, name: &str, host: Arc<Host>) -> Result<NameServer> {
        let home = self.folder(name)?;
        let ports = self.ports()?.on(host.ip());
        NameServer::start(name, home, ports, Some(host), &self.jvm, &self.spawner)
    }

    /// A broker, not started yet: see [`Broker::start`].
    ///
    /// # Errors
    /// When there are no ports or no folder for it.
    pub fn broker(&self, spec: BrokerSpec) -> Result<Broker> {
        let home = self.folder(format!("broker-{}", spec.member))?;
        Ok(Broker::new(
            spec,
            home,
            self.ports()?,
            self.jvm.clone(),
            self.spawner.clone(),
        ))
    }

    /// Our own programs: see [`Programs::get`].
    ///
    /// # Errors
    /// When they cannot be built or found.
    pub async fn programs(&self) -> Result<Programs> {
        Programs::get(&self.spawner, self.path(), &self.timeline).await
    }

    /// The same programs under the next version number, built from a copy of the source: see [`Member::run_by`].
    ///
    /// # Errors
    /// When they cannot be built.
    pub async fn next_programs(&self) -> Result<Programs> {
        programs::next_version::get(&self.spawner, self.path(), &self.timeline).await
    }

    /// Our httpsite called `name`, started, with the list in `file`, which need not be there yet.
    ///
    /// # Errors
    /// When it cannot be built or found, there are no ports for it, or it cannot be started.
    pub async fn http_site(&self, name: &str, file: &Path) -> Result<HttpSite> {
        self.http_site_with(name, file, &[]).await
    }

    /// The same with further flags, such as more lists.
    ///
    /// # Errors
    /// As [`Playground::http_site`].
    pub async fn http_site_with(
        &self,
        name: &str,
        file: &Path,
        flags: &[String],
    ) -> Result<HttpSite> {
        let home = self.folder(name)?;
        let program = programs::httpsite(&self.spawner, &home, &self.timeline).await?;
        let place = (home.as_path(), self.ports()?);
        HttpSite::start(name, &program, place, (file, flags), &self.spawner)
    }

    /// The program of [`Self::real_api`], or why it cannot be had here. The first time on a machine it is built.
    ///
    /// # Errors
    /// When it cannot be built, though Go is there.
    pub async fn real_api_program(&self) -> Result<Found> {
        program::get(&Cache::of_user()?, &self.spawner, &self.timeline).await
    }

    /// A real Kubernetes API of this run's own, ready, with its files in the folder `name`; or why it cannot be had on this
    /// machine. The first time on a machine it is built, which takes minutes.
    ///
    /// # Errors
    /// When it cannot be built or started, though Go is there.
    pub async fn real_api(&self, name: &str) -> Result<Result<RealApi, String>> {
        let program = match self.real_api_program().await? {
            Found::Program(program) => program,
            Found::NoGo(reason) => return Ok(Err(reason)),
        };
        let folder = self.folder(name)?;
        let api = RealApi::start(&program, &folder, self.ports()?, &self.spawner).await?;
        Ok(Ok(api))
    }

    /// A fresh group key in a file of the run.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn group_key(&self, group: &str) -> Result<PathBuf> {
        let file = self.path().join(format!("{group}.key"));
        let words: Result<Vec<String>> = (0..8).map(|_| random_word()).collect();
        std::fs::write(&file, words?.concat())
            .with_context(|| format!("write group key {}", file.display()))?;
        Ok(file)
    }

    /// A member of `group`, not started yet: see [`Member::start`].
    ///
    /// # Errors
    /// When there are no ports or no folder for it.
    pub fn member(&self, name: &str, group: &GroupSpec, programs: &Programs) -> Result<Member> {
        let home = match group.namespace.as_str() {
            NAMESPACE => self.folder(name)?,
            other => self.folder(format!("{other}-{name}"))?,
        };
        let tools = (self.jvm.clone(), programs.clone(), self.spawner.clone());
        Member::new(name, group, home, self.ports()?, tools)
    }
}
