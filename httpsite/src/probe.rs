//! Asks every known name server again and again whether it lives, over one connection each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use remoting::calls::ProbeNameServer;
use remoting::{CallError, Client, ClientOptions};
use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::info;

use crate::change::Health;
use crate::name_server::{NameServer, ServerSet};

/// The longest answer that is read, bytes; a name server's configuration has about 3 KiB.
const MAX_FRAME: usize = 256 * 1024;

/// How name servers are probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Time between two probes of one name server.
    pub period: Duration,
    /// How long one may take.
    pub deadline: Duration,
    /// So many failures in a row: dead. At least 1.
    pub failures: u32,
    /// So many successes in a row: alive again. At least 1.
    pub successes: u32,
}

/// What is known of one name server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The verdict, with hysteresis.
    pub health: Health,
    /// How long the last answer took; none if it failed.
    pub latency_ms: Option<f64>,
    /// Why the last probe failed.
    pub error: Option<String>,
    /// Results of the same kind in a row.
    #[serde(skip)]
    run: u32,
}

impl Finding {
    const fn new() -> Self {
        Self {
            health: Health::Unknown,
            latency_ms: None,
            error: None,
            run: 0,
        }
    }

    /// The finding after one more result.
    fn after(&self, result: Result<Duration, String>, pace: &Pace) -> Self {
        let same = self.run > 0 && result.is_ok() == self.error.is_none();
        let run = if same { self.run.saturating_add(1) } else { 1 };
        match result {
            Ok(latency) => Self {
                // The first answer of one that nothing is known of is enough.
                health: match self.health {
                    Health::Dead if run < pace.successes => Health::Dead,
                    Health::Dead | Health::Alive | Health::Unknown => Health::Alive,
                },
                latency_ms: Some(latency.as_secs_f64() * 1000.0),
                error: None,
                run,
            },
            Err(error) => Self {
                health: if run >= pace.failures {
                    Health::Dead
                } else {
                    self.health
                },
                latency_ms: None,
                error: Some(error),
                run,
            },
        }
    }
}

/// By name server.
pub type Findings = BTreeMap<NameServer, Finding>;

/// Probes whatever is in `servers`; `bell` rings when a verdict changes. For ever.
pub async fn probe(
    pace: Pace,
    mut servers: watch::Receiver<ServerSet>,
    findings: watch::Sender<Findings>,
    bell: Arc<Notify>,
) {
    let findings = Arc::new(findings);
    let mut running: BTreeMap<NameServer, tokio::task::AbortHandle> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let wanted = servers.borrow_and_update().clone();
        running.retain(|server, task| {
            let stays = wanted.contains(server);
            if !stays {
                task.abort();
                findings.send_modify(|all| {
                    all.remove(server);
                });
            }
            stays
        });
        for server in wanted {
            running.entry(server).or_insert_with_key(|server| {
                let (findings, bell) = (Arc::clone(&findings), Arc::clone(&bell));
                tasks.spawn(follow(pace, server.clone(), findings, bell))
            });
        }
        tokio::select! {
            changed = servers.changed() => if changed.is_err() { return },
            Some(_) = tasks.join_next() => {}
        }
    }
}

async fn follow(
    pace: Pace,
    server: NameServer,
    findings: Arc<watch::Sender<Findings>>,
    bell: Arc<Notify>,
) {
    let mut connection = None;
    let mut clock = interval(pace.period);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let began = Instant::now();
        let result = match timeout(pace.deadline, ask(&mut connection, &server)).await {
            Ok(Ok(())) => Ok(began.elapsed()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(format!("no answer within {:?}", pace.deadline)),
        };
        if result.is_err() {
            connection = None;
        }
        let changed = findings.send_if_modified(|all| {
            let before = all.get(&server).cloned().unwrap_or_else(Finding::new);
            let after = before.after(result, &pace);
            let changed = before.health != after.health;
            if changed {
                info!(%server, health = ?after.health, error = after.error, "a name server's health changed");
            }
            all.insert(server.clone(), after);
            changed
        });
        if changed {
            bell.notify_one();
        }
    }
}

async fn ask(connection: &mut Option<Client>, server: &NameServer) -> Result<(), String> {
    let fresh = match connection.take().filter(|client| !client.is_closed()) {
        Some(client) => client,
        None => connect(server).await?,
    };
    let answer = fresh.ask(&ProbeNameServer).await;
    *connection = Some(fresh);
    match answer {
        // One that answers, with whatever code, lives.
        Ok(()) | Err(CallError::Answer { .. }) => Ok(()),
        Err(error) => Err(chain(&error)),
    }
}

async fn connect(server: &NameServer) -> Result<Client, String> {
    let address: SocketAddr = match server.socket() {
        Some(address) => address,
        None => tokio::net::lookup_host(server.to_string())
            .await
            .ok()
            .and_then(|mut found| found.next())
            .ok_or_else(|| format!("look up {server}: no such host"))?,
    };
    let options = ClientOptions {
        frame_limit: MAX_FRAME,
        max_in_flight: 1,
        ..ClientOptions::default()
    };
    let client = Client::connect(address, &options).await;
    client.map_err(|error| chain(&error))
}

fn chain(error: &dyn std::error::Error) -> String {
    kube_access::chain(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        period: Duration::from_millis(5),
        deadline: Duration::from_millis(500),
        failures: 3,
        successes: 2,
    };

    fn walk(results: &str) -> String {
        let mut finding = Finding::new();
        let step = |result| {
            finding = finding.after(
                match result {
                    '+' => Ok(Duration::from_millis(1)),
                    _ => Err("x".to_owned()),
                },
                &PACE,
            );
            match finding.health {
                Health::Alive => 'A',
                Health::Dead => 'D',
                Health::Unknown => '?',
            }
        };
        results.chars().map(step).collect()
    }

    #[test]
    fn one_failure_is_no_death_and_one_answer_no_recovery() {
        assert_eq!(walk("+--+---+-++"), "AAAAAADDDDA");
        assert_eq!(walk("---"), "??D");
        assert_eq!(walk("--+"), "??A");
        assert_eq!(walk("---+---"), "??DDDDD");
    }

    #[tokio::test]
    async fn a_port_that_nobody_listens_on_is_dead_and_forgotten_when_it_is_not_wanted() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let server = NameServer::new(address.ip(), address.port()).unwrap();
        let (wanted, servers) = watch::channel(ServerSet::from([server.clone()]));
        let findings = watch::Sender::new(Findings::new());
        let mut seen = findings.subscribe();
        let bell = Arc::new(Notify::new());
        tokio::spawn(probe(PACE, servers, findings, Arc::clone(&bell)));
        let dead = |all: &Findings| all.get(&server).is_some_and(|f| f.health == Health::Dead);
        let patience = Duration::from_secs(5);
        timeout(patience, bell.notified()).await.unwrap();
        timeout(patience, seen.wait_for(dead))
            .await
            .unwrap()
            .unwrap();
        wanted.send_replace(ServerSet::new());
        let gone = |all: &Findings| all.is_empty();
        timeout(patience, seen.wait_for(gone))
            .await
            .unwrap()
            .unwrap();
    }
}
