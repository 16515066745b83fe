//! The role label on our own pod: for people and selectors, never for a decision.

use std::time::Duration;

use agent_core::report::Role;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use kube_access::chain;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::debug;

use crate::kubernetes::ApiCounter;
use crate::names;
use crate::observe::pod::PodView;

/// After a label that could not be written.
const RETRY: Duration = Duration::from_secs(10);

/// Writes the label.
#[derive(Clone)]
pub struct Labeller {
    api: Api<Pod>,
    counter: ApiCounter,
    limit: Duration,
}

impl Labeller {
    /// A labeller for the pods of a namespace.
    pub fn new(client: Client, namespace: &str, counter: ApiCounter, limit: Duration) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            counter,
            limit,
        }
    }

    /// Keeps the label of our own pod what the role is, for ever. Without a pod there is nothing to label.
    pub async fn keep(
        self,
        mut role: watch::Receiver<Option<Role>>,
        mut pods: watch::Receiver<PodView>,
    ) {
        let mut written = None;
        loop {
            let own = pods
                .borrow_and_update()
                .me
                .as_ref()
                .map(|pod| pod.name.clone());
            let wanted = own.map(|pod| (pod, *role.borrow_and_update()));
            if wanted != written
                && let Some((pod, role)) = &wanted
            {
                if self.label(pod, *role).await {
                    written = wanted;
                } else {
                    sleep(RETRY).await;
                }
                continue;
            }
            let gone = tokio::select! {
                changed = role.changed() => changed.is_err(),
                changed = pods.changed() => changed.is_err(),
            };
            if gone {
                return;
            }
        }
    }

    /// Puts the role on a pod, or takes it off. Whether it was done.
    async fn label(&self, pod: &str, role: Option<Role>) -> bool {
        let body =
            json!({ "metadata": { "labels": { names::ROLE_LABEL: role.map(Role::as_str) } } });
        let params = PatchParams::default();
        let patch = Patch::Merge(&body);
        let request = self.api.patch_metadata(pod, &params, &patch);
        match self
            .counter
            .call("patch", "pods", self.limit, request)
            .await
        {
            Ok(_) => true,
            Err(error) => {
                debug!(error = %chain(&error), pod, "the role label could not be written");
                false
            }
        }
    }
}
