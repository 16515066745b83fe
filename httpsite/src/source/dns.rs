//! DNS names: A and AAAA with a given port, or SRV records and the addresses of their targets.

use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;
use tokio::time::{sleep, timeout};

use super::Voice;
use crate::name_server::{NameServer, ServerSet};

/// One look-up, with all that belong to it, may take so long.
const LIMIT: Duration = Duration::from_secs(5);
/// The shortest time between two look-ups, whatever the records' lifetime says.
const SHORTEST: Duration = Duration::from_secs(5);

/// What is looked up.
#[derive(Clone, Debug)]
pub enum Question {
    /// A and AAAA of a name, with this port.
    Addresses(String, u16),
    /// SRV of a name.
    Services(String),
}

/// Says what the name stands for, looked up again and again; for ever.
pub async fn follow(resolver: TokioResolver, question: Question, voice: Voice) {
    loop {
        let answer = timeout(LIMIT, ask(&resolver, &question)).await;
        voice.tell(answer.unwrap_or_else(|_| Err(format!("no answer within {LIMIT:?}"))));
        // The resolver keeps records for as long as they live: asking it more often costs nothing.
        sleep(SHORTEST).await;
    }
}

async fn ask(resolver: &TokioResolver, question: &Question) -> Result<ServerSet, String> {
    match question {
        Question::Addresses(name, port) => addresses(resolver, name, *port).await,
        Question::Services(name) => services(resolver, name).await,
    }
}

async fn addresses(resolver: &TokioResolver, name: &str, port: u16) -> Result<ServerSet, String> {
    let found = resolver.lookup_ip(name).await;
    let found = found.map_err(|error| format!("look up {name}: {error}"))?;
    Ok(found
        .iter()
        .filter_map(|ip| NameServer::new(ip, port).ok())
        .collect())
}

async fn services(resolver: &TokioResolver, name: &str) -> Result<ServerSet, String> {
    let found = resolver.srv_lookup(name).await;
    let found = found.map_err(|error| format!("look up SRV {name}: {error}"))?;
    let targets: Vec<(String, u16)> = found
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(srv) => Some((srv.target.to_utf8(), srv.port)),
            _ => None,
        })
        .collect();
    let mut servers = ServerSet::new();
    for (target, port) in targets {
        // One target that is not known makes the whole answer doubtful: half a list must not drive the others out.
        servers.append(&mut addresses(resolver, &target, port).await?);
    }
    Ok(servers)
}
