//! A machine that loses its power loses the pages it had not written.

use anyhow::{Result, ensure};
use e2e::group::LIMIT;
use e2e::{Case, Shape, Trial, on_three_versions};
use playground::logs;

on_three_versions!(lost_with_its_unflushed_pages);

/// Messages are acknowledged long before they are flushed (ASYNC_FLUSH). The other member has them.
async fn lost_with_its_unflushed_pages(case: &Case) -> Result<()> {
    let mut trial = Trial::begin(case, Shape::default()).await?;
    let before = trial.group().lease().await?;
    let master = trial.group().index(&before.term.master)?;
    trial.strike();
    // It flushes every 500 ms: this is less than what a machine may lose.
    let flushed = trial.group().end(master).await?;
    trial.producer().accept_more(30, LIMIT).await?;
    trial.group_mut().member_mut(master).kill().await?;
    trial.forgets();
    let member = trial.group().member(master);
    let gone = logs::forget(&member.commit_log(), flushed)?;
    case.say(format!("{gone} bytes behind {flushed} were never written"));
    ensure!(gone > 0, "nothing was lost: the story shows nothing");
    trial.group().serving_after(before.term.epoch).await?;
    trial.served().await?;
    trial.group_mut().member_mut(master).start()?;
    trial.end().await?;
    Ok(())
}
