//! Sources and orders in a Kubernetes API, and the groups that agents left there.

use std::fs;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Config};
use kube_api::{KubeApi, Mode, Options};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::ground::{PATIENCE, ask, start};

async fn ground() -> (KubeApi, Client, String) {
    let api = KubeApi::start(Options::default()).await.unwrap();
    let url = api.url();
    let client = Client::try_from(Config::new(url.parse().unwrap())).unwrap();
    (api, client, url)
}

fn slice(name: &str, ready: &[&str], unready: &[&str]) -> EndpointSlice {
    let endpoint =
        |ready: bool| move |ip: &&str| json!({"addresses": [ip], "conditions": {"ready": ready}});
    let endpoints: Vec<_> = ready
        .iter()
        .map(endpoint(true))
        .chain(unready.iter().map(endpoint(false)))
        .collect();
    let kind = if ready.iter().any(|ip| ip.contains(':')) {
        "IPv6"
    } else {
        "IPv4"
    };
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "namesrv"}},
        "addressType": kind, "endpoints": endpoints,
        "ports": [{"name": "remoting", "port": 9876, "protocol": "TCP"}],
    }))
    .unwrap()
}

#[tokio::test]
async fn ready_endpoints_of_several_slices_are_the_list_and_an_outage_changes_nothing() {
    let (kube, client, url) = ground().await;
    let slices: Api<EndpointSlice> = Api::namespaced(client, "default");
    let post = PostParams::default();
    slices
        .create(&post, &slice("a", &["10.0.0.2"], &["10.0.0.3"]))
        .await
        .unwrap();
    slices
        .create(&post, &slice("six", &["fd00::1"], &[]))
        .await
        .unwrap();
    let site = start(&[
        "--list",
        "nsaddr=service:default/namesrv:remoting",
        "--kube-url",
        &url,
        "--overlap-seconds",
        "0",
        "--hold-seconds",
        "0",
    ])
    .await;
    site.until_line("nsaddr", "10.0.0.2:9876;[fd00::1]:9876")
        .await;
    // A change is visible soon after it was written.
    let began = Instant::now();
    slices
        .create(&post, &slice("b", &["10.0.0.1"], &[]))
        .await
        .unwrap();
    site.until_line("nsaddr", "10.0.0.1:9876;10.0.0.2:9876;[fd00::1]:9876")
        .await;
    println!("visible {:?} after the write began", began.elapsed());
    kube.set_mode(Mode::Down);
    sleep(Duration::from_millis(300)).await;
    assert_eq!(
        site.line("nsaddr").await,
        "10.0.0.1:9876;10.0.0.2:9876;[fd00::1]:9876"
    );
    kube.set_mode(Mode::Up);
    slices.delete("b", &DeleteParams::default()).await.unwrap();
    site.until_line("nsaddr", "10.0.0.2:9876;[fd00::1]:9876")
        .await;
    for name in ["a", "six"] {
        slices.delete(name, &DeleteParams::default()).await.unwrap();
    }
    slices
        .create(&post, &slice("c", &["10.0.0.9"], &[]))
        .await
        .unwrap();
    site.until_line("nsaddr", "10.0.0.9:9876").await;
    // The last one is gone: the list stays as it was.
    slices.delete("c", &DeleteParams::default()).await.unwrap();
    let stale = async {
        let metrics = "GET /metrics HTTP/1.0\r\n\r\n";
        while !ask(site.admin, metrics)
            .await
            .body
            .contains("rocketmq_httpsite_stale{list=\"nsaddr\"} 1")
        {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, stale).await.expect("stale");
    assert_eq!(site.line("nsaddr").await, "10.0.0.9:9876");
    site.ended().await;
}

#[tokio::test]
async fn a_long_poll_ends_with_the_change() {
    let (_kube, client, url) = ground().await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let map: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": "ns"}, "data": {"list": "10.0.0.1:9876"},
    }))
    .unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
    let source = "nsaddr=configmap:default/ns/list";
    let site = start(&["--list", source, "--kube-url", &url]).await;
    site.until_line("nsaddr", "10.0.0.1:9876").await;
    let got = site.get("/rocketmq/nsaddr", "").await;
    let index = got.header("x-list-index").unwrap();
    let poll = format!("/rocketmq/nsaddr?wait=30s&index={index}");
    let change = async {
        let patch = json!({"data": {"list": "10.0.0.1:9876;10.0.0.2:9876"}});
        maps.patch("ns", &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    };
    let (got, ()) = timeout(PATIENCE, async {
        tokio::join!(site.get(&poll, ""), change)
    })
    .await
    .expect("the change ends the poll");
    assert_eq!(got.body, "10.0.0.1:9876;10.0.0.2:9876\n");
    site.ended().await;
}

#[tokio::test]
async fn the_switch_writes_into_the_config_map_and_two_replicas_tell_one_event() {
    let (_kube, client, url) = ground().await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let map = serde_json::from_value(json!({"metadata": {"name": "desk"}})).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "0123456789abcdef0123\n").unwrap();
    let flags = [
        "--list",
        "nsaddr=static:10.0.0.1:9876",
        "--list",
        "nsaddr-u1=static:10.0.0.9:9876",
        "--partner",
        "nsaddr-u1=nsaddr",
        "--desk",
        "configmap:default/desk",
        "--kube-url",
        &url,
        "--admin-token-file",
        token.to_str().unwrap(),
    ];
    let (one, two) = (start(&flags).await, start(&flags).await);
    let call = |method: &str, list: &str, token: &str, said: &str| {
        format!(
            "{method} /downgrade/{list} HTTP/1.0\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{said}",
            said.len()
        )
    };
    let good = "0123456789abcdef0123";
    for (request, status) in [
        (call("PUT", "nsaddr-u1", "0123456789abcdef0124", "x"), 401),
        (call("PUT", "nsaddr-u1", "", "x"), 401),
        (call("PUT", "nsaddr", good, "x"), 404),
        (call("PUT", "nsaddr-u1", good, ""), 400),
        (call("GET", "nsaddr-u1", good, ""), 405),
        (call("PUT", "nsaddr-u1", good, "ann: room a is dark"), 200),
    ] {
        let got = ask(one.admin, &request).await;
        assert_eq!(got.status, status, "{request}: {}", got.body);
    }
    for site in [&one, &two] {
        site.until_line("nsaddr-u1", "10.0.0.1:9876").await;
    }
    assert_eq!(
        ask(two.admin, &call("DELETE", "nsaddr-u1", good, ""))
            .await
            .status,
        200
    );
    for site in [&one, &two] {
        site.until_line("nsaddr-u1", "10.0.0.9:9876").await;
    }
    let events: Api<Event> = Api::namespaced(client, "default");
    let both = async {
        loop {
            let all = events.list(&ListParams::default()).await.unwrap().items;
            let reasons: Vec<_> = all
                .iter()
                .filter_map(|event| event.reason.clone())
                .collect();
            if reasons.len() >= 2 {
                return (reasons, all);
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    let (mut reasons, all) = timeout(PATIENCE, both).await.unwrap();
    reasons.sort();
    assert_eq!(reasons, ["DowngradeEnded", "Downgraded"]);
    let said = |event: &Event| {
        event
            .message
            .as_deref()
            .is_some_and(|m| m.contains("ann: room a is dark"))
    };
    assert!(all.iter().all(said), "{all:?}");
    one.ended().await;
    two.ended().await;
}

const RECORD: &str = r#"{"containers":["containerd://x"],"digest":"x","format":1,"holder":"uid.n","lineage":[{"epoch":7,"master":"a-0","nonce":42,"start":900}],"log_min":0,"members":{"a-0":"v","a-1":"w"},"phase":"single","qos_enforced":0,"replication":null,"seq":3,"take_wait_ms":10000,"target":null,"term":{"epoch":7,"master":"a-0","nonce":42,"stage":"serving","start":900}}"#;

#[tokio::test]
async fn groups_are_shown_from_the_agents_leases() {
    let (_kube, client, url) = ground().await;
    let leases: Api<Lease> = Api::namespaced(client, "default");
    let lease = |name: &str, kind: &str, annotation: &str, text: &str| -> Lease {
        serde_json::from_value(json!({
            "metadata": {
                "name": name,
                "labels": {"rocketmq-ha.io/group": "rmq-c-b", "rocketmq-ha.io/kind": kind},
                "annotations": {"rocketmq-ha.io/cluster": "c", "rocketmq-ha.io/broker": "b", annotation: text},
            },
            "spec": {"holderIdentity": "a-0"},
        }))
        .unwrap()
    };
    let report = json!({
        "format": 1, "member": "a-0", "session": "s", "volume": "v", "instance": "uid.n", "zone": "z",
        "priority": 0, "role": "master", "term": {"epoch": 7, "nonce": 42}, "joined": true,
        "log": {"min": 0, "end": 1234}, "last_epoch": 7, "highest_epoch": 7, "blank": false, "frozen": null,
        "electable": "yes", "addresses": {"broker": "10.0.0.1:10911", "relay": "", "agent": ""}, "version": "1",
    })
    .to_string();
    let post = PostParams::default();
    leases
        .create(
            &post,
            &lease("rmq-c-b", "group", "rocketmq-ha.io/state", RECORD),
        )
        .await
        .unwrap();
    let site = start(&[
        "--list",
        "nsaddr=static:10.0.0.1:9876",
        "--kube-url",
        &url,
        "--watch-namespaces",
        "*",
    ])
    .await;
    let groups = |wanted: &'static str| {
        let site = &site;
        let text = async move {
            loop {
                let text = ask(site.clients, "GET /status.json HTTP/1.0\r\n\r\n")
                    .await
                    .body;
                if text.contains(wanted) {
                    return text;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        async move {
            timeout(PATIENCE, text)
                .await
                .unwrap_or_else(|_| panic!("no {wanted}"))
        }
    };
    let text = groups("\"epoch\":7").await;
    assert!(text.contains("\"master_present\":false"), "{text}");
    leases
        .create(
            &post,
            &lease("rmq-c-b-a-0", "member", "rocketmq-ha.io/report", &report),
        )
        .await
        .unwrap();
    let text = groups("\"max_offset\":1234").await;
    assert!(text.contains("\"master_present\":true"), "{text}");
    let page = ask(site.clients, "GET / HTTP/1.0\r\n\r\n").await.body;
    assert!(page.contains("c / b") && page.contains("a-1"), "{page}");
    leases
        .delete("rmq-c-b-a-0", &DeleteParams::default())
        .await
        .unwrap();
    groups("\"master_present\":false").await;
    site.ended().await;
}
