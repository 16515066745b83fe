//! The group's Lease, as a person sees it with kubectl, and the wishes a person may write on it.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::kube::{ControlPlane, NAMESPACE};
use crate::run_dir::random_word;

const STATE: &str = "rocketmq-ha.io/state";
const SWITCHOVER: &str = "rocketmq-ha.io/switchover";

/// What the group Lease says.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupLease {
    /// The object's name.
    pub name: String,
    /// `spec.holderIdentity`; `None` when released.
    pub holder: Option<String>,
    /// The reign it tells of.
    pub term: Term,
    /// The wish for a switchover that is on it, as it was written.
    pub switchover: Option<String>,
}

/// A reign.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Term {
    /// Its number.
    pub epoch: u64,
    /// What tells it from another one with this number, whatever its form.
    pub nonce: Value,
    /// Who reigns.
    pub master: String,
    /// `opening` or `serving`.
    pub stage: String,
}

impl GroupLease {
    /// Reads the Lease of the one group of a playground.
    ///
    /// # Errors
    /// When there is none yet, or it does not say who reigns.
    pub async fn read(plane: &ControlPlane) -> Result<Self> {
        Self::read_in(NAMESPACE, plane).await
    }

    /// The same in another namespace.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_in(namespace: &str, plane: &ControlPlane) -> Result<Self> {
        let path = format!(
            "{}?labelSelector=rocketmq-ha.io/kind%3Dgroup",
            leases(namespace)
        );
        let list = plane.get(&path).await?;
        let lease = list["items"]
            .get(0)
            .context("find the group's Lease: none yet")?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let state = text(&lease["metadata"]["annotations"][STATE])
            .with_context(|| format!("read annotation {STATE} of the group's Lease"))?;
        let mut state: Value = serde_json::from_str(&state).context("read the group's state")?;
        Ok(Self {
            name: text(&lease["metadata"]["name"]).context("read the Lease's name")?,
            holder: text(&lease["spec"]["holderIdentity"]).filter(|holder| !holder.is_empty()),
            term: serde_json::from_value(state["term"].take()).context("read the group's term")?,
            switchover: text(&lease["metadata"]["annotations"][SWITCHOVER]),
        })
    }

    /// Asks the present master to hand over to `target`.
    ///
    /// # Errors
    /// When the wish cannot be written.
    pub async fn ask_for_switchover(&self, plane: &ControlPlane, target: &str) -> Result<()> {
        let request = json!({
            "id": random_word()?,
            "term": {"epoch": self.term.epoch, "nonce": self.term.nonce},
            "target": target,
        });
        let patch = json!({"metadata": {"annotations": {SWITCHOVER: request.to_string()}}});
        let path = format!("{}/{}", leases(NAMESPACE), self.name);
        plane.merge_patch(&path, &patch).await.map(drop)
    }
}

fn leases(namespace: &str) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")
}
