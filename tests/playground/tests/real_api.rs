//! A real Kubernetes API can be had, broken, rolled back, and leaves nothing behind.
//!
//! Skipped, with the reason, where it cannot be built.

#![allow(clippy::unwrap_used, reason = "a test's own tools may end the test")]

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hyper::Request;
use playground::cache::Cache;
use playground::clock::{Deadline, now};
use playground::kube::{client, flags};
use playground::ports::{PortBlock, Ports};
use playground::process::{ProcessSpec, Spawner};
use playground::real_api::program::{self, Found};
use playground::real_api::{READY_LIMIT, RealApi};
use playground::run_dir::{Afterwards, RunDir};
use playground::wait::until;
use playground::{AccessArgs, Guard, Timeline, http, programs};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(60);
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";

/// The API and the folder it is in, in the order in which they end.
struct Ground {
    api: RealApi,
    spawner: Spawner,
    /// For whatever a test starts beside it.
    ports: PortBlock,
    run: RunDir,
}

impl Ground {
    async fn set_up(test: &str) -> Result<Option<Self>> {
        let cache = Cache::of_user()?;
        let spawner = Spawner::new(Guard::for_tests())?;
        let timeline = Timeline::new(Box::new(std::io::stderr()));
        let program = match program::get(&cache, &spawner, &timeline).await? {
            Found::Program(program) => program,
            Found::NoGo(reason) => {
                timeline.say(format!("SKIPPED {test}"), reason);
                return Ok(None);
            }
        };
        let run = RunDir::create(Afterwards::Remove)?;
        let ports = Ports::new(&cache)?;
        let begin = now();
        let api = RealApi::start(&program, run.path(), ports.block()?, &spawner).await?;
        timeline.say(test, format!("ready in {:.2?}", begin.elapsed()));
        Ok(Some(Self {
            api,
            spawner,
            ports: ports.block()?,
            run,
        }))
    }

    async fn get(&self, path: &str) -> Result<Value> {
        ask(self.api.admin(), Request::get(path).body(Vec::new())?).await
    }

    async fn make_lease(&self, name: &str) -> Result<Value> {
        let lease = json!({"metadata": {"name": name}, "spec": {"holderIdentity": "a-0"}});
        ask(self.api.admin(), create(LEASES, &lease)?).await
    }
}

fn create(path: &str, object: &Value) -> Result<Request<Vec<u8>>> {
    let request = Request::post(path).header("content-type", "application/json");
    Ok(request.body(object.to_string().into_bytes())?)
}

async fn ask(access: &AccessArgs, request: Request<Vec<u8>>) -> Result<Value> {
    let client = client(access, "default")?;
    let answer = tokio::time::timeout(LIMIT, client.request(request)).await;
    Ok(answer.context("no answer in time")??)
}

fn refused(outcome: Result<Value>) -> u16 {
    match outcome.unwrap_err().downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) => status.code,
        other => panic!("wanted an answer, got {other:?}"),
    }
}

#[tokio::test]
async fn outages_lose_nothing_and_a_restored_etcd_forgets() -> Result<()> {
    let Some(mut ground) = Ground::set_up("outages").await? else {
        return Ok(());
    };
    let before = ground.make_lease("before").await?;
    let snapshot = ground.api.snapshot("one").await?;
    ground.make_lease("after").await?;

    let begin = now();
    ground.api.server()?.kill().await?;
    ensure!(ground.get("/readyz").await.is_err(), "it is dead");
    ground.api.start_server()?;
    ground.api.ready(READY_LIMIT).await?;
    println!(
        "kube-apiserver killed and ready again in {:.2?}",
        begin.elapsed()
    );

    let begin = now();
    ground.api.etcd()?.kill().await?;
    ground.api.start_etcd()?;
    ground.api.ready(READY_LIMIT).await?;
    println!("etcd killed and ready again in {:.2?}", begin.elapsed());
    ground.get(&format!("{LEASES}/after")).await?;

    ground.api.server()?.freeze()?;
    let client = ground.api.client("default")?;
    let waiting = client.request_text(Request::get("/readyz").body(Vec::new())?);
    let silent = tokio::time::timeout(Duration::from_millis(300), waiting).await;
    ensure!(silent.is_err(), "a frozen server says nothing");
    ground.api.server()?.thaw()?;
    ground.api.ready(READY_LIMIT).await?;

    let begin = now();
    ground.api.restore(&snapshot).await?;
    println!("etcd rolled back, ready again in {:.2?}", begin.elapsed());
    let kept = ground.get(&format!("{LEASES}/before")).await?;
    ensure!(kept["metadata"] == before["metadata"], "{kept}");
    assert_eq!(refused(ground.get(&format!("{LEASES}/after")).await), 404);
    let metrics = ground.api.metrics().await?;
    ensure!(
        metrics.contains("apiserver_request_total{"),
        "requests are counted"
    );
    Ok(())
}

#[tokio::test]
async fn an_account_may_do_what_its_role_says() -> Result<()> {
    let Some(ground) = Ground::set_up("accounts").await? else {
        return Ok(());
    };
    let api = &ground.api;
    api.make_namespace("one").await?;
    api.create_manifests("one", include_str!("../../../deploy/rbac/agent.yaml"))
        .await?;
    let agent = api.access_of("one", "rocketmq-ha-agent").await?;
    assert_eq!(flags(&agent).len(), 3);
    let leases = "/apis/coordination.k8s.io/v1/namespaces/one/leases";
    let lease = json!({"metadata": {"name": "l"}, "spec": {}});
    // A binding works some milliseconds after it was made.
    until("the Role to work", LIMIT, async || {
        ask(&agent, Request::get(leases).body(Vec::new())?).await
    })
    .await?;
    ask(&agent, create(leases, &lease)?).await?;
    for (what, request) in [
        ("elsewhere", create(LEASES, &lease)?),
        (
            "delete",
            Request::delete(format!("{leases}/l")).body(Vec::new())?,
        ),
        (
            "secrets",
            Request::get("/api/v1/namespaces/one/secrets").body(Vec::new())?,
        ),
    ] {
        assert_eq!(refused(ask(&agent, request).await), 403, "{what}");
    }

    // A deleted account's token is no token.
    let path = "/api/v1/namespaces/one/serviceaccounts/rocketmq-ha-agent";
    ask(api.admin(), Request::delete(path).body(Vec::new())?).await?;
    until("the token to be refused", LIMIT, async || {
        let answer = ask(&agent, Request::get(leases).body(Vec::new())?).await;
        ensure!(answer.is_err(), "it is taken");
        assert_eq!(refused(answer), 401);
        Ok(())
    })
    .await
}

/// httpsite with every source and order that Kubernetes has for it, under its Role.
#[tokio::test]
async fn the_role_of_httpsite_is_enough() -> Result<()> {
    let Some(ground) = Ground::set_up("httpsite").await? else {
        return Ok(());
    };
    let api = &ground.api;
    let namespace = "one";
    api.make_namespace(namespace).await?;
    let role = include_str!("../../../deploy/rbac/httpsite.yaml");
    api.create_manifests(namespace, role).await?;
    let access = api.access_of(namespace, "rocketmq-httpsite").await?;
    let core = format!("/api/v1/namespaces/{namespace}/configmaps");
    let list = json!({"metadata": {"name": "list"}, "data": {"list": "10.0.0.2:9876"}});
    ask(api.admin(), create(&core, &list)?).await?;
    ask(
        api.admin(),
        create(&core, &json!({"metadata": {"name": "desk"}}))?,
    )
    .await?;
    let slices = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
    let slice = json!({
        "metadata": {"name": "ns", "labels": {"kubernetes.io/service-name": "ns"}}, "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"name": "ns", "port": 9876, "protocol": "TCP"}],
    });
    ask(api.admin(), create(&slices, &slice)?).await?;
    // A binding works some milliseconds after it was made.
    until("the Role to work", LIMIT, async || {
        ask(&access, Request::get(&core).body(Vec::new())?).await
    })
    .await?;

    let token = ground.run.path().join("switch.token");
    std::fs::write(&token, "0123456789abcdef")?;
    let silent = Timeline::silent();
    let program = programs::httpsite(&ground.spawner, ground.run.path(), &silent).await?;
    let (listen, admin) = (ground.ports.address(0), ground.ports.address(1));
    let output = ground.run.path().join("httpsite.out");
    let spec = ProcessSpec::new("httpsite", &program, ground.run.path(), output)
        .arguments([
            format!("--list=nsaddr=service:{namespace}/ns:ns"),
            format!("--list=nsaddr-u1=configmap:{namespace}/list/list"),
            "--partner=nsaddr-u1=nsaddr".to_owned(),
            format!("--desk=configmap:{namespace}/desk"),
            format!("--watch-namespaces={namespace}"),
            format!("--admin-token-file={}", token.display()),
            format!("--listen={listen}"),
            format!("--admin-listen={admin}"),
            "--probe-period-ms=0".to_owned(),
        ])
        .arguments(flags(&access));
    let _site = ground.spawner.start(&spec)?;
    let shows = async |path: &str, line: &str| {
        until("httpsite's list", LIMIT, async || {
            let answer = http::get(listen, path).await?;
            ensure!(answer.body.contains(line), "{path}: {answer:?}");
            Ok(())
        })
        .await
    };
    shows("/rocketmq/nsaddr", "10.0.0.1:9876").await?;
    shows("/rocketmq/nsaddr-u1", "10.0.0.2:9876").await?;
    downgrade(admin, "nsaddr-u1", "0123456789abcdef").await?;
    shows("/rocketmq/nsaddr-u1", "10.0.0.1:9876").await?;
    let events = format!("/api/v1/namespaces/{namespace}/events");
    until("the Event", LIMIT, async || {
        let list = ask(api.admin(), Request::get(&events).body(Vec::new())?).await?;
        let told = list["items"]
            .as_array()
            .is_some_and(|items| !items.is_empty());
        ensure!(told, "none yet");
        Ok(())
    })
    .await?;
    let metrics = http::get(admin, "/metrics").await?.body;
    for resource in ["endpointslices", "configmaps", "leases", "events"] {
        let name = format!("resource=\"{resource}\"");
        ensure!(metrics.contains(&name), "nothing was asked of {resource}");
    }
    ensure!(!metrics.contains("forbidden"), "{metrics}");
    Ok(())
}

/// Turns httpsite's switch, as an operator's curl does.
async fn downgrade(admin: SocketAddr, list: &str, token: &str) -> Result<()> {
    let said = "ann: a test";
    let request = format!(
        "PUT /downgrade/{list} HTTP/1.0\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{said}",
        said.len()
    );
    let exchange = async {
        let mut stream = TcpStream::connect(admin).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.take(4096).read_to_string(&mut answer).await?;
        Ok::<_, anyhow::Error>(answer)
    };
    let answer = tokio::time::timeout(LIMIT, exchange).await??;
    ensure!(answer.contains(" 200 "), "{answer}");
    Ok(())
}

#[tokio::test]
async fn nothing_is_left_of_it() -> Result<()> {
    let Some(ground) = Ground::set_up("left").await? else {
        return Ok(());
    };
    let folder = ground.run.path().to_owned();
    let name = folder
        .to_str()
        .context("read the folder's name")?
        .to_owned();
    ensure!(processes_of(&name) == 2, "etcd and kube-apiserver name it");
    drop(ground);
    let deadline = Deadline::after(LIMIT);
    while processes_of(&name) > 0 || folder.exists() {
        ensure!(!deadline.is_over(), "something of {name} is left");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Processes with a file inside that folder in their command line.
fn processes_of(folder: &str) -> usize {
    let inside = format!("{folder}/");
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .filter(|line| String::from_utf8_lossy(line).contains(&inside))
        .count()
}
