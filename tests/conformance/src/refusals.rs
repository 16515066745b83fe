//! Bad requests: each gets the refusal that says what is wrong.

use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchParams};
use kube::core::Status;
use serde_json::{Value, json};

use crate::bench::{Bench, lease, refused};

const JSON: &str = "application/json";

pub(crate) async fn bad_values_are_invalid(bench: Bench) {
    let path = bench.lease_path("");
    let post = async |change: &str, value: Value| {
        let mut new = json!(lease("l", json!({})));
        *new.pointer_mut(change).unwrap() = value;
        bench
            .raw("POST", &path, JSON, new.to_string().into_bytes())
            .await
    };
    refused(
        post("/metadata/name", json!("Broker_A")).await,
        422,
        "Invalid",
    );
    refused(
        post("/metadata/labels", json!({"a": "not ok"})).await,
        422,
        "Invalid",
    );
    refused(
        post("/metadata/labels", json!({"-a": "b"})).await,
        422,
        "Invalid",
    );
    refused(
        post("/spec/leaseDurationSeconds", json!(0)).await,
        422,
        "Invalid",
    );
    refused(
        post("/spec/leaseDurationSeconds", json!("x")).await,
        400,
        "BadRequest",
    );
    refused(
        post("/spec/holderIdentity", json!(7)).await,
        400,
        "BadRequest",
    );
    refused(
        post("/spec", json!({"renewTime": "yesterday"})).await,
        400,
        "BadRequest",
    );
    post("/spec", json!({"holderIdentity": ""})).await.unwrap();
}

pub(crate) async fn large_annotations_have_a_limit(bench: Bench) {
    let annotated = |bytes: usize| {
        let mut new = lease("l", json!({}));
        let value = ("example.org/state".to_owned(), "x".repeat(bytes));
        new.metadata.annotations = Some([value].into());
        new
    };
    let over = bench
        .leases()
        .create(&PostParams::default(), &annotated(300_000))
        .await;
    refused(over, 422, "Invalid");
    bench
        .leases()
        .create(&PostParams::default(), &annotated(200_000))
        .await
        .unwrap();
}

pub(crate) async fn names_in_body_and_path_must_agree(bench: Bench) {
    let made = bench.create_lease("l", json!({})).await;
    let other = bench
        .leases()
        .replace("other", &PostParams::default(), &made)
        .await;
    refused(other, 400, "BadRequest");
    let mut elsewhere = lease("m", json!({}));
    elsewhere.metadata.namespace = Some("default".to_owned());
    let body = json!(elsewhere).to_string().into_bytes();
    refused(
        bench.raw("POST", &bench.lease_path(""), JSON, body).await,
        400,
        "BadRequest",
    );
    let mut pod = json!(lease("m", json!({})));
    pod["kind"] = "Pod".into();
    let body = pod.to_string().into_bytes();
    refused(
        bench.raw("POST", &bench.lease_path(""), JSON, body).await,
        400,
        "BadRequest",
    );
}

pub(crate) async fn unknown_paths_and_methods_are_refused(bench: Bench) {
    let get = async |path: &str| match bench.raw("GET", path, JSON, Vec::new()).await {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("{path}: {other:?}"),
    };
    assert_eq!(get("/nowhere").await, 404);
    assert_eq!(get("/apis/coordination.k8s.io/v1/widgets").await, 404);
    assert_eq!(get("/apis/nobody.example.org/v1/leases").await, 404);
    assert_eq!(get(&bench.lease_path("/l/status")).await, 404);
    let posted = bench
        .raw("POST", &bench.lease_path("/l"), JSON, b"{}".to_vec())
        .await;
    refused(posted, 405, "MethodNotAllowed");
}

pub(crate) async fn malformed_bodies_are_bad_requests(bench: Bench) {
    bench.create_lease("l", json!({})).await;
    for body in ["", "{", "7", "[]"] {
        let posted = bench
            .raw("POST", &bench.lease_path(""), JSON, body.into())
            .await;
        refused(posted, 400, "BadRequest");
    }
    let media = "application/merge-patch+json";
    let patched = bench
        .raw("PATCH", &bench.lease_path("/l"), media, b"{".to_vec())
        .await;
    refused(patched, 400, "BadRequest");
}

/// (field, value, status, reason): what a Lease may be, and how it is told that it is not.
pub(crate) async fn lease_values_have_bounds(bench: Bench) {
    let path = bench.lease_path("");
    for (field, value, code, reason) in [
        ("leaseDurationSeconds", json!(1), 0, ""),
        ("leaseDurationSeconds", json!(2_147_483_647), 0, ""),
        ("leaseDurationSeconds", json!(-1), 422, "Invalid"),
        (
            "leaseDurationSeconds",
            json!(2_147_483_648_i64),
            400,
            "BadRequest",
        ),
        ("leaseDurationSeconds", json!(1.5), 400, "BadRequest"),
        ("leaseTransitions", json!(0), 0, ""),
        ("leaseTransitions", json!(-1), 422, "Invalid"),
        ("leaseTransitions", json!("1"), 400, "BadRequest"),
        ("acquireTime", json!(0), 400, "BadRequest"),
        ("acquireTime", json!(null), 0, ""),
        ("renewTime", json!(""), 400, "BadRequest"),
        ("holderIdentity", json!("a".repeat(1000)), 0, ""),
        ("holderIdentity", json!(["a"]), 400, "BadRequest"),
    ] {
        let new = json!({"metadata": {"generateName": "l-"}, "spec": {field: value}});
        let made = bench
            .raw("POST", &path, JSON, new.to_string().into_bytes())
            .await;
        let what = format!("{field} {value}");
        match made {
            Ok(_) => assert_eq!(code, 0, "{what} was taken"),
            Err(kube::Error::Api(status)) => {
                let told = (status.code, status.reason.as_str());
                assert_eq!(told, (code, reason), "{what}: {status:?}");
            }
            Err(other) => panic!("{what}: {other}"),
        }
    }
}

pub(crate) async fn names_and_labels_have_lengths(bench: Bench) {
    let create = async |name: &str, labels: Value| {
        bench
            .leases()
            .create(&PostParams::default(), &lease(name, labels))
            .await
    };
    create(&"a".repeat(253), json!({})).await.unwrap();
    refused(create(&"a".repeat(254), json!({})).await, 422, "Invalid");
    create("b", json!({"k": "v".repeat(63)})).await.unwrap();
    for labels in [
        json!({"k": "v".repeat(64)}),
        json!({"k".repeat(64): "v"}),
        json!({"a/b/c": "v"}),
    ] {
        refused(create("c", labels).await, 422, "Invalid");
    }
    let number = create_raw(&bench, json!({"name": "c", "labels": {"k": 1}})).await;
    refused(number, 400, "BadRequest");
}

async fn create_raw(bench: &Bench, metadata: Value) -> kube::Result<Value> {
    let body = json!({"metadata": metadata, "spec": {}}).to_string();
    bench
        .raw("POST", &bench.lease_path(""), JSON, body.into_bytes())
        .await
}

/// Keys and values together, to the byte.
pub(crate) async fn annotations_may_have_256_kib_in_all(bench: Bench) {
    const MOST: usize = 256 * 1024;
    let annotated = |name: &str, bytes: usize| {
        let mut new = lease(name, json!({}));
        let half = |key: &str, bytes: usize| (key.to_owned(), "x".repeat(bytes - key.len()));
        let (one, two) = (bytes / 2, bytes - bytes / 2);
        new.metadata.annotations = Some([half("one", one), half("two", two)].into());
        new
    };
    let params = PostParams::default();
    let leases = bench.leases();
    leases.create(&params, &annotated("l", MOST)).await.unwrap();
    let over = leases.create(&params, &annotated("m", MOST + 1)).await;
    let status = refused(over, 422, "Invalid");
    let cause = status.details.unwrap().causes.remove(0);
    assert_eq!(cause.field, "metadata.annotations");
}

/// A field that no Lease has is left out, not kept.
pub(crate) async fn unknown_fields_are_dropped(bench: Bench) {
    let body = json!({
        "metadata": {"name": "l", "colour": "red"}, "spec": {"holderIdentity": "a-0", "colour": "red"}, "colour": "red",
    });
    let made = bench
        .raw(
            "POST",
            &bench.lease_path(""),
            JSON,
            body.to_string().into_bytes(),
        )
        .await
        .unwrap();
    assert!(!made.to_string().contains("red"), "{made}");
    assert_eq!(made["spec"]["holderIdentity"], "a-0");
}

pub(crate) async fn large_bodies_are_refused(bench: Bench) {
    let body = json!({"metadata": {"name": "l", "annotations": {"a": "x".repeat(4 << 20)}}});
    let sent = bench
        .raw(
            "POST",
            &bench.lease_path(""),
            JSON,
            body.to_string().into_bytes(),
        )
        .await;
    refused(sent, 413, "RequestEntityTooLarge");
}

/// Verb by verb, a watch included: nothing is told, nothing is written.
pub(crate) async fn without_rights_everything_is_forbidden(bench: Bench) {
    let made = bench.create_lease("l", json!({})).await;
    let client = bench.without_rights().await;
    for status in refusals(&client, &bench, &made).await {
        assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
        assert!(!status.message.is_empty(), "{status:?}");
    }
}

pub(crate) async fn an_unknown_token_is_unauthorized(bench: Bench) {
    let made = bench.create_lease("l", json!({})).await;
    let client = bench.with_unknown_token().await;
    for status in refusals(&client, &bench, &made).await {
        assert_eq!((status.code, status.reason.as_str()), (401, "Unauthorized"));
    }
}

/// What each verb is refused with, for a client that may do none of them.
async fn refusals(client: &Client, bench: &Bench, made: &Lease) -> Vec<Status> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), &bench.namespace);
    let (post, patch) = (PostParams::default(), PatchParams::default());
    let change = Patch::Merge(json!({"spec": {"holderIdentity": "x"}}));
    let told = |result: kube::Result<()>| match result {
        Err(kube::Error::Api(status)) => *status,
        other => panic!("was not refused: {other:?}"),
    };
    let watched = leases.watch(&WatchParams::default().timeout(5), "0").await;
    vec![
        told(leases.get("l").await.map(drop)),
        told(leases.list(&ListParams::default()).await.map(drop)),
        told(watched.map(drop)),
        told(leases.create(&post, &lease("m", json!({}))).await.map(drop)),
        told(leases.replace("l", &post, made).await.map(drop)),
        told(leases.patch("l", &patch, &change).await.map(drop)),
        told(leases.delete("l", &DeleteParams::default()).await.map(drop)),
    ]
}

/// Our client reads JSON only.
pub(crate) async fn answers_say_that_they_are_json(bench: Bench) {
    bench.create_lease("l", json!({})).await;
    for path in [
        "",
        "/l",
        "/none",
        "?watch=true&timeoutSeconds=1&resourceVersion=0",
    ] {
        let request = hyper::Request::get(bench.lease_path(path))
            .body(kube::client::Body::empty())
            .unwrap();
        let answer = bench.client.send(request).await.unwrap();
        let kind = answer.headers()["content-type"].to_str().unwrap();
        assert!(kind.starts_with("application/json"), "{path}: {kind}");
    }
}
