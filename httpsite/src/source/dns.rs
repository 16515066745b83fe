//! DNS names: A and AAAA with a given port, or SRV records and the addresses of their targets.
//!
//! An answer that is not whole must not drive anybody out of the list: whatever fails, and a name without any address, is a
//! fault, and the last word stays. SRV's priorities and weights mean nothing here: clients choose among all by chance.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::time::{sleep, timeout};

use super::Voice;
use crate::name_server::{MAX_SERVERS, NameServer, ServerSet};

/// One look-up, with all that belong to it, may take so long.
const LIMIT: Duration = Duration::from_secs(5);
/// The shortest time between two look-ups, whatever the records' lifetime says.
const SHORTEST: Duration = Duration::from_secs(5);
/// A DNS server that does not answer within this time is asked again, or the next one is: a lost packet, and a dead first
/// server, must leave time for an answer within [`LIMIT`].
const PATIENCE: Duration = Duration::from_secs(1);
/// So often is a server asked again.
const AGAIN: usize = 3;
/// Records count as this old at most: a cluster that moves must not wait for somebody's lifetime of a day.
const LONGEST_LIFE: Duration = Duration::from_secs(60);

/// What is looked up.
#[derive(Clone, Debug)]
pub enum Question {
    /// A and AAAA of a name, with this port.
    Addresses(String, u16),
    /// SRV of a name.
    Services(String),
}

/// A resolver that asks these servers, or without any those of `/etc/resolv.conf`.
///
/// # Errors
/// When that file cannot be read or makes no sense.
pub fn resolver(servers: &[SocketAddr]) -> anyhow::Result<TokioResolver> {
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio().context("read /etc/resolv.conf for the DNS sources")?
    } else {
        let servers = servers.iter().map(|server| {
            let mut config = NameServerConfig::udp_and_tcp(server.ip());
            for connection in &mut config.connections {
                connection.port = server.port();
            }
            config
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    options.timeout = options.timeout.min(PATIENCE);
    options.attempts = options.attempts.max(AGAIN);
    options.positive_max_ttl = Some(LONGEST_LIFE);
    // A name that was not there a moment ago may be the one a cluster just moved to.
    options.negative_max_ttl = Some(SHORTEST);
    builder.build().context("set up the DNS resolver")
}

/// Says what the name stands for, looked up again and again; for ever.
pub async fn follow(resolver: TokioResolver, question: Question, voice: Voice) {
    let mut asker = Asker {
        resolver,
        known: BTreeMap::new(),
    };
    loop {
        let answer = timeout(LIMIT, asker.ask(&question)).await;
        voice.tell(answer.unwrap_or_else(|_| Err(format!("no answer within {LIMIT:?}"))));
        // The resolver keeps records for as long as they live: asking it more often costs nothing.
        sleep(SHORTEST).await;
    }
}

/// The kinds of addresses.
const FAMILIES: [RecordType; 2] = [RecordType::A, RecordType::AAAA];

struct Asker {
    resolver: TokioResolver,
    /// Which names had addresses of which kind when they were looked up last.
    known: BTreeMap<String, [bool; FAMILIES.len()]>,
}

impl Asker {
    async fn ask(&mut self, question: &Question) -> Result<ServerSet, String> {
        match question {
            Question::Addresses(name, port) => self.addresses(name, *port).await,
            Question::Services(name) => self.services(name).await,
        }
    }

    async fn services(&mut self, name: &str) -> Result<ServerSet, String> {
        let found = self.resolver.srv_lookup(name).await;
        let found = found.map_err(|error| format!("look up SRV {name}: {error}"))?;
        let targets: Vec<(String, u16)> = found
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(srv) => Some((srv.target.to_utf8(), srv.port)),
                _ => None,
            })
            .collect();
        if targets.len() > MAX_SERVERS {
            let count = targets.len();
            return Err(format!(
                "SRV {name} has {count} records, at most {MAX_SERVERS} are taken"
            ));
        }
        self.known
            .retain(|known, _| targets.iter().any(|(target, _)| target == known));
        let mut servers = ServerSet::new();
        for (target, port) in targets {
            // One target that is not known makes the whole answer doubtful.
            servers.append(&mut self.addresses(&target, port).await?);
        }
        Ok(servers)
    }

    async fn addresses(&mut self, name: &str, port: u16) -> Result<ServerSet, String> {
        let [four, six] = FAMILIES.map(|family| addresses_of(&self.resolver, name, family));
        let (four, six) = tokio::join!(four, six);
        let known = self.known.get(name).copied().unwrap_or_default();
        let mut servers = ServerSet::new();
        let mut now = [false; FAMILIES.len()];
        let mut why = None;
        for ((answer, had), has) in [four, six].into_iter().zip(known).zip(&mut now) {
            match answer {
                Ok(found) => {
                    *has = !found.is_empty();
                    let found = found.into_iter();
                    servers.extend(found.filter_map(|ip| NameServer::new(ip, port).ok()));
                }
                // Some DNS servers have nothing but errors for AAAA: that says nothing where there never were any.
                Err(error) if !had => why = Some(error),
                Err(error) => return Err(error),
            }
        }
        if servers.is_empty() {
            return Err(why.unwrap_or_else(|| format!("{name} has no address")));
        }
        self.known.insert(name.to_owned(), now);
        Ok(servers)
    }
}

/// None if the name is not there or has none of this kind: with search domains, which of the two cannot be told.
async fn addresses_of(
    resolver: &TokioResolver,
    name: &str,
    family: RecordType,
) -> Result<Vec<IpAddr>, String> {
    match resolver.lookup(name, family).await {
        Ok(found) => Ok(found
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::A(address) => Some(IpAddr::V4(address.0)),
                RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                _ => None,
            })
            .collect()),
        Err(error) if is_none(&error) => Ok(Vec::new()),
        Err(error) => Err(format!("look up {family} of {name}: {error}")),
    }
}

fn is_none(error: &NetError) -> bool {
    use hickory_resolver::net::DnsError;
    use hickory_resolver::proto::op::ResponseCode;
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => matches!(
            none.response_code,
            ResponseCode::NoError | ResponseCode::NXDomain
        ),
        _ => false,
    }
}
