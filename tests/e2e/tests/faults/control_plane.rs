//! kube-apiserver and etcd themselves: killed and started again, and put back to what they were.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::group::in_ms;
use e2e::{Case, Shape, Trial, on_the_quickest};
use playground::clock::now;
use playground::real_api::program::Found;
use playground::real_api::{READY_LIMIT, RealApi};
use playground::{ApiKind, lease::GroupLease};

on_the_quickest!(
    api_server_killed,
    etcd_killed,
    etcd_restored_in_the_same_term,
    etcd_restored_to_before_a_fail_over,
);

/// A permit of 7 s less the lead of the gate (1 s) and what may pass between a renewal and the next one (2 s).
const SURVIVED: Duration = Duration::from_secs(4);

/// A group on the real API with the production timing (10 s wait, 7 s permit): an API server needs some seconds to be back.
async fn begin(case: &Case) -> Result<Option<Trial<'_>>> {
    if let Found::NoGo(reason) = case.ground().real_api_program().await? {
        case.say(format!("SKIPPED: {reason}"));
        return Ok(None);
    }
    let shape = Shape {
        api: ApiKind::Real,
        flags: Vec::new(),
        ..Shape::default()
    };
    Trial::begin(case, shape).await.map(Some)
}

fn api<'a>(trial: &'a mut Trial<'_>) -> Result<&'a mut RealApi> {
    let plane = trial.group_mut().plane_mut()?;
    plane.real().context("find the real API")
}

async fn api_server_killed(case: &Case) -> Result<()> {
    let Some(mut trial) = begin(case).await? else {
        return Ok(());
    };
    trial.strike_on(ApiKind::Real).await?;
    let outage = now();
    let api = api(&mut trial)?;
    api.server()?.kill().await?;
    api.start_server()?;
    api.ready(READY_LIMIT).await?;
    case.say(format!("kube-apiserver back after {}", in_ms(outage)));
    unnoticed(trial, outage.elapsed()).await
}

/// The API server is there all the while, and can do nothing.
async fn etcd_killed(case: &Case) -> Result<()> {
    let Some(mut trial) = begin(case).await? else {
        return Ok(());
    };
    trial.strike_on(ApiKind::Real).await?;
    let outage = now();
    let api = api(&mut trial)?;
    api.etcd()?.kill().await?;
    api.start_etcd()?;
    api.ready(READY_LIMIT).await?;
    case.say(format!("etcd back after {}", in_ms(outage)));
    unnoticed(trial, outage.elapsed()).await
}

/// Renewals are forgotten, not the term: at most the outage itself is felt.
async fn etcd_restored_in_the_same_term(case: &Case) -> Result<()> {
    let Some(mut trial) = begin(case).await? else {
        return Ok(());
    };
    let before = trial.group().lease().await?;
    let then = api(&mut trial)?.snapshot("same-term").await?;
    trial.group().renewed(&before, 5).await?;
    trial.strike_on(ApiKind::Real).await?;
    let outage = now();
    api(&mut trial)?.restore(&then).await?;
    case.say(format!("both back after {}", in_ms(outage)));
    unnoticed(trial, outage.elapsed()).await
}

/// The master renews as before, and nobody had to stop: unless a busy machine took longer than any permit to be back.
async fn unnoticed(trial: Trial<'_>, outage: Duration) -> Result<()> {
    trial.healed().await?;
    let lease = trial.group().lease().await?;
    trial.group().renewed(&lease, 3).await?;
    let costs = trial.end().await?;
    ensure!(
        outage > SURVIVED || (costs.reigns.len() == 1 && costs.lost == 0),
        "after an outage of {outage:?}: {costs}"
    );
    Ok(())
}

/// The Lease names the master before the last one again, in its old term (H6): it gives nobody rights. All that was written
/// since must still be there, and the next term is numbered far above all that ever was (H8).
async fn etcd_restored_to_before_a_fail_over(case: &Case) -> Result<()> {
    let Some(mut trial) = begin(case).await? else {
        return Ok(());
    };
    let first = trial.group().lease().await?;
    let then = api(&mut trial)?.snapshot("before-the-fail-over").await?;
    let old = trial.group().index(&first.term.master)?;
    trial.group_mut().member_mut(old).kill().await?;
    let second = trial.group().serving_after(first.term.epoch).await?;
    trial.group_mut().member_mut(old).start()?;
    let new = trial.healed().await?;
    ensure!(new != old, "nobody failed over: {:?}", second.term);
    trial.group().acknowledged(new).await?;

    trial.strike_on(ApiKind::Real).await?;
    let outage = now();
    api(&mut trial)?.restore(&then).await?;
    case.say(format!("both back after {}", in_ms(outage)));
    let third: GroupLease = trial.group().serving_after(second.term.epoch).await?;
    ensure!(
        third.term.epoch >= 1000,
        "after a Lease that was rolled back the next term is {}, the last was {}",
        third.term.epoch,
        second.term.epoch
    );
    trial.end().await?;
    Ok(())
}
