//! Watches: what is told, in which order, and when it ends.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::bench::{Bench, make_namespace, refused, version};

/// How long an event may take to arrive; on a busy machine with a real server it may be seconds.
const PATIENCE: Duration = Duration::from_secs(10);

type Events = Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<Lease>>>>>;

async fn watch(bench: &Bench, params: WatchParams, from: &str) -> Events {
    let params = params.timeout(20).disable_bookmarks();
    Box::pin(bench.leases().watch(&params, from).await.unwrap())
}

/// The next event as (type, name, version); None at the end.
async fn next(events: &mut Events) -> Option<(&'static str, String, u64)> {
    let event = timeout(PATIENCE, events.try_next()).await;
    let told = |what, lease: Lease| {
        let version = version(&lease);
        Some((what, lease.metadata.name.unwrap(), version))
    };
    match event.expect("an event in time").unwrap()? {
        WatchEvent::Added(lease) => told("ADDED", lease),
        WatchEvent::Modified(lease) => told("MODIFIED", lease),
        WatchEvent::Deleted(lease) => told("DELETED", lease),
        WatchEvent::Bookmark(mark) => {
            let version = mark.metadata.resource_version.parse().unwrap();
            Some(("BOOKMARK", String::new(), version))
        }
        WatchEvent::Error(status) => panic!("{status:?}"),
    }
}

fn event(what: &'static str, lease: &Lease) -> Option<(&'static str, String, u64)> {
    Some((what, lease.metadata.name.clone().unwrap(), version(lease)))
}

fn at(lease: &Lease) -> String {
    version(lease).to_string()
}

async fn relabel(bench: &Bench, name: &str, labels: Value) -> Lease {
    let patch = json!({"metadata": {"labels": labels}});
    let params = PatchParams::default();
    let patched = bench
        .leases()
        .patch(name, &params, &Patch::Merge(patch))
        .await;
    patched.unwrap()
}

async fn delete(bench: &Bench, name: &str) {
    bench
        .leases()
        .delete(name, &DeleteParams::default())
        .await
        .unwrap();
}

pub(crate) async fn watch_begins_after_its_version(bench: Bench) {
    let before = bench.create_lease("before", json!({})).await;
    let first = bench.create_lease("l", json!({})).await;
    let mut events = watch(&bench, WatchParams::default(), &at(&before)).await;
    assert_eq!(next(&mut events).await, event("ADDED", &first));
    let changed = relabel(&bench, "l", json!({"a": "b"})).await;
    assert_eq!(next(&mut events).await, event("MODIFIED", &changed));
    delete(&bench, "l").await;
    let (what, name, last) = next(&mut events).await.unwrap();
    assert_eq!((what, name.as_str()), ("DELETED", "l"));
    assert!(
        last > version(&changed),
        "a deletion has a version of its own"
    );
}

pub(crate) async fn watch_without_a_version_begins_with_the_state(bench: Bench) {
    let a = bench.create_lease("a", json!({})).await;
    let b = bench.create_lease("b", json!({})).await;
    for from in ["", "0"] {
        let mut events = watch(&bench, WatchParams::default(), from).await;
        let mut told = [next(&mut events).await, next(&mut events).await];
        told.sort();
        assert_eq!(told, [event("ADDED", &a), event("ADDED", &b)]);
    }
    let mut events = watch(&bench, WatchParams::default(), "0").await;
    let c = bench.create_lease("c", json!({})).await;
    next(&mut events).await;
    next(&mut events).await;
    assert_eq!(next(&mut events).await, event("ADDED", &c));
}

pub(crate) async fn watch_ignores_other_namespaces_and_names(bench: Bench) {
    let other = Bench {
        namespace: make_namespace(&bench.client, "another").await,
        ..bench.clone()
    };
    let mine = bench.create_lease("mine", json!({})).await;
    let params = WatchParams::default().fields("metadata.name=mine");
    let mut events = watch(&bench, params, &at(&mine)).await;
    bench.create_lease("yours", json!({})).await;
    other.create_lease("mine", json!({})).await;
    let changed = relabel(&bench, "mine", json!({"a": "b"})).await;
    assert_eq!(next(&mut events).await, event("MODIFIED", &changed));
}

pub(crate) async fn watch_reports_entering_and_leaving_a_selection(bench: Bench) {
    let made = bench.create_lease("l", json!({"role": "slave"})).await;
    let params = WatchParams::default().labels("role=master");
    let mut events = watch(&bench, params, &at(&made)).await;
    relabel(&bench, "l", json!({"other": "1"})).await;
    let entered = relabel(&bench, "l", json!({"role": "master"})).await;
    let stayed = relabel(&bench, "l", json!({"other": "2"})).await;
    let left = relabel(&bench, "l", json!({"role": "slave"})).await;
    delete(&bench, "l").await;
    let again = bench.create_lease("l", json!({"role": "master"})).await;
    delete(&bench, "l").await;
    assert_eq!(next(&mut events).await, event("ADDED", &entered));
    assert_eq!(next(&mut events).await, event("MODIFIED", &stayed));
    assert_eq!(next(&mut events).await, event("DELETED", &left));
    assert_eq!(next(&mut events).await, event("ADDED", &again));
    assert_eq!(next(&mut events).await.unwrap().0, "DELETED");
}

pub(crate) async fn watch_ends_at_its_timeout(bench: Bench) {
    let made = bench.create_lease("l", json!({})).await;
    let params = WatchParams::default().timeout(1).disable_bookmarks();
    let mut events: Events = Box::pin(bench.leases().watch(&params, &at(&made)).await.unwrap());
    assert_eq!(next(&mut events).await, None);
}

pub(crate) async fn watch_gets_a_bookmark_before_its_end(bench: Bench) {
    let made = bench.create_lease("l", json!({})).await;
    let params = WatchParams::default().timeout(4).labels("none=such");
    let mut events: Events = Box::pin(bench.leases().watch(&params, &at(&made)).await.unwrap());
    bench.create_lease("other", json!({})).await;
    let (what, _, version_then) = next(&mut events).await.unwrap();
    assert_eq!(what, "BOOKMARK");
    assert!(version_then >= version(&made));
}

pub(crate) async fn watch_can_stream_the_list_first(bench: Bench) {
    let made = bench.create_lease("l", json!({})).await;
    let params = WatchParams::default().timeout(20).initial_events();
    let mut events: Events = Box::pin(bench.leases().watch(&params, "").await.unwrap());
    assert_eq!(next(&mut events).await, event("ADDED", &made));
    let mark = timeout(PATIENCE, events.try_next()).await.unwrap().unwrap();
    let Some(WatchEvent::Bookmark(mark)) = mark else {
        panic!("wanted a bookmark, got {mark:?}");
    };
    let end = mark.metadata.annotations.get("k8s.io/initial-events-end");
    assert_eq!(end.map(String::as_str), Some("true"));
    let changed = relabel(&bench, "l", json!({"a": "b"})).await;
    assert_eq!(next(&mut events).await, event("MODIFIED", &changed));
}

pub(crate) async fn watch_from_a_bad_version_is_refused(bench: Bench) {
    let params = WatchParams::default().timeout(1);
    let started = bench.leases().watch(&params, "yesterday").await;
    refused(started.map(drop), 500, "");
}

pub(crate) async fn many_changes_arrive_in_order(bench: Bench) {
    let made = bench.create_lease("l", json!({})).await;
    let mut live = watch(&bench, WatchParams::default(), &at(&made)).await;
    let mut want = Vec::new();
    for n in 0..200 {
        let changed = relabel(&bench, "l", json!({"n": n.to_string()})).await;
        want.push(version(&changed));
    }
    let mut late = watch(&bench, WatchParams::default(), &at(&made)).await;
    for events in [&mut live, &mut late] {
        let mut got = Vec::new();
        while got.len() < want.len() {
            got.push(next(events).await.unwrap().2);
        }
        assert_eq!(got, want);
    }
}

async fn follow(bench: Bench, config: watcher::Config) {
    bench.create_lease("l", json!({})).await;
    let mut events = watcher(bench.leases(), config).boxed();
    let mut next = async || {
        let event = timeout(PATIENCE, events.try_next()).await.unwrap();
        match event.unwrap().unwrap() {
            Event::Init => "init".to_owned(),
            Event::InitApply(lease) => format!("init {}", lease.metadata.name.unwrap()),
            Event::InitDone => "done".to_owned(),
            Event::Apply(lease) => format!("apply {:?}", lease.metadata.labels.unwrap_or_default()),
            Event::Delete(lease) => format!("delete {}", lease.metadata.name.unwrap()),
        }
    };
    assert_eq!(next().await, "init");
    assert_eq!(next().await, "init l");
    assert_eq!(next().await, "done");
    relabel(&bench, "l", json!({"a": "b"})).await;
    assert_eq!(next().await, "apply {\"a\": \"b\"}");
    delete(&bench, "l").await;
    assert_eq!(next().await, "delete l");
}

pub(crate) async fn the_runtime_watcher_follows_a_lease(bench: Bench) {
    follow(bench, watcher::Config::default().fields("metadata.name=l")).await;
}

pub(crate) async fn the_runtime_watcher_can_stream_its_list(bench: Bench) {
    follow(bench, watcher::Config::default().streaming_lists()).await;
}

/// Two changes of one object between two looks are two events, and what is told is the object as it was then.
pub(crate) async fn watch_tells_each_state(bench: Bench) {
    let made = bench.create_lease("l", json!({})).await;
    for n in ["1", "2", "3"] {
        relabel(&bench, "l", json!({"n": n})).await;
    }
    delete(&bench, "l").await;
    let params = WatchParams::default().timeout(20).disable_bookmarks();
    let mut events = Box::pin(bench.leases().watch(&params, &at(&made)).await.unwrap());
    let mut told = Vec::new();
    while told.len() < 4 {
        let event = timeout(PATIENCE, events.try_next()).await.unwrap().unwrap();
        let (what, lease) = match event.unwrap() {
            WatchEvent::Modified(lease) => ("MODIFIED", lease),
            WatchEvent::Deleted(lease) => ("DELETED", lease),
            other => panic!("{other:?}"),
        };
        let label = lease.metadata.labels.unwrap_or_default()["n"].clone();
        told.push(format!("{what} {label}"));
    }
    assert_eq!(
        told,
        ["MODIFIED 1", "MODIFIED 2", "MODIFIED 3", "DELETED 3"]
    );
}

/// How an agent starts: a list, and a watch from the list's version misses nothing and repeats nothing.
pub(crate) async fn watch_goes_on_from_a_list(bench: Bench) {
    bench.create_lease("old", json!({"of": "g"})).await;
    let selected = ListParams::default().labels("of=g");
    let list = bench.leases().list(&selected).await.unwrap();
    let from = list.metadata.resource_version.unwrap();
    let made = bench.create_lease("new", json!({"of": "g"})).await;
    bench.create_lease("other", json!({"of": "h"})).await;
    let params = WatchParams::default().labels("of=g");
    let mut events = watch(&bench, params, &from).await;
    assert_eq!(next(&mut events).await, event("ADDED", &made));
    let changed = relabel(&bench, "old", json!({"a": "b"})).await;
    assert_eq!(next(&mut events).await, event("MODIFIED", &changed));
}

/// Bookmarks come to those who asked for them only.
pub(crate) async fn watch_without_bookmarks_gets_none(bench: Bench) {
    let made = bench.create_lease("l", json!({})).await;
    let params = WatchParams::default().timeout(4).disable_bookmarks();
    let mut events: Events = Box::pin(bench.leases().watch(&params, &at(&made)).await.unwrap());
    assert_eq!(next(&mut events).await, None);
}

/// The version of a bookmark is one to go on from: what was told before it is not told again.
pub(crate) async fn watch_goes_on_from_a_bookmark(bench: Bench) {
    let made = bench.create_lease("l", json!({})).await;
    let params = WatchParams::default().timeout(4).fields("metadata.name=l");
    let mut events: Events = Box::pin(bench.leases().watch(&params, &at(&made)).await.unwrap());
    // Selected or not: any Lease that is written moves the version on.
    let other = bench.create_lease("other", json!({})).await;
    let (what, _, mark) = next(&mut events).await.unwrap();
    assert_eq!(what, "BOOKMARK");
    assert!(mark >= version(&other));
    let changed = relabel(&bench, "l", json!({"a": "b"})).await;
    let mut events = watch(&bench, WatchParams::default(), &mark.to_string()).await;
    assert_eq!(next(&mut events).await, event("MODIFIED", &changed));
}

pub(crate) async fn watch_of_an_absent_namespace_waits_for_it(bench: Bench) {
    let nowhere: Api<Lease> = Api::namespaced(bench.client.clone(), "there-is-no-such-namespace");
    let params = WatchParams::default().timeout(1).disable_bookmarks();
    let mut events: Events = Box::pin(nowhere.watch(&params, "0").await.unwrap());
    assert_eq!(next(&mut events).await, None);
}
