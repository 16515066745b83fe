//! The API server away, or answering nonsense.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::holds::holds;
use e2e::{Case, Shape, Trial, on_each_version, on_the_quickest, on_three_versions};
use kube_api::Mode;
use playground::traffic::Outcome;

on_three_versions!(away_at_qos_0);
on_each_version!(away_for_less_than_a_permit, away_at_qos_1);
on_the_quickest!(
    refuses_for_a_while,
    throttles_for_a_while,
    loses_its_replies,
    silent_for_a_while
);

/// A permit of these stories lasts 4 s, a renewal comes every 0.8 s.
const SHORT: Duration = Duration::from_millis(1500);

/// Longer than a member waits before it takes over (6 s), with the permit that ran before.
const TAKEN_OVER: Duration = Duration::from_secs(10);

/// Nobody notices.
async fn away_for_less_than_a_permit(case: &Case) -> Result<()> {
    let mut trial = Trial::begin(case, Shape::default()).await?;
    trial.strike();
    for mode in [Mode::Down, Mode::Silent] {
        set(&trial, mode)?;
        let begin = trial.producer().elapsed();
        holds("messages are taken", SHORT, async || {
            trial.producer().accept_more(1, SHORT).await
        })
        .await?;
        set(&trial, Mode::Up)?;
        let gap = trial.producer().ledger().largest_gap(begin).length();
        case.say(format!("{mode:?} for {SHORT:?}: largest gap {gap:?}"));
        // A renewal went through before the next turn.
        trial.healed().await?;
    }
    let costs = trial.end().await?;
    ensure!(costs.reigns.len() == 1 && costs.lost == 0, "{costs}");
    Ok(())
}

async fn away_at_qos_0(case: &Case) -> Result<()> {
    away(case, 0).await
}

/// The lag is bounded by what the master is told; without an API server it is told nothing, so the choice is the same.
async fn away_at_qos_1(case: &Case) -> Result<()> {
    away(case, 1).await
}

/// The documented choice: a master that cannot renew stops at its permit's end, for as long as the API server is away nobody
/// serves, nobody takes over and the slave's broker goes on (so reads of what it has go on, too); once the API server is
/// back, the group does by itself.
async fn away(case: &Case, qos: u8) -> Result<()> {
    let mut shape = Shape::default();
    shape.flags.push(format!("--qos={qos}"));
    let mut trial = Trial::begin(case, shape).await?;
    let before = trial.group().lease().await?;
    let master = trial.group().index(&before.term.master)?;
    let slave = trial.group().other(master);
    let follower = trial.group().member(slave).jvm_pid();
    trial.strike();
    set(&trial, Mode::Down)?;
    trial.group().dead(master).await?;
    trial
        .group()
        .says(master, &["permit_ending", "lease_unknown", "lease_silent"])
        .await?;
    let accepted = trial.producer().ledger().count(Outcome::Accepted);
    holds("nobody serves", TAKEN_OVER, async || {
        let pid = trial.group().member(master).jvm_pid();
        ensure!(pid.is_none(), "the old master runs again: {pid:?}");
        let now = trial.group().member(slave).jvm_pid();
        ensure!(
            now.is_some() && now == follower,
            "{now:?}, was {follower:?}"
        );
        let now = trial.producer().ledger().count(Outcome::Accepted);
        ensure!(now == accepted, "{now} acknowledged, before {accepted}");
        Ok(())
    })
    .await?;
    set(&trial, Mode::Up)?;
    let after = trial.group().serving_after(before.term.epoch).await?;
    ensure!(after.term.epoch > before.term.epoch, "{:?}", after.term);
    trial.end().await?;
    Ok(())
}

async fn refuses_for_a_while(case: &Case) -> Result<()> {
    answers(case, Mode::Failing(403)).await
}

async fn throttles_for_a_while(case: &Case) -> Result<()> {
    answers(case, Mode::Failing(429)).await
}

async fn loses_its_replies(case: &Case) -> Result<()> {
    answers(case, Mode::ReplyLost).await
}

async fn silent_for_a_while(case: &Case) -> Result<()> {
    answers(case, Mode::Silent).await
}

/// Until the master had to give up, and then no more.
async fn answers(case: &Case, mode: Mode) -> Result<()> {
    let mut trial = Trial::begin(case, Shape::default()).await?;
    let master = trial.group().master().await?;
    trial.strike();
    set(&trial, mode)?;
    trial.group().dead(master).await?;
    set(&trial, Mode::Up)?;
    trial.end().await?;
    Ok(())
}

fn set(trial: &Trial<'_>, mode: Mode) -> Result<()> {
    let api = trial.group().plane().memory();
    api.context("find the API in memory")?.set_mode(mode);
    Ok(())
}
