//! The API server away, or answering nonsense.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::holds::holds;
use e2e::{Case, Shape, Trial, on_each_version, on_the_quickest};
use kube_api::Mode;

on_each_version!(away_for_less_than_a_permit, away_for_longer);
on_the_quickest!(
    refuses_for_a_while,
    throttles_for_a_while,
    loses_its_replies,
    silent_for_a_while
);

/// A permit of these stories lasts 4 s, a renewal comes every 0.8 s.
const SHORT: Duration = Duration::from_millis(1500);

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

/// Without a permit nobody may write (QoS 0: the documented choice); nobody else takes over either, and all goes on.
async fn away_for_longer(case: &Case) -> Result<()> {
    let mut trial = Trial::begin(case, Shape::default()).await?;
    let master = trial.group().master().await?;
    trial.strike();
    set(&trial, Mode::Down)?;
    trial.group().dead(master).await?;
    set(&trial, Mode::Up)?;
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
