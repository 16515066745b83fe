//! The page for people, in a real browser.

use std::fs;
use std::net::SocketAddr;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use kube::{Api, Client, Config};
use kube_api::{KubeApi, Options};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Duration, sleep, timeout};

use crate::browser::{Browser, Look};
use crate::ground::{PATIENCE, Site, ask, start};

const WIDE: Look = Look {
    name: "wide-light",
    width: 1280,
    height: 900,
    scheme: "light",
};
const LOOKS: [Look; 4] = [
    WIDE,
    Look {
        name: "wide-dark",
        scheme: "dark",
        ..WIDE
    },
    Look {
        name: "phone-light",
        width: 390,
        height: 844,
        ..WIDE
    },
    Look {
        name: "phone-dark",
        width: 390,
        height: 844,
        scheme: "dark",
    },
];

/// The page renews itself every 10 s.
const RENEWED: Duration = Duration::from_secs(30);

/// What a name from outside could try.
const EVIL: &str = "</title><script>document.title='owned'</script><img src=http://127.0.0.1:9/x onerror=alert(1)>\"'\u{202e}";

/// Answers whatever it is asked with code 0: to the probe it lives.
async fn name_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answering(stream));
        }
    });
    address
}

/// A frame: its length, the length of its header of JSON, the header, the body (facts §1.1).
async fn answering(mut stream: TcpStream) -> Option<()> {
    loop {
        let length = usize::try_from(stream.read_u32().await.ok()?).ok()?;
        let mut frame = vec![0; length.min(64 * 1024)];
        stream.read_exact(&mut frame).await.ok()?;
        let header = usize::from(u16::from_be_bytes([frame[2], frame[3]]));
        let header: Value = serde_json::from_slice(&frame[4..4 + header]).ok()?;
        let answer = json!({
            "code": 0, "flag": 1, "language": "JAVA", "opaque": header["opaque"], "version": 0,
            "serializeTypeCurrentRPC": "JSON",
        })
        .to_string();
        let length = u32::try_from(answer.len()).ok()?;
        let mut bytes = (length + 4).to_be_bytes().to_vec();
        bytes.extend(length.to_be_bytes());
        bytes.extend(answer.as_bytes());
        stream.write_all(&bytes).await.ok()?;
    }
}

async fn dead_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// Leases as agents write them.
struct Leases(Api<Lease>);

impl Leases {
    async fn create(&self, group: &str, title: (&str, &str), kind: &str, more: Value) {
        let mut lease = json!({
            "metadata": {
                "name": more["name"].as_str().unwrap_or(group),
                "labels": {"rocketmq-ha.io/group": group, "rocketmq-ha.io/kind": kind},
                "annotations": {"rocketmq-ha.io/cluster": title.0, "rocketmq-ha.io/broker": title.1},
            },
            "spec": {"holderIdentity": more["holder"]},
        });
        if let Some(time) = more["renewed"].as_str() {
            lease["spec"]["renewTime"] = json!(time);
        }
        for (key, value) in more["annotations"].as_object().unwrap() {
            lease["metadata"]["annotations"][format!("rocketmq-ha.io/{key}")] = value.clone();
        }
        let lease = serde_json::from_value(lease).unwrap();
        self.0.create(&PostParams::default(), &lease).await.unwrap();
    }

    async fn group(&self, group: &str, title: (&str, &str), annotations: Value) {
        let more = json!({"holder": "a-0", "annotations": annotations});
        self.create(group, title, "group", more).await;
    }

    async fn member(&self, group: &str, title: (&str, &str), report: Value, renewed: Option<&str>) {
        let name = format!("{group}-{}", report["member"].as_str().unwrap());
        let report = report.to_string();
        let more = json!({"name": name, "renewed": renewed, "annotations": {"report": report}});
        self.create(group, title, "member", more).await;
    }
}

fn record(phase: &str) -> String {
    json!({
        "containers": ["containerd://x"], "digest": "x", "format": 1, "holder": "uid.n",
        "lineage": [{"epoch": 7, "master": "a-0", "nonce": 42, "start": 900}], "log_min": 0,
        "members": {"a-0": "v", "a-1": "w"}, "phase": phase, "qos_enforced": 0, "replication": null,
        "seq": 3, "take_wait_ms": 10000, "target": null,
        "term": {"epoch": 7, "master": "a-0", "nonce": 42, "stage": "serving", "start": 900},
    })
    .to_string()
}

fn report(member: &str, role: &str, end: u64) -> Value {
    json!({
        "format": 1, "member": member, "session": "s", "volume": "v", "instance": "uid.n", "zone": "zone-b",
        "priority": 0, "role": role, "term": {"epoch": 7, "nonce": 42}, "joined": true,
        "log": {"min": 0, "end": end}, "last_epoch": 7, "highest_epoch": 7, "blank": false, "frozen": null,
        "electable": "yes", "version": "1",
        "addresses": {"broker": "10.244.3.17:10911", "relay": "", "agent": ""},
    })
}

async fn kubernetes() -> (KubeApi, Leases, String) {
    let api = KubeApi::start(Options::default()).await.unwrap();
    let url = api.url();
    let client = Client::try_from(Config::new(url.parse().unwrap())).unwrap();
    (api, Leases(Api::namespaced(client, "default")), url)
}

async fn json_of(site: &Site) -> Value {
    let text = ask(site.clients, "GET /status.json HTTP/1.0\r\n\r\n").await;
    serde_json::from_str(&text.body).unwrap()
}

/// Waits until the JSON has all of these texts.
async fn until_told(site: &Site, wanted: &[&str]) {
    let wait = async {
        loop {
            let text = json_of(site).await.to_string();
            if wanted.iter().all(|wanted| text.contains(wanted)) {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    let told = timeout(PATIENCE, wait).await;
    assert!(told.is_ok(), "{wanted:?} in {}", json_of(site).await);
}

/// What holds for every page, however it is looked at. Returns its text.
async fn is_sound(browser: &mut Browser, site: &Site, query: &str, look: Look) -> String {
    let name = look.name;
    let base = format!("http://{}/", site.clients);
    browser.open(&format!("{base}{query}"), look).await;
    let page = browser.text("body").await;
    let facts = browser
        .value(
            "({
                active: document.querySelectorAll('script,img,iframe,object,embed,link,form,base').length,
                handlers: [...document.querySelectorAll('*')].filter(e =>
                    [...e.attributes].some(a => a.name.startsWith('on'))).length,
                width: Math.max(document.documentElement.scrollWidth, document.body.scrollWidth),
                out: [...document.querySelectorAll('body *')].filter(e =>
                    e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 200)),
                dark: matchMedia('(prefers-color-scheme: dark)').matches,
                title: document.title,
            })",
        )
        .await;
    assert_eq!(facts["active"], 0, "{name}");
    assert_eq!(facts["handlers"], 0, "{name}");
    assert!(
        facts["width"].as_u64().unwrap() <= u64::from(look.width),
        "{name}: {facts}"
    );
    assert_eq!(facts["out"], json!([]), "{name}");
    assert_eq!(facts["dark"], look.scheme == "dark", "{name}");
    assert!(
        facts["title"].as_str().unwrap().ends_with("httpSite"),
        "{facts}"
    );
    let strangers: Vec<String> = browser
        .requests()
        .into_iter()
        .filter(|url| !url.starts_with(&base))
        .collect();
    assert!(strangers.is_empty(), "{name}: {strangers:?}");
    assert_eq!(browser.complaints(), Vec::<String>::new(), "{name}");
    page
}

async fn is_no_blank(browser: &mut Browser, name: &str, scheme: &str) {
    let picture = browser.shot(name).await;
    let (colours, brightness) = browser.colours(&picture).await;
    assert!(colours > 20, "{name}: {colours} colours");
    let dark = brightness < 80.0;
    assert_eq!(dark, scheme == "dark", "{name}: brightness {brightness}");
}

/// Everything that can be wrong at once, on a wide screen and a phone, by day and by night. Fails when anything of it is
/// missing on the page or in the JSON, runs over the edge of a phone, or when a name becomes markup.
#[tokio::test]
async fn whatever_is_wrong_is_seen_at_once() {
    let (_kube, leases, url) = kubernetes().await;
    let gib: u64 = 1 << 30;
    let dead_since = "2026-01-02T03:04:05.000000Z";
    for (group, broker) in [
        ("g-a", "healthy"),
        ("g-b", "behind"),
        ("g-c", "paused"),
        ("g-d", "single"),
    ] {
        let title = ("prod", broker);
        let phase = if broker == "single" { "single" } else { "sync" };
        let mut annotations = json!({"state": record(phase)});
        if broker == "paused" {
            annotations["paused"] = json!("true");
        }
        leases.group(group, title, annotations).await;
        let master = report("a-0", "master", 40 * gib + 123_456);
        leases.member(group, title, master, None).await;
        let mut slave = report("a-1", "slave", 40 * gib + 123_000);
        match broker {
            "behind" => slave["log"]["end"] = json!(39 * gib),
            "single" => slave["electable"] = json!("diverged"),
            _ => {}
        }
        leases.member(group, title, slave, None).await;
    }
    let dead =
        json!({"holder": "a-0", "renewed": dead_since, "annotations": {"state": record("sync")}});
    leases.create("g-e", ("prod", "dead"), "group", dead).await;
    let last = report("a-0", "master", gib);
    leases
        .member("g-e", ("prod", "dead"), last, Some(dead_since))
        .await;
    let damaged = json!({"state": "{\"format\": 1, <script>"});
    leases.group("g-f", ("prod", "damaged"), damaged).await;
    leases
        .group("g-g", (EVIL, EVIL), json!({"state": EVIL}))
        .await;

    let folder = tempfile::tempdir().unwrap();
    let (file, desk) = (folder.path().join("list"), folder.path().join("desk"));
    let (alive, gone) = (name_server().await, dead_address().await);
    fs::write(&file, alive.to_string()).unwrap();
    fs::write(
        &desk,
        format!("downgrade.nsaddr-u1=ann: {EVIL}\noverride.nsaddr={EVIL}\n"),
    )
    .unwrap();
    let lists = [
        format!("nsaddr=static:{gone}"),
        format!("nsaddr=file:{}", file.display()),
        format!("nsaddr-u1=static:{gone}"),
        "nsaddr-new=service:default/namesrv:9876".to_owned(),
    ];
    let desk = format!("file:{}", desk.display());
    let mut flags: Vec<&str> = lists.iter().flat_map(|list| ["--list", list]).collect();
    flags.extend([
        "--partner",
        "nsaddr-u1=nsaddr",
        "--desk",
        &desk,
        "--kube-url",
        &url,
        "--watch-namespaces",
        "default",
        "--probe-period-ms",
        "100",
        "--probe-deadline-ms",
        "2000",
        "--overlap-seconds",
        "0",
    ]);
    let site = start(&flags).await;
    until_told(&site, &["\"dead\"", "\"alive\"", "\"far_behind\":true"]).await;
    // Some history; and a source that fails.
    let (more, other) = (name_server().await, name_server().await);
    for text in [format!("{alive};{more}"), format!("{alive};{other}")] {
        fs::write(&file, &text).unwrap();
        site.until_line("nsaddr", &sorted(&text)).await;
    }
    fs::write(&file, "<b>nonsense</b>").unwrap();
    until_told(&site, &["nonsense"]).await;

    let told = json_of(&site).await;
    let troubles = told["troubles"].as_array().unwrap();
    let expected = [
        ("fault", "list nsaddr-new", "no name server is known"),
        ("fault", "group prod / dead", "every agent is silent"),
        ("fault", "group prod / damaged", "cannot be read"),
        ("fault", "group prod / damaged", "no master"),
        ("warning", "desk", "override.nsaddr"),
        ("warning", "list nsaddr", "does not answer"),
        ("warning", "list nsaddr", "nonsense"),
        ("warning", "list nsaddr-u1", "none of its name servers"),
        ("warning", "group prod / behind", "a-1: 1.0 GiB behind"),
        (
            "warning",
            "group prod / single",
            "cannot be elected: diverged",
        ),
        ("warning", "group prod / single", "no usable slave"),
        ("note", "list nsaddr-u1", "downgraded to nsaddr: ann"),
        ("note", "group prod / paused", "paused"),
    ];
    for (level, about, says) in expected {
        let found = troubles.iter().any(|trouble| {
            trouble["level"] == level
                && trouble["about"] == about
                && trouble["says"].as_str().unwrap().contains(says)
        });
        assert!(found, "{level} {about} {says} in {troubles:#?}");
    }
    let healthy = troubles
        .iter()
        .any(|t| t["about"].as_str().unwrap().contains("healthy"));
    assert!(!healthy, "{troubles:#?}");

    let Some(mut browser) = Browser::start().await else {
        return site.ended().await;
    };
    for look in LOOKS {
        let page = is_sound(&mut browser, &site, "?still", look).await;
        let verdict = browser.text("#verdict").await;
        assert!(verdict.starts_with("✖ "), "{verdict}");
        assert!(verdict.contains("of 3 lists and 7 groups"), "{verdict}");
        for (level, about, says) in expected {
            for words in [level, about, says] {
                assert!(verdict.contains(words), "{}: {words}: {verdict}", look.name);
            }
        }
        let seen = |words: &str| assert!(page.contains(words), "{}: {words} in {page}", look.name);
        for words in [
            "✔ alive",
            "✖ dead",
            "in order",
            "first list",
            "Silent",
            "The record in Lease g-f",
        ] {
            seen(words);
        }
        for words in [
            "✔ Serving",
            "▲ paused",
            "42949796416",
            "▲ 1.0 GiB",
            "456 B",
            "zone-b",
            "d ago",
        ] {
            seen(words);
        }
        // As text, whatever a browser would have made of it.
        seen("<img src=http://127.0.0.1:9/x onerror=alert(1)>");
        is_no_blank(&mut browser, look.name, look.scheme).await;
    }
    browser.end().await;
    site.ended().await;
}

fn sorted(line: &str) -> String {
    let mut servers: Vec<SocketAddr> = line.split(';').map(|s| s.parse().unwrap()).collect();
    servers.sort();
    let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
    servers.join(";")
}

/// Fails when a quiet page does not say that all is well, and when one that is left open does not follow what happens.
#[tokio::test]
async fn a_quiet_page_says_so_and_follows_what_happens() {
    let Some(mut browser) = Browser::start().await else {
        return;
    };
    let (_kube, _leases, url) = kubernetes().await;
    let folder = tempfile::tempdir().unwrap();
    let desk = folder.path().join("desk");
    let (list, order) = (
        format!("nsaddr=static:{}", name_server().await),
        format!("file:{}", desk.display()),
    );
    let site = start(&[
        "--list",
        &list,
        "--list",
        "other=static:10.0.0.1:9876",
        "--partner",
        "nsaddr=other",
        "--desk",
        &order,
        "--kube-url",
        &url,
        "--watch-namespaces",
        "default",
    ])
    .await;
    fs::write(&desk, "").unwrap();
    until_told(&site, &["\"troubles\":[]"]).await;
    for look in LOOKS {
        let page = is_sound(&mut browser, &site, "", look).await;
        assert!(page.contains("✔ All well"), "{page}");
        assert!(page.contains("No group's Lease"), "{page}");
        let name = format!("quiet-{}", look.name);
        is_no_blank(&mut browser, &name, look.scheme).await;
    }
    is_sound(&mut browser, &site, "", WIDE).await;
    fs::write(&desk, "downgrade.nsaddr=ann: a drill\n").unwrap();
    let renewed = async {
        while !browser.text("#verdict").await.contains("a drill") {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(RENEWED, renewed)
        .await
        .expect("the page renews itself");
    browser.end().await;
    site.ended().await;
}

/// Fails when the page or its JSON may be framed, guessed at, kept, or told of to others.
#[tokio::test]
async fn page_and_json_are_protected() {
    let site = start(&["--list", "nsaddr=static:10.0.0.1:9876"]).await;
    for port in [site.clients, site.admin] {
        for path in ["/", "/?still", "/status.json"] {
            let got = ask(port, &format!("GET {path} HTTP/1.0\r\n\r\n")).await;
            let policy = got.header("content-security-policy").unwrap();
            assert!(policy.contains("default-src 'none'"), "{policy}");
            assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
            assert!(!policy.contains("script"), "{policy}");
            assert_eq!(got.header("x-content-type-options"), Some("nosniff"));
            assert_eq!(got.header("referrer-policy"), Some("no-referrer"));
            assert_eq!(got.header("cache-control"), Some("no-store"));
        }
    }
    site.ended().await;
}
