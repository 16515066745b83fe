//! `rocketmq-ha run`: everything is built, wired and spawned here, and watched until the end.
//!
//! A task that ends by itself ends the process, so that Kubernetes sees it; the launcher's permits go on meanwhile, and
//! the next agent adopts the running broker (safety H12).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use agent_core::observation::Stopping;
use anyhow::{Context as _, anyhow, bail};
use launcher::epitaph;
use remoting::ClientOptions;
use store::Layout;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{Instrument as _, error_span, info, warn};

use crate::act::event::announce;
use crate::act::gate;
use crate::act::label::Labeller;
use crate::act::launcher::{Orders, Starter, Worker};
use crate::act::lease::LeaseWriter;
use crate::act::name_servers::NameServersKept;
use crate::act::report::publish;
use crate::act::route::Route;
use crate::act::upstream;
use crate::act::volume::{Keeper, Owned};
use crate::admin::Admin;
use crate::base_conf::BaseWatch;
use crate::broker_conf::BaseConf;
use crate::clock::Clock;
use crate::cycle::hands::{Hands, UnderWay};
use crate::cycle::sight::Sight;
use crate::cycle::{Cycle, Shown};
use crate::health::Health;
use crate::history::History;
use crate::kubernetes::{self, ApiCounter};
use crate::launcher_link::Link;
use crate::metrics::Metrics;
use crate::names::GroupNames;
use crate::nameservers::Lookup;
use crate::observe::broker::{BrokerSeen, GateEcho, Pace, Probe, watch_broker};
use crate::observe::launcher::{RelayMemo, watch_launcher};
use crate::observe::{lease, pod, reports};
use crate::peer::Seal;
use crate::peer::client::{Addresses, Answers, BlockingCaller, Caller, watch_peers};
use crate::peer::server::Server;
use crate::restart_pending::RestartPending;
use crate::settings::{RunArgs, Settings};
use crate::transition::Stages;
use crate::watchdog::{self, Deadline};

/// How long a stop may take: a hand-over and an orderly end of a slave.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// How long one admin call to the broker may take, connecting included.
const CALL: Duration = Duration::from_secs(1);

/// The parts that run until the process ends, by name.
#[derive(Default)]
struct Tasks(JoinSet<&'static str>);

impl Tasks {
    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let span = error_span!("task", name);
        self.0.spawn(
            async move {
                task.await;
                name
            }
            .instrument(span),
        );
    }

    /// Waits for the first that ends, which none should.
    async fn first_end(&mut self) -> anyhow::Error {
        match self.0.join_next().await {
            Some(Ok(name)) => anyhow!("the part {name:?} ended by itself"),
            Some(Err(error)) => anyhow!(error).context("a part of the agent panicked"),
            None => anyhow!("no part of the agent runs"),
        }
    }
}

/// Runs the agent until it is stopped.
///
/// # Errors
/// What keeps it from starting, or what ended it; one line that names what, why and the remedy.
pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    let settings = Arc::new(Settings::new(args)?);
    info!(version = crate::VERSION, ?settings, "effective settings");
    let (base_watch, base) = BaseWatch::new(&settings.base_conf);
    let conf = base
        .borrow()
        .latest()
        .map_err(|error| anyhow!(Arc::clone(error)))?
        .clone();
    check(&settings, &conf)?;
    let clock = Clock;
    let (cluster, broker_name) = (conf.cluster(), conf.broker_name());
    let metrics = Metrics::register(
        cluster,
        broker_name,
        settings.member.as_str(),
        settings.zone.as_str(),
    )?;
    let names = GroupNames::new(cluster, broker_name);
    info!(cluster, broker = broker_name, member = %settings.member, lease = names.lease, "member of a group");

    let mut tasks = Tasks::default();
    tasks.spawn("base conf", base_watch.run());
    let (lookup, name_servers) = Lookup::new(settings.name_servers.clone());
    tasks.spawn("name servers", lookup.run());

    // Kubernetes.
    let kube = &settings.kube;
    let client = kubernetes::connect(kube)?;
    let counter = ApiCounter::register(metrics.registry(), "rocketmq_ha")?;
    let (namespace, limit) = (kube.namespace.as_str(), kube.request);
    let (view, task) = lease::observe(
        client.clone(),
        namespace,
        names.clone(),
        clock,
        counter.clone(),
        limit,
    );
    tasks.spawn("lease", task);
    let (published, task) = reports::observe(
        client.clone(),
        namespace,
        &names,
        clock,
        counter.clone(),
        limit,
    );
    tasks.spawn("reports", task);
    let (pods, task) = pod::observe(
        client.clone(),
        namespace,
        &names,
        settings.pod_uid.clone(),
        clock,
        counter.clone(),
        limit,
    );
    tasks.spawn("pods", task);
    let (publisher, task) = publish(
        client.clone(),
        namespace,
        names.clone(),
        clock,
        counter.clone(),
        limit,
    );
    tasks.spawn("publisher", task);
    let (announcer, task) = announce(
        client.clone(),
        namespace,
        names.clone(),
        settings.member.clone(),
        clock,
        counter.clone(),
        limit,
    );
    tasks.spawn("events", task);
    let labeller = Labeller::new(client, namespace, counter, limit);

    let epitaph = last_word(&settings.termination_log)?;

    // The volume.
    let boot_id = clock
        .boot_id()
        .context("read /proc/sys/kernel/random/boot_id")?;
    let layout = layout(&conf)?;
    let owned = Owned {
        cluster: cluster.to_owned(),
        broker: broker_name.to_owned(),
        member: settings.member.clone(),
        boot_id: boot_id.clone(),
        clock,
    };
    let (keeper, volume) = Keeper::new(owned, layout.clone());
    let keeper = Arc::new(keeper);

    // The launcher and the broker.
    let link = Link {
        socket: settings.launcher_socket.clone(),
        boot_id,
        clock,
    };
    let wake = Arc::new(Notify::new());
    let status = watch::Sender::new(None);
    let memo = watch::Sender::new(RelayMemo::default());
    tasks.spawn(
        "launcher watch",
        watch_launcher(link.clone(), status.clone()),
    );
    let orders = Orders::default();
    let starter = Starter {
        settings: Arc::clone(&settings),
        base: base.clone(),
        name_servers: name_servers.clone(),
        keeper: Arc::clone(&keeper),
    };
    let worker = Worker {
        link,
        orders: orders.clone(),
        starter: Arc::new(starter),
        seen: status.clone(),
        memo: memo.clone(),
        wake: Arc::clone(&wake),
    };
    tasks.spawn("launcher orders", worker.run());
    let options = ClientOptions {
        connect_timeout: CALL,
        call_timeout: CALL,
        credentials: settings.credentials.clone(),
        ..ClientOptions::default()
    };
    let broker_at = SocketAddr::new(probe_ip(&conf), conf.listen_port());
    let echo = GateEcho::default();
    let gate_orders = gate::Orders::new(echo.clone());
    tasks.spawn(
        "gate",
        gate::work(
            gate_orders.clone(),
            broker_at,
            options.clone(),
            status.subscribe(),
            clock,
        ),
    );
    tasks.spawn(
        "upstream",
        upstream::keep_told(
            broker_at,
            settings.relay_local,
            options.clone(),
            status.subscribe(),
        ),
    );
    let kept = NameServersKept {
        broker: broker_at,
        options: options.clone(),
        cluster: cluster.to_owned(),
        broker_name: broker_name.to_owned(),
        status: status.subscribe(),
        list: name_servers.clone(),
        clock,
    };
    tasks.spawn("name servers kept", kept.run());
    let broker = watch::Sender::new(BrokerSeen::default());
    let broker_pace = watch::Sender::new(Pace::default());
    let probe = Probe {
        address: broker_at,
        cluster: cluster.to_owned(),
        broker_name: broker_name.to_owned(),
        keeper: Arc::clone(&keeper),
        options: options.clone(),
        clock,
        echo,
    };
    tasks.spawn(
        "broker probe",
        watch_broker(
            probe,
            status.subscribe(),
            broker_pace.subscribe(),
            broker.clone(),
        ),
    );
    let health = Health::new(
        settings.launcher_socket.clone(),
        layout.commitlog.clone(),
        status.subscribe(),
        clock,
        metrics.clone(),
        announcer.clone(),
    );
    let hung = health.hung();
    tasks.spawn("health", health.clone().watch());

    let pending = RestartPending {
        base: base.clone(),
        status: status.subscribe(),
        rendered: settings.conf_out.clone(),
        metrics: metrics.clone(),
        announcer: announcer.clone(),
    };
    tasks.spawn("restart pending", pending.run());

    // The other members.
    let seal = Seal::new(
        settings.group_key.clone(),
        cluster,
        broker_name,
        settings.member.clone(),
    );
    let addresses = watch::Sender::new(Addresses::new());
    let answers = watch::Sender::new(Answers::new());
    let peer_pace = watch::Sender::new(Pace::default());
    let caller = Caller::new(seal.clone());
    tasks.spawn(
        "peers",
        watch_peers(
            caller.clone(),
            clock,
            metrics.clone(),
            addresses.subscribe(),
            peer_pace.subscribe(),
            answers.clone(),
        ),
    );
    let blocking = BlockingCaller {
        caller,
        addresses: addresses.subscribe(),
        runtime: Handle::current(),
    };

    // The admin port.
    let report = watch::Sender::new(None);
    let history = History::default();
    let heartbeat = Arc::new(AtomicU64::new(clock.tick().as_millis()));
    let admin = Admin {
        cluster: cluster.to_owned(),
        broker: broker_name.to_owned(),
        member: settings.member.clone(),
        heartbeat: Arc::clone(&heartbeat),
        history: history.clone(),
        metrics: metrics.clone(),
        health,
        peers: Server::new(seal, report.subscribe(), layout),
        clock,
    };
    let arrivals = serve::Arrivals::bind(settings.admin_listen)
        .await
        .with_context(|| {
            format!(
                "listen on --admin-listen {}: is the port free and the address local?",
                settings.admin_listen
            )
        })?;
    tasks.spawn("admin", async move {
        let answer = move |request| {
            let admin = admin.clone();
            async move { admin.answer(&request).await }
        };
        serve::serve(
            arrivals,
            serve::Limits::default(),
            answer,
            std::future::pending(),
        )
        .await;
    });

    // The watchdog, and the cycle.
    let deadline = Deadline::default();
    watchdog::start(
        deadline.clone(),
        settings.launcher_socket.clone(),
        clock,
        metrics.clone(),
    )
    .context("start the watchdog thread")?;
    let role = watch::Sender::new(None);
    tasks.spawn("role label", labeller.keep(role.subscribe(), pods.clone()));
    let stopping = watch::Sender::new(Stopping::No);
    let (outcome_sender, outcomes) = mpsc::channel(8);
    let broker_address = SocketAddr::new(settings.broker_ip, conf.listen_port()).to_string();
    let cycle = Cycle {
        sight: Sight {
            settings: Arc::clone(&settings),
            broker_address: broker_address.clone(),
            lease: view.subscribe(),
            status: status.subscribe(),
            memo: memo.subscribe(),
            broker: broker.subscribe(),
            hung,
            volume,
            answers: answers.subscribe(),
            reports: published,
            pods,
            stopping: stopping.subscribe(),
            epitaph,
            wake: Arc::clone(&wake),
        },
        hands: Hands {
            settings: Arc::clone(&settings),
            clock,
            metrics: metrics.clone(),
            writer: LeaseWriter::new(view.clone(), clock),
            lease: view,
            orders,
            gate: gate_orders,
            keeper: Arc::clone(&keeper),
            caller: Arc::new(blocking),
            announcer,
            publisher,
            role,
            name_servers,
            base,
            broker: broker.subscribe(),
            route: Route {
                cluster: cluster.to_owned(),
                broker_name: broker_name.to_owned(),
                address: broker_address,
                broker: broker_at,
                permission: conf.broker_permission().to_owned(),
                options,
            },
            outcomes: outcome_sender,
            wake,
            under_way: UnderWay::default(),
        },
        shown: Shown {
            report,
            addresses,
            broker_pace,
            peer_pace,
            deadline,
            history,
            heartbeat,
        },
        outcomes,
        clock,
        stages: Stages::default(),
        told: None,
    };
    supervise(tasks, cycle.run(), &stopping).await?;
    finish(keeper).await;
    Ok(())
}

/// How long the cycle of an agent that is asked to stop may take to end after a part has.
const LAST_STEPS: Duration = Duration::from_secs(2);

/// Until the cycle says that this member is stopped, a part ends, or a stop takes too long.
async fn supervise(
    mut tasks: Tasks,
    cycle: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    stopping: &watch::Sender<Stopping>,
) -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut cycle = tokio::spawn(cycle);
    let asked = async {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        info!("asked to stop: handing over first");
        stopping.send_replace(Stopping::Yes);
        sleep(STOP_LIMIT).await;
    };
    tokio::select! {
        ended = &mut cycle => ended.context("the cycle panicked")?,
        error = tasks.first_end() => {
            if *stopping.borrow() == Stopping::No {
                return Err(error);
            }
            // Parts listen to the cycle, and end with it: they may be seen to end before it is.
            match timeout(LAST_STEPS, &mut cycle).await {
                Ok(ended) => ended.context("the cycle panicked")?,
                Err(_) => Err(error),
            }
        }
        () = asked => {
            warn!("the stop took too long; a master that still runs ends with its permit");
            Ok(())
        }
    }
}

/// A broker that ended in order left a log that a reboot cannot shorten: that is written down.
async fn finish(keeper: Arc<Keeper>) {
    let marking = tokio::task::spawn_blocking(move || keeper.mark_clean());
    match timeout(Duration::from_secs(10), marking).await {
        Ok(Ok(Ok(()))) => info!("stopped"),
        Ok(Ok(Err(error))) => {
            info!(reason = %crate::error_chain(&error), "stopped; the log's life ends with this boot");
        }
        Ok(Err(_)) | Err(_) => info!("stopped; the log's life ends with this boot"),
    }
}

/// Leaves a fresh word for the kubelet to show once this container is gone. Without a kubelet there is none (H38).
fn last_word(path: &Path) -> anyhow::Result<Option<String>> {
    let nonce = getrandom::u64().context("draw a random number for this agent")?;
    let word = format!("{nonce:016x}");
    match epitaph::leave(path, &word) {
        Ok(true) => Ok(Some(word)),
        Ok(false) => Ok(None),
        Err(error) => {
            warn!(path = %path.display(), %error, "a container's last word was not written: silence alone will prove our death");
            Ok(None)
        }
    }
}

fn check(settings: &Settings, conf: &BaseConf) -> anyhow::Result<()> {
    conf.check_managed()?;
    conf.check_qos(settings.policy.qos.into())?;
    for overridden in conf.overridden() {
        warn!(
            key = overridden.key,
            line = overridden.line,
            value = overridden.value,
            "this key of the base belongs to the agent; the base's value does not count"
        );
    }
    for note in conf.notes() {
        warn!(path = %conf.path().display(), "{note}");
    }
    Ok(())
}

/// Paths and file lengths of the store. The broker's home folder is not ours to guess, so the root must be set.
fn layout(conf: &BaseConf) -> anyhow::Result<Layout> {
    const KEYS: [&str; 10] = [
        "storePathRootDir",
        "storePathCommitLog",
        "mappedFileSizeCommitLog",
        "mappedFileSizeConsumeQueue",
        "mapperFileSizeBatchConsumeQueue",
        "storeType",
        "enableDLegerCommitLog",
        "enableRocksDBStore",
        "rocksdbCQDoubleWriteEnable",
        "readOnlyCommitLogStorePaths",
    ];
    if conf.get("storePathRootDir").is_none() {
        bail!(
            "read {}: storePathRootDir is not set; set it to the store's folder on the volume, as an absolute path",
            conf.path().display()
        );
    }
    let values = KEYS
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), conf.get(key)?.to_owned())))
        .collect();
    Ok(Layout::from_conf(&values)?)
}

/// The broker listens on all addresses, unless it is told one.
fn probe_ip(conf: &BaseConf) -> IpAddr {
    conf.get("bindAddress")
        .and_then(|address| address.trim().parse().ok())
        .filter(|address: &IpAddr| !address.is_unspecified())
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part that listens to the cycle, and a cycle that stops when it is asked to, a while after that part heard its end.
    async fn stop(asked: Stopping) -> anyhow::Result<()> {
        let (pace, mut heard) = watch::channel(());
        let stopping = watch::Sender::new(asked);
        let mut tasks = Tasks::default();
        tasks.spawn(
            "listener",
            async move { while heard.changed().await.is_ok() {} },
        );
        let cycle = async move {
            drop(pace);
            sleep(Duration::from_millis(50)).await;
            Ok(())
        };
        timeout(Duration::from_secs(20), supervise(tasks, cycle, &stopping)).await?
    }

    #[tokio::test]
    async fn parts_that_end_with_the_cycle_do_not_spoil_a_stop() {
        stop(Stopping::Yes).await.unwrap();
    }

    #[tokio::test]
    async fn a_part_that_ends_while_nobody_asked_is_an_error() {
        let error = stop(Stopping::No).await.unwrap_err();
        assert!(error.to_string().contains("listener"), "{error}");
    }
}
