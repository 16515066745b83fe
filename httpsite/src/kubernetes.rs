//! The way to the API server.

use std::time::Duration;

use anyhow::Context as _;
use kube::Client;
use kube_access::ApiCounter;

use crate::metrics::Metrics;
use crate::settings::Settings;

/// Connecting to the API server may take so long.
const CONNECT: Duration = Duration::from_secs(5);

/// The API server, where something needs it.
pub(crate) struct Kube {
    pub(crate) client: Client,
    pub(crate) counter: ApiCounter,
}

/// Connects, if the settings name an API server.
///
/// # Errors
/// What is wrong with the way to it.
pub(crate) fn kube(settings: &Settings, metrics: &Metrics) -> anyhow::Result<Option<Kube>> {
    let Some(kube) = &settings.kube else {
        return Ok(None);
    };
    Ok(Some(Kube {
        client: kube.access.client(&kube.namespace, CONNECT)?,
        counter: ApiCounter::register(metrics.registry(), "rocketmq_httpsite")?,
    }))
}

/// What a source of Kubernetes needs.
pub(crate) fn needed(kube: Option<&Kube>) -> anyhow::Result<&Kube> {
    kube.context("a source needs Kubernetes, and none is set up")
}
