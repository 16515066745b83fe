//! The group's pods, as far as the kubelet's word about them matters: our own containers, and proofs of death (H38).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent_core::Member;
use agent_core::observation::{PodSeen, Reading};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::{Notify, watch};

use super::objects::{Objects, Sight};
use crate::clock::Clock;
use crate::kubernetes::ApiCounter;
use crate::names::{self, GroupNames};

/// Ends that the kubelet saw with its own eyes; everything else is somebody's assumption.
const SEEN_ENDS: [&str; 3] = ["Completed", "Error", "OOMKilled"];
/// Pods that a kubelet made by itself report by a shadow object.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What is known of the group's pods. Empty where there are none, or none may be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodView {
    /// Our own.
    pub me: Option<OwnPod>,
    /// The others', by member.
    pub others: BTreeMap<Member, Reading<PodSeen>>,
}

/// Our own pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnPod {
    /// Its name.
    pub name: String,
    /// The ids of its running containers, in order.
    pub containers: Vec<String>,
    /// It is being deleted.
    pub deleting: bool,
}

/// Starts watching the group's pods. The returned future runs until it is dropped.
pub fn observe(
    client: Client,
    namespace: &str,
    group: &GroupNames,
    own_uid: String,
    clock: Clock,
    counter: ApiCounter,
    limit: Duration,
) -> (
    watch::Receiver<PodView>,
    impl Future<Output = ()> + Send + 'static,
) {
    let (publish, view) = watch::channel(PodView::default());
    let objects: Objects<Pod> = Objects {
        api: Api::namespaced(client, namespace),
        resource: "pods",
        labels: Some(format!("{}={}", names::GROUP_LABEL, group.lease)),
        fields: None,
        limit,
        counter,
    };
    let task = async move {
        let never = Notify::new();
        let pods = &mut BTreeMap::new();
        objects
            .follow(&never, |sight| {
                take(pods, sight);
                publish.send_replace(view_of(pods, &own_uid, clock));
            })
            .await;
    };
    (view, task)
}

fn take(pods: &mut BTreeMap<String, Pod>, sight: Sight<Pod>) {
    match sight {
        Sight::Asking | Sight::Current => {}
        Sight::All(items) => *pods = items.into_iter().map(|p| (p.name_any(), p)).collect(),
        Sight::Changed(pod) => {
            pods.insert(pod.name_any(), pod);
        }
        // The last state of a deleted pod may still prove its end (H39); the next pod of its name replaces it.
        Sight::Gone(pod) => {
            pods.insert(pod.name_any(), pod);
        }
    }
}

fn view_of(pods: &BTreeMap<String, Pod>, own_uid: &str, clock: Clock) -> PodView {
    let mut view = PodView::default();
    for pod in pods.values() {
        if pod.uid().as_deref() == Some(own_uid) {
            view.me = Some(own(pod));
        } else if !pod.annotations().contains_key(MIRROR) {
            view.others
                .insert(member(pod), Reading::known(other(pod), clock.tick()));
        }
    }
    view
}

fn member(pod: &Pod) -> Member {
    let named = pod.annotations().get(names::MEMBER).cloned();
    Member::new(named.unwrap_or_else(|| pod.name_any()))
}

fn own(pod: &Pod) -> OwnPod {
    let running = statuses(pod).filter(|s| {
        s.state
            .as_ref()
            .is_some_and(|state| state.running.is_some())
    });
    let mut containers: Vec<String> = running.filter_map(|s| s.container_id.clone()).collect();
    containers.sort();
    OwnPod {
        name: pod.name_any(),
        containers,
        deleting: pod.metadata.deletion_timestamp.is_some(),
    }
}

fn other(pod: &Pod) -> PodSeen {
    let mut terminated = BTreeSet::new();
    for status in statuses(pod) {
        for state in [&status.state, &status.last_state].into_iter().flatten() {
            let Some(end) = &state.terminated else {
                continue;
            };
            let seen = end
                .reason
                .as_deref()
                .is_some_and(|r| SEEN_ENDS.contains(&r));
            if let Some(id) = end.container_id.clone().filter(|id| seen && !id.is_empty()) {
                terminated.insert(id);
            }
        }
    }
    PodSeen {
        uid: pod.uid().unwrap_or_default(),
        terminated,
    }
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let containers = status
        .and_then(|s| s.container_statuses.as_ref())
        .into_iter()
        .flatten();
    let sidecars = status
        .and_then(|s| s.init_container_statuses.as_ref())
        .into_iter()
        .flatten();
    containers.chain(sidecars)
}
