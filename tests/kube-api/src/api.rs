//! A running server and its handle.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::fault::{Faults, Mode, Verb};
use crate::resource::Resources;
use crate::server::Server;
use crate::store::Store;

/// How a server is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Changes kept for watchers that start from an older version; one that asks for more gets a 410. At least 1.
    pub max_history: usize,
    /// Time between two bookmarks of a watch (a real server: about a minute).
    pub bookmark_every: Duration,
    /// Namespaces that exist from the start, beside `default` and `kube-system`.
    pub namespaces: Vec<String>,
}

impl Default for Options {
    /// A free port on loopback, as much history as some minutes of a busy demo need.
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            max_history: 10_000,
            bookmark_every: Duration::from_secs(60),
            namespaces: Vec::new(),
        }
    }
}

/// A running in-memory Kubernetes API. Dropping it ends it and everything it holds.
#[derive(Debug)]
pub struct KubeApi {
    address: SocketAddr,
    resources: Arc<Resources>,
    faults: Arc<Faults>,
    task: JoinHandle<()>,
}

impl KubeApi {
    /// Listens and serves on the current tokio runtime.
    ///
    /// # Errors
    /// The address cannot be listened on.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(options: Options) -> io::Result<Self> {
        let Options {
            bind,
            max_history,
            bookmark_every,
            namespaces,
        } = options;
        let listener = TcpListener::bind(bind).await?;
        let address = listener.local_addr()?;
        let resources = Arc::new(Resources::new(max_history));
        for namespace in &namespaces {
            resources.add_namespace(namespace);
        }
        let faults = Arc::new(Faults::new());
        let server = Arc::new(Server {
            resources: Arc::clone(&resources),
            faults: Arc::clone(&faults),
            bookmark_every,
        });
        let task = tokio::spawn(server.run(listener));
        Ok(Self {
            address,
            resources,
            faults,
            task,
        })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://<address>:<port>`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig for it, as JSON, which every reader of YAML takes; `namespace` is the context's default.
    pub fn kubeconfig(&self, namespace: &str) -> String {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "memory",
            "clusters": [{"name": "memory", "cluster": {"server": self.url()}}],
            "users": [{"name": "anybody", "user": {}}],
            "contexts": [{"name": "memory", "context": {
                "cluster": "memory", "user": "anybody", "namespace": namespace,
            }}],
        })
        .to_string()
    }

    /// Changes how the server behaves from now on, for open connections as well.
    pub fn set_mode(&self, mode: Mode) {
        self.faults.set_mode(mode);
    }

    /// Delays every request by `latency` before anything is done with it. Events of open watches are not delayed.
    pub fn set_latency(&self, latency: Duration) {
        self.faults.set_latency(latency);
    }

    /// Requests so far by verb and plural resource name, refused ones included.
    pub fn counts(&self) -> BTreeMap<(Verb, &'static str), u64> {
        self.faults.counts()
    }

    /// Requests so far that could have written something.
    pub fn writes(&self) -> u64 {
        let counts = self.counts();
        let writes = counts.iter().filter(|((verb, _), _)| verb.is_write());
        writes.map(|(_, count)| count).sum()
    }

    /// Forgets all history: a watch from an older version gets its 410.
    pub fn compact(&self) {
        self.resources.write(Store::compact);
    }

    /// Ends the server and waits until its port is free.
    pub async fn stop(mut self) {
        self.task.abort();
        // Cancelled or ended: both are what was asked for.
        let _ = (&mut self.task).await;
    }
}

impl Drop for KubeApi {
    fn drop(&mut self) {
        self.task.abort();
    }
}
