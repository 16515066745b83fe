//! One ConfigMap, watched.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use kube_access::{ApiCounter, IDLE, Objects, Sight};
use tokio::sync::Notify;

use super::Object;

/// One request to the API server may take so long.
pub const LIMIT: Duration = Duration::from_secs(10);

/// Tells `sink` of the ConfigMap, none when it does not exist, now and at every change; for ever. While the API server is
/// away it tells that, once per attempt.
pub async fn follow(
    client: Client,
    object: Object,
    counter: ApiCounter,
    mut sink: impl FnMut(Result<Option<&ConfigMap>, String>) + Send,
) {
    let objects: Objects<ConfigMap> = Objects {
        api: api(client, &object),
        resource: "configmaps",
        labels: None,
        fields: Some(format!("metadata.name={}", object.name)),
        limit: LIMIT,
        idle: IDLE,
        counter,
    };
    let never = Notify::new();
    let mut outage = Outage::default();
    objects
        .follow(&never, |sight| {
            if let Some(fault) = outage.after(&sight) {
                return sink(Err(fault));
            }
            match sight {
                Sight::All(items) => sink(Ok(items.first())),
                Sight::Changed(map) => sink(Ok(Some(&map))),
                Sight::Gone(_) => sink(Ok(None)),
                Sight::Asking | Sight::Current => {}
            }
        })
        .await;
}

/// Tells when a list was asked for again before one had come: the API server does not answer us.
#[derive(Debug, Default)]
pub struct Outage {
    asked: bool,
}

impl Outage {
    /// The fault that this sight shows, if it shows one.
    pub fn after<K>(&mut self, sight: &Sight<K>) -> Option<String> {
        let asking = matches!(sight, Sight::Asking);
        let again = self.asked && asking;
        self.asked = asking;
        again.then(|| "the Kubernetes API server does not answer".to_owned())
    }
}

/// The API of the object's namespace.
pub fn api<K>(client: Client, object: &Object) -> Api<K>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    if object.namespace.is_empty() {
        Api::default_namespaced(client)
    } else {
        Api::namespaced(client, &object.namespace)
    }
}
