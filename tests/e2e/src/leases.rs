//! A group's Leases as people and other programs see and change them.

use anyhow::{Context, Result, ensure};
use playground::lease::GroupLease;
use playground::wait::until;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::group::{Group, LIMIT};

/// The annotation with the holder's record.
pub const STATE: &str = "rocketmq-ha.io/state";

/// Which of the group's Leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The one that makes a master.
    Group,
    /// A member's word; of several the first.
    Member,
}

impl Kind {
    const fn label(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Member => "member",
        }
    }
}

impl Group<'_> {
    /// The group's Lease as the API has it.
    ///
    /// # Errors
    /// When there is none.
    pub async fn lease_object(&self) -> Result<Value> {
        self.object(Kind::Group).await
    }

    /// A Lease as the API has it; of several the first.
    ///
    /// # Errors
    /// When there is none.
    pub async fn object(&self, kind: Kind) -> Result<Value> {
        let kind = kind.label();
        let path = format!(
            "{}?labelSelector=rocketmq-ha.io/kind%3D{kind}",
            self.leases()
        );
        let mut list = self.plane().get(&path).await?;
        let lease = list["items"].get_mut(0).map(Value::take);
        lease.with_context(|| format!("find the {kind} Lease: none yet"))
    }

    /// Waits until there is a Lease of this kind.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn lease_is_there(&self, kind: Kind) -> Result<()> {
        until("a Lease", LIMIT, async || self.object(kind).await)
            .await
            .map(drop)
    }

    /// Deletes a Lease, as a person would with kubectl.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn delete_lease(&self, kind: Kind) -> Result<()> {
        let path = self.path(kind).await?;
        self.plane().delete(&path).await.map(drop)
    }

    /// Changes a Lease by a merge patch, as a person would with kubectl.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn patch_lease(&self, kind: Kind, patch: &Value) -> Result<()> {
        let path = self.path(kind).await?;
        self.plane().merge_patch(&path, patch).await.map(drop)
    }

    /// Sets or removes an annotation of the group's Lease.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn annotate(&self, key: &str, value: Option<&str>) -> Result<()> {
        let patch = json!({"metadata": {"annotations": {key: value}}});
        self.patch_lease(Kind::Group, &patch).await
    }

    /// Waits until the group Lease has this holder.
    ///
    /// # Errors
    /// When it has not in time.
    pub async fn held_by(&self, holder: Option<String>) -> Result<GroupLease> {
        until("the Lease's holder", LIMIT, async || {
            let lease = self.lease().await?;
            ensure!(lease.holder == holder, "it is {:?}", lease.holder);
            Ok(lease)
        })
        .await
    }

    /// Waits until the group Lease of this very term was renewed `times` times.
    ///
    /// # Errors
    /// When it was not, or the term is over.
    pub async fn renewed(&self, lease: &GroupLease, times: u64) -> Result<()> {
        let goal = seq(&self.lease_object().await?)? + times;
        until("renewals", LIMIT, async || {
            let object = self.lease_object().await?;
            let now = self.lease().await?;
            ensure!(now.term == lease.term, "the term is {:?}", now.term);
            let seq = seq(&object)?;
            ensure!(seq >= goal, "renewal {seq} of {goal}");
            Ok(())
        })
        .await
    }

    fn leases(&self) -> String {
        let namespace = self.namespace();
        format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")
    }

    async fn path(&self, kind: Kind) -> Result<String> {
        let lease = self.object(kind).await?;
        let name = lease["metadata"]["name"].as_str();
        let name = name.context("read the Lease's name")?;
        Ok(format!("{}/{name}", self.leases()))
    }
}

/// Where the term of a group Lease began (bytes of the log).
///
/// # Errors
/// When the Lease does not tell.
pub fn term_start(lease: &Value) -> Result<u64> {
    let start = &state(lease)?["term"]["start"];
    start.as_u64().context("read the term's start")
}

/// A record as an agent writes it, whatever is in it: with the digest of its content.
///
/// # Errors
/// When it is no JSON object.
pub fn seal(mut record: Value) -> Result<String> {
    let fields = record.as_object_mut().context("seal a record: no object")?;
    fields.remove("digest");
    let digest = digest(&SHA256, record.to_string().as_bytes());
    let hex: String = digest
        .as_ref()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    record["digest"] = json!(hex);
    Ok(record.to_string())
}

fn seq(lease: &Value) -> Result<u64> {
    let seq = &state(lease)?["seq"];
    seq.as_u64().context("read the renewal's number")
}

fn state(lease: &Value) -> Result<Value> {
    let state = lease["metadata"]["annotations"][STATE].as_str();
    serde_json::from_str(state.context("find the group's state")?).context("read the group's state")
}
