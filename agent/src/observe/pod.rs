//! The group's pods, as far as the kubelet's word about them matters: our own containers, and proofs of death (H38).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent_core::observation::{PodSeen, Reading};
use agent_core::{Member, Tick};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::{Notify, watch};

use super::objects::{IDLE, Objects, Sight};
use crate::clock::Clock;
use crate::kubernetes::ApiCounter;
use crate::names::{self, GroupNames};

/// Ends that the kubelet saw with its own eyes; everything else is somebody's assumption.
const SEEN_ENDS: [&str; 3] = ["Completed", "Error", "OOMKilled"];
/// Pods that a kubelet made by itself report by a shadow object.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// What a pod must tolerate to run on a virtual node, whose kubelet sees no processes.
const VIRTUAL: &str = "virtual-kubelet.io/provider";

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
        idle: IDLE,
        counter,
    };
    let task = async move {
        let never = Notify::new();
        let pods = &mut Pods::new();
        objects
            .follow(&never, |sight| {
                if take(pods, sight, clock.tick()) {
                    publish.send_replace(view_of(pods, &own_uid));
                }
            })
            .await;
    };
    (view, task)
}

/// The pods by name, and when each was seen.
type Pods = BTreeMap<String, (Pod, Tick)>;

/// Whether something was seen.
fn take(pods: &mut Pods, sight: Sight<Pod>, now: Tick) -> bool {
    match sight {
        Sight::Asking | Sight::Current => return false,
        Sight::All(items) => {
            *pods = items
                .into_iter()
                .map(|p| (p.name_any(), (p, now)))
                .collect()
        }
        // The last state of a deleted pod may still prove its end (H39); the next pod of its name replaces it, and the
        // next list forgets it.
        Sight::Changed(pod) | Sight::Gone(pod) => {
            pods.insert(pod.name_any(), (pod, now));
        }
    }
    true
}

fn view_of(pods: &Pods, own_uid: &str) -> PodView {
    let mut view = PodView::default();
    for (pod, at) in pods.values() {
        if pod.uid().as_deref() == Some(own_uid) {
            view.me = Some(own(pod));
        } else if proves(pod) {
            view.others
                .insert(member(pod), Reading::known(other(pod), *at));
        }
    }
    view
}

/// Whether a real kubelet speaks for this pod: no shadow of a static one, and not on a virtual node (H39).
fn proves(pod: &Pod) -> bool {
    let tolerations = pod.spec.as_ref().and_then(|s| s.tolerations.as_ref());
    let is_virtual = tolerations
        .into_iter()
        .flatten()
        .any(|t| t.key.as_deref() == Some(VIRTUAL));
    !is_virtual && !pod.annotations().contains_key(MIRROR)
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
