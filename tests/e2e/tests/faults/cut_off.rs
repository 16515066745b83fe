//! A master that is cut off from some, without a word: packets vanish, nothing is reset.

use anyhow::{Result, ensure};
use e2e::{Case, Place, Shape, Trial, on_the_quickest, on_three_versions};
use playground::network::{Cut, lacking};

on_three_versions!(from_the_api_server);
on_the_quickest!(from_its_peers, from_name_servers, from_clients);

async fn on_hosts(case: &Case) -> Result<Option<Trial<'_>>> {
    if let Some(why) = lacking() {
        case.say(format!("SKIPPED: {why}"));
        return Ok(None);
    }
    let shape = Shape {
        place: Place::Hosts,
        ..Shape::default()
    };
    Trial::begin(case, shape).await.map(Some)
}

/// It cannot renew: dead before anybody else may be master.
async fn from_the_api_server(case: &Case) -> Result<()> {
    let Some(mut trial) = on_hosts(case).await? else {
        return Ok(());
    };
    let before = trial.group().lease().await?;
    let master = trial.group().index(&before.term.master)?;
    let (host, api) = (
        trial.group().host(master)?.ip(),
        trial.group().network()?.api(),
    );
    let cut = Cut::between(host, api);
    trial.strike();
    trial.group().network()?.cut(cut)?;
    let after = trial.group().serving_after(before.term.epoch).await?;
    ensure!(after.term.master != before.term.master, "{:?}", after.term);
    trial.served().await?;
    trial.group().network()?.mend(cut)?;
    trial.end().await?;
    Ok(())
}

/// It goes on alone: asynchronous replication promises no more.
async fn from_its_peers(case: &Case) -> Result<()> {
    let Some(mut trial) = on_hosts(case).await? else {
        return Ok(());
    };
    let master = trial.group().master().await?;
    let slave = trial.group().other(master);
    let (host, other) = (
        trial.group().host(master)?.ip(),
        trial.group().host(slave)?.ip(),
    );
    let cut = Cut::between(host, other);
    trial.strike();
    trial.group().network()?.cut(cut)?;
    trial.group().behind(slave, 500_000).await?;
    trial.group().network()?.mend(cut)?;
    one_reign(trial).await
}

/// Clients have its address already.
async fn from_name_servers(case: &Case) -> Result<()> {
    let Some(mut trial) = on_hosts(case).await? else {
        return Ok(());
    };
    let master = trial.group().master().await?;
    let host = trial.group().host(master)?.ip();
    let server = trial.group().name_server().address();
    let std::net::IpAddr::V4(server) = server.ip() else {
        anyhow::bail!("an IPv4 address is wanted, not {server}");
    };
    let cut = Cut::between(host, server);
    trial.strike();
    trial.group().network()?.cut(cut)?;
    trial
        .producer()
        .accept_more(2_000, e2e::group::LIMIT)
        .await?;
    trial.group().network()?.mend(cut)?;
    one_reign(trial).await
}

/// Nobody but the clients sees it, and the group stays as it is: a fail-over would help only some of them.
async fn from_clients(case: &Case) -> Result<()> {
    let Some(mut trial) = on_hosts(case).await? else {
        return Ok(());
    };
    let master = trial.group().master().await?;
    let host = trial.group().host(master)?.ip();
    let port = trial.group().member(master).contact().address.port();
    let cut = Cut::between(trial.group().network()?.clients(), host).at(port);
    trial.strike();
    trial.group().network()?.cut(cut)?;
    let lease = trial.group().lease().await?;
    trial.group().renewed(&lease, 10).await?;
    trial.group().network()?.mend(cut)?;
    one_reign(trial).await
}

async fn one_reign(trial: Trial<'_>) -> Result<()> {
    let costs = trial.end().await?;
    ensure!(costs.reigns.len() == 1 && costs.lost == 0, "{costs}");
    Ok(())
}
