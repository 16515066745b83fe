//! Leases: compare-and-swap and everything around it.

use futures::future::join_all;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};

use crate::bench::{Bench, lease, refused, version};

const JSON: &str = "application/json";

fn holder(lease: &Lease) -> &str {
    let spec = lease.spec.as_ref().unwrap();
    spec.holder_identity.as_deref().unwrap_or_default()
}

fn with_holder(mut lease: Lease, holder: &str) -> Lease {
    lease.spec.as_mut().unwrap().holder_identity = Some(holder.to_owned());
    lease
}

async fn replace(bench: &Bench, lease: &Lease) -> kube::Result<Lease> {
    let name = lease.metadata.name.as_deref().unwrap();
    let params = PostParams::default();
    bench.leases().replace(name, &params, lease).await
}

pub(crate) async fn create_fills_in_what_the_server_owns(bench: Bench) {
    let made = bench.create_lease("l", json!({"a": "b"})).await;
    let metadata = &made.metadata;
    assert_eq!(
        metadata.namespace.as_deref(),
        Some(bench.namespace.as_str())
    );
    assert_eq!(metadata.uid.as_ref().unwrap().len(), 36);
    assert!(metadata.creation_timestamp.is_some());
    assert!(metadata.generation.is_none());
    assert!(version(&made) > 0);
    assert_eq!(holder(&made), "a-0");
    let read = bench.leases().get("l").await.unwrap();
    assert_eq!(read.metadata.resource_version, metadata.resource_version);
    assert_eq!(read.spec, made.spec);
}

pub(crate) async fn create_of_an_existing_name_is_refused(bench: Bench) {
    bench.create_lease("l", json!({})).await;
    let again = bench
        .leases()
        .create(&PostParams::default(), &lease("l", json!({})))
        .await;
    let status = refused(again, 409, "AlreadyExists");
    assert_eq!(
        status.message,
        "leases.coordination.k8s.io \"l\" already exists"
    );
    let details = status.details.unwrap();
    assert_eq!(
        (details.name.as_str(), details.kind.as_str()),
        ("l", "leases")
    );
    assert_eq!(details.group, "coordination.k8s.io");
}

pub(crate) async fn create_in_an_absent_namespace_is_refused(bench: Bench) {
    let nowhere: Api<Lease> = Api::namespaced(bench.client, "there-is-no-such-namespace");
    let made = nowhere
        .create(&PostParams::default(), &lease("l", json!({})))
        .await;
    let status = refused(made, 404, "NotFound");
    assert_eq!(
        status.message,
        "namespaces \"there-is-no-such-namespace\" not found"
    );
    assert!(
        nowhere
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

pub(crate) async fn create_with_a_version_is_refused(bench: Bench) {
    let mut new = lease("l", json!({}));
    new.metadata.resource_version = Some("1".to_owned());
    let made = bench.leases().create(&PostParams::default(), &new).await;
    let status = refused(made, 500, "");
    assert!(
        status.message.contains("resourceVersion should not be set"),
        "{status:?}"
    );
}

pub(crate) async fn create_generates_a_name(bench: Bench) {
    let mut new = lease("l", json!({}));
    new.metadata.name = None;
    let made = bench.leases().create(&PostParams::default(), &new).await;
    refused(made, 422, "Invalid");
    new.metadata.generate_name = Some("made-".to_owned());
    let made = bench
        .leases()
        .create(&PostParams::default(), &new)
        .await
        .unwrap();
    let name = made.metadata.name.unwrap();
    assert!(name.starts_with("made-") && name.len() == 10, "{name}");
}

pub(crate) async fn get_of_an_absent_name_is_not_found(bench: Bench) {
    let status = refused(bench.leases().get("none").await, 404, "NotFound");
    assert_eq!(
        status.message,
        "leases.coordination.k8s.io \"none\" not found"
    );
    assert!(bench.leases().get_opt("none").await.unwrap().is_none());
}

pub(crate) async fn replace_with_the_current_version_wins(bench: Bench) {
    let made = bench.create_lease("l", json!({})).await;
    let won = replace(&bench, &with_holder(made.clone(), "b-0"))
        .await
        .unwrap();
    assert_eq!(holder(&won), "b-0");
    assert!(version(&won) > version(&made));
    assert_eq!(won.metadata.uid, made.metadata.uid);
    assert_eq!(
        won.metadata.creation_timestamp,
        made.metadata.creation_timestamp
    );
}

pub(crate) async fn replace_with_a_stale_version_conflicts(bench: Bench) {
    let made = bench.create_lease("l", json!({})).await;
    replace(&bench, &with_holder(made.clone(), "b-0"))
        .await
        .unwrap();
    let status = refused(
        replace(&bench, &with_holder(made, "c-0")).await,
        409,
        "Conflict",
    );
    assert!(
        status.message.contains("the object has been modified"),
        "{status:?}"
    );
    assert_eq!(holder(&bench.leases().get("l").await.unwrap()), "b-0");
}

pub(crate) async fn replace_without_a_version_is_invalid(bench: Bench) {
    bench.create_lease("l", json!({})).await;
    let status = refused(
        replace(&bench, &lease("l", json!({}))).await,
        422,
        "Invalid",
    );
    let cause = status.details.unwrap().causes.remove(0);
    assert_eq!(cause.field, "metadata.resourceVersion");
}

/// What protects a holder whose Lease was deleted from bringing it back unawares.
pub(crate) async fn replace_of_an_absent_lease_by_its_uid_conflicts(bench: Bench) {
    let made = bench.create_lease("l", json!({})).await;
    bench
        .leases()
        .delete("l", &DeleteParams::default())
        .await
        .unwrap();
    let status = refused(replace(&bench, &made).await, 409, "Conflict");
    assert!(status.message.contains("Precondition failed"), "{status:?}");
    assert!(bench.leases().get_opt("l").await.unwrap().is_none());
}

/// A trap: the old version in it does not make it fail.
pub(crate) async fn replace_of_an_absent_lease_without_a_uid_creates_it(bench: Bench) {
    let mut made = bench.create_lease("l", json!({})).await;
    let first = made.metadata.uid.take();
    bench
        .leases()
        .delete("l", &DeleteParams::default())
        .await
        .unwrap();
    let second = replace(&bench, &made).await.unwrap();
    assert_ne!(second.metadata.uid, first);
    assert!(version(&second) > version(&made));
}

pub(crate) async fn replace_with_another_uid_conflicts(bench: Bench) {
    let mut made = bench.create_lease("l", json!({})).await;
    made.metadata.uid = Some("00000000-0000-4000-8000-000000000000".to_owned());
    refused(replace(&bench, &made).await, 409, "Conflict");
}

pub(crate) async fn replace_that_changes_nothing_writes_nothing(bench: Bench) {
    let made = bench.create_lease("l", json!({"a": "b"})).await;
    let same = replace(&bench, &made).await.unwrap();
    assert_eq!(version(&same), version(&made));
    replace(&bench, &same).await.unwrap();
}

pub(crate) async fn of_two_writers_with_one_version_one_wins(bench: Bench) {
    let made = bench.create_lease("l", json!({})).await;
    let writers: Vec<Lease> = (0..8)
        .map(|n| with_holder(made.clone(), &format!("w-{n}")))
        .collect();
    let results = join_all(writers.iter().map(|writer| replace(&bench, writer))).await;
    let winners: Vec<Lease> = results
        .into_iter()
        .filter_map(|result| match result {
            Ok(lease) => Some(lease),
            lost => {
                refused(lost, 409, "Conflict");
                None
            }
        })
        .collect();
    assert_eq!(winners.len(), 1);
    let read = bench.leases().get("l").await.unwrap();
    assert_eq!(holder(&read), holder(&winners[0]));
}

async fn patch(bench: &Bench, name: &str, patch: &Value) -> kube::Result<Lease> {
    let params = PatchParams::default();
    bench
        .leases()
        .patch(name, &params, &Patch::Merge(patch))
        .await
}

pub(crate) async fn merge_patch_changes_and_removes_fields(bench: Bench) {
    let made = bench
        .create_lease("l", json!({"keep": "1", "drop": "1"}))
        .await;
    let change = json!({
        "metadata": {"labels": {"drop": null, "add": "1"}},
        "spec": {"holderIdentity": "b-0", "leaseDurationSeconds": null},
    });
    let patched = patch(&bench, "l", &change).await.unwrap();
    assert_eq!(
        json!(patched.metadata.labels),
        json!({"keep": "1", "add": "1"})
    );
    assert_eq!(holder(&patched), "b-0");
    assert!(
        patched
            .spec
            .as_ref()
            .unwrap()
            .lease_duration_seconds
            .is_none()
    );
    assert!(version(&patched) > version(&made));
}

pub(crate) async fn merge_patch_with_a_stale_version_conflicts(bench: Bench) {
    let made = bench.create_lease("l", json!({})).await;
    let at = |version: u64, holder: &str| {
        json!({
            "metadata": {"resourceVersion": version.to_string()}, "spec": {"holderIdentity": holder},
        })
    };
    patch(&bench, "l", &at(version(&made), "b-0"))
        .await
        .unwrap();
    refused(
        patch(&bench, "l", &at(version(&made), "c-0")).await,
        409,
        "Conflict",
    );
    assert_eq!(holder(&bench.leases().get("l").await.unwrap()), "b-0");
}

pub(crate) async fn merge_patch_of_an_absent_lease_is_not_found(bench: Bench) {
    refused(
        patch(&bench, "none", &json!({"spec": {}})).await,
        404,
        "NotFound",
    );
}

pub(crate) async fn json_patch_with_a_failed_test_is_refused(bench: Bench) {
    bench.create_lease("l", json!({})).await;
    let steps = |expected: &str| {
        json!([
            {"op": "test", "path": "/spec/holderIdentity", "value": expected},
            {"op": "replace", "path": "/spec/holderIdentity", "value": "b-0"},
        ])
    };
    let media = "application/json-patch+json";
    let path = bench.lease_path("/l");
    let body = |expected| steps(expected).to_string().into_bytes();
    refused(
        bench.raw("PATCH", &path, media, body("x")).await,
        422,
        "Invalid",
    );
    let patched = bench.raw("PATCH", &path, media, body("a-0")).await.unwrap();
    assert_eq!(patched["spec"]["holderIdentity"], "b-0");
}

pub(crate) async fn patch_of_an_unknown_format_is_refused(bench: Bench) {
    bench.create_lease("l", json!({})).await;
    let patched = bench
        .raw(
            "PATCH",
            &bench.lease_path("/l"),
            "application/json",
            b"{}".to_vec(),
        )
        .await;
    refused(patched, 415, "UnsupportedMediaType");
}

pub(crate) async fn times_keep_their_microseconds(bench: Bench) {
    let path = bench.lease_path("");
    let post = async |time: &str| {
        let new = json!({"metadata": {"generateName": "t-"}, "spec": {"renewTime": time}});
        bench
            .raw("POST", &path, JSON, new.to_string().into_bytes())
            .await
    };
    for (written, read) in [
        ("2026-01-02T03:04:05.000006Z", "2026-01-02T03:04:05.000006Z"),
        ("2026-01-02T03:04:05.100000Z", "2026-01-02T03:04:05.100000Z"),
        (
            "2026-01-02T05:04:05.000001+02:00",
            "2026-01-02T03:04:05.000001Z",
        ),
    ] {
        let made = post(written).await.unwrap();
        assert_eq!(made["spec"]["renewTime"], read, "{written}");
    }
    for other_digits in [
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05.1Z",
        "2026-01-02T03:04:05.123456789Z",
        "2026-01-02",
    ] {
        refused(post(other_digits).await, 400, "BadRequest");
    }
}

/// The client library's own writing of a time is one that the server takes.
pub(crate) async fn times_of_the_client_library_survive(bench: Bench) {
    for (n, time) in [
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05.000006Z",
        "2026-01-02T03:04:05.5Z",
    ]
    .into_iter()
    .enumerate()
    {
        let mut new = lease(&format!("l{n}"), json!({}));
        let time = MicroTime(time.parse().unwrap());
        new.spec.as_mut().unwrap().renew_time = Some(time.clone());
        let made = bench
            .leases()
            .create(&PostParams::default(), &new)
            .await
            .unwrap();
        assert_eq!(made.spec.unwrap().renew_time, Some(time));
    }
}

pub(crate) async fn delete_checks_its_preconditions(bench: Bench) {
    let made = bench.create_lease("l", json!({})).await;
    let delete = async |uid: Option<&str>, version: Option<&str>| {
        let preconditions = Preconditions {
            uid: uid.map(str::to_owned),
            resource_version: version.map(str::to_owned),
        };
        let params = DeleteParams::default().preconditions(preconditions);
        bench.leases().delete("l", &params).await
    };
    refused(delete(Some("other"), None).await, 409, "Conflict");
    refused(delete(None, Some("1")).await, 409, "Conflict");
    let (uid, now) = (
        made.metadata.uid.as_deref(),
        made.metadata.resource_version.as_deref(),
    );
    let status = delete(uid, now)
        .await
        .unwrap()
        .right()
        .expect("a Status, not the object");
    assert_eq!(status.details.unwrap().name, "l");
    refused(delete(None, None).await, 404, "NotFound");
}

pub(crate) async fn dry_run_writes_nothing(bench: Bench) {
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    bench
        .leases()
        .create(&dry, &lease("l", json!({})))
        .await
        .unwrap();
    assert!(bench.leases().get_opt("l").await.unwrap().is_none());
    let made = bench.create_lease("l", json!({})).await;
    let changed = with_holder(made.clone(), "b-0");
    let answer = bench.leases().replace("l", &dry, &changed).await.unwrap();
    assert_eq!(holder(&answer), "b-0");
    let read = bench.leases().get("l").await.unwrap();
    assert_eq!((holder(&read), version(&read)), ("a-0", version(&made)));
}

/// What the server alone decides, a client cannot set.
pub(crate) async fn create_ignores_what_only_the_server_writes(bench: Bench) {
    let mut new = lease("l", json!({}));
    new.metadata.uid = Some("00000000-0000-4000-8000-000000000000".to_owned());
    new.metadata.generation = Some(7);
    new.metadata.creation_timestamp = serde_json::from_value(json!("2020-01-01T00:00:00Z")).ok();
    let made = bench
        .leases()
        .create(&PostParams::default(), &new)
        .await
        .unwrap();
    assert_ne!(made.metadata.uid, new.metadata.uid);
    assert_ne!(
        made.metadata.creation_timestamp,
        new.metadata.creation_timestamp
    );
}

/// A holder writes back all that it read, what others put there included.
pub(crate) async fn replace_keeps_what_it_sends_back(bench: Bench) {
    bench.create_lease("l", json!({"a": "b"})).await;
    let annotations = json!({"metadata": {"annotations": {"example.org/wish": "x"}}});
    let read = patch(&bench, "l", &annotations).await.unwrap();
    let won = replace(&bench, &with_holder(read.clone(), "b-0"))
        .await
        .unwrap();
    assert_eq!(won.metadata.annotations, read.metadata.annotations);
    assert_eq!(won.metadata.labels, read.metadata.labels);
    let mut bare = with_holder(won, "c-0");
    bare.metadata.annotations = None;
    let won = replace(&bench, &bare).await.unwrap();
    assert!(won.metadata.annotations.unwrap_or_default().is_empty());
}

/// A released Lease has no holder; both ways of writing that are one.
pub(crate) async fn replace_can_release(bench: Bench) {
    let mut made = bench.create_lease("l", json!({})).await;
    made.spec.as_mut().unwrap().holder_identity = None;
    let released = replace(&bench, &made).await.unwrap();
    assert_eq!(holder(&released), "");
    assert!(released.spec.unwrap().holder_identity.is_none());
}

pub(crate) async fn merge_patch_that_changes_nothing_writes_nothing(bench: Bench) {
    let made = bench.create_lease("l", json!({"a": "b"})).await;
    for nothing in [
        json!({}),
        json!({"metadata": {"labels": {"a": "b", "absent": null}}}),
        json!({"spec": {"holderIdentity": "a-0"}}),
    ] {
        let same = patch(&bench, "l", &nothing).await.unwrap();
        assert_eq!(version(&same), version(&made), "{nothing}");
    }
}

pub(crate) async fn merge_patch_with_another_uid_is_invalid(bench: Bench) {
    bench.create_lease("l", json!({})).await;
    let change = json!({
        "metadata": {"uid": "00000000-0000-4000-8000-000000000000"}, "spec": {"holderIdentity": "b-0"},
    });
    // Not a conflict, as it is in a PUT: a patch that carries a uid is refused for good.
    refused(patch(&bench, "l", &change).await, 422, "Invalid");
    assert_eq!(holder(&bench.leases().get("l").await.unwrap()), "a-0");
}

pub(crate) async fn merge_patch_to_a_bad_value_is_invalid(bench: Bench) {
    bench.create_lease("l", json!({})).await;
    let change = json!({"spec": {"leaseDurationSeconds": 0}});
    refused(patch(&bench, "l", &change).await, 422, "Invalid");
    let change = json!({"spec": {"renewTime": "2026-01-02T03:04:05Z"}});
    // In a PUT it is a 400: here the patch is what is wrong.
    refused(patch(&bench, "l", &change).await, 422, "Invalid");
}

/// How the commands edit a Lease: only its metadata comes back.
pub(crate) async fn metadata_alone_can_be_patched(bench: Bench) {
    let made = bench.create_lease("l", json!({})).await;
    let at = |version: u64| {
        Patch::Merge(json!({
            "metadata": {"resourceVersion": version.to_string(), "annotations": {"example.org/wish": "x"}},
        }))
    };
    let params = PatchParams::default();
    let patched = bench
        .leases()
        .patch_metadata("l", &params, &at(version(&made)))
        .await
        .unwrap();
    assert_eq!(
        patched.metadata.annotations.unwrap()["example.org/wish"],
        "x"
    );
    let stale = bench
        .leases()
        .patch_metadata("l", &params, &at(version(&made)))
        .await;
    refused(stale, 409, "Conflict");
    assert_eq!(holder(&bench.leases().get("l").await.unwrap()), "a-0");
}

pub(crate) async fn a_deleted_name_can_be_taken_again(bench: Bench) {
    let first = bench.create_lease("l", json!({})).await;
    let params = DeleteParams::default();
    bench.leases().delete("l", &params).await.unwrap();
    refused(bench.leases().delete("l", &params).await, 404, "NotFound");
    let second = bench.create_lease("l", json!({})).await;
    assert_ne!(second.metadata.uid, first.metadata.uid);
    assert!(version(&second) > version(&first));
    // Whoever decided on the first one cannot write the second.
    refused(
        replace(&bench, &with_holder(first, "b-0")).await,
        409,
        "Conflict",
    );
}
