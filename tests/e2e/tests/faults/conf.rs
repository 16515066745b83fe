//! The operator's broker.conf is changed while the group runs.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use e2e::group::LIMIT;
use e2e::{Case, Group, Shape, Trial, on_each_version};
use playground::wait::until;
use playground::{Role, http};
use remoting::calls::GetBrokerConfig;

on_each_version!(base_changed_under_way);

/// RocketMQ's own value of the key that is changed, and the operator's.
const KEY: &str = "fileReservedTime";
const BEFORE: &str = "72";
const AFTER: &str = "71";

/// A sound change waits for a start, and that is said; a wrong one is refused, and the last good one counts in the fail-over
/// that comes then; what is ours in a broker.conf stays ours, whatever the operator writes there.
async fn base_changed_under_way(case: &Case) -> Result<()> {
    let mut trial = Trial::begin(case, Shape::default()).await?;
    let before = trial.group().lease().await?;
    let old = trial.group().index(&before.term.master)?;
    let new = trial.group().other(old);
    let good = [base(trial.group(), old)?, base(trial.group(), new)?];
    trial.strike();

    for (path, text) in &good {
        write(path, &format!("{text}{KEY}={AFTER}\n"))?;
    }
    for index in [old, new] {
        shows(trial.group(), index, "config_restart_pending", 1).await?;
        has(trial.group(), index, BEFORE).await?;
    }
    trial
        .group()
        .announced("ConfigRestartPending", "next start")
        .await?;
    trial.producer().accept_more(100, LIMIT).await?;

    // On the member that is about to take over.
    let (path, text) = &good[1];
    write(path, &format!("{text}{KEY}={AFTER}\nlistenPort=abc\n"))?;
    shows(trial.group(), new, "config_valid", 0).await?;
    trial
        .group()
        .announced("ConfigRefused", "listenPort")
        .await?;
    trial.producer().accept_more(100, LIMIT).await?;
    let lease = trial.group().lease().await?;
    ensure!(lease.term == before.term, "{:?}", lease.term);

    trial.group_mut().member_mut(old).kill().await?;
    let after = trial.group().serving_after(before.term.epoch).await?;
    ensure!(trial.group().index(&after.term.master)? == new);
    has(trial.group(), new, AFTER).await?;
    shows(trial.group(), new, "config_restart_pending", 0).await?;
    trial.served().await?;

    let ours = "brokerRole=SLAVE\nbrokerId=7\nbrokerIP1=203.0.113.9\n";
    write(path, &format!("{text}{KEY}={AFTER}\n{ours}"))?;
    shows(trial.group(), new, "config_valid", 1).await?;
    trial.group_mut().member_mut(old).start()?;
    trial.healed().await?;
    // In place, with what is written there now.
    trial.group().member(new).kill_broker().await?;
    trial.group().serving_after(after.term.epoch).await?;
    let master = trial.healed().await?;
    ensure!(master == new, "the crash was not healed in place");
    let role = trial.group().member(new).contact().role().await?;
    ensure!(role == Role::Master, "it is {role}");
    has(trial.group(), new, AFTER).await?;
    has(trial.group(), old, AFTER).await?;
    trial.end().await?;
    Ok(())
}

fn base(group: &Group<'_>, index: usize) -> Result<(PathBuf, String)> {
    let path = group.member(index).base_conf();
    let text = std::fs::read_to_string(&path).context("read a base")?;
    Ok((path, text))
}

/// As `mv` does it.
fn write(path: &PathBuf, text: &str) -> Result<()> {
    let fresh = path.with_extension("fresh");
    std::fs::write(&fresh, text).context("write a base")?;
    std::fs::rename(&fresh, path).context("put a base in its place")
}

/// Waits until a member's metric has this value.
async fn shows(group: &Group<'_>, index: usize, metric: &str, value: u8) -> Result<()> {
    let member = group.member(index);
    let what = format!("{} to show {metric} {value}", member.name());
    let name = format!("rocketmq_ha_{metric}{{");
    until(&what, LIMIT, async || {
        let metrics = http::get(member.admin(), "/metrics").await?.body;
        let line = metrics.lines().find(|line| line.starts_with(&name));
        let line = line.context("there is no such metric")?;
        ensure!(line.ends_with(&format!(" {value}")), "{line}");
        Ok(())
    })
    .await
}

/// What the running broker says it has.
async fn has(group: &Group<'_>, index: usize, value: &str) -> Result<()> {
    let config = group.member(index).contact().ask(&GetBrokerConfig).await?;
    let found = config.get(KEY);
    ensure!(found == Some(value), "{KEY} is {found:?}, not {value}");
    Ok(())
}
