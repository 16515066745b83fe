//! Processes that stand still or are killed alone.

use anyhow::{Result, ensure};
use e2e::group::LIMIT;
use e2e::{Case, Shape, Trial, on_each_version, on_three_versions};
use playground::wait::until;

on_three_versions!(jvm_frozen, whole_member_frozen);
on_each_version!(
    jvm_of_the_slave_frozen,
    launcher_killed,
    launcher_and_agent_frozen,
);

/// Found in seconds instead of ten.
fn quick_to_judge() -> Shape {
    let mut shape = Shape::default();
    shape.flags.push("--hung-wait=2s".to_owned());
    shape
}

/// The frozen process is killed and started again in place: that loses nothing.
async fn jvm_frozen(case: &Case) -> Result<()> {
    let mut trial = Trial::begin(case, quick_to_judge()).await?;
    let master = trial.group().master().await?;
    trial.strike();
    trial.group().member(master).freeze_jvm()?;
    let costs = trial.end().await?;
    ensure!(costs.lost == 0, "in place, and yet lost: {}", costs.lost);
    Ok(())
}

async fn jvm_of_the_slave_frozen(case: &Case) -> Result<()> {
    let mut trial = Trial::begin(case, quick_to_judge()).await?;
    let master = trial.group().master().await?;
    let slave = trial.group().other(master);
    let frozen = trial.group().member(slave).jvm_pid();
    trial.strike();
    trial.group().member(slave).freeze_jvm()?;
    until("another process", LIMIT, async || {
        let now = trial.group().member(slave).jvm_pid();
        ensure!(now.is_some() && now != frozen, "{now:?}, was {frozen:?}");
        Ok(())
    })
    .await?;
    let costs = trial.end().await?;
    ensure!(costs.reigns.len() == 1, "{:?}", costs.reigns);
    Ok(())
}

/// Its broker dies with it. The next launcher finds a log that lost nothing.
async fn launcher_killed(case: &Case) -> Result<()> {
    let mut trial = Trial::begin(case, Shape::default()).await?;
    let master = trial.group().master().await?;
    trial.strike();
    let member = trial.group_mut().member_mut(master);
    member.launcher()?.kill().await?;
    until("the broker to be dead", LIMIT, async || {
        let pid = member.jvm_pid();
        ensure!(pid.is_none(), "pid {pid:?} lives");
        Ok(())
    })
    .await?;
    // As the kubelet would.
    member.start_launcher()?;
    trial.end().await?;
    Ok(())
}

/// Nobody is left to end the broker at its permit's end but the kernel of the launcher's guard.
async fn launcher_and_agent_frozen(case: &Case) -> Result<()> {
    let mut trial = Trial::begin(case, Shape::default()).await?;
    let before = trial.group().lease().await?;
    let master = trial.group().index(&before.term.master)?;
    trial.strike();
    let member = trial.group_mut().member_mut(master);
    member.agent()?.freeze()?;
    member.launcher()?.freeze()?;
    trial.group().serving_after(before.term.epoch).await?;
    let member = trial.group_mut().member_mut(master);
    member.launcher()?.thaw()?;
    member.agent()?.thaw()?;
    trial.end().await?;
    Ok(())
}

/// With clients that are pinned to its address: the probers.
async fn whole_member_frozen(case: &Case) -> Result<()> {
    let mut trial = Trial::begin(case, Shape::default()).await?;
    let before = trial.group().lease().await?;
    let master = trial.group().index(&before.term.master)?;
    trial.strike();
    trial.group_mut().member_mut(master).freeze()?;
    trial.group().serving_after(before.term.epoch).await?;
    trial.producer().accept_more(50, LIMIT).await?;
    trial.group_mut().member_mut(master).thaw()?;
    trial.end().await?;
    Ok(())
}
