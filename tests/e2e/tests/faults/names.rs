//! Name servers that are away.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::group::LIMIT;
use e2e::{Case, Shape, Trial, on_each_version, on_the_quickest};
use playground::nameserver::READY_LIMIT;

on_the_quickest!(name_server_away);
on_each_version!(fail_over_without_a_name_server);

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
