//! Every fault, seen by a client: what it is told, and what was carried out all the same.

#![allow(clippy::unwrap_used, reason = "a test's own tools may end the test")]

use std::pin::{Pin, pin};
use std::time::Duration;

use fault_proxy::{Fault, FaultProxy, Rule, When, Which};
use futures::{Stream, StreamExt, TryStreamExt};
use hyper::Method;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::client::Body;
use kube_access::{Access, AccessArgs};
use kube_api::{KubeApi, Options};
use serde_json::json;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);
/// Long enough for an answer to have come if one were to come.
const SHORT: Duration = Duration::from_millis(200);

struct Ground {
    proxy: FaultProxy,
    /// Through the proxy.
    leases: Api<Lease>,
    /// Behind its back.
    behind: Api<Lease>,
    client: kube::Client,
    _api: KubeApi,
}

fn client(url: String) -> kube::Client {
    let access = AccessArgs {
        kube_url: Some(url),
        ..AccessArgs::default()
    };
    let access = Access::new(access).unwrap();
    access.client("default", PATIENCE).unwrap()
}

impl Ground {
    /// With one Lease that a-0 holds.
    async fn set_up() -> Self {
        let api = KubeApi::start(Options::default()).await.unwrap();
        let back = AccessArgs {
            kube_url: Some(api.url()),
            ..AccessArgs::default()
        };
        let proxy = FaultProxy::start(&back).await.unwrap();
        let through = client(proxy.url());
        let ground = Self {
            leases: Api::namespaced(through.clone(), "default"),
            behind: Api::namespaced(client(api.url()), "default"),
            client: through,
            proxy,
            _api: api,
        };
        let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "a-0"}});
        let lease = serde_json::from_value(lease).unwrap();
        ground
            .leases
            .create(&PostParams::default(), &lease)
            .await
            .unwrap();
        ground
    }

    async fn holder(&self) -> String {
        let lease = self.behind.get("l").await.unwrap();
        lease.spec.unwrap().holder_identity.unwrap()
    }

    async fn watch(&self) -> Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<Lease>>>>> {
        let version = self.behind.get("l").await.unwrap().metadata;
        let version = version.resource_version.unwrap();
        let params = WatchParams::default();
        Box::pin(self.leases.watch(&params, &version).await.unwrap())
    }
}

async fn hold(leases: &Api<Lease>, holder: &str) -> kube::Result<Lease> {
    let patch = Patch::Merge(json!({"spec": {"holderIdentity": holder}}));
    let params = PatchParams::default();
    let answer = timeout(PATIENCE, leases.patch("l", &params, &patch)).await;
    answer.expect("an end in time")
}

/// The status of an answer, or 0 for none.
fn code<T>(answer: &kube::Result<T>) -> u16 {
    match answer {
        Ok(_) => 200,
        Err(kube::Error::Api(status)) => status.code,
        Err(_) => 0,
    }
}

fn writes() -> Which {
    Which::of(Method::PATCH, "/leases/l")
}

/// (fault, what the client is told, whether it was written all the same)
#[tokio::test]
async fn a_write_that_fails_may_have_been_carried_out() {
    let refuse = |code| Fault::Refuse {
        code,
        retry_after: None,
    };
    for (fault, told, written) in [
        (refuse(401), 401, false),
        (refuse(403), 403, false),
        (refuse(429), 429, false),
        (refuse(503), 503, false),
        (Fault::Cut, 0, false),
        (Fault::RefuseAfterCommit(409), 409, true),
        (Fault::RefuseAfterCommit(500), 500, true),
        (Fault::LoseReply, 0, true),
        (Fault::Truncate(0), 0, true),
        (Fault::Truncate(20), 0, true),
        (Fault::Delay(SHORT), 200, true),
    ] {
        let ground = Ground::set_up().await;
        let rule = ground.proxy.break_with(Rule::once(writes(), fault.clone()));
        let answer = hold(&ground.leases, "b-0").await;
        assert_eq!(code(&answer), told, "{fault:?}: {answer:?}");
        let holder = if written { "b-0" } else { "a-0" };
        assert_eq!(ground.holder().await, holder, "{fault:?}");
        assert_eq!(ground.proxy.hits(rule), 1, "{fault:?}");
        // The rule was for one request.
        hold(&ground.leases, "c-0").await.unwrap();
        assert_eq!(ground.holder().await, "c-0", "{fault:?}");
    }
}

#[tokio::test]
async fn what_hangs_is_cut_when_the_rule_is_withdrawn() {
    let ground = Ground::set_up().await;
    let rule = ground.proxy.break_with(Rule::always(writes(), Fault::Hang));
    let mut hanging = pin!(hold(&ground.leases, "b-0"));
    assert!(timeout(SHORT, &mut hanging).await.is_err());
    // Others are not touched.
    ground.leases.get("l").await.unwrap();
    ground.proxy.withdraw(rule);
    let answer = timeout(PATIENCE, hanging).await.expect("an end in time");
    assert_eq!(code(&answer), 0, "{answer:?}");
    assert_eq!(ground.holder().await, "a-0");
    hold(&ground.leases, "c-0").await.unwrap();
}

#[tokio::test]
async fn a_refusal_may_say_when_to_come_again() {
    let ground = Ground::set_up().await;
    let fault = Fault::Refuse {
        code: 429,
        retry_after: Some(7),
    };
    ground.proxy.break_with(Rule::once(Which::default(), fault));
    let request = hyper::Request::get("/api/v1/pods").body(Body::empty());
    let answer = ground.client.send(request.unwrap()).await.unwrap();
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after"], "7");
}

#[tokio::test]
async fn a_silent_watch_says_nothing_and_ends_with_the_rule() {
    let ground = Ground::set_up().await;
    let rule = Rule::always(Which::watches(), Fault::Silence);
    let rule = ground.proxy.break_with(rule);
    let mut events = ground.watch().await;
    hold(&ground.behind, "b-0").await.unwrap();
    assert!(timeout(SHORT, events.next()).await.is_err());
    ground.proxy.withdraw(rule);
    let end = timeout(PATIENCE, events.next()).await.expect("an end");
    assert!(!matches!(end, Some(Ok(_))), "{end:?}");
}

#[tokio::test]
async fn a_gap_leaves_events_out() {
    let ground = Ground::set_up().await;
    ground
        .proxy
        .break_with(Rule::once(Which::watches(), Fault::Gap(2)));
    let mut events = ground.watch().await;
    for holder in ["b-0", "c-0", "d-0"] {
        hold(&ground.behind, holder).await.unwrap();
    }
    let event = timeout(PATIENCE, events.try_next())
        .await
        .expect("an event");
    let Ok(Some(WatchEvent::Modified(lease))) = event else {
        panic!("wanted the third change, got {event:?}");
    };
    assert_eq!(lease.spec.unwrap().holder_identity.as_deref(), Some("d-0"));
}

#[tokio::test]
async fn a_watch_may_be_told_that_its_version_is_gone() {
    let ground = Ground::set_up().await;
    ground
        .proxy
        .break_with(Rule::once(Which::watches(), Fault::Gone));
    let mut events = ground.watch().await;
    let event = timeout(PATIENCE, events.try_next())
        .await
        .expect("an event");
    let Ok(Some(WatchEvent::Error(status))) = event else {
        panic!("wanted an ERROR event, got {event:?}");
    };
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
    let end = timeout(PATIENCE, events.try_next()).await.expect("an end");
    assert!(matches!(end, Ok(None)), "{end:?}");
}

#[tokio::test]
async fn stale_reads_show_what_was() {
    let ground = Ground::set_up().await;
    let reads = Which::of(Method::GET, "/leases/l");
    ground.proxy.break_with(Rule::always(reads, Fault::Stale));
    let first = ground.leases.get("l").await.unwrap();
    hold(&ground.leases, "b-0").await.unwrap();
    assert_eq!(ground.leases.get("l").await.unwrap(), first);
    ground.proxy.heal();
    let now = ground.leases.get("l").await.unwrap();
    assert_eq!(now.spec.unwrap().holder_identity.as_deref(), Some("b-0"));
}

#[tokio::test]
async fn a_flapping_rule_holds_and_lets_go_by_turns() {
    let ground = Ground::set_up().await;
    ground.proxy.break_with(Rule {
        which: writes(),
        fault: Fault::Cut,
        when: When::Flapping(SHORT),
    });
    let mut turns = Vec::new();
    let flapping = async {
        while turns.len() < 4 {
            let works = hold(&ground.leases, "b-0").await.is_ok();
            if turns.last() != Some(&works) {
                turns.push(works);
            }
        }
    };
    timeout(PATIENCE, flapping)
        .await
        .expect("four turns in time");
}

#[tokio::test]
async fn the_first_rule_that_fits_is_carried_out() {
    let ground = Ground::set_up().await;
    let refuse = |code| Fault::Refuse {
        code,
        retry_after: None,
    };
    let first = Rule {
        which: writes(),
        fault: refuse(500),
        when: When::Times(2),
    };
    let first = ground.proxy.break_with(first);
    let second = ground
        .proxy
        .break_with(Rule::always(Which::default(), refuse(403)));
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(code(&hold(&ground.leases, "b-0").await));
    }
    assert_eq!(told, [500, 500, 403]);
    assert_eq!(code(&ground.leases.get("l").await), 403);
    let hits = [first, second].map(|rule| ground.proxy.hits(rule));
    assert_eq!(hits, [2, 2]);
    ground.proxy.heal();
    hold(&ground.leases, "b-0").await.unwrap();
}
