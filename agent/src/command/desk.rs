//! A command's way to the API server.

use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use prometheus::Registry;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::group::Group;
use super::{Place, Which};
use crate::clock::Clock;
use crate::kubernetes::{ApiCounter, Failure, connect_as_operator};
use crate::names;

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(5);
/// How often an edit is tried when somebody else edits at the same time: the holder renews every few seconds.
const EDITS: u32 = 8;
/// Between two tries of an edit.
const EDIT_PAUSE: Duration = Duration::from_millis(100);

/// A client, a namespace, a clock.
#[derive(Clone)]
pub struct Desk {
    client: Client,
    namespace: String,
    counter: ApiCounter,
    /// For ages, which are for people.
    pub clock: Clock,
}

impl Desk {
    /// On a client that is there already.
    ///
    /// # Errors
    /// None that could be met: the counter's registry is new.
    pub fn new(client: Client, namespace: &str) -> anyhow::Result<Self> {
        Ok(Self {
            client,
            namespace: namespace.to_owned(),
            counter: ApiCounter::register(&Registry::new(), "rocketmq_ha")?,
            clock: Clock,
        })
    }

    /// Where the flags point to.
    ///
    /// # Errors
    /// There is no usable way to a cluster.
    pub async fn open(place: &Place) -> anyhow::Result<Self> {
        let (client, default) = connect_as_operator(place, LIMIT).await?;
        Self::new(client, place.namespace.as_ref().unwrap_or(&default))
    }

    /// Where it looks.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The groups that were asked for, by Lease name.
    ///
    /// # Errors
    /// The API server gave no list.
    pub async fn groups(&self, which: &Which) -> anyhow::Result<Vec<Group>> {
        let leases: Vec<Lease> = self.list("leases", names::KIND_LABEL, None).await?;
        let (groups, members): (Vec<_>, Vec<_>) = leases.into_iter().partition(|lease| {
            lease
                .labels()
                .get(names::KIND_LABEL)
                .is_some_and(|k| k == "group")
        });
        let mut groups: Vec<Group> = groups.into_iter().map(Group::new).collect();
        groups.retain(|group| {
            let cluster = which.cluster.as_ref().is_none_or(|c| *c == group.cluster);
            cluster
                && which
                    .broker_name
                    .as_ref()
                    .is_none_or(|b| *b == group.broker)
        });
        for lease in &members {
            let home = lease.labels().get(names::GROUP_LABEL);
            if let Some(group) = groups.iter_mut().find(|g| Some(&g.name) == home) {
                group.add(lease);
            }
        }
        Ok(groups)
    }

    /// The one group that was asked for.
    ///
    /// # Errors
    /// There is none, or more than one, or no list.
    pub async fn group(&self, which: &Which) -> anyhow::Result<Group> {
        let mut groups = self.groups(which).await?;
        let namespace = &self.namespace;
        match (groups.pop(), groups.is_empty()) {
            (Some(group), true) => Ok(group),
            (Some(last), false) => {
                groups.push(last);
                let all: Vec<String> = groups.iter().map(Group::title).collect();
                bail!(
                    "choose a group in namespace {namespace:?}: there are {}; add --cluster and --broker-name",
                    all.join(", ")
                )
            }
            (None, _) => bail!(
                "find the group in namespace {namespace:?}: no Lease with label {}=group fits; check --namespace, --cluster and \
                 --broker-name, and whether an agent of it ever ran",
                names::KIND_LABEL
            ),
        }
    }

    /// The group's Lease now.
    ///
    /// # Errors
    /// The API server gave no answer, or has no such Lease.
    pub async fn lease(&self, name: &str) -> anyhow::Result<Lease> {
        let api = self.api::<Lease>();
        let request = api.get_opt(name);
        let lease = self.counter.call("get", "leases", LIMIT, request).await?;
        lease.with_context(|| format!("Lease {name} in namespace {:?} is gone", self.namespace))
    }

    /// Sets annotations of a group's Lease by compare-and-swap; null takes one off. `wish` judges the Lease that is there
    /// at that very moment; None leaves it as it is. Whether something was written.
    ///
    /// # Errors
    /// What `wish` says, or the API server.
    pub async fn annotate(
        &self,
        name: &str,
        mut wish: impl FnMut(&Group) -> anyhow::Result<Option<Value>>,
    ) -> anyhow::Result<bool> {
        for _ in 0..EDITS {
            let lease = self.lease(name).await?;
            let version = lease.metadata.resource_version.clone();
            let Some(annotations) = wish(&Group::new(lease))? else {
                return Ok(false);
            };
            let patch = Patch::Merge(json!({
                "metadata": {"resourceVersion": version, "annotations": annotations}
            }));
            let (api, params) = (self.api::<Lease>(), PatchParams::default());
            let request = api.patch_metadata(name, &params, &patch);
            match self.counter.call("patch", "leases", LIMIT, request).await {
                Ok(_) => return Ok(true),
                Err(error) if error.failure() == Failure::Conflict => sleep(EDIT_PAUSE).await,
                Err(error) if error.failure() == Failure::Forbidden => {
                    return Err(error).context(format!(
                        "edit Lease {name}: grant patch on leases in namespace {:?}",
                        self.namespace
                    ));
                }
                Err(error) => return Err(error).context(format!("edit Lease {name}")),
            }
        }
        bail!("edit Lease {name}: it changed at every one of {EDITS} tries; try again")
    }

    /// All objects with a label, and of a field where one is given.
    pub(super) async fn list<K>(
        &self,
        resource: &'static str,
        label: &str,
        field: Option<String>,
    ) -> anyhow::Result<Vec<K>>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let params = ListParams {
            label_selector: (!label.is_empty()).then(|| label.to_owned()),
            field_selector: field,
            ..ListParams::default()
        };
        let api = self.api::<K>();
        let request = api.list(&params);
        let list = self.counter.call("list", resource, LIMIT, request).await;
        let list = list.with_context(|| {
            format!(
                "read {resource} of namespace {:?}: is the API server reached, and does the Role grant list on {resource}?",
                self.namespace
            )
        })?;
        Ok(list.items)
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}
