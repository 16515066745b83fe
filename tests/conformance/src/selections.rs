//! Lists: labels, names, namespaces, and the one sequence of versions.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::json;

use crate::bench::{Bench, make_namespace, refused, version};

pub(crate) async fn delete_collection_takes_only_what_is_selected(bench: Bench) {
    bench.create_lease("a", json!({"of": "x"})).await;
    bench.create_lease("b", json!({"of": "x"})).await;
    bench.create_lease("c", json!({"of": "y"})).await;
    let selected = ListParams::default().labels("of=x");
    bench
        .leases()
        .delete_collection(&DeleteParams::default(), &selected)
        .await
        .unwrap();
    assert_eq!(names(&bench, &ListParams::default()).await, ["c"]);
}

async fn names(bench: &Bench, params: &ListParams) -> Vec<String> {
    let list = bench.leases().list(params).await.unwrap();
    list.items
        .into_iter()
        .filter_map(|lease| lease.metadata.name)
        .collect()
}

pub(crate) async fn lists_are_selected_by_label(bench: Bench) {
    bench
        .create_lease("a", json!({"group": "g1", "role": "master"}))
        .await;
    bench.create_lease("b", json!({"group": "g1"})).await;
    bench
        .create_lease("c", json!({"group": "g2", "role": "slave"}))
        .await;
    for (selector, want) in [
        ("group=g1", vec!["a", "b"]),
        ("group==g1,role=master", vec!["a"]),
        ("group!=g1", vec!["c"]),
        ("role", vec!["a", "c"]),
        ("!role", vec!["b"]),
        ("role!=master", vec!["b", "c"]),
        ("group in (g1, g2),role notin (slave)", vec!["a", "b"]),
        ("group in (g3)", vec![]),
    ] {
        let params = ListParams::default().labels(selector);
        assert_eq!(names(&bench, &params).await, want, "{selector}");
    }
    let bad = ListParams::default().labels("group in g1");
    refused(bench.leases().list(&bad).await, 400, "BadRequest");
}

pub(crate) async fn lists_are_selected_by_name(bench: Bench) {
    bench.create_lease("a", json!({})).await;
    bench.create_lease("b", json!({})).await;
    let by = |fields: &str| ListParams::default().fields(fields);
    assert_eq!(names(&bench, &by("metadata.name=b")).await, ["b"]);
    assert_eq!(names(&bench, &by("metadata.name!=b")).await, ["a"]);
    let unknown = by("spec.holderIdentity=a-0");
    refused(bench.leases().list(&unknown).await, 400, "BadRequest");
}

pub(crate) async fn lists_span_namespaces(bench: Bench) {
    let other = Bench {
        namespace: make_namespace(&bench.client, "another").await,
        ..bench.clone()
    };
    bench.create_lease("l", json!({"case": "span"})).await;
    other.create_lease("l", json!({"case": "span"})).await;
    let everywhere: Api<Lease> = Api::all(bench.client.clone());
    let list = everywhere
        .list(&ListParams::default().labels("case=span"))
        .await
        .unwrap();
    let mut found: Vec<_> = list
        .items
        .into_iter()
        .filter_map(|l| l.metadata.namespace)
        .collect();
    let mut want = vec![bench.namespace.clone(), other.namespace.clone()];
    found.sort();
    want.sort();
    found.retain(|namespace| want.contains(namespace));
    assert_eq!(found, want);
    assert_eq!(names(&bench, &ListParams::default()).await, ["l"]);
}

pub(crate) async fn versions_are_one_sequence(bench: Bench) {
    let first = bench.create_lease("a", json!({})).await;
    let maps: Api<ConfigMap> = Api::namespaced(bench.client.clone(), &bench.namespace);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    let map = serde_json::from_value(map).unwrap();
    let map = maps.create(&PostParams::default(), &map).await.unwrap();
    let second = bench.create_lease("b", json!({})).await;
    let between: u64 = map.metadata.resource_version.unwrap().parse().unwrap();
    assert!(version(&first) < between && between < version(&second));
    let list = bench.leases().list(&ListParams::default()).await.unwrap();
    let of_list: u64 = list.metadata.resource_version.unwrap().parse().unwrap();
    assert!(of_list >= version(&second));
}

/// A server may give all at once; one that gives a part says where to go on.
pub(crate) async fn a_limited_list_can_be_read_to_its_end(bench: Bench) {
    for name in ["a", "b", "c", "d", "e"] {
        bench.create_lease(name, json!({})).await;
    }
    let mut params = ListParams::default().limit(2);
    let mut all = Vec::new();
    loop {
        let page = bench.leases().list(&params).await.unwrap();
        all.extend(page.items.into_iter().filter_map(|l| l.metadata.name));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    assert_eq!(all, ["a", "b", "c", "d", "e"]);
}

/// A list is of one moment: what is written after its version is told by a watch from it, and nothing else.
pub(crate) async fn a_list_may_be_any_version_that_was(bench: Bench) {
    let made = bench.create_lease("a", json!({})).await;
    for from in ["", "0", &version(&made).to_string()] {
        let path = bench.lease_path(&format!("?resourceVersion={from}"));
        let list = bench.raw("GET", &path, "", Vec::new()).await.unwrap();
        let read: u64 = list["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        if from != "0" {
            assert!(read >= version(&made), "{from}: {read}");
            assert_eq!(list["items"].as_array().unwrap().len(), 1, "{from}");
        }
    }
    let future = bench.lease_path("?resourceVersion=1000000000");
    let refused_list = bench.raw("GET", &future, "", Vec::new()).await;
    refused(refused_list, 504, "Timeout");
}

pub(crate) async fn an_empty_list_is_a_list(bench: Bench) {
    let path = bench.lease_path("");
    let list = bench.raw("GET", &path, "", Vec::new()).await.unwrap();
    assert_eq!(list["kind"], "LeaseList");
    assert_eq!(list["items"], json!([]));
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    assert!(version.parse::<u64>().unwrap() > 0);
}
