//! The Kubernetes API that the agents of a playground share: in memory, in this process, or a real one beside it.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hyper::Request;
use kube::Client;
use kube_access::{Access, AccessArgs};
use kube_api::{KubeApi, Options};
use serde_json::Value;

use crate::ground::Playground;
use crate::real_api::RealApi;

/// Where the group's Leases are.
pub const NAMESPACE: &str = "default";

/// Another namespace of the one in memory, for a second cluster.
pub const BESIDE: &str = "beside";

/// One request of ours.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// What an agent may do, as it is deployed.
const AGENT_ROLE: &str = include_str!("../../../deploy/rbac/agent.yaml");
/// The service account in it.
const AGENT_ACCOUNT: &str = "rocketmq-ha-agent";

/// Which API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ApiKind {
    /// `tests/kube-api`: no Go needed, ready at once, and told to break by a test.
    Memory,
    /// etcd and kube-apiserver, built from `tests/real-api`; agents have the Role of `deploy/rbac`.
    Real,
}

impl fmt::Display for ApiKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "in memory",
            Self::Real => "kube-apiserver and etcd",
        })
    }
}

/// A running API and the ways to it.
pub struct ControlPlane {
    server: Server,
    agents: AccessArgs,
    client: Client,
    kubeconfig: PathBuf,
}

#[derive(Debug)]
enum Server {
    Memory(KubeApi),
    Real(Box<RealApi>),
}

impl fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlPlane")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl ControlPlane {
    /// Starts the one in memory on a free port of loopback and writes its kubeconfig into `folder`.
    ///
    /// # Errors
    /// When it cannot listen, or the file cannot be written.
    pub async fn start(folder: &Path) -> Result<Self> {
        Self::start_on(Ipv4Addr::LOCALHOST, folder).await
    }

    /// The same on another address of ours.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_on(ip: Ipv4Addr, folder: &Path) -> Result<Self> {
        let options = Options {
            bind: (ip, 0).into(),
            namespaces: vec![BESIDE.to_owned()],
            ..Options::default()
        };
        let api = KubeApi::start(options)
            .await
            .context("start the in-memory Kubernetes API")?;
        let kubeconfig = folder.join("kubeconfig");
        std::fs::write(&kubeconfig, api.kubeconfig(NAMESPACE))
            .with_context(|| format!("write {}", kubeconfig.display()))?;
        let agents = AccessArgs {
            kube_url: Some(api.url()),
            ..AccessArgs::default()
        };
        Ok(Self {
            client: client(&agents, NAMESPACE)?,
            server: Server::Memory(api),
            agents,
            kubeconfig,
        })
    }

    /// Starts the one that is wished for.
    ///
    /// # Errors
    /// When it cannot be started, or a real one cannot be built here.
    pub async fn of_kind(kind: ApiKind, ground: &Playground) -> Result<Self> {
        match kind {
            ApiKind::Memory => Self::start(ground.path()).await,
            ApiKind::Real => match ground.real_api("kubernetes").await? {
                Ok(api) => Self::real_one(api).await,
                Err(reason) => bail!("start a real Kubernetes API: {reason}"),
            },
        }
    }

    /// Around a real one that is ready: its agents get the Role that they are deployed with, and no more.
    ///
    /// # Errors
    /// When the Role cannot be created.
    pub async fn real_one(api: RealApi) -> Result<Self> {
        api.create_manifests(NAMESPACE, AGENT_ROLE).await?;
        Ok(Self {
            agents: api.access_of(NAMESPACE, AGENT_ACCOUNT).await?,
            client: api.client(NAMESPACE)?,
            kubeconfig: api.kubeconfig(),
            server: Server::Real(Box::new(api)),
        })
    }

    /// The one in memory: its faults and counters.
    #[must_use]
    pub fn memory(&self) -> Option<&KubeApi> {
        match &self.server {
            Server::Memory(api) => Some(api),
            Server::Real(_) => None,
        }
    }

    /// The real one: its processes, to be killed, frozen, rolled back.
    #[must_use]
    pub fn real(&mut self) -> Option<&mut RealApi> {
        match &mut self.server {
            Server::Memory(_) => None,
            Server::Real(api) => Some(api),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.server {
            Server::Memory(api) => api.url(),
            Server::Real(api) => api.url(),
        }
    }

    /// How agents reach it.
    #[must_use]
    pub fn agents(&self) -> &AccessArgs {
        &self.agents
    }

    /// One who may do everything.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// `GET path`, by one who may do everything.
    ///
    /// # Errors
    /// When it answers with an error, or not at all.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let request = Request::get(path).body(Vec::new());
        self.ask(request.with_context(|| format!("write a request for {path}"))?)
            .await
            .with_context(|| format!("read {path}"))
    }

    /// `PATCH path` with a merge patch, by one who may do everything.
    ///
    /// # Errors
    /// When it answers with an error, or not at all.
    pub async fn merge_patch(&self, path: &str, patch: &Value) -> Result<Value> {
        let request = Request::patch(path)
            .header("content-type", "application/merge-patch+json")
            .body(patch.to_string().into_bytes());
        self.ask(request.with_context(|| format!("write a request for {path}"))?)
            .await
            .with_context(|| format!("patch {path}"))
    }

    /// `DELETE path`, by one who may do everything.
    ///
    /// # Errors
    /// When it answers with an error, or not at all.
    pub async fn delete(&self, path: &str) -> Result<Value> {
        let request = Request::delete(path).body(Vec::new());
        self.ask(request.with_context(|| format!("write a request for {path}"))?)
            .await
            .with_context(|| format!("delete {path}"))
    }

    async fn ask(&self, request: Request<Vec<u8>>) -> Result<Value> {
        let answer = tokio::time::timeout(REQUEST_LIMIT, self.client.request(request)).await;
        Ok(answer.with_context(|| format!("no answer within {REQUEST_LIMIT:?}"))??)
    }

    /// The file that leads a client to it.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }
}

/// A client with the rights of whoever this way is.
///
/// # Errors
/// When the files that it names cannot be read.
pub fn client(access: &AccessArgs, namespace: &str) -> Result<Client> {
    let access = Access::new(access.clone())?;
    Ok(access.client(namespace, REQUEST_LIMIT)?)
}

/// The flags that lead our programs that way.
#[must_use]
pub fn flags(access: &AccessArgs) -> Vec<String> {
    let AccessArgs {
        kube_url,
        kube_ca_file,
        kube_token_file,
    } = access;
    let file = |path: &PathBuf| path.display().to_string();
    [
        ("kube-url", kube_url.clone()),
        ("kube-ca-file", kube_ca_file.as_ref().map(file)),
        ("kube-token-file", kube_token_file.as_ref().map(file)),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some(format!("--{name}={}", value?)))
    .collect()
}
