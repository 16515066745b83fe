//! Fail-over, restart in place and switchover, stage by stage.

use anyhow::{Context, Result};
use e2e::case::{self, Case};
use e2e::group::{Group, LIMIT, Shape};
use jiff::Timestamp;
use playground::Version;
use playground::traffic::Producer;
use playground::wait::until;

use crate::figures::Figures;
use crate::log_lines::{agent_since, jvm_start, stages};

/// Messages between two disturbances.
const BETWEEN: u64 = 200;

pub(crate) fn measure(version: Version, runs: u32) {
    case::play("bench", version, async |case| {
        story(case, version, runs).await
    });
}

async fn story(case: &Case, version: Version, runs: u32) -> Result<()> {
    let mut group = Group::form(case, Shape::default()).await?;
    let producer = group.producer(1024)?;
    let mut figures = Figures::default();
    for _ in 0..runs {
        member_lost(&mut group, &producer, &mut figures).await?;
    }
    figures.print(&format!(
        "fail-over, RocketMQ {version}: the whole member killed, ms"
    ));
    let mut figures = Figures::default();
    for _ in 0..runs {
        switchover(&group, &producer, &mut figures).await?;
    }
    figures.print(&format!("planned switchover, RocketMQ {version}, ms"));
    let mut figures = Figures::default();
    in_place(&group, &producer, &mut figures).await?;
    figures.print(&format!(
        "JVM killed, restart in place, RocketMQ {version}, ms"
    ));
    Ok(())
}

async fn settled(group: &Group<'_>, producer: &Producer) -> Result<(usize, u64)> {
    let master = group.master().await?;
    group.follows(group.other(master)).await?;
    producer.accept_more(BETWEEN, LIMIT).await?;
    group.replicated(master).await?;
    Ok((master, group.lease().await?.term.epoch))
}

async fn member_lost(
    group: &mut Group<'_>,
    producer: &Producer,
    figures: &mut Figures,
) -> Result<()> {
    let (master, epoch) = settled(group, producer).await?;
    let since = Timestamp::now();
    group.member_mut(master).kill().await?;
    let lease = group.serving_after(epoch).await?;
    producer.accept_more(1, LIMIT).await?;
    let winner = group.index(&lease.term.master)?;
    promotion(group, winner, lease.term.epoch, since, figures).await?;
    group.member_mut(master).start()?;
    group.follows(master).await
}

async fn switchover(group: &Group<'_>, producer: &Producer, figures: &mut Figures) -> Result<()> {
    let (master, epoch) = settled(group, producer).await?;
    let target = group.other(master);
    let since = Timestamp::now();
    group
        .lease()
        .await?
        .ask_for_switchover(group.plane(), group.member(target).name())
        .await?;
    let lease = group.serving_after(epoch).await?;
    producer.accept_more(1, LIMIT).await?;
    let released = line_at(group, master, since, "handed over to").await?;
    let taken = line_at(group, target, since, "reason=acquire").await?;
    figures.add(
        "released Lease taken over (release sent to acquire sent)",
        ms(released, taken),
    );
    promotion(group, target, lease.term.epoch, since, figures).await?;
    group.follows(master).await
}

/// Once: a second crash within the window would be a fail-over.
async fn in_place(group: &Group<'_>, producer: &Producer, figures: &mut Figures) -> Result<()> {
    let (master, epoch) = settled(group, producer).await?;
    let since = Timestamp::now();
    group.member(master).kill_broker().await?;
    let noticed = line_at(group, master, since, "reason=freezing").await?;
    figures.add(
        "JVM death noticed (SIGKILL sent to decision)",
        ms(since, noticed),
    );
    let lease = group.serving_after(epoch).await?;
    producer.accept_more(1, LIMIT).await?;
    promotion(group, master, lease.term.epoch, since, figures).await
}

/// The stages as the new master's agent measured them.
async fn promotion(
    group: &Group<'_>,
    winner: usize,
    epoch: u64,
    since: Timestamp,
    figures: &mut Figures,
) -> Result<()> {
    let found = until("the promotion in the log", LIMIT, async || {
        stages(&agent_since(group.member(winner), since)?, epoch)
    });
    let found = found.await?;
    let of = |names: &[&str]| -> f64 {
        found
            .iter()
            .filter(|(name, _)| names.contains(&name.as_str()))
            .map(|(_, ms)| ms)
            .sum()
    };
    let jvm = jvm_start(group.member(winner))?;
    let free_to_write = of(&["acquire", "repair", "start", "serve", "gate"]);
    figures.add("Lease free to first accepted write", free_to_write);
    figures.add("  of it the JVM, exec to port open", jvm);
    figures.add("  of it the agents (all the rest)", free_to_write - jvm);
    for (name, ms) in &found {
        figures.add(&format!("  stage {name}"), *ms);
    }
    Ok(())
}

async fn line_at(
    group: &Group<'_>,
    member: usize,
    since: Timestamp,
    words: &str,
) -> Result<Timestamp> {
    until(words, LIMIT, async || {
        let lines = agent_since(group.member(member), since)?;
        let line = lines.iter().find(|line| line.text.contains(words));
        line.map(|line| line.at)
            .with_context(|| format!("find {words:?} in the log"))
    })
    .await
}

fn ms(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64() * 1000.0
}
