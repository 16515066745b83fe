//! Everything is built, wired and spawned here, and watched until the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serve::{Arrivals, Limits, Tls, serve, serve_quickly};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::admin::Admin;
use crate::certificate::{self, Pair};
use crate::clock::Clock;
use crate::desk::Desk;
use crate::desk::place::follow_desk;
use crate::groups;
use crate::groups::masters::count_masters;
use crate::http::{Http, LONGEST_WAIT};
use crate::kept::Kept;
use crate::kubernetes::{Kube, kube};
use crate::list_name::ListName;
use crate::metrics::Metrics;
use crate::name_server::ServerSet;
use crate::probe::{Findings, probe};
use crate::settings::{Args, DeskPlace, Settings};
use crate::site::{Ear, Inputs, Site};
use crate::source::listener::Listener;
use crate::source::{Voice, configmap};
use crate::status::Status;
use crate::switch::Switch;
use crate::tasks::Tasks;

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
    let mut listener = Listener::new(&settings, kube.as_ref());
    for (name, list) in &settings.lists {
        let mut ears = Vec::new();
        for (text, source) in &list.sources {
            let (voice, words) = Voice::new(format!("{name}={text}"), Arc::clone(&bell));
            ears.push(Ear {
                text: text.clone(),
                words,
            });
            listener.listen(source, voice, &mut tasks)?;
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
