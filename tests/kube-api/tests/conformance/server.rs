//! The server under test, and what the cases share.

use std::env;
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use kube::{Client, Config};
use kube_api::{KubeApi, Options};
use serde_json::{Value, json};

/// Ends a case that would hang.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a case works with.
#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) client: Client,
    /// Exists, is empty, and belongs to this case.
    pub(crate) namespace: String,
}

impl Bench {
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

/// Runs one case on a server and a namespace of its own.
pub(crate) async fn run<C, F>(name: &str, case: C)
where
    C: FnOnce(Bench) -> F,
    F: Future<Output = ()>,
{
    let (client, server) = connect().await;
    let bench = Bench {
        namespace: make_namespace(&client, name).await,
        client: client.clone(),
    };
    let namespace = bench.namespace.clone();
    let ended = tokio::time::timeout(PATIENCE, case(bench)).await;
    let namespaces: Api<Namespace> = Api::all(client);
    let _ = namespaces
        .delete(&namespace, &DeleteParams::default())
        .await;
    if let Some(server) = server {
        server.stop().await;
    }
    ended.expect("the case ends in time");
}

async fn connect() -> (Client, Option<KubeApi>) {
    let (kubeconfig, server) = match env::var_os("CONFORMANCE_KUBECONFIG") {
        Some(file) => (Kubeconfig::read_from(Path::new(&file)).unwrap(), None),
        None => {
            let server = KubeApi::start(Options::default()).await.unwrap();
            let kubeconfig = Kubeconfig::from_yaml(&server.kubeconfig("default")).unwrap();
            (kubeconfig, Some(server))
        }
    };
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    (Client::try_from(config.unwrap()).unwrap(), server)
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
