//! Name servers that are away.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::group::{LIMIT, Lookup, in_ms};
use e2e::{Case, Group, Shape, Trial, on_each_version, on_the_quickest};
use playground::clock::now;
use playground::nameserver::READY_LIMIT;
use playground::wait::until;

on_the_quickest!(name_server_away);
on_each_version!(fail_over_without_a_name_server, replaced_one_by_one);

/// Clients go on with what they know, the group takes no notice.
async fn name_server_away(case: &Case) -> Result<()> {
    let mut trial = Trial::begin(case, Shape::default()).await?;
    let lease = trial.group().lease().await?;
    trial.strike();
    trial.group_mut().name_server_mut().process().kill().await?;
    trial.group().renewed(&lease, 10).await?;
    let server = trial.group_mut().name_server_mut();
    server.restart()?;
    server.ready(READY_LIMIT).await?;
    let costs = trial.end().await?;
    ensure!(costs.reigns.len() == 1 && costs.lost == 0, "{costs}");
    Ok(())
}

/// The election needs none; clients find the new master when one is back.
async fn fail_over_without_a_name_server(case: &Case) -> Result<()> {
    let mut trial = Trial::begin(case, Shape::default()).await?;
    let before = trial.group().lease().await?;
    let master = trial.group().index(&before.term.master)?;
    trial.strike();
    trial.group_mut().name_server_mut().process().kill().await?;
    trial.group_mut().member_mut(master).kill().await?;
    let after = trial.group().serving_after(before.term.epoch).await?;
    ensure!(after.term.master != before.term.master, "{:?}", after.term);
    let server = trial.group_mut().name_server_mut();
    server.restart()?;
    server.ready(READY_LIMIT).await?;
    let limit = LIMIT + Duration::from_secs(30);
    trial.producer().accept_more(1, limit).await?;
    trial.group_mut().member_mut(master).start()?;
    trial.end().await?;
    Ok(())
}

/// Two name servers behind our httpsite give way to two others, one after the other, as a rolling update does it: the new
/// one is named, then the old one is no longer named, then it ends. Brokers and agents have nothing but the page; the clients
/// here are told all four addresses, as they would be by the page.
async fn replaced_one_by_one(case: &Case) -> Result<()> {
    let begin = now();
    let shape = Shape {
        lookup: Lookup::HttpSite,
        ..Shape::default()
    };
    let mut group = Group::prepare(case, shape).await?;
    let mut old = case.ground().name_server("ns-old")?;
    let mut new = [
        case.ground().name_server("ns-new-0")?,
        case.ground().name_server("ns-new-1")?,
    ];
    for server in new.iter_mut().chain([&mut old]) {
        server.ready(READY_LIMIT).await?;
        group.also_ask(server.address());
    }
    let mut named = vec![group.name_server().address(), old.address()];
    group.http_site()?.name(&named)?;
    for index in group.indexes() {
        group.member_mut(index).start()?;
    }
    group.formed(begin).await?;
    let mut trial = Trial::with(group).await?;
    trial.strike();
    for (turn, fresh) in new.iter().enumerate() {
        named.push(fresh.address());
        trial.group().http_site()?.name(&named)?;
        let changed = now();
        knows_all(trial.group(), fresh.address()).await?;
        case.say(format!("known to a new name server {}", in_ms(changed)));
        named.remove(0);
        trial.group().http_site()?.name(&named)?;
        let mut left = named.clone();
        left.sort();
        trial.group().http_site()?.shows(&left, LIMIT).await?;
        let gone = match turn {
            0 => trial.group_mut().name_server_mut(),
            _ => &mut old,
        };
        gone.process().kill().await?;
        trial.producer().accept_more(200, LIMIT).await?;
    }
    // Whoever is there now knows everybody, and a fail-over.
    for server in &new {
        knows_all(trial.group(), server.address()).await?;
    }
    let before = trial.group().lease().await?;
    let master = trial.group().index(&before.term.master)?;
    trial
        .group()
        .switch_over(trial.group().other(master))
        .await?;
    trial.group().serving_after(before.term.epoch).await?;
    let costs = trial.end().await?;
    ensure!(costs.reigns.len() == 2 && costs.lost == 0, "{costs}");
    Ok(())
}

/// Waits until a name server knows every member.
async fn knows_all(group: &Group<'_>, server: SocketAddr) -> Result<()> {
    let what = format!("name server {server} to know every member");
    until(&what, LIMIT, async || {
        let registered = group.names().registered_at(server).await?;
        for index in group.indexes() {
            let address = group.member(index).contact().address.to_string();
            let known = registered.iter().any(|(_, known)| *known == address);
            ensure!(known, "{address} is not among {registered:?}");
        }
        Ok(())
    })
    .await
}
