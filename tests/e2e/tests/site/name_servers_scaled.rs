//! Name servers come and go under stock clients and brokers that were told nothing but where the page is.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::group::{LIMIT, in_ms};
use e2e::{Case, on_each_version};
use playground::clock::now;
use playground::{HttpSite, NameServer, Version, nameserver};

use crate::clients::{
    ASKED_AGAIN, CLIENT_LIMIT, TOPIC, list_file, master, name_servers, registered, serving,
};
use e2e::stock::{Stock, nothing_lost};

on_each_version!(clients_and_brokers_follow_the_page);

/// First fetch 10 s after the start, registration at the tick after (facts §6.4); and a busy machine.
const FOUND_LIMIT: Duration = Duration::from_secs(75);

/// Sent by a client that is started only to see who names it the name servers.
const A_FEW: usize = 5;

/// 2 → 3 → 1 → 2 name servers; one producer and one consumer live through it, each list meets a fresh producer. A broker
/// that is told of the page finds name servers through it. Fails when a client or broker cannot read the page, when the
/// page shows a name server too late or one that is gone, and when an acknowledged message is lost.
async fn clients_and_brokers_follow_the_page(case: &Case) -> Result<()> {
    let mut servers = name_servers(case, 3).await?;
    let all: Vec<SocketAddr> = servers.iter().map(NameServer::address).collect();
    let [a, b, c] = [all[0], all[1], all[2]];
    let site = case
        .ground()
        .http_site("site", &list_file(case, "site")?)
        .await?;
    site.name(&[a, b])?;
    site.shows(&sorted(&[a, b]), LIMIT).await?;
    let domain = site.address().to_string();

    // The one that clients use knows all name servers: here the clients' way is what is tried.
    let mut served = master(case, "served", &all, &[])?;
    let begun = now();
    let told = [
        ("fetchNamesrvAddrByAddressServer", "true"),
        ("rmqAddressServerDomain", &*domain),
    ];
    let finder = master(case, "finder", &[], &told)?;
    serving(&mut served, &all).await?;

    let java = |name: &str, program: &str, arguments: &[&str]| {
        Stock::java(case, name, program, &domain, arguments)
    };
    let mut consumer = java("consumer", "Consume.java", &[TOPIC, "readers", "200"])?;
    let mut producer = java("producer", "Produce.java", &[TOPIC, "long", "200", "20"])?;
    producer.tells(20, "sent", CLIENT_LIMIT).await?;
    let mut known = vec![list(&[a, b])];

    site.name(&all)?;
    let changed = now();
    site.shows(&sorted(&all), LIMIT).await?;
    case.say(format!("2 to 3: on the page {}", in_ms(changed)));
    let three = fresh(case, &site, "fresh-3", &all).await?;
    producer.knows(&list(&all), ASKED_AGAIN).await?;
    known.push(list(&all));
    registered(&finder, a, FOUND_LIMIT, false).await?;
    case.say(format!(
        "a broker is registered by the page {}",
        in_ms(begun)
    ));

    site.name(&[c])?;
    let changed = now();
    for server in &mut servers[..2] {
        server.process().kill().await?;
    }
    site.shows(&[c], LIMIT).await?;
    case.say(format!("3 to 1: on the page {}", in_ms(changed)));
    producer.tells(20, "sent", LIMIT).await?;
    let one = fresh(case, &site, "fresh-1", &[c]).await?;
    if case.ground().version() != Version::V4_9_7 {
        // It reads the page every 10 s, 4.9 every 120 s.
        registered(&finder, c, FOUND_LIMIT, false).await?;
    }

    servers[0].restart()?;
    servers[0].ready(nameserver::READY_LIMIT).await?;
    registered(&served, a, LIMIT, true).await?;
    site.name(&[a, c])?;
    site.shows(&sorted(&[a, c]), LIMIT).await?;
    let two = fresh(case, &site, "fresh-2", &[a, c]).await?;
    if case.ground().version() != Version::V4_9_7 {
        registered(&finder, a, FOUND_LIMIT, false).await?;
    }

    producer.tells(20, "sent", LIMIT).await?;
    producer.kill().await?;
    let failed = producer.told("failed")?;
    let sent = nothing_lost(&[&producer, &one, &two, &three], &consumer, LIMIT).await?;
    case.say(format!(
        "{sent} acknowledged, none lost, {} failed {failed:?}",
        failed.len()
    ));
    ensure!(
        producer.told("names")? == known,
        "{:?}",
        producer.told("names")?
    );
    ensure!(failed.is_empty(), "sends failed: {failed:?}");
    consumer.kill().await
}

/// A producer that starts now, learns exactly these name servers, and sends without a failure.
async fn fresh(case: &Case, site: &HttpSite, name: &str, servers: &[SocketAddr]) -> Result<Stock> {
    let domain = site.address().to_string();
    let mut producer = Stock::java(
        case,
        name,
        "Produce.java",
        &domain,
        &[TOPIC, name, "60", "10"],
    )?;
    producer.tells(A_FEW, "sent", CLIENT_LIMIT).await?;
    producer.kill().await?;
    let (names, failed) = (producer.told("names")?, producer.told("failed")?);
    ensure!(names == [list(servers)], "{name} knows {names:?}");
    ensure!(failed.is_empty(), "{name} failed: {failed:?}");
    Ok(producer)
}

/// As the page sorts them.
fn sorted(servers: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut servers = servers.to_vec();
    servers.sort();
    servers
}

/// As the Java programs print them: sorted as text.
fn list(servers: &[SocketAddr]) -> String {
    let mut texts: Vec<String> = servers.iter().map(SocketAddr::to_string).collect();
    texts.sort();
    texts.join(";")
}
