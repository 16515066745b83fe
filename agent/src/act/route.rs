//! Makes the name servers know the new master, and nobody else, as soon as possible.
//!
//! For every name server: look who stands under id 0; a dead or old address there is evicted, *before* our own
//! registration, because up to 5.0.0 the eviction removes whatever stands under the id (facts 6.6, H47). Then the
//! broker is made to register everywhere at once, and every name server is asked until it shows us. What does not
//! succeed is repeated under a deadline; the broker's own registration every 30 s goes on anyway.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agent_core::record::TermId;
use remoting::calls::{GetClusterInfo, UnregisterBroker, UpdateBrokerConfig};
use remoting::{CallError, Client, ClientOptions};
use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::nameservers::HostPort;

/// How long the whole may take; then the broker's own registration has come round twice.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long one question to a name server may take.
const ONE: Duration = Duration::from_secs(2);
/// Between two rounds, doubling up to the cap.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Whom to register.
#[derive(Clone, Debug)]
pub struct Route {
    /// `brokerClusterName`.
    pub cluster: String,
    /// `brokerName`.
    pub broker_name: String,
    /// Our address as clients see it.
    pub address: String,
    /// Our broker as we reach it.
    pub broker: SocketAddr,
    /// `brokerPermission` as it is: sending it again is what forces a registration.
    pub permission: String,
    /// Deadlines and credentials.
    pub options: ClientOptions,
}

/// Registers the master of `term` with all of `name_servers`. Ends when all of them show it, or with a warning.
pub async fn register(route: Route, name_servers: Arc<[HostPort]>, term: TermId) {
    let mut missing = name_servers.to_vec();
    let rounds = async {
        let mut pause = FIRST_PAUSE;
        let mut evict = true;
        loop {
            if evict {
                visit(&route, &missing, Visit::Evict).await;
            }
            evict = false;
            if let Err(error) = force(&route).await {
                warn!(error = %crate::error_chain(&error), "registration not forced");
            }
            // Seen: 25 to 285 ms from the order until a name server shows it.
            for _ in 0..6 {
                sleep(pause).await;
                missing = visit(&route, &missing, Visit::Verify).await;
                if missing.is_empty() {
                    return;
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    };
    let done = timeout(DEADLINE, rounds).await.is_ok();
    if done {
        info!(epoch = %term.epoch, address = route.address, "registered with all name servers");
        return;
    }
    let servers: Vec<_> = missing.iter().map(ToString::to_string).collect();
    warn!(
        epoch = %term.epoch,
        name_servers = servers.join(";"),
        "name servers do not show this master yet; the broker goes on registering every 30 s"
    );
}

async fn force(route: &Route) -> Result<(), CallError> {
    let client = Client::connect(route.broker, &route.options).await?;
    client
        .ask_within(
            &UpdateBrokerConfig::force_registration(&route.permission),
            ONE,
        )
        .await
        .map(|_| ())
}

#[derive(Clone, Copy)]
enum Visit {
    Evict,
    Verify,
}

/// Asks all of them at once; those that failed or do not show us are returned.
async fn visit(route: &Route, servers: &[HostPort], visit: Visit) -> Vec<HostPort> {
    let mut visits = JoinSet::new();
    for server in servers {
        let (route, server) = (route.clone(), server.clone());
        visits.spawn(async move {
            let done = timeout(ONE, one(&route, &server, visit)).await;
            (server, matches!(done, Ok(Ok(true))))
        });
    }
    let mut missing = Vec::new();
    while let Some(done) = visits.join_next().await {
        if let Ok((server, false)) = done {
            missing.push(server);
        }
    }
    missing
}

/// Whether this name server shows us under id 0.
async fn one(route: &Route, server: &HostPort, visit: Visit) -> Result<bool, CallError> {
    let Some(address) = resolve(server).await else {
        return Ok(false);
    };
    let client = Client::connect(address, &route.options).await?;
    let info = client.ask(&GetClusterInfo).await?;
    let Some(master) = info
        .groups
        .get(&route.broker_name)
        .and_then(|group| group.master())
    else {
        return Ok(false);
    };
    if master == route.address {
        return Ok(true);
    }
    match visit {
        Visit::Verify => Ok(false),
        Visit::Evict => {
            let old = UnregisterBroker {
                cluster: route.cluster.clone(),
                broker_name: route.broker_name.clone(),
                address: master.to_owned(),
                broker_id: 0,
            };
            client.ask(&old).await?;
            info!(name_server = %server, old = master, "route of the old master evicted");
            Ok(false)
        }
    }
}

async fn resolve(server: &HostPort) -> Option<SocketAddr> {
    lookup_host((server.host(), server.port()))
        .await
        .ok()?
        .next()
}
