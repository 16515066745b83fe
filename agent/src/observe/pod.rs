//! The group's pods, as far as the kubelet's word about them matters: our own pod, and proofs of death (H38).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent_core::observation::{PodSeen, Reading};
use agent_core::{Member, Tick};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{Api, Client, ResourceExt as _};
use kube_access::{IDLE, Objects, Sight};
use launcher::epitaph;
use tokio::sync::{Notify, watch};

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
    OwnPod {
        name: pod.name_any(),
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
            // What ran there had left a word of its own, which comes back only with its end.
            let word = end.message.as_deref().and_then(epitaph::read);
            if let Some(word) = word.filter(|_| seen) {
                terminated.insert(word.to_owned());
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn ended(word: &str, reason: &str) -> Value {
        let message = format!("rocketmq-ha {word}\n");
        json!({"terminated": {"message": message, "reason": reason, "exitCode": 137}})
    }

    /// A pod with one container in these states.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "cases write their states as literals"
    )]
    fn pod(name: &str, state: Value, last: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "uid": format!("uid-{name}")},
            "spec": {"containers": [{"name": "broker"}]},
            "status": {"containerStatuses": [{
                "name": "broker", "image": "i", "imageID": "i", "ready": false, "restartCount": 0,
                "state": state, "lastState": last,
            }]},
        }))
        .unwrap()
    }

    fn view(pods: &[&Pod]) -> PodView {
        let mut seen = Pods::new();
        let items = pods.iter().map(|p| (*p).clone()).collect();
        assert!(take(&mut seen, Sight::All(items), Tick::from_millis(5)));
        view_of(&seen, "uid-me")
    }

    fn proofs(pod: &Pod) -> Vec<String> {
        let view = view(&[pod]);
        let member = member(pod);
        let seen = view.others.get(&member).and_then(Reading::last);
        seen.map(|s| s.terminated.iter().cloned().collect())
            .unwrap_or_default()
    }

    #[test]
    fn h38_only_ends_that_a_kubelet_saw_prove_a_death() {
        for reason in ["Completed", "Error", "OOMKilled"] {
            let now = pod("a-0", ended("now", reason), json!({}));
            assert_eq!(proofs(&now), ["now"], "{reason}");
            let before = pod("a-0", json!({"running": {}}), ended("old", reason));
            assert_eq!(proofs(&before), ["old"], "{reason}");
        }
        for reason in ["ContainerStatusUnknown", "NodeLost", "", "Whatever"] {
            let unsure = pod("a-0", ended("now", reason), json!({}));
            assert!(proofs(&unsure).is_empty(), "{reason}");
        }
        let wordless = pod("a-0", ended("", "Error"), json!({}));
        assert!(proofs(&wordless).is_empty());
        let others =
            json!({"terminated": {"message": "panic: now", "reason": "Error", "exitCode": 2}});
        assert!(proofs(&pod("a-0", others, json!({}))).is_empty());
        let running = pod("a-0", json!({"running": {}}), json!({}));
        assert!(proofs(&running).is_empty());
    }

    #[test]
    fn h39_a_shadow_of_a_pod_and_a_virtual_node_prove_nothing() {
        let dead = pod("a-0", ended("now", "Error"), json!({}));
        let mut mirror = dead.clone();
        mirror.metadata.annotations = Some([(MIRROR.to_owned(), "x".to_owned())].into());
        assert!(view(&[&mirror]).others.is_empty());
        let mut virtual_one = serde_json::to_value(&dead).unwrap();
        virtual_one["spec"]["tolerations"] = json!([{"key": VIRTUAL, "operator": "Exists"}]);
        let virtual_one: Pod = serde_json::from_value(virtual_one).unwrap();
        assert!(view(&[&virtual_one]).others.is_empty());
    }

    #[test]
    fn h39_a_deleted_pod_keeps_its_last_word_until_its_name_is_used_again() {
        let dead = pod("a-0", ended("now", "Error"), json!({}));
        let mut pods = Pods::new();
        take(&mut pods, Sight::Gone(dead), Tick::from_millis(1));
        let view = view_of(&pods, "uid-me");
        let word = view.others[&Member::from("a-0")].last().unwrap();
        assert_eq!((word.uid.as_str(), word.terminated.len()), ("uid-a-0", 1));
        let next = pod("a-0", json!({"running": {}}), json!({}));
        take(&mut pods, Sight::Changed(next), Tick::from_millis(2));
        let view = view_of(&pods, "uid-me");
        assert!(
            view.others[&Member::from("a-0")]
                .last()
                .unwrap()
                .terminated
                .is_empty()
        );
        take(&mut pods, Sight::All(vec![]), Tick::from_millis(3));
        assert!(pods.is_empty());
    }

    #[test]
    fn a_failed_list_and_another_pods_news_make_no_pod_fresher() {
        let mut pods = Pods::new();
        let (one, two) = (
            pod("a-0", json!({}), json!({})),
            pod("a-1", json!({}), json!({})),
        );
        assert!(take(&mut pods, Sight::Changed(one), Tick::from_millis(1)));
        assert!(!take(&mut pods, Sight::Asking, Tick::from_millis(2)));
        assert!(!take(&mut pods, Sight::Current, Tick::from_millis(3)));
        assert!(take(&mut pods, Sight::Changed(two), Tick::from_millis(4)));
        let view = view_of(&pods, "uid-me");
        let at = |member: &str| match view.others.get(&Member::from(member)) {
            Some(Reading::Known { at, .. }) => Some(at.as_millis()),
            _ => None,
        };
        assert_eq!((at("a-0"), at("a-1")), (Some(1), Some(4)));
    }

    #[test]
    fn our_own_pod_is_known_by_its_uid_and_a_member_by_its_annotation() {
        let mut other = pod("x-7d9f", json!({}), json!({}));
        other.metadata.annotations = Some([(names::MEMBER.to_owned(), "a-1".to_owned())].into());
        let mut me = pod("me", json!({"running": {}}), json!({}));
        me.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).ok();
        let view = view(&[&me, &other]);
        let own = OwnPod {
            name: "me".into(),
            deleting: true,
        };
        assert_eq!(view.me, Some(own));
        assert_eq!(
            view.others.keys().collect::<Vec<_>>(),
            [&Member::from("a-1")]
        );
    }
}
