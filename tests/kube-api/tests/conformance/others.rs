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

use crate::server::{Bench, refused};

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
