//! Members that are gone with their machines.

use std::sync::Arc;

use anyhow::{Result, ensure};
use e2e::{Case, Place, Shape, Trial, on_the_quickest, on_three_versions};
use playground::network::lacking;

on_three_versions!(without_a_reset);
on_the_quickest!(back_with_another_address, all_members_at_once);

/// The cable is pulled, then the machine dies: no connection to it hears a word, ever.
async fn without_a_reset(case: &Case) -> Result<()> {
    if let Some(why) = lacking() {
        case.say(format!("SKIPPED: {why}"));
        return Ok(());
    }
    let shape = Shape {
        place: Place::Hosts,
        ..Shape::default()
    };
    let mut trial = Trial::begin(case, shape).await?;
    let before = trial.group().lease().await?;
    let master = trial.group().index(&before.term.master)?;
    trial.strike();
    let group = trial.group_mut();
    group.network()?.unplug(group.host(master)?)?;
    group.member_mut(master).kill().await?;
    group.serving_after(before.term.epoch).await?;
    trial.served().await?;
    let group = trial.group_mut();
    group.network()?.plug(group.host(master)?)?;
    group.member_mut(master).start()?;
    trial.end().await?;
    Ok(())
}

async fn back_with_another_address(case: &Case) -> Result<()> {
    if let Some(why) = lacking() {
        case.say(format!("SKIPPED: {why}"));
        return Ok(());
    }
    let shape = Shape {
        place: Place::Hosts,
        ..Shape::default()
    };
    let mut trial = Trial::begin(case, shape).await?;
    let before = trial.group().lease().await?;
    let master = trial.group().index(&before.term.master)?;
    trial.strike();
    trial.group_mut().member_mut(master).kill().await?;
    trial.group().serving_after(before.term.epoch).await?;
    trial.served().await?;
    let host = Arc::new(trial.group().network()?.host("moved").await?);
    let member = trial.group_mut().member_mut(master);
    member.move_to(host)?;
    member.start()?;
    trial.end().await?;
    Ok(())
}

/// A power cut in both zones; page caches survive here, so nothing may be lost that both had.
async fn all_members_at_once(case: &Case) -> Result<()> {
    let mut trial = Trial::begin(case, Shape::default()).await?;
    let before = trial.group().lease().await?;
    trial.strike();
    for index in trial.group().indexes() {
        trial.group_mut().member_mut(index).kill().await?;
    }
    for index in trial.group().indexes() {
        trial.group_mut().member_mut(index).start()?;
    }
    let after = trial.group().serving_after(before.term.epoch).await?;
    ensure!(after.term.epoch > before.term.epoch, "{:?}", after.term);
    trial.end().await?;
    Ok(())
}
