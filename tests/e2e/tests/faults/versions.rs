//! Two versions of our programs in one group, and what a version that does not exist yet might write.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::case::play_for;
use e2e::group::{Group, LIMIT};
use e2e::holds::holds;
use e2e::leases::{Kind, STATE, seal};
use e2e::{Case, Shape, Trial, on_the_quickest};
use launcher::client::{Client, ClientError};
use launcher::protocol::{ErrorKind, Hello, Op, PROTOCOL};
use playground::{Programs, Version, http};
use serde_json::{Value, json};

on_the_quickest!(
    fields_of_a_later_version,
    record_of_a_newer_format,
    agent_of_a_newer_protocol,
);

/// An agent that is told to stop hands over first.
const GRACE: Duration = Duration::from_secs(60);
/// Longer than a member waits before it takes over (6 s), with the permit that ran before.
const TAKEN_OVER: Duration = Duration::from_secs(10);
const REPORT: &str = "rocketmq-ha.io/report";
const FUTURE: &str = "rocketmq-ha.io/of-a-later-version";

/// The next version is built within it, once.
const WITH_A_BUILD: Duration = Duration::from_secs(30 * 60);

#[test]
fn fail_over_between_two_versions_on_4_9_7() {
    let story = "fail_over_between_two_versions";
    play_for(story, Version::V4_9_7, WITH_A_BUILD, fail_over);
}

#[test]
fn agents_replaced_in_turn_on_4_9_7() {
    let story = "agents_replaced_in_turn";
    play_for(story, Version::V4_9_7, WITH_A_BUILD, agents_replaced);
}

/// From the older to the newer, and from the newer to the older.
async fn fail_over(case: &Case) -> Result<()> {
    let next = case.ground().next_programs().await?;
    let mut trial = Trial::begin(case, Shape::default()).await?;
    let master = trial.group().master().await?;
    let newer = trial.group().other(master);
    let before = version(trial.group(), master).await?;
    trial.strike();
    let member = trial.group_mut().member_mut(newer);
    member.kill().await?;
    member.run_by(next);
    member.start()?;
    trial.healed().await?;
    let after = version(trial.group(), newer).await?;
    ensure!(after != before, "both are of version {after}");
    for (lost, heir) in [(master, newer), (newer, master)] {
        let lease = trial.group().lease().await?;
        ensure!(
            trial.group().index(&lease.term.master)? == lost,
            "{lease:?}"
        );
        // What both have may not be lost; what only a dead one has, may.
        trial.group().replicated(lost).await?;
        trial.group_mut().member_mut(lost).kill().await?;
        let lease = trial.group().serving_after(lease.term.epoch).await?;
        ensure!(
            trial.group().index(&lease.term.master)? == heir,
            "{lease:?}"
        );
        trial.served().await?;
        trial.group_mut().member_mut(lost).start()?;
        trial.healed().await?;
    }
    trial.end().await?;
    Ok(())
}

/// As an upgrade of the agents does, and its way back; the launchers are the old ones and go on. In the end one launcher is
/// replaced under an agent that is not.
async fn agents_replaced(case: &Case) -> Result<()> {
    let old = case.ground().programs().await?;
    let next = case.ground().next_programs().await?;
    let mut trial = Trial::begin(case, Shape::default()).await?;
    let mut launchers = Vec::new();
    for index in trial.group().indexes() {
        launchers.push(trial.group_mut().member_mut(index).launcher()?.pid());
    }
    trial.strike();
    for agent in [&next.agent, &old.agent] {
        let master = trial.group().master().await?;
        for index in [trial.group().other(master), master] {
            let before = version(trial.group(), index).await?;
            let programs = Programs {
                agent: agent.clone(),
                launcher: old.launcher.clone(),
            };
            replace_agent(&mut trial, index, programs).await?;
            let after = version(trial.group(), index).await?;
            case.say(format!("agent {index}: {before} became {after}"));
            ensure!(before != after, "{index} is still of version {after}");
        }
    }
    for index in trial.group().indexes() {
        let launcher = trial.group_mut().member_mut(index).launcher()?.pid();
        ensure!(launcher == launchers[index], "another launcher");
    }
    let master = trial.group().master().await?;
    let slave = trial.group().other(master);
    let member = trial.group_mut().member_mut(slave);
    member.run_by(Programs {
        agent: old.agent,
        launcher: next.launcher,
    });
    member.launcher()?.terminate(GRACE).await?;
    member.start_launcher()?;
    trial.end().await?;
    Ok(())
}

async fn replace_agent(trial: &mut Trial<'_>, index: usize, programs: Programs) -> Result<()> {
    let member = trial.group_mut().member_mut(index);
    member.run_by(programs);
    member.agent()?.terminate(GRACE).await?;
    member.start_agent()?;
    trial.healed().await.map(drop)
}

/// Which a member's agent is.
async fn version(group: &Group<'_>, index: usize) -> Result<String> {
    let metrics = http::get(group.member(index).admin(), "/metrics").await?;
    let line = metrics
        .body
        .lines()
        .find(|line| line.starts_with("rocketmq_ha_build_info{"));
    let (_, version) = line
        .and_then(|line| line.split_once("version=\""))
        .context("find the version in the metrics")?;
    let (version, _) = version.split_once('"').context("read the version")?;
    Ok(version.to_owned())
}

/// What this version does not know is no reason to stop, and what is not its own stays, also when another member writes.
async fn fields_of_a_later_version(case: &Case) -> Result<()> {
    let mut trial = Trial::begin(case, Shape::default()).await?;
    let before = trial.group().lease().await?;
    let master = trial.group().index(&before.term.master)?;
    trial.strike();
    let group = trial.group();
    group.annotate(FUTURE, Some("kept")).await?;
    // As a newer holder would write it: sealed.
    let mut state = state(group).await?;
    state["of_a_later_version"] = json!({"deep": [1, 2, 3]});
    state["term"]["of_a_later_version"] = json!(true);
    group.annotate(STATE, Some(&seal(state)?)).await?;
    let kind = Kind::Member;
    for format in [None, Some(99)] {
        let mut report = annotation(&group.object(kind).await?, REPORT)?;
        report["of_a_later_version"] = json!("x");
        if let Some(format) = format {
            report["format"] = json!(format);
        }
        let patch = json!({"metadata": {
            "annotations": {REPORT: report.to_string(), FUTURE: "kept"},
            "labels": {FUTURE: "kept"},
        }});
        group.patch_lease(kind, &patch).await?;
        group.renewed(&before, 3).await?;
    }
    trial.healed().await?;
    // Another member's agent takes the Lease.
    trial.group_mut().member_mut(master).kill().await?;
    let after = trial.group().serving_after(before.term.epoch).await?;
    trial.served().await?;
    trial.group_mut().member_mut(master).start()?;
    trial.healed().await?;
    ensure!(after.term.master != before.term.master, "{after:?}");
    for kind in [Kind::Group, Kind::Member] {
        let lease = trial.group().object(kind).await?;
        let kept = &lease["metadata"]["annotations"][FUTURE];
        ensure!(kept == "kept", "{kind:?} lost it: {lease}");
    }
    trial.end().await?;
    Ok(())
}

/// An agent that does not understand the record writes nothing, takes nothing over and says so; its master stops when its
/// permit ends. (An upgrade that changes the format has to be done by both at once, or by a version that still writes the
/// old one.) The record is as it was all the while, and whoever puts the old one back has the group back.
async fn record_of_a_newer_format(case: &Case) -> Result<()> {
    let mut trial = Trial::begin(case, Shape::default()).await?;
    let before = trial.group().lease().await?;
    let master = trial.group().index(&before.term.master)?;
    let slave = trial.group().other(master);
    let old = state(trial.group()).await?;
    let mut newer = old.clone();
    newer["format"] = json!(99);
    let newer = newer.to_string();
    trial.strike();
    trial.group().annotate(STATE, Some(&newer)).await?;
    let written = trial.group().lease_object().await?;
    trial.group().dead(master).await?;
    for index in [master, slave] {
        trial.group().says(index, &["lease_newer"]).await?;
    }
    let group = trial.group();
    holds("nobody touches it", TAKEN_OVER, async || {
        let now = group.lease_object().await?;
        ensure!(now == written, "{now}, was {written}");
        let pid = group.member(master).jvm_pid();
        ensure!(pid.is_none(), "the old master runs again: {pid:?}");
        Ok(())
    })
    .await?;
    let answer = group.command(&["status"]).await?;
    ensure!(answer.text.contains("99"), "{answer:?}");
    group.annotate(STATE, Some(&old.to_string())).await?;
    group.serving_after(before.term.epoch).await?;
    trial.end().await?;
    Ok(())
}

/// The launcher refuses it, and its own agent goes on.
async fn agent_of_a_newer_protocol(case: &Case) -> Result<()> {
    let mut trial = Trial::begin(case, Shape::default()).await?;
    let before = trial.group().lease().await?;
    trial.strike();
    for index in trial.group().indexes() {
        let socket = trial.group().member(index).socket();
        let error = tokio::task::spawn_blocking(move || newer_hello(&socket)).await??;
        case.say(format!("the launcher of member {index}: {error}"));
    }
    trial.group().renewed(&before, 3).await?;
    let costs = trial.end().await?;
    ensure!(costs.reigns.len() == 1 && costs.lost == 0, "{costs}");
    Ok(())
}

fn newer_hello(socket: &Path) -> Result<String> {
    let mut client = Client::connect(socket)?;
    let status = client.ask(Op::Status, LIMIT)?;
    let hello = Hello {
        protocol: PROTOCOL + 1,
        boot_id: status.boot_id,
        boottime_ms: status.boottime_ms,
        agent_version: "9.9.9".to_owned(),
    };
    match client.ask(Op::Hello(hello), LIMIT) {
        Err(ClientError::Refused(error)) if error.kind == ErrorKind::Protocol => Ok(error.message),
        other => bail!("it answered {other:?}"),
    }
}

async fn state(group: &Group<'_>) -> Result<Value> {
    annotation(&group.lease_object().await?, STATE)
}

fn annotation(lease: &Value, key: &str) -> Result<Value> {
    let text = lease["metadata"]["annotations"][key].as_str();
    let text = text.with_context(|| format!("read annotation {key}"))?;
    serde_json::from_str(text).with_context(|| format!("read annotation {key} as JSON"))
}
