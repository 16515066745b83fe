//! What a case works with, and the server behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fault_proxy::FaultProxy;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams};
use kube::core::Status;
use kube_access::AccessArgs;
use kube_api::{KubeApi, Mode, Options};
use playground::RealApi;
use playground::kube::client;
use playground::real_api::READY_LIMIT;
use serde_json::{Value, json};
use tokio::sync::{Mutex, RwLock};

use crate::Case;

/// Ends a case that would hang.
const PATIENCE: Duration = Duration::from_secs(60);
/// Ends one that restarts the server.
const PATIENCE_ALONE: Duration = Duration::from_secs(180);

/// How a case reaches the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As a program in production does.
    Direct,
    /// Through a fault proxy that breaks nothing: it must not be noticed.
    Proxied,
}

/// The server under test.
#[derive(Clone)]
pub enum Server {
    /// Each case has its own.
    Memory(Arc<KubeApi>),
    /// All cases share one.
    Real(Arc<Shared>),
}

/// A real one, and who may break it.
pub struct Shared {
    /// Read by every case as long as it runs; written to break it.
    api: RwLock<RealApi>,
    /// Held by the one case that may.
    breaker: Mutex<()>,
}

impl Server {
    /// A real one that is ready.
    #[must_use]
    pub fn real(api: RealApi) -> Self {
        Self::Real(Arc::new(Shared {
            api: RwLock::new(api),
            breaker: Mutex::new(()),
        }))
    }

    /// A fresh one in memory.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn in_memory() -> std::io::Result<Self> {
        Ok(Self::Memory(Arc::new(
            KubeApi::start(Options::default()).await?,
        )))
    }

    /// Runs one case in a namespace of its own.
    ///
    /// # Panics
    /// When the case fails.
    pub async fn run(self, case: Case, way: Way) {
        let (whole, broken, patience) = match &self {
            Self::Real(shared) if case.is_alone() => {
                (None, Some(shared.breaker.lock().await), PATIENCE_ALONE)
            }
            Self::Real(shared) => (Some(shared.api.read().await), None, PATIENCE),
            Self::Memory(_) => (None, None, PATIENCE),
        };
        let mut access = self.admin().await;
        let proxy = match way {
            Way::Direct => None,
            Way::Proxied => Some(FaultProxy::start(&access).await.unwrap()),
        };
        if let Some(proxy) = &proxy {
            access.kube_url = Some(proxy.url());
            access.kube_ca_file = None;
        }
        let client = client(&access, "default").unwrap();
        let bench = Bench {
            namespace: make_namespace(&client, case.name).await,
            client: client.clone(),
            access,
            server: self.clone(),
        };
        let namespace = bench.namespace.clone();
        let ended = tokio::time::timeout(patience, (case.run)(bench)).await;
        let namespaces: Api<Namespace> = Api::all(client);
        let _ = namespaces
            .delete(&namespace, &DeleteParams::default())
            .await;
        drop((whole, broken));
        ended.expect("the case ends in time");
    }

    async fn admin(&self) -> AccessArgs {
        match self {
            Self::Memory(api) => AccessArgs {
                kube_url: Some(api.url()),
                ..AccessArgs::default()
            },
            Self::Real(shared) => shared.api.read().await.admin().clone(),
        }
    }
}

/// What a case works with.
#[derive(Clone)]
pub struct Bench {
    pub(crate) client: Client,
    pub(crate) access: AccessArgs,
    /// Exists, is empty, and belongs to this case.
    pub(crate) namespace: String,
    pub(crate) server: Server,
}

impl Bench {
    /// A new client: a server that has just started may close the connections of the old one at any moment, and which
    /// request meets that is chance.
    pub(crate) fn reconnect(&mut self) {
        self.client = client(&self.access, "default").unwrap();
    }

    pub(crate) fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) async fn create_lease(&self, name: &str, labels: Value) -> Lease {
        let lease = lease(name, labels);
        let created = self.leases().create(&PostParams::default(), &lease).await;
        created.unwrap()
    }

    /// A request below the typed client.
    pub(crate) async fn raw(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> kube::Result<Value> {
        let request = http_request(method, path, content_type, body);
        self.client.request(request).await
    }

    pub(crate) fn lease_path(&self, name: &str) -> String {
        let namespace = &self.namespace;
        format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases{name}")
    }

    /// A client whom the server knows and who may do nothing. (The one in memory knows no rights: it forbids everything
    /// to everybody from then on.)
    pub(crate) async fn without_rights(&self) -> Client {
        match &self.server {
            Server::Memory(api) => {
                api.set_mode(Mode::Failing(403));
                self.client.clone()
            }
            Server::Real(shared) => {
                let api = shared.api.read().await;
                let account = "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: nobody\n";
                api.create_manifests(&self.namespace, account)
                    .await
                    .unwrap();
                let access = api.access_of(&self.namespace, "nobody").await.unwrap();
                client(&access, &self.namespace).unwrap()
            }
        }
    }

    /// A client whose token the server does not know, as one that has ended. (As above in memory.)
    pub(crate) async fn with_unknown_token(&self) -> Client {
        match &self.server {
            Server::Memory(api) => {
                api.set_mode(Mode::Failing(401));
                self.client.clone()
            }
            Server::Real(shared) => {
                let api = shared.api.read().await;
                let access = api.access_with(&self.namespace, "not-a-token").unwrap();
                client(&access, &self.namespace).unwrap()
            }
        }
    }

    /// Makes the server forget what happened before now. Only for a case that runs alone; the client is a new one, whose
    /// connections nobody has cut.
    pub(crate) async fn forget_history(&mut self) {
        match &self.server {
            Server::Memory(api) => api.compact(),
            Server::Real(shared) => {
                let mut api = shared.api.write().await;
                api.compact().await.unwrap();
                api.server().unwrap().kill().await.unwrap();
                api.start_server().unwrap();
                api.ready(READY_LIMIT).await.unwrap();
                self.client = api.client("default").unwrap();
            }
        }
    }
}

fn http_request(
    method: &str,
    path: &str,
    content_type: &str,
    body: Vec<u8>,
) -> hyper::Request<Vec<u8>> {
    hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content_type)
        .body(body)
        .unwrap()
}

pub(crate) fn lease(name: &str, labels: Value) -> Lease {
    serde_json::from_value(json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "labels": labels},
        "spec": {"holderIdentity": "a-0", "leaseDurationSeconds": 15},
    }))
    .unwrap()
}

/// A name that neither another case nor an earlier run has taken.
pub(crate) async fn make_namespace(client: &Client, case: &str) -> String {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let short: String = case.replace('_', "-").chars().take(30).collect();
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let prefix = format!("{short}-{number}-");
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": prefix}});
    let namespace: Namespace = serde_json::from_value(namespace).unwrap();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let made = namespaces.create(&PostParams::default(), &namespace).await;
    made.unwrap().metadata.name.unwrap()
}

/// The status that a request was refused with.
#[track_caller]
pub(crate) fn refused<T>(result: kube::Result<T>, code: u16, reason: &str) -> Status {
    match result {
        Err(kube::Error::Api(status)) => {
            assert_eq!(
                (status.code, status.reason.as_str()),
                (code, reason),
                "{status:?}"
            );
            *status
        }
        Err(other) => panic!("no answer of the server: {other}"),
        Ok(_) => panic!("was not refused, wanted {code} {reason}"),
    }
}

pub(crate) fn version(lease: &Lease) -> u64 {
    let version = lease.metadata.resource_version.as_ref();
    version.unwrap().parse().unwrap()
}
