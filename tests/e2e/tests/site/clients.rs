//! What the stories share: a broker, its topic, and clients of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use e2e::Case;
use e2e::group::LIMIT;
use playground::broker::READY_LIMIT;
use playground::nameserver;
use playground::traffic::NameServers;
use playground::wait::until;
use playground::{Broker, BrokerSpec, NameServer, Role};
use remoting::calls::{CreateTopic, Permission};

/// The only topic, on the first broker only.
pub(crate) const TOPIC: &str = "stories";

/// The JVM compiles its program first, and the machine may be busy.
pub(crate) const CLIENT_LIMIT: Duration = Duration::from_secs(40);

/// A client asks again 10 s after its start.
pub(crate) const ASKED_AGAIN: Duration = Duration::from_secs(20);

/// Started, ready name servers.
pub(crate) async fn name_servers(case: &Case, count: usize) -> Result<Vec<NameServer>> {
    let names = ["ns-a", "ns-b", "ns-c"];
    let mut servers = Vec::new();
    for name in names.iter().take(count) {
        servers.push(case.ground().name_server(name)?);
    }
    for server in &mut servers {
        server.ready(nameserver::READY_LIMIT).await?;
    }
    Ok(servers)
}

/// A master of a group called `group`, started: it registers with these name servers.
pub(crate) fn master(
    case: &Case,
    group: &str,
    servers: &[SocketAddr],
    settings: &[(&str, &str)],
) -> Result<Broker> {
    // A busy machine must not look like a missing name server: after 200 ms in its queue a broker turns a message down.
    let patient = [("waitTimeMillsInSendQueue", "2500")];
    let settings = patient
        .iter()
        .chain(settings)
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let mut broker = case.ground().broker(BrokerSpec {
        member: group.to_owned(),
        group: group.to_owned(),
        role: Role::Master,
        name_servers: servers.to_vec(),
        settings: settings.collect::<BTreeMap<_, _>>(),
    })?;
    broker.start()?;
    Ok(broker)
}

/// Ready, with [`TOPIC`], and registered with all of them.
pub(crate) async fn serving(broker: &mut Broker, servers: &[SocketAddr]) -> Result<()> {
    broker.ready(READY_LIMIT).await?;
    let topic = CreateTopic {
        topic: TOPIC.to_owned(),
        queues: 4,
        permission: Permission::READ_WRITE,
    };
    broker.contact().ask(&topic).await?;
    for server in servers {
        registered(broker, *server, LIMIT, true).await?;
    }
    Ok(())
}

/// Waits until a name server knows the broker; `pushed`, it is made to register meanwhile.
pub(crate) async fn registered(
    broker: &Broker,
    server: SocketAddr,
    limit: Duration,
    pushed: bool,
) -> Result<()> {
    let names = NameServers {
        addresses: vec![server],
        group: broker.member().to_owned(),
    };
    let wanted = (0, broker.address().to_string());
    let what = format!("name server {server} to know broker {}", broker.member());
    until(&what, limit, async || {
        if pushed {
            broker.contact().register_now().await?;
        }
        let known = names.registered_at(server).await?;
        anyhow::ensure!(known.contains(&wanted), "it knows {known:?}");
        Ok(())
    })
    .await
}

/// The file a page's list is in, not there yet.
pub(crate) fn list_file(case: &Case, name: &str) -> Result<PathBuf> {
    Ok(case
        .ground()
        .folder(format!("lists-{name}"))?
        .join("nsaddr"))
}
