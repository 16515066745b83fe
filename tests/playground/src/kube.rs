//! The Kubernetes API that the agents of a playground share: in memory, in this process.

use std::net::Ipv4Addr;
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
        Self::start_on(Ipv4Addr::LOCALHOST, folder).await
    }

    /// The same on another address of ours.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_on(ip: Ipv4Addr, folder: &Path) -> Result<Self> {
        let options = Options {
            bind: (ip, 0).into(),
            ..Options::default()
        };
        let api = KubeApi::start(options)
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
