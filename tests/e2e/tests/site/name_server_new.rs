//! A name server that is new on the page knows the running brokers at once, and keeps them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::group::{LIMIT, Lookup, in_ms};
use e2e::{Case, Group, Shape, on_each_version, on_the_quickest};
use playground::clock::now;
use playground::site::Site;
use playground::traffic::NameServers;
use playground::wait::until;
use playground::{NameServer, nameserver};
use remoting::Client;
use remoting::calls::{
    CreateTopic, DataVersion, GetClusterInfo, GetRegisteredVersion, GetRoute, Permission,
};

use crate::clients::{CLIENT_LIMIT, TOPIC};
use e2e::stock::Stock;

on_each_version!(a_new_name_server_knows_the_brokers_at_once);
on_the_quickest!(a_dead_broker_is_not_spoken_for);

/// A broker's own 120 s until it reads its list, its 30 s until it registers, and a busy machine.
const ITS_OWN: Duration = Duration::from_secs(200);

/// One name server after the other is added, and clients that know nothing but the new one can send. Fails when a member is
/// left to come by itself (then no look finds its agent's mark), when the route lasts only as long as the agent's
/// connection, or when it is ever gone once it was there.
async fn a_new_name_server_knows_the_brokers_at_once(case: &Case) -> Result<()> {
    let group = form(case).await?;
    let master = group.master().await?;
    let topic = CreateTopic {
        topic: TOPIC.to_owned(),
        queues: 4,
        permission: Permission::READ_WRITE,
    };
    group.member(master).contact().ask(&topic).await?;

    let mut list = vec![group.name_server().address()];
    let mut servers = Vec::new();
    let (mut times, mut marked) = (Vec::new(), Vec::new());
    for name in ["ns-b", "ns-c", "ns-d"] {
        let server = ready(case, name).await?;
        list.push(server.address());
        let changed = now();
        group.http_site()?.name(&list)?;
        for member in spoken_for(&group, server.address()).await? {
            marked.push((member, server.address()));
        }
        times.push(changed.elapsed());
        case.say(format!("{name} knows both brokers {}", in_ms(changed)));
        serves_a_stock_producer(case, name, server.address(), changed).await?;
        servers.push(server);
    }
    // From 5.3.1 on a broker looks every second: once in a while it is the first.
    for member in 0..2 {
        let once = marked.iter().any(|(one, _)| *one == member);
        ensure!(once, "nobody stood in for member {member}: {marked:?}");
    }
    times.sort();
    case.say(format!("median {} ms of {times:?}", times[1].as_millis()));

    // None of them may lose a broker while the agents hand over.
    let own = now();
    let mut waiting: BTreeSet<SocketAddr> = list[1..].iter().copied().collect();
    until("the brokers to register themselves", ITS_OWN, async || {
        for server in &list[1..] {
            if let Err(error) = knows_all(&group, *server).await {
                // Not to be tried again: it was there already.
                return Ok(Err(error.context(format!("{server} lost a broker"))));
            }
            if marks(&group, *server).await?.is_empty() {
                waiting.remove(server);
            }
        }
        ensure!(waiting.is_empty(), "not yet with {waiting:?}");
        Ok(Ok(()))
    })
    .await??;
    case.say(format!("by themselves {}", in_ms(own)));
    // The agents let go of their connections, each in its next look, and say so first.
    until("the agents to let go", LIMIT, async || {
        for (member, server) in &marked {
            knows_all(&group, *server).await?;
            let words = format!("the broker has registered itself name_server={server}");
            ensure!(said(&group, *member, &words)?, "{member}: not {words:?}");
        }
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    for server in &list[1..] {
        kept_through_a_registration(&group, *server).await?;
    }
    Ok(())
}

/// The broker dies while its agent stands in for it. Fails when the registration does not end with the broker.
async fn a_dead_broker_is_not_spoken_for(case: &Case) -> Result<()> {
    let group = form(case).await?;
    let (master, epoch) = (group.master().await?, group.lease().await?.term.epoch);
    let server = ready(case, "ns-b").await?;
    let new = server.address();
    let list = [group.name_server().address(), new];
    group.http_site()?.name(&list)?;
    let marked = spoken_for(&group, new).await?;
    ensure!(marked == [0, 1], "only {marked:?} are spoken for");

    let address = group.member(master).contact().address;
    let mut gone = false;
    let begin = now();
    group.member(master).kill_broker().await?;
    until("the dead broker to be forgotten", LIMIT, async || {
        let known = names(&group, new).registered_at(new).await?;
        gone = gone || !known.contains(&(0, address.to_string()));
        ensure!(gone, "it knows {known:?}");
        Ok(())
    })
    .await?;
    case.say(format!("forgotten {}", in_ms(begin)));
    // Its name server has not been told by the broker, which never spoke to it: the agent alone knew.
    let after = group.serving_after(epoch).await?;
    let master = group.index(&after.term.master)?;
    let address = group.member(master).contact().address;
    until("the next master to be known there", LIMIT, async || {
        let known = names(&group, new).registered_at(new).await?;
        ensure!(
            known.contains(&(0, address.to_string())),
            "it knows {known:?}"
        );
        Ok(())
    })
    .await
}

async fn form(case: &Case) -> Result<Group<'_>> {
    let shape = Shape {
        lookup: Lookup::HttpSite,
        ..Shape::default()
    };
    Group::form(case, shape).await
}

async fn ready(case: &Case, name: &str) -> Result<NameServer> {
    let mut server = case.ground().name_server(name)?;
    server.ready(nameserver::READY_LIMIT).await?;
    Ok(server)
}

/// Waits until a name server knows every member, and returns those that it knows by their agents' word.
async fn spoken_for(group: &Group<'_>, server: SocketAddr) -> Result<Vec<usize>> {
    let what = format!("name server {server} to know the brokers");
    until(&what, LIMIT, async || knows_all(group, server).await).await?;
    marks(group, server).await
}

/// Both members are there in their roles, and the topic can be written to.
async fn knows_all(group: &Group<'_>, server: SocketAddr) -> Result<()> {
    let master = group.master().await?;
    let known = names(group, server).registered_at(server).await?;
    for member in 0..2 {
        let address = group.member(member).contact().address.to_string();
        let found = known.iter().find(|(_, known)| *known == address);
        let (id, _) = found.with_context(|| format!("no {address} in {known:?}"))?;
        ensure!((*id == 0) == (member == master), "{address} has id {id}");
    }
    let topic = GetRoute {
        topic: "TBW102".to_owned(),
    };
    let route = client(server).await?.ask(&topic).await?;
    let route = route.context("it knows the brokers but no topic")?;
    ensure!(
        route
            .queues
            .iter()
            .all(|queue| queue.permission.may_write())
    );
    Ok(())
}

/// The members that are registered there by their agents' word.
async fn marks(group: &Group<'_>, server: SocketAddr) -> Result<Vec<usize>> {
    let mut marked = Vec::new();
    for member in 0..2 {
        let version = version(group, server, member).await?;
        if version.is_some_and(DataVersion::is_on_behalf) {
            marked.push(member);
        }
    }
    Ok(marked)
}

async fn version(
    group: &Group<'_>,
    server: SocketAddr,
    member: usize,
) -> Result<Option<DataVersion>> {
    let client = client(server).await?;
    let address = group.member(member).contact().address.to_string();
    let known = client.ask(&GetClusterInfo).await?;
    let group = known.groups.values().find(|group| {
        let mut addresses = group.addresses.values();
        addresses.any(|known| *known == address)
    });
    let Some(group) = group else {
        return Ok(None);
    };
    let registered = GetRegisteredVersion {
        cluster: group.cluster.clone(),
        broker_name: group.broker_name.clone(),
        address,
        broker_id: 0,
        guess: DataVersion::default(),
    };
    Ok(client.ask(&registered).await?)
}

/// Makes every broker register once more, and waits until the name server has heard it: whatever else was under way there
/// when the agents let go is over by then.
async fn kept_through_a_registration(group: &Group<'_>, server: SocketAddr) -> Result<()> {
    for member in 0..2 {
        let before = version(group, server, member).await?;
        group.member(member).contact().register_now().await?;
        until("the broker to be heard again", LIMIT, async || {
            knows_all(group, server).await?;
            let now = version(group, server, member).await?;
            ensure!(now != before, "it still has {before:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// A stock producer that finds this name server only on a page of its own sends.
async fn serves_a_stock_producer(
    case: &Case,
    name: &str,
    server: SocketAddr,
    changed: Instant,
) -> Result<()> {
    let page = Site::start(&[server]).await?;
    let url = page.url();
    let domain = url.trim_start_matches("http://").split('/').next();
    let domain = domain.context("find host and port in the page's URL")?;
    let words = [TOPIC, name, "60", "20"];
    let process = format!("producer-{name}");
    let mut producer = Stock::java(case, &process, "Produce.java", domain, &words)?;
    producer.tells(1, "sent", CLIENT_LIMIT).await?;
    case.say(format!(
        "a stock producer started then sends by {name} {}",
        in_ms(changed)
    ));
    producer.kill().await?;
    let failed = producer.told("failed")?;
    ensure!(failed.is_empty(), "it failed: {failed:?}");
    Ok(())
}

fn names(group: &Group<'_>, server: SocketAddr) -> NameServers {
    NameServers {
        addresses: vec![server],
        group: group.names().group.clone(),
    }
}

async fn client(server: SocketAddr) -> Result<Client> {
    let client = Client::connect(server, &remoting::ClientOptions::default()).await;
    client.with_context(|| format!("connect to name server {server}"))
}

/// Whether a member's agent has logged this.
fn said(group: &Group<'_>, member: usize, words: &str) -> Result<bool> {
    let output = group.member(member).home().join("agent.out");
    let text = std::fs::read_to_string(&output);
    let text = text.with_context(|| format!("read {}", output.display()))?;
    Ok(text.contains(words))
}
