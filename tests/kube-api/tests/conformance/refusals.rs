//! Bad requests: each gets the refusal that says what is wrong.

use kube::api::PostParams;
use serde_json::{Value, json};

use crate::server::{Bench, lease, refused};

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
