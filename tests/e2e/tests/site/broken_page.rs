//! What stock Java clients make of every answer that is no list: they keep the one they have.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use e2e::group::{LIMIT, in_ms};
use e2e::{Case, on_each_version};
use playground::clock::now;
use playground::wait::until;
use playground::{HttpSite, NameServer};

use crate::clients::{ASKED_AGAIN, CLIENT_LIMIT, TOPIC, list_file, master, name_servers, serving};
use e2e::stock::{Stock, nothing_lost};

on_each_version!(clients_keep_their_list);

/// Four clients at once. Three have a list when their page turns to 503, to 404, and dies; one starts while its page has
/// none. Fails when a client forgets its list for anything the page says, and when a client that starts too early never
/// learns one.
async fn clients_keep_their_list(case: &Case) -> Result<()> {
    let servers = name_servers(case, 1).await?;
    let list: Vec<SocketAddr> = servers.iter().map(NameServer::address).collect();
    let mut broker = master(case, "served", &list, &[])?;
    let mut sites = Vec::new();
    for name in ["unavailable", "unknown", "dead", "early"] {
        sites.push(
            case.ground()
                .http_site(name, &list_file(case, name)?)
                .await?,
        );
    }
    for site in &mut sites {
        ensure!(site.answers().await? == 503, "there is no list yet");
    }
    as_the_client_sees(case, &sites[3]).await?;
    for site in &sites[..3] {
        site.name(&list)?;
        site.shows(&list, LIMIT).await?;
    }
    serving(&mut broker, &list).await?;

    let begun = now();
    let mut clients = Vec::new();
    for (index, site) in sites.iter().enumerate() {
        let (name, prefix) = (format!("client-{index}"), format!("of{index}"));
        let domain = site.address().to_string();
        let arguments = [TOPIC, &*prefix, "100", "50"];
        clients.push(Stock::java(
            case,
            &name,
            "Produce.java",
            &domain,
            &arguments,
        )?);
    }
    for client in &mut clients[..3] {
        client.tells(5, "sent", CLIENT_LIMIT).await?;
    }
    // They were answered once, and ask again 10 s after their start.
    for site in &mut sites[..3] {
        site.process().kill().await?;
    }
    let nothing = list_file(case, "nothing")?;
    sites[0].restart_as("nsaddr", &nothing)?;
    let other = list_file(case, "other")?;
    sites[1].restart_as("other", &other)?;
    sites[1].name(&list)?;
    ensure!(sites[0].answers().await? == 503, "a list");
    ensure!(sites[1].answers().await? == 404, "a list");

    clients[3].tells(1, "failed", CLIENT_LIMIT).await?;
    sites[3].name(&list)?;
    clients[3]
        .knows(&playground::broker::name_server_list(&list), ASKED_AGAIN)
        .await?;
    clients[3].tells(5, "sent", LIMIT).await?;
    case.say(format!("a client without a list has one {}", in_ms(begun)));
    for (site, code) in sites.iter().zip([503, 404]) {
        // Our own look was one.
        asked(site, code, 2).await?;
    }
    for client in &mut clients[..3] {
        client.tells(20, "sent", LIMIT).await?;
    }
    let mut consumer = {
        let domain = sites[3].address().to_string();
        Stock::java(
            case,
            "consumer",
            "Consume.java",
            &domain,
            &[TOPIC, "readers", "100"],
        )?
    };
    for (index, client) in clients.iter_mut().enumerate() {
        client.kill().await?;
        let (failed, names) = (client.told("failed")?, client.told("names")?);
        case.say(format!(
            "client {index}: lists {names:?}, {} failed, {:?}",
            failed.len(),
            failed.first()
        ));
        ensure!(names.len() == 1, "{names:?}");
        ensure!(
            failed.is_empty() == (index < 3),
            "client {index}: {failed:?}"
        );
    }
    let all: Vec<&Stock> = clients.iter().collect();
    let sent = nothing_lost(&all, &consumer, CLIENT_LIMIT).await?;
    case.say(format!("{sent} acknowledged, none lost"));
    consumer.kill().await
}

/// Every status the page can answer with, read by the client's own HTTP client. A unit without a list has its list's.
async fn as_the_client_sees(case: &Case, site: &HttpSite) -> Result<()> {
    let (url, base) = (site.url(), format!("http://{}", site.address()));
    let unit = format!("{url}-unit?nofix=1");
    let unknown = format!("{base}/rocketmq/nobody");
    let arguments = ["GET", &url, "GET", &unit, "GET", &unknown, "POST", &url];
    let mut ask = Stock::java(case, "ask", "Ask.java", "none:1", &arguments)?;
    ask.ends(CLIENT_LIMIT).await?;
    let answers = ask.told("answered")?;
    case.say(format!("as the Java client sees it: {answers:?}"));
    let codes: Vec<&str> = answers.iter().filter_map(|a| a.split(' ').next()).collect();
    ensure!(codes == ["503", "503", "404", "405"], "{answers:?}");
    let silent = answers
        .iter()
        .any(|answer| !answer.contains(' ') || answer.ends_with(" null"));
    ensure!(!silent, "an answer without a body: {answers:?}");
    Ok(())
}

/// Waits until the page has answered with this status so often.
async fn asked(site: &HttpSite, status: u16, times: u64) -> Result<()> {
    until("the client to ask again", ASKED_AGAIN, async || {
        let answered = site.answered(status).await?;
        ensure!(answered >= times, "{answered} answers with {status}");
        Ok(())
    })
    .await
}
