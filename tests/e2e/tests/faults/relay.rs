//! The replication connection between two members, hurt on its way.

use anyhow::{Context, Result, ensure};
use e2e::group::LIMIT;
use e2e::{Case, Group, Shape, Trial, on_each_version, on_the_quickest};
use playground::Proxy;
use playground::clock::now;
use playground::wait::until;

on_each_version!(reset);
on_the_quickest!(stalled, peer_of_another_group);

/// A group whose master is reached through a proxy: whichever member that is.
async fn through_proxies(case: &Case) -> Result<(Trial<'_>, Vec<Proxy>)> {
    let begin = now();
    let mut group = Group::prepare(case, Shape::default()).await?;
    let mut proxies = Vec::new();
    for index in group.indexes() {
        let proxy = Proxy::start(group.member(index).relay()).await?;
        let member = group.member_mut(index);
        member.advertise_relay(proxy.address());
        member.start()?;
        proxies.push(proxy);
    }
    group.formed(begin).await?;
    Ok((Trial::with(group).await?, proxies))
}

async fn masters_proxy<'p>(trial: &Trial<'_>, proxies: &'p [Proxy]) -> Result<&'p Proxy> {
    let master = trial.group().master().await?;
    let proxy = proxies.get(master).context("find the master's proxy")?;
    ensure!(proxy.taken() > 0, "no slave came through the proxy");
    Ok(proxy)
}

async fn reset(case: &Case) -> Result<()> {
    let (mut trial, proxies) = through_proxies(case).await?;
    let proxy = masters_proxy(&trial, &proxies).await?;
    trial.strike();
    for _ in 0..5 {
        let taken = proxy.taken();
        proxy.reset();
        until("a new connection", LIMIT, async || {
            ensure!(proxy.taken() > taken, "none yet");
            Ok(())
        })
        .await?;
        trial.producer().accept_more(50, LIMIT).await?;
    }
    one_reign(trial).await
}

async fn stalled(case: &Case) -> Result<()> {
    let (mut trial, proxies) = through_proxies(case).await?;
    let proxy = masters_proxy(&trial, &proxies).await?;
    let master = trial.group().master().await?;
    let slave = trial.group().other(master);
    trial.strike();
    proxy.stall(true);
    trial.group().behind(slave, 500_000).await?;
    proxy.stall(false);
    one_reign(trial).await
}

/// The slave's way to its master suddenly leads to another group's master, which has other bytes and another key.
async fn peer_of_another_group(case: &Case) -> Result<()> {
    let (mut trial, proxies) = through_proxies(case).await?;
    let proxy = masters_proxy(&trial, &proxies).await?;
    let master = trial.group().master().await?;
    let slave = trial.group().other(master);
    let begin = now();
    let mut other = Group::prepare(case, Shape::called("payments")).await?;
    for index in other.indexes() {
        other.member_mut(index).start()?;
    }
    other.formed(begin).await?;
    let stranger = other.master().await?;
    trial.strike();
    let taken = proxy.taken();
    proxy.lead(Some(other.member(stranger).relay()));
    proxy.reset();
    until("the slave to try again", LIMIT, async || {
        ensure!(
            proxy.taken() >= taken + 3,
            "{} times",
            proxy.taken() - taken
        );
        Ok(())
    })
    .await?;
    let had = trial.group().end(slave).await?;
    trial.producer().accept_more(100, LIMIT).await?;
    let has = trial.group().end(slave).await?;
    ensure!(has == had, "it took {} bytes of a stranger", has - had);
    proxy.lead(Some(trial.group().member(master).relay()));
    proxy.reset();
    one_reign(trial).await
}

async fn one_reign(trial: Trial<'_>) -> Result<()> {
    let costs = trial.end().await?;
    ensure!(costs.reigns.len() == 1 && costs.lost == 0, "{costs}");
    Ok(())
}
