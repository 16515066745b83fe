//! The Kubernetes API that the agents of a playground share: in memory, in this process.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kube_api::{KubeApi, Options};

/// Where the group's Leases are.
pub const NAMESPACE: &str = "default";

/// A running API and the kubeconfig that leads to it.
#[derive(Debug)]
pub struct ControlPlane {
    api: KubeApi,
    kubeconfig: PathBuf,
}

impl ControlPlane {
    /// Starts it on a free port of loopback and writes the kubeconfig into `folder`.
    ///
    /// # Errors
    /// When it cannot listen, or the file cannot be written.
    pub async fn start(folder: &Path) -> Result<Self> {
        let api = KubeApi::start(Options::default())
            .await
            .context("start the in-memory Kubernetes API")?;
        let kubeconfig = folder.join("kubeconfig");
        std::fs::write(&kubeconfig, api.kubeconfig(NAMESPACE))
            .with_context(|| format!("write {}", kubeconfig.display()))?;
        Ok(Self { api, kubeconfig })
    }

    /// The API itself: its faults and counters.
    #[must_use]
    pub fn api(&self) -> &KubeApi {
        &self.api
    }

    /// The file that leads a client to it.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }
}
