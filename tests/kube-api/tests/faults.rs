//! What only the in-memory server can be told to do: break, count, forget; and how fast it wakes a watcher.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic like the test itself, and figures need a clock"
)]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Config};
use kube_api::{KubeApi, Mode, Options, Verb};
use serde_json::json;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);
/// Long enough for an answer to have come if one were to come.
const SHORT: Duration = Duration::from_millis(150);

async fn start() -> (KubeApi, Api<Lease>) {
    let api = KubeApi::start(Options::default()).await.unwrap();
    let leases = Api::default_namespaced(client(&api).await);
    (api, leases)
}

async fn client(api: &KubeApi) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(&api.kubeconfig("default")).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    Client::try_from(config.unwrap()).unwrap()
}

async fn create(leases: &Api<Lease>, name: &str) -> kube::Result<Lease> {
    let lease = serde_json::from_value(json!({"metadata": {"name": name}, "spec": {}})).unwrap();
    leases.create(&PostParams::default(), &lease).await
}

async fn hold(leases: &Api<Lease>, name: &str, holder: &str) -> kube::Result<Lease> {
    let patch = Patch::Merge(json!({"spec": {"holderIdentity": holder}}));
    leases.patch(name, &PatchParams::default(), &patch).await
}

async fn holder(leases: &Api<Lease>, name: &str) -> Option<String> {
    leases
        .get(name)
        .await
        .unwrap()
        .spec
        .unwrap()
        .holder_identity
}

#[tokio::test]
async fn down_cuts_connections_and_keeps_the_data() {
    let (api, leases) = start().await;
    create(&leases, "l").await.unwrap();
    let params = WatchParams::default();
    let mut events = pin!(leases.watch(&params, "1").await.unwrap());
    assert!(events.try_next().await.unwrap().is_some());
    api.set_mode(Mode::Down);
    let end = timeout(PATIENCE, events.next())
        .await
        .expect("the watch ends");
    assert!(!matches!(end, Some(Ok(_))));
    let refused = timeout(PATIENCE, leases.get("l"))
        .await
        .expect("an end in time");
    assert!(!matches!(refused, Ok(_) | Err(kube::Error::Api(_))));
    api.set_mode(Mode::Up);
    leases.get("l").await.unwrap();
}

#[tokio::test]
async fn silence_carries_nothing_out_and_watches_go_on_after_it() {
    let (api, leases) = start().await;
    let made = create(&leases, "l").await.unwrap();
    let params = WatchParams::default();
    let version = made.metadata.resource_version.unwrap();
    let mut events = pin!(leases.watch(&params, &version).await.unwrap());
    api.set_mode(Mode::Silent);
    assert!(timeout(SHORT, hold(&leases, "l", "late")).await.is_err());
    assert!(timeout(SHORT, events.next()).await.is_err());
    api.set_mode(Mode::Up);
    assert_eq!(holder(&leases, "l").await, None);
    hold(&leases, "l", "a").await.unwrap();
    let event = timeout(PATIENCE, events.try_next())
        .await
        .expect("an event in time");
    assert!(matches!(event, Ok(Some(WatchEvent::Modified(_)))));
}

#[tokio::test]
async fn a_lost_reply_is_a_write_all_the_same() {
    let (api, leases) = start().await;
    create(&leases, "l").await.unwrap();
    api.set_mode(Mode::ReplyLost);
    assert!(timeout(SHORT, hold(&leases, "l", "a")).await.is_err());
    api.set_mode(Mode::Up);
    assert_eq!(holder(&leases, "l").await.as_deref(), Some("a"));
}

#[tokio::test]
async fn failing_refuses_everything_with_one_status() {
    let (api, leases) = start().await;
    create(&leases, "l").await.unwrap();
    api.set_mode(Mode::Failing(403));
    for refused in [leases.get("l").await, hold(&leases, "l", "a").await] {
        let Err(kube::Error::Api(status)) = refused else {
            panic!("wanted a refusal, got {refused:?}");
        };
        assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
    }
    api.set_mode(Mode::Up);
    assert_eq!(holder(&leases, "l").await, None);
}

#[tokio::test]
async fn latency_delays_a_request() {
    let (api, leases) = start().await;
    api.set_latency(SHORT);
    let begun = Instant::now();
    create(&leases, "l").await.unwrap();
    assert!(begun.elapsed() >= SHORT);
}

#[tokio::test]
async fn requests_are_counted_by_verb_and_resource() {
    let (api, leases) = start().await;
    create(&leases, "l").await.unwrap();
    assert!(create(&leases, "l").await.is_err());
    hold(&leases, "l", "a").await.unwrap();
    leases.list(&ListParams::default()).await.unwrap();
    let counts: Vec<_> = api.counts().into_iter().collect();
    assert_eq!(
        counts,
        [
            ((Verb::List, "leases"), 1),
            ((Verb::Create, "leases"), 2),
            ((Verb::Patch, "leases"), 1),
        ]
    );
    assert_eq!(api.writes(), 3);
}

#[tokio::test]
async fn a_forgotten_version_is_a_410_inside_the_stream() {
    let (api, leases) = start().await;
    let made = create(&leases, "l").await.unwrap();
    hold(&leases, "l", "a").await.unwrap();
    api.compact();
    let version = made.metadata.resource_version.unwrap();
    let mut events = pin!(
        leases
            .watch(&WatchParams::default(), &version)
            .await
            .unwrap()
    );
    let Some(WatchEvent::Error(status)) = events.try_next().await.unwrap() else {
        panic!("wanted an error event");
    };
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
    assert!(events.try_next().await.unwrap().is_none());
}

#[tokio::test]
async fn the_runtime_watcher_lists_again_after_history_was_lost() {
    let (api, leases) = start().await;
    create(&leases, "l").await.unwrap();
    let mut events = watcher(leases.clone(), watcher::Config::default()).boxed();
    while !matches!(events.try_next().await.unwrap(), Some(Event::InitDone)) {}
    api.set_mode(Mode::Silent);
    let other: Api<Lease> = Api::default_namespaced(client(&api).await);
    // What happens behind the watcher's back, and is forgotten before it can look.
    api.set_mode(Mode::Down);
    api.set_mode(Mode::Up);
    hold(&other, "l", "a").await.unwrap();
    api.compact();
    let mut seen = None;
    while seen.as_deref() != Some("a") {
        // The watcher reports the broken stream and the 410 as errors and goes on.
        let event = timeout(PATIENCE, events.next())
            .await
            .expect("an event in time");
        if let Some(Ok(Event::Apply(lease) | Event::InitApply(lease))) = event {
            seen = lease.spec.and_then(|spec| spec.holder_identity);
        }
    }
}

#[tokio::test]
async fn a_watcher_that_does_not_read_costs_no_one_else() {
    let options = Options {
        max_history: 10,
        ..Options::default()
    };
    let api = KubeApi::start(options).await.unwrap();
    let leases: Api<Lease> = Api::default_namespaced(client(&api).await);
    let made = create(&leases, "l").await.unwrap();
    let version = made.metadata.resource_version.unwrap();
    let params = WatchParams::default();
    let mut deaf = pin!(leases.watch(&params, &version).await.unwrap());
    let big = "x".repeat(200_000);
    for n in 0..50 {
        let annotations = json!({"metadata": {"annotations": {"big": big, "n": n.to_string()}}});
        let patch = Patch::Merge(annotations);
        leases
            .patch("l", &PatchParams::default(), &patch)
            .await
            .unwrap();
    }
    // It gets what the sockets held, and then hears that it missed the rest.
    loop {
        match timeout(PATIENCE, deaf.try_next())
            .await
            .expect("an event in time")
            .unwrap()
        {
            Some(WatchEvent::Error(status)) => break assert_eq!(status.code, 410),
            Some(_) => {}
            None => panic!("the end came without a word"),
        }
    }
}

#[tokio::test]
async fn stopping_frees_the_port_and_ends_watches() {
    let (api, leases) = start().await;
    let mut events = pin!(leases.watch(&WatchParams::default(), "0").await.unwrap());
    let address = api.address();
    api.stop().await;
    let end = timeout(PATIENCE, events.next())
        .await
        .expect("the watch ends");
    assert!(!matches!(end, Some(Ok(_))));
    TcpListener::bind(address).unwrap();
}

#[test]
fn the_program_prints_its_url_and_refuses_nonsense() {
    let program = env!("CARGO_BIN_EXE_kube-api");
    let mut child = Command::new(program)
        .args(["--listen", "127.0.0.1:0"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    let read = BufReader::new(child.stderr.take().unwrap()).read_line(&mut url);
    child.kill().unwrap();
    child.wait().unwrap();
    read.unwrap();
    assert!(url.starts_with("http://127.0.0.1:"), "{url:?}");
    for arguments in [&["--listen"][..], &["--listen", "x"], &["help"]] {
        let ended = Command::new(program).args(arguments).output().unwrap();
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&ended.stderr).starts_with("usage: "));
    }
}

/// Prints how long a change takes to its watcher; asserts only what a busy machine cannot break.
#[tokio::test]
async fn a_change_wakes_its_watcher() {
    let (_api, leases) = start().await;
    let made = create(&leases, "l").await.unwrap();
    let version = made.metadata.resource_version.unwrap();
    let params = WatchParams::default();
    let mut events = pin!(leases.watch(&params, &version).await.unwrap());
    let mut written = Vec::new();
    let mut woken = Vec::new();
    for n in 0..200 {
        let begun = Instant::now();
        let (change, event) = tokio::join!(
            async {
                let change = hold(&leases, "l", &n.to_string()).await;
                (change, begun.elapsed())
            },
            async {
                let event = timeout(PATIENCE, events.try_next()).await;
                (event, begun.elapsed())
            },
        );
        change.0.unwrap();
        assert!(matches!(
            event.0.unwrap(),
            Ok(Some(WatchEvent::Modified(_)))
        ));
        written.push(change.1);
        woken.push(event.1);
    }
    for (what, mut times) in [("answer to a PATCH", written), ("watch event of it", woken)] {
        times.sort();
        let (half, most) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        println!("{what}: p50 {half:?} p99 {most:?}");
        assert!(half < Duration::from_secs(1));
    }
}
