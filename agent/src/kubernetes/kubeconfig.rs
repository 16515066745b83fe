//! A person's way to a cluster: their kubeconfig, as kubectl finds it.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

/// A client for `path`, or for what kubectl would use, or for the pod that this is; and the namespace that goes with it.
///
/// # Errors
/// The kubeconfig cannot be read, or there is none and this is no pod.
pub(super) async fn connect(
    path: Option<&Path>,
    limit: Duration,
) -> anyhow::Result<(Client, String)> {
    let config = match path {
        Some(path) => read(path).await?,
        None => Config::infer().await.context(
            "find the cluster: give --kubeconfig or --kube-url, set KUBECONFIG, or run it in a pod",
        )?,
    };
    let namespace = config.default_namespace.clone();
    Ok((client(config, limit)?, namespace))
}

async fn read(path: &Path) -> anyhow::Result<Config> {
    let shown = path.display();
    let kubeconfig = Kubeconfig::read_from(path)
        .with_context(|| format!("read kubeconfig {shown}: give --kubeconfig a readable file"))?;
    let options = KubeConfigOptions::default();
    Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .with_context(|| format!("use the current context of kubeconfig {shown}"))
}

fn client(mut config: Config, limit: Duration) -> anyhow::Result<Client> {
    config.connect_timeout = Some(limit);
    // One call is one attempt: a PUT that is sent again after a 504 meets its own commit and calls it a conflict (H2, H3).
    config.default_retry = false;
    config.read_timeout = None;
    config.write_timeout = Some(limit);
    Client::try_from(config).context("build the Kubernetes client")
}
