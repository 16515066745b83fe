//! Everything is built, wired and spawned here, and watched until the end.

use std::collections::BTreeMap;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use hickory_resolver::TokioResolver;
use kube::Client;
use kube_access::ApiCounter;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serve::{Arrivals, Limits, Tls, serve, serve_quickly};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{Instrument as _, error_span, info, warn};

use crate::admin::Admin;
use crate::certificate::{self, Pair};
use crate::clock::Clock;
use crate::desk::Desk;
use crate::event::{Announcer, announce};
use crate::groups::{self, Groups};
use crate::http::{Http, LONGEST_WAIT};
use crate::kept::Kept;
use crate::list_name::ListName;
use crate::metrics::Metrics;
use crate::name_server::{ServerSet, parse_servers};
use crate::probe::{Findings, probe};
use crate::settings::{Args, DeskPlace, Settings};
use crate::site::{Ear, Inputs, Site};
use crate::source::{Source, Voice, configmap, dns, file, slices};
use crate::status::Status;
use crate::switch::Switch;

/// Connecting to the API server may take so long.
const CONNECT: Duration = Duration::from_secs(5);
/// How often `rocketmq_httpsite_group_master_present` is made anew.
const GROUPS_PERIOD: Duration = Duration::from_secs(2);

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
            Some(Err(error)) => anyhow!(error).context("a part of httpsite panicked"),
            None => anyhow!("no part of httpsite runs"),
        }
    }
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// What keeps it from starting, or what ended it; one line that names what, why and the remedy.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let settings = Settings::new(args)?;
    info!(version = crate::VERSION, ?settings, "effective settings");
    // Each of the two ports may have as many.
    let per_port = settings.max_connections;
    allow_files(per_port.saturating_mul(1 + usize::from(settings.tls.is_some())));
    let clients = listen("--listen", settings.listen).await?;
    let secure = match &settings.tls {
        Some(tls) => Some(listen("--tls-listen", tls.listen).await?),
        None => None,
    };
    let admin = listen("--admin-listen", settings.admin_listen).await?;
    let ports = Ports {
        clients,
        secure,
        admin,
    };
    let mut term = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let stop = async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    };
    serve_until(settings, ports, stop).await
}

/// A container's soft limit is often 1024 files, which is fewer connections than we promise.
fn allow_files(connections: usize) {
    let wanted = u64::try_from(connections)
        .unwrap_or(u64::MAX)
        .saturating_add(256);
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft >= wanted {
            return Ok(soft);
        }
        let most = wanted.min(hard);
        setrlimit(Resource::RLIMIT_NOFILE, most, hard).map(|()| most)
    });
    match raised {
        Ok(files) if files >= wanted => {}
        Ok(files) => warn!(
            files,
            wanted,
            "the limit of open files is too low for --max-connections; raise it or lower that"
        ),
        Err(error) => warn!(%error, wanted, "the limit of open files cannot be raised"),
    }
}

async fn listen(flag: &str, address: SocketAddr) -> anyhow::Result<Arrivals> {
    Arrivals::bind(address).await.with_context(|| {
        format!("listen on {flag} {address}: is the port free and the address local?")
    })
}

/// Where everything listens.
#[derive(Debug)]
pub struct Ports {
    /// For clients.
    pub clients: Arrivals,
    /// For clients that want TLS; of use only with a certificate.
    pub secure: Option<Arrivals>,
    /// For probes, metrics and the operator.
    pub admin: Arrivals,
}

/// Runs on bound listeners until `stop` ends, then drains.
///
/// # Errors
/// As [`run`].
pub async fn serve_until(
    settings: Settings,
    ports: Ports,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let Ports {
        clients,
        secure,
        admin,
    } = ports;
    let clock = Clock::start();
    let metrics = Metrics::register()?;
    let mut tasks = Tasks::default();
    let secure = match (secure, &settings.tls) {
        (Some(port), Some(tls)) => Some((port, secured(&tls.pair, &metrics, clock, &mut tasks)?)),
        (Some(_), None) | (None, _) => None,
    };
    let kube = kube(&settings, &metrics)?;
    let bell = Arc::new(Notify::new());

    // What is listened to.
    let desk = watch::Sender::new(Desk::default());
    let desk_seen = desk.subscribe();
    let announcer = follow_desk(&settings, kube.as_ref(), desk, &bell, clock, &mut tasks)?;
    let targets = watch::Sender::new(ServerSet::new());
    let findings = watch::Sender::new(Findings::new());
    let found = findings.subscribe();
    match settings.pace {
        Some(pace) => {
            let task = probe(pace, targets.subscribe(), findings, Arc::clone(&bell));
            tasks.spawn("probe", task);
        }
        None => drop(findings),
    }
    let kept = settings
        .keep_dir
        .clone()
        .map(|folder| Kept::new(folder, settings.names, clock));
    if let Some(kept) = kept.clone() {
        tasks.spawn("kept lists", kept.run());
    }

    // The lists.
    let inputs = Inputs {
        desk: desk_seen.clone(),
        findings: found.clone(),
        targets,
        bell: Arc::clone(&bell),
        announcer,
        kept,
    };
    let mut site = Site::new(settings.rules, clock, inputs);
    let mut resolver = None;
    for (name, list) in &settings.lists {
        let mut ears = Vec::new();
        for (text, source) in &list.sources {
            let (voice, words) = Voice::new(format!("{name}={text}"), Arc::clone(&bell));
            ears.push(Ear {
                text: text.clone(),
                words,
            });
            follow(
                source,
                voice,
                &settings,
                kube.as_ref(),
                &mut resolver,
                &mut tasks,
            )?;
        }
        site.add(name.clone(), list.partner.clone(), ears);
    }
    let board = Arc::new(site.board());
    // A static list is there before the first client is.
    site.look();
    tasks.spawn("site", site.run());

    // The brokers' groups.
    let groups = kube
        .as_ref()
        .filter(|_| !settings.watch_namespaces.is_empty());
    let groups = groups.map(|kube| {
        let namespaces = &settings.watch_namespaces;
        let (groups, watches) = groups::observe(&kube.client, namespaces, clock, &kube.counter);
        for task in watches {
            tasks.spawn("groups", task);
        }
        tasks.spawn(
            "group metrics",
            count_masters(groups.clone(), metrics.clone(), clock),
        );
        groups
    });

    // The ports.
    let stopping = watch::Sender::new(false);
    let closing = watch::Sender::new(false);
    let status = Status {
        board: Arc::clone(&board),
        findings: found.clone(),
        groups,
        desk: desk_seen,
        clock,
    };
    let switch = switch(&settings, kube.as_ref());
    let at_admin = Admin {
        board: Arc::clone(&board),
        findings: found,
        metrics: metrics.clone(),
        status: status.clone(),
        switch,
        stopping: stopping.subscribe(),
        clock,
    };
    let at_clients = Http::new(board, metrics, status, closing.subscribe());
    let ended = |mut flag: watch::Receiver<bool>| async move {
        let _ = flag.wait_for(|on| *on).await;
    };
    if let Some((port, _)) = &secure {
        info!(tls = %port.local_addr()?, "listening");
    }
    info!(clients = %clients.local_addr()?, admin = %admin.local_addr()?, "listening");
    let admin_done = watch::Sender::new(false);
    let admin = tokio::spawn(serve(
        admin,
        Limits::default(),
        move |request| at_admin.clone().answer(request),
        ended(admin_done.subscribe()),
    ));
    let secure = secure.map(|(port, tls)| {
        let (limits, quick) = (limits(settings.max_connections), at_clients.clone());
        let at_clients = at_clients.clone();
        let handler = move |request| at_clients.clone().answer(request);
        let ended = ended(closing.subscribe());
        tokio::spawn(serve_quickly(
            port,
            limits,
            Some(tls),
            quick,
            handler,
            ended,
        ))
    });
    let quick = at_clients.clone();
    let clients = tokio::spawn(serve_quickly(
        clients,
        limits(settings.max_connections),
        None,
        quick,
        move |request| at_clients.clone().answer(request),
        ended(closing.subscribe()),
    ));

    let failed = tokio::select! {
        () = stop => None,
        error = tasks.first_end() => Some(error),
    };
    // Readiness goes off first; the Service needs a moment to send nobody here any more.
    stopping.send_replace(true);
    info!(delay = ?settings.drain_delay, "stopping: not ready any more, still answering");
    if failed.is_none() {
        sleep(settings.drain_delay).await;
    }
    closing.send_replace(true);
    let mut cut_off = clients
        .await
        .context("the port for clients panicked")?
        .cut_off;
    if let Some(secure) = secure {
        cut_off += secure.await.context("the TLS port panicked")?.cut_off;
    }
    admin_done.send_replace(true);
    admin.await.context("the admin port panicked")?;
    info!(cut_off, "stopped");
    failed.map_or(Ok(()), Err)
}

/// Reads the certificate, and keeps reading it.
fn secured(pair: &Pair, metrics: &Metrics, clock: Clock, tasks: &mut Tasks) -> anyhow::Result<Tls> {
    let first = pair.read(clock.wall()).map_err(|fault| anyhow!(fault))?;
    let (configs, seen) = watch::channel(Arc::clone(&first.config));
    let task = certificate::follow(pair.clone(), first, configs, metrics.clone(), clock);
    tasks.spawn("certificate", task);
    Ok(Tls::new(seen))
}

fn limits(max_connections: usize) -> Limits {
    Limits {
        max_connections,
        // nginx keeps an idle connection for 75 s; clients of ours come every 10 or 120 s and open a new one each time.
        head_deadline: Duration::from_secs(60),
        request_deadline: LONGEST_WAIT + Duration::from_secs(5),
        max_body_bytes: 4096,
        ..Limits::default()
    }
}

/// The API server, where something needs it.
struct Kube {
    client: Client,
    counter: ApiCounter,
}

fn kube(settings: &Settings, metrics: &Metrics) -> anyhow::Result<Option<Kube>> {
    let Some(kube) = &settings.kube else {
        return Ok(None);
    };
    Ok(Some(Kube {
        client: kube.access.client(&kube.namespace, CONNECT)?,
        counter: ApiCounter::register(metrics.registry(), "rocketmq_httpsite")?,
    }))
}

fn needed(kube: Option<&Kube>) -> anyhow::Result<&Kube> {
    kube.context("a source needs Kubernetes, and none is set up")
}

fn follow_desk(
    settings: &Settings,
    kube: Option<&Kube>,
    desk: watch::Sender<Desk>,
    bell: &Arc<Notify>,
    clock: Clock,
    tasks: &mut Tasks,
) -> anyhow::Result<Announcer> {
    let (names, bell) = (settings.names, Arc::clone(bell));
    let take = move |desk: &watch::Sender<Desk>, read: &dyn Fn(&Desk) -> Desk| {
        let changed = desk.send_if_modified(|now| {
            let new = read(now);
            let changed = *now != new;
            for fault in new
                .faults
                .iter()
                .filter(|fault| !now.faults.contains(fault))
            {
                warn!(
                    fault,
                    "an order on the desk cannot be read; the one before it stays"
                );
            }
            *now = new;
            changed
        });
        if changed {
            bell.notify_one();
        }
    };
    match &settings.desk {
        DeskPlace::None => {
            // The receivers stay valid as long as somebody holds the sender.
            tasks.spawn("desk", async move {
                pending::<()>().await;
                drop(desk);
            });
            Ok(Announcer::silent())
        }
        DeskPlace::File(path) => {
            let sink = move |text: file::Text| match text {
                Ok(text) => take(&desk, &|before| Desk::of_text(&text, before, names)),
                Err(fault) => take(&desk, &|before| Desk {
                    faults: vec![fault.clone()],
                    ..before.clone()
                }),
            };
            tasks.spawn("desk", file::follow(path.clone(), sink));
            Ok(Announcer::silent())
        }
        DeskPlace::ConfigMap(object) => {
            let kube = needed(kube)?;
            let (announcer, task) = announce(
                kube.client.clone(),
                object.clone(),
                clock,
                kube.counter.clone(),
            );
            tasks.spawn("events", task);
            let counter = kube.counter.clone();
            let task =
                configmap::follow(kube.client.clone(), object.clone(), counter, move |seen| {
                    match seen {
                        Ok(Some(map)) => {
                            take(&desk, &|before| Desk::of_config_map(map, before, names));
                        }
                        Ok(None) => take(&desk, &|_| Desk::default()),
                        Err(fault) => take(&desk, &|before| Desk {
                            faults: vec![fault.clone()],
                            ..before.clone()
                        }),
                    }
                });
            tasks.spawn("desk", task);
            Ok(announcer)
        }
    }
}

fn follow(
    source: &Source,
    voice: Voice,
    settings: &Settings,
    kube: Option<&Kube>,
    resolver: &mut Option<TokioResolver>,
    tasks: &mut Tasks,
) -> anyhow::Result<()> {
    let names = settings.names;
    match source.clone() {
        Source::Static(servers) => {
            voice.say(servers);
            Ok(())
        }
        Source::File(path) => {
            tasks.spawn(
                "file",
                file::follow(path, move |text| {
                    voice.tell(text.and_then(|text| {
                        parse_servers(&text, names).map_err(|error| error.to_string())
                    }));
                }),
            );
            Ok(())
        }
        Source::ConfigMap { object, key } => {
            let kube = needed(kube)?;
            let counter = kube.counter.clone();
            let place = format!("{} of ConfigMap {}", key, object.name);
            let task = configmap::follow(kube.client.clone(), object, counter, move |seen| {
                voice.tell(seen.and_then(|map| {
                    let data = map.and_then(|map| map.data.as_ref());
                    let text = data.and_then(|data| data.get(&key));
                    let text = text.ok_or_else(|| format!("{place} does not exist"))?;
                    parse_servers(text, names).map_err(|error| format!("{place}: {error}"))
                }));
            });
            tasks.spawn("configmap", task);
            Ok(())
        }
        Source::Slices {
            namespace,
            labels,
            port,
        } => {
            let kube = needed(kube)?;
            let (client, counter) = (kube.client.clone(), kube.counter.clone());
            tasks.spawn(
                "endpointslices",
                slices::follow(client, namespace, labels, port, counter, voice),
            );
            Ok(())
        }
        Source::Dns { name, port } => {
            let question = dns::Question::Addresses(name, port);
            tasks.spawn(
                "dns",
                dns::follow(resolved(resolver, &settings.dns_servers)?, question, voice),
            );
            Ok(())
        }
        Source::Srv { name } => {
            let question = dns::Question::Services(name);
            tasks.spawn(
                "dns",
                dns::follow(resolved(resolver, &settings.dns_servers)?, question, voice),
            );
            Ok(())
        }
    }
}

/// One resolver for all DNS sources: it keeps what it looked up.
fn resolved(
    resolver: &mut Option<TokioResolver>,
    servers: &[SocketAddr],
) -> anyhow::Result<TokioResolver> {
    if let Some(resolver) = resolver {
        return Ok(resolver.clone());
    }
    Ok(resolver.insert(dns::resolver(servers)?).clone())
}

fn switch(settings: &Settings, kube: Option<&Kube>) -> Option<Switch> {
    let DeskPlace::ConfigMap(object) = &settings.desk else {
        return None;
    };
    let kube = kube?;
    let with_partner = |(name, list): (&ListName, &crate::settings::ListSettings)| {
        list.partner.as_ref().map(|_| name.clone())
    };
    Some(Switch {
        api: configmap::api(kube.client.clone(), object),
        name: object.name.clone(),
        counter: kube.counter.clone(),
        token_file: Arc::new(settings.admin_token_file.clone()?),
        lists: Arc::new(settings.lists.iter().filter_map(with_partner).collect()),
    })
}

async fn count_masters(groups: watch::Receiver<Groups>, metrics: Metrics, clock: Clock) {
    let mut shown: BTreeMap<[String; 3], bool> = BTreeMap::new();
    loop {
        let views = groups.borrow().clone().views(clock.tick());
        let now: BTreeMap<[String; 3], bool> = views
            .into_iter()
            .map(|view| {
                (
                    [view.namespace, view.cluster, view.broker],
                    view.master_present,
                )
            })
            .collect();
        let gauges = &metrics.group_master_present;
        for gone in shown.keys().filter(|key| !now.contains_key(*key)) {
            let _ = gauges.remove_label_values(&gone.each_ref().map(String::as_str));
        }
        for (key, present) in &now {
            let labels = key.each_ref().map(String::as_str);
            gauges.with_label_values(&labels).set(i64::from(*present));
        }
        shown = now;
        sleep(GROUPS_PERIOD).await;
    }
}
