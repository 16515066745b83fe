//! Fail-over, restart in place and switchover, stage by stage.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::case::{self, Case};
use e2e::group::{Group, LIMIT, Shape};
use jiff::Timestamp;
use playground::Version;
use playground::traffic::{Outcome, Producer};
use playground::wait::until;

use crate::figures::Figures;
use crate::log_lines::{agent_since, jvm_start, stages};

/// Messages between two disturbances.
const BETWEEN: u64 = 200;

pub(crate) fn measure(version: Version, runs: u32, in_place: u32) {
    case::play_for("bench", version, LONGEST, async |case| {
        story(case, version, runs, in_place).await
    });
}

/// A run takes some 20 s.
const LONGEST: Duration = Duration::from_secs(3_600);

async fn story(case: &Case, version: Version, runs: u32, in_place: u32) -> Result<()> {
    let mut shape = Shape::default();
    // Else the second crash would be answered by another member.
    shape.flags.push("--crashes-in-place=1000".to_owned());
    let mut group = Group::form(case, shape).await?;
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
    for _ in 0..in_place {
        jvm_killed(&group, &producer, &mut figures).await?;
    }
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

async fn jvm_killed(group: &Group<'_>, producer: &Producer, figures: &mut Figures) -> Result<()> {
    let (master, epoch) = settled(group, producer).await?;
    let (since, sent) = (Timestamp::now(), producer.elapsed());
    group.member(master).kill_broker().await?;
    let lease = group.serving_after(epoch).await?;
    ensure!(
        group.index(&lease.term.master)? == master,
        "not in place: {:?}",
        lease.term
    );
    let write = first_write(producer, sent).await?;
    way(group, master, since, write, figures).await?;
    promotion(group, master, lease.term.epoch, since, figures).await
}

/// The milestones from the SIGKILL to the first message, each as the time since the one before.
async fn way(
    group: &Group<'_>,
    master: usize,
    since: Timestamp,
    write: f64,
    figures: &mut Figures,
) -> Result<()> {
    let noticed = line_at(group, master, since, "reason=freezing").await?;
    let acquired = line_at(group, master, since, "reason=in_place").await?;
    let won = line_at(group, master, since, "reason=opening").await?;
    let started = line_at(group, master, since, "broker started").await?;
    let port = jvm_start(group.member(master))?;
    let serving = line_at(group, master, since, "reason=serving").await?;
    figures.add("SIGKILL to the first accepted write", write);
    figures.add("  SIGKILL to noticed", ms(since, noticed));
    figures.add("  noticed to walked and decided", ms(noticed, acquired));
    figures.add("  decided to Lease won, tail clean", ms(acquired, won));
    figures.add("  Lease won to JVM started", ms(won, started));
    figures.add("  JVM started to port open", port);
    let answers = ms(started, serving) - port;
    figures.add("  port open to serving (first answer, Lease)", answers);
    let gate = write - ms(since, serving);
    figures.add("  serving to first accepted write (gate, route)", gate);
    Ok(())
}

/// Milliseconds from `sent` (the producer's clock) to the first acknowledgement of the new process.
async fn first_write(producer: &Producer, sent: Duration) -> Result<f64> {
    producer.accept_more(1, LIMIT).await?;
    let ledger = producer.ledger();
    let mut attempts = ledger.attempts().iter();
    // The old process may have acknowledged one more in its last moment: only what comes after a failure is new.
    let failed = attempts.find(|one| one.settled >= sent && one.outcome != Outcome::Accepted);
    failed.context("find the first message that was not accepted")?;
    let first = attempts.find(|one| one.outcome == Outcome::Accepted);
    let first = first.context("find the first message that was accepted again")?;
    Ok((first.settled - sent).as_secs_f64() * 1000.0)
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
