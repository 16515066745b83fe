//! What a server says after it lost its memory, or when there is nothing to say. These cases run one at a time: a list of
//! nodes by another one would be something to say.

use std::pin::pin;
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use serde_json::json;
use tokio::time::timeout;

use crate::bench::{Bench, version};

const PATIENCE: Duration = Duration::from_secs(20);

/// Not as an answer's status: the answer is a 200 with one ERROR event, and its end.
pub(crate) async fn a_forgotten_version_is_a_410_inside_the_stream(mut bench: Bench) {
    let old = bench.create_lease("old", json!({})).await;
    bench.create_lease("new", json!({})).await;
    bench.forget_history().await;
    let params = WatchParams::default().timeout(20);
    let from = version(&old).to_string();
    let mut events = pin!(bench.leases().watch(&params, &from).await.unwrap());
    let first = timeout(PATIENCE, events.try_next()).await.unwrap().unwrap();
    let Some(WatchEvent::Error(status)) = first else {
        panic!("wanted an ERROR event, got {first:?}");
    };
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
    let end = timeout(PATIENCE, events.try_next()).await.unwrap();
    assert!(matches!(end, Ok(None)), "{end:?}");
    // The remedy: a list, and a watch from its version.
    bench.reconnect();
    let list = bench.leases().list(&ListParams::default()).await.unwrap();
    assert_eq!(list.items.len(), 2);
    let from = list.metadata.resource_version.unwrap();
    let mut events = pin!(bench.leases().watch(&params, &from).await.unwrap());
    let newest = bench.create_lease("newest", json!({})).await;
    match timeout(PATIENCE, events.try_next()).await.unwrap().unwrap() {
        Some(WatchEvent::Added(lease)) => assert_eq!(lease.metadata.name, newest.metadata.name),
        other => panic!("wanted the new Lease, got {other:?}"),
    }
}

/// A change that is known to be older than all that is forgotten: the list still has everything.
pub(crate) async fn what_was_written_is_there_after_it(mut bench: Bench) {
    let made = bench.create_lease("l", json!({"a": "b"})).await;
    bench.forget_history().await;
    let read = bench.leases().get("l").await.unwrap();
    assert_eq!(read, made);
}

/// A bookmark says how far a watch has come. One that has not moved since its beginning, because no object of its kind was
/// written in the whole cluster, gets none: silence is no proof of a broken watch.
pub(crate) async fn a_quiet_kind_gets_no_bookmark(bench: Bench) {
    let nodes: Api<Node> = Api::all(bench.client.clone());
    let list = nodes.list(&ListParams::default()).await.unwrap();
    let from = list.metadata.resource_version.unwrap();
    bench.create_lease("of-another-kind", json!({})).await;
    let params = WatchParams::default().timeout(4);
    let mut events = Box::pin(nodes.watch(&params, &from).await.unwrap());
    let told = timeout(PATIENCE, events.try_next()).await.unwrap().unwrap();
    assert!(told.is_none(), "{told:?}");
}
