//! The API server: the agent's client, and a person's.

#[cfg(feature = "kubeconfig")]
mod kubeconfig;

use std::time::Duration;

use kube::Client;
use kube_access::{Access, AccessError, pods_namespace};
pub use kube_access::{ApiCounter, ApiError, Failure};

use crate::command::Place;
use crate::settings::KubeSettings;

/// A client for the settings' cluster.
///
/// # Errors
/// The certificates or the token that the settings name cannot be used.
pub fn connect(settings: &KubeSettings) -> Result<Client, AccessError> {
    settings
        .access
        .client(&settings.namespace, settings.request)
}

/// A client for a person: the cluster that the flags name, their kubeconfig's, or the pod's they are in; and the namespace
/// that goes with it.
///
/// # Errors
/// No cluster is named and none found, or what leads to it cannot be used.
pub async fn connect_as_operator(
    place: &Place,
    limit: Duration,
) -> anyhow::Result<(Client, String)> {
    #[cfg(feature = "kubeconfig")]
    if place.access.kube_url.is_none() {
        return kubeconfig::connect(place.kubeconfig.as_deref(), limit).await;
    }
    let namespace = pods_namespace().unwrap_or_else(|| "default".to_owned());
    let client = Access::new(place.access.clone())?.client(&namespace, limit)?;
    Ok((client, namespace))
}
