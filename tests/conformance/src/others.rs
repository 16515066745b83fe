//! Where other kinds differ from Leases.

use std::pin::pin;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::{core, events};
use kube::api::{
    Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::runtime::events::{Event, EventType, Recorder};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::bench::{Bench, refused};

fn typed<T: DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).unwrap()
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    typed(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": value}}),
    )
}

fn pod(name: &str, node: Option<&str>) -> Pod {
    typed(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "broker"}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "example.org/none"}]},
    }))
}

pub(crate) async fn config_maps_may_be_replaced_without_a_version(bench: Bench) {
    let maps: Api<ConfigMap> = Api::namespaced(bench.client, &bench.namespace);
    let params = PostParams::default();
    refused(
        maps.replace("m", &params, &config_map("m", "1")).await,
        404,
        "NotFound",
    );
    let mut first = maps.create(&params, &config_map("m", "1")).await.unwrap();
    let second = maps
        .replace("m", &params, &config_map("m", "2"))
        .await
        .unwrap();
    assert_eq!(second.metadata.uid, first.metadata.uid);
    assert_eq!(second.data.unwrap()["k"], "2");
    first.data = None;
    refused(maps.replace("m", &params, &first).await, 409, "Conflict");
}

pub(crate) async fn finalizers_delay_a_deletion(bench: Bench) {
    let maps: Api<ConfigMap> = Api::namespaced(bench.client, &bench.namespace);
    let mut map = config_map("m", "1");
    map.metadata.finalizers = Some(vec!["example.org/wait".to_owned()]);
    maps.create(&PostParams::default(), &map).await.unwrap();
    maps.delete("m", &DeleteParams::default()).await.unwrap();
    let marked = maps.get("m").await.unwrap();
    assert!(marked.metadata.deletion_timestamp.is_some());
    let version = marked.metadata.resource_version.unwrap();
    let params = WatchParams::default().timeout(10).disable_bookmarks();
    let mut events = pin!(maps.watch(&params, &version).await.unwrap());
    let free = json!({"metadata": {"finalizers": null}});
    maps.patch("m", &PatchParams::default(), &Patch::Merge(free))
        .await
        .unwrap();
    let told = events.try_next().await.unwrap();
    assert!(
        matches!(told, Some(WatchEvent::Deleted(_))),
        "no change is told before the end"
    );
    assert!(maps.get_opt("m").await.unwrap().is_none());
}

pub(crate) async fn a_pod_begins_pending_and_its_status_is_separate(bench: Bench) {
    let pods: Api<Pod> = Api::namespaced(bench.client, &bench.namespace);
    let params = PostParams::default();
    let mut new = json!(pod("p", None));
    new["status"] = json!({"phase": "Running", "podIP": "192.0.2.1"});
    let made = pods.create(&params, &typed(new)).await.unwrap();
    assert_eq!(made.metadata.generation, Some(1));
    let status = made.status.clone().unwrap();
    assert_eq!(
        (status.phase.as_deref(), status.pod_ip),
        (Some("Pending"), None)
    );

    let mut running = made.clone();
    running.status.as_mut().unwrap().phase = Some("Running".to_owned());
    running
        .metadata
        .labels
        .as_mut()
        .unwrap()
        .insert("role".to_owned(), "slave".to_owned());
    let main = pods.replace("p", &params, &running).await.unwrap();
    assert_eq!(main.status.unwrap().phase.as_deref(), Some("Pending"));
    assert_eq!(main.metadata.labels.unwrap()["role"], "slave");

    running.metadata.resource_version = None;
    let told = pods.replace_status("p", &params, &running).await.unwrap();
    assert_eq!(told.status.unwrap().phase.as_deref(), Some("Running"));
    let patch = json!({"status": {"podIP": "192.0.2.7", "podIPs": [{"ip": "192.0.2.7"}]}});
    let patch = Patch::Merge(patch);
    let told = pods
        .patch_status("p", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let status = told.status.unwrap();
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(status.pod_ip.as_deref(), Some("192.0.2.7"));
    assert_eq!(told.metadata.generation, Some(1));
}

pub(crate) async fn a_pod_on_a_node_gets_its_grace(bench: Bench) {
    let pods: Api<Pod> = Api::namespaced(bench.client, &bench.namespace);
    let params = PostParams::default();
    pods.create(&params, &pod("free", None)).await.unwrap();
    pods.delete("free", &DeleteParams::default()).await.unwrap();
    assert!(pods.get_opt("free").await.unwrap().is_none());

    pods.create(&params, &pod("bound", Some("n1")))
        .await
        .unwrap();
    pods.delete("bound", &DeleteParams::default())
        .await
        .unwrap();
    let marked = pods.get("bound").await.unwrap().metadata;
    assert!(marked.deletion_timestamp.is_some());
    assert_eq!(marked.deletion_grace_period_seconds, Some(30));
    let now = DeleteParams::default().grace_period(0);
    pods.delete("bound", &now).await.unwrap();
    assert!(pods.get_opt("bound").await.unwrap().is_none());
}

pub(crate) async fn pod_labels_are_patched_either_way(bench: Bench) {
    let pods: Api<Pod> = Api::namespaced(bench.client, &bench.namespace);
    pods.create(&PostParams::default(), &pod("p", None))
        .await
        .unwrap();
    let params = PatchParams::default();
    let role = |role: &str| json!({"metadata": {"labels": {"role": role}}});
    pods.patch("p", &params, &Patch::Merge(role("slave")))
        .await
        .unwrap();
    let patched = pods
        .patch("p", &params, &Patch::Strategic(role("master")))
        .await
        .unwrap();
    let labels = patched.metadata.labels.unwrap();
    assert_eq!(json!(labels), json!({"app": "broker", "role": "master"}));
}

pub(crate) async fn endpoint_slices_count_their_generations(bench: Bench) {
    let slices: Api<EndpointSlice> = Api::namespaced(bench.client, &bench.namespace);
    let slice = typed(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "s"},
        "addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.1"], "conditions": {"ready": true}}],
        "ports": [{"name": "ns", "port": 9876, "protocol": "TCP"}],
    }));
    let made = slices.create(&PostParams::default(), &slice).await.unwrap();
    assert_eq!(made.metadata.generation, Some(1));
    let patch = async |change: Value| {
        let params = PatchParams::default();
        let patched = slices
            .patch("s", &params, &Patch::Merge(change))
            .await
            .unwrap();
        patched.metadata.generation
    };
    assert_eq!(
        patch(json!({"metadata": {"annotations": {"a": "b"}}})).await,
        Some(1)
    );
    let moved = json!([{"addresses": ["192.0.2.2"], "conditions": {"ready": true}}]);
    assert_eq!(patch(json!({"endpoints": moved})).await, Some(2));
    assert_eq!(
        patch(json!({"metadata": {"labels": {"a": "b"}}})).await,
        Some(3)
    );
}

pub(crate) async fn an_event_has_two_faces(bench: Bench) {
    let new: Api<events::v1::Event> = Api::namespaced(bench.client.clone(), &bench.namespace);
    let old: Api<core::v1::Event> = Api::namespaced(bench.client, &bench.namespace);
    let told = typed(json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"generateName": "e-"},
        "eventTime": "2026-01-02T03:04:05.000006Z",
        "action": "Promote", "reason": "Promoted", "type": "Normal", "note": "a-0 is master",
        "reportingController": "example.org/agent", "reportingInstance": "a-0",
        "regarding": {"apiVersion": "v1", "kind": "Pod", "name": "a-0", "namespace": bench.namespace},
    }));
    let told = new.create(&PostParams::default(), &told).await.unwrap();
    assert_eq!(told.note.as_deref(), Some("a-0 is master"));
    let seen = old
        .get(told.metadata.name.as_deref().unwrap())
        .await
        .unwrap();
    assert_eq!(seen.message.as_deref(), Some("a-0 is master"));
    assert_eq!(seen.involved_object.name.as_deref(), Some("a-0"));
    assert_eq!(
        seen.reporting_component.as_deref(),
        Some("example.org/agent")
    );
}

pub(crate) async fn the_runtime_recorder_publishes_and_repeats(bench: Bench) {
    let recorder = Recorder::new(bench.client.clone(), "example.org/agent".into());
    let about = core::v1::ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some("a-0".to_owned()),
        namespace: Some(bench.namespace.clone()),
        ..Default::default()
    };
    let event = Event {
        type_: EventType::Normal,
        reason: "Promoted".to_owned(),
        note: Some("a-0 is master".to_owned()),
        action: "Promote".to_owned(),
        secondary: None,
    };
    // The second time it is a patch of the first.
    recorder.publish(&event, &about).await.unwrap();
    recorder.publish(&event, &about).await.unwrap();
    let told: Api<events::v1::Event> = Api::namespaced(bench.client, &bench.namespace);
    let list = told.list(&ListParams::default()).await.unwrap();
    assert_eq!(list.items.len(), 1);
    let series = list.items[0].series.as_ref().unwrap();
    assert_eq!(series.count, 2);
}

pub(crate) async fn a_namespace_can_be_made(bench: Bench) {
    let namespaces: Api<Namespace> = Api::all(bench.client);
    let read = namespaces.get(&bench.namespace).await.unwrap();
    assert_eq!(read.status.unwrap().phase.as_deref(), Some("Active"));
}

/// As the agents tell of a fail-over: about a Lease, in the old face, without an eventTime.
pub(crate) async fn an_event_about_a_lease_can_be_told(bench: Bench) {
    let events: Api<core::v1::Event> = Api::namespaced(bench.client.clone(), &bench.namespace);
    let told = |namespace: &str, name: &str| -> core::v1::Event {
        typed(json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": name},
            "involvedObject": {
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "name": "rmq-a", "namespace": namespace,
            },
            "reason": "Promoted", "type": "Warning", "message": "m".repeat(2000), "count": 1,
            "source": {"component": "rocketmq-ha", "host": "a-0"},
            "firstTimestamp": "2026-01-02T03:04:05Z", "lastTimestamp": "2026-01-02T03:04:05Z",
        }))
    };
    let params = PostParams::default();
    let made = events.create(&params, &told(&bench.namespace, "e.1")).await;
    assert_eq!(made.unwrap().message.unwrap().len(), 2000);
    // Of replicas that tell the same under one name, the first is heard.
    let again = events.create(&params, &told(&bench.namespace, "e.1")).await;
    refused(again, 409, "AlreadyExists");
    // It lives where its object does.
    let elsewhere = events.create(&params, &told("default", "e.2")).await;
    refused(elsewhere, 422, "Invalid");
    let about = |name: &str| {
        ListParams::default().fields(&format!(
            "involvedObject.kind=Lease,involvedObject.name={name}"
        ))
    };
    let found = events.list(&about("rmq-a")).await.unwrap();
    assert_eq!(found.items.len(), 1);
    assert!(events.list(&about("rmq-b")).await.unwrap().items.is_empty());
}

/// As an agent writes its role: metadata alone, null to take it off.
pub(crate) async fn a_role_label_comes_and_goes(bench: Bench) {
    let pods: Api<Pod> = Api::namespaced(bench.client.clone(), &bench.namespace);
    pods.create(&PostParams::default(), &pod("p", None))
        .await
        .unwrap();
    let label = async |name: &str, role: Option<&str>| {
        let patch = Patch::Merge(json!({"metadata": {"labels": {"role": role}}}));
        let params = PatchParams::default();
        pods.patch_metadata(name, &params, &patch).await
    };
    let labelled = label("p", Some("master")).await.unwrap();
    assert_eq!(labelled.metadata.labels.unwrap()["role"], "master");
    let bare = label("p", None).await.unwrap();
    assert!(!bare.metadata.labels.unwrap().contains_key("role"));
    refused(label("none", Some("slave")).await, 404, "NotFound");
    refused(label("p", Some("not ok")).await, 422, "Invalid");
}

/// The proof of a death: the kubelet's word about a container, and then the end of the pod.
pub(crate) async fn the_end_of_a_container_and_of_its_pod_are_told(bench: Bench) {
    let pods: Api<Pod> = Api::namespaced(bench.client.clone(), &bench.namespace);
    let made = pods
        .create(&PostParams::default(), &pod("p", Some("n1")))
        .await
        .unwrap();
    let params = WatchParams::default()
        .labels("app=broker")
        .timeout(30)
        .disable_bookmarks();
    let from = made.metadata.resource_version.clone().unwrap();
    let mut events = pin!(pods.watch(&params, &from).await.unwrap());
    let state = json!({"terminated": {
        "exitCode": 137, "reason": "OOMKilled", "message": "rocketmq-ha word",
        "startedAt": "2026-01-02T03:04:05Z", "finishedAt": "2026-01-02T03:04:06Z",
    }});
    let status = json!({"status": {"phase": "Running", "containerStatuses": [{
        "name": "c", "image": "i", "imageID": "i", "ready": false, "restartCount": 0, "state": state,
    }]}});
    pods.patch_status("p", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
    let Some(WatchEvent::Modified(told)) = events.try_next().await.unwrap() else {
        panic!("wanted the kubelet's word");
    };
    let statuses = told.status.unwrap().container_statuses.unwrap();
    let end = statuses[0].state.clone().unwrap().terminated.unwrap();
    assert_eq!(end.message.as_deref(), Some("rocketmq-ha word"));
    assert_eq!(end.reason.as_deref(), Some("OOMKilled"));

    pods.delete("p", &DeleteParams::default()).await.unwrap();
    let Some(WatchEvent::Modified(marked)) = events.try_next().await.unwrap() else {
        panic!("wanted the mark");
    };
    assert!(marked.metadata.deletion_timestamp.is_some());
    let now = DeleteParams::default().grace_period(0);
    pods.delete("p", &now).await.unwrap();
    let mut last = events.try_next().await.unwrap();
    // The shorter grace may be told before the end.
    if matches!(last, Some(WatchEvent::Modified(_))) {
        last = events.try_next().await.unwrap();
    }
    let Some(WatchEvent::Deleted(gone)) = last else {
        panic!("wanted the end, got {last:?}");
    };
    assert_eq!(gone.metadata.uid, made.metadata.uid);
    assert!(gone.status.unwrap().container_statuses.is_some());
}

/// As httpsite follows its sources: one ConfigMap by name, the slices of a Service by label.
pub(crate) async fn sources_are_followed_by_name_and_by_label(bench: Bench) {
    let maps: Api<ConfigMap> = Api::namespaced(bench.client.clone(), &bench.namespace);
    let params = PostParams::default();
    let by_name = "metadata.name=m";
    let list = maps
        .list(&ListParams::default().fields(by_name))
        .await
        .unwrap();
    assert!(list.items.is_empty());
    let from = list.metadata.resource_version.unwrap();
    maps.create(&params, &config_map("other", "1"))
        .await
        .unwrap();
    maps.create(&params, &config_map("m", "1")).await.unwrap();
    let watch = WatchParams::default()
        .fields(by_name)
        .timeout(30)
        .disable_bookmarks();
    let mut events = pin!(maps.watch(&watch, &from).await.unwrap());
    let Some(WatchEvent::Added(map)) = events.try_next().await.unwrap() else {
        panic!("wanted the ConfigMap");
    };
    assert_eq!(map.metadata.name.as_deref(), Some("m"));
    // The operator's order is an annotation; other parts stay.
    let order = json!({"metadata": {"annotations": {"example.org/downgrade.a": "ann: dark"}}});
    maps.patch("m", &PatchParams::default(), &Patch::Merge(order))
        .await
        .unwrap();
    let Some(WatchEvent::Modified(map)) = events.try_next().await.unwrap() else {
        panic!("wanted the order");
    };
    assert_eq!(map.data.unwrap()["k"], "1");

    let slices: Api<EndpointSlice> = Api::namespaced(bench.client.clone(), &bench.namespace);
    let slice = |name: &str, service: &str| {
        typed(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}}, "addressType": "IPv4",
            "endpoints": [{"addresses": ["192.0.2.1"], "conditions": {"ready": true, "serving": true, "terminating": false}}],
            "ports": [{"name": "ns", "port": 9876, "protocol": "TCP"}],
        }))
    };
    slices.create(&params, &slice("a", "ns")).await.unwrap();
    slices.create(&params, &slice("b", "other")).await.unwrap();
    let of_service = ListParams::default().labels("kubernetes.io/service-name=ns");
    let found = slices.list(&of_service).await.unwrap();
    assert_eq!(found.items.len(), 1);
    let endpoint = &found.items[0].endpoints[0];
    assert_eq!(endpoint.conditions.as_ref().unwrap().ready, Some(true));
}
