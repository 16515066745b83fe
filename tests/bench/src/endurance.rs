//! Fail-overs in a row, as many as one likes: is one stuck, is one lost, does anything grow?
//!
//! Two members take turns as master. The first one (whoever reigned first) is killed whole, agent, launcher and JVM; of the
//! other one launcher and JVM are killed and the agent lives through the whole run, as master every second time. A third
//! member is never elected and never touched: its agent, launcher and JVM follow one master after the other. What grows in
//! an agent or a launcher from one fail-over to the next shows in these three.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::case::{self, Case};
use e2e::group::{Group, LIMIT, Shape, TOPIC, counted};
use playground::archive::Archives;
use playground::clock::now;
use playground::logs;
use playground::traffic::{Number, Producer, read_all};
use playground::{Member, Version};

use crate::figures::{Figures, median};
use crate::holdings::{holdings, on_disk};

/// Between two messages: some 50 a second.
const PAUSE: Duration = Duration::from_millis(20);

/// Acknowledged messages between two blows.
const BETWEEN: u64 = 50;

/// A term in which not all follow after this time may be over: who reigns is asked again.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Rounds between two looks at what everybody holds.
const LOOK_EVERY: u32 = 20;

/// The member that is never elected and never touched.
const WITNESS: usize = 2;

/// A round takes some 12 s.
const LONGEST_ROUND: Duration = Duration::from_secs(60);

pub(crate) fn measure(version: Version, times: u32, step_seconds: u32) {
    let limit = Duration::from_secs(u64::from(step_seconds));
    let longest = LONGEST_ROUND * times.saturating_add(10);
    case::play_for("endurance", version, longest, async |case| {
        story(case, version, times, limit).await
    });
}

async fn story(case: &Case, version: Version, times: u32, limit: Duration) -> Result<()> {
    let shape = Shape {
        members: 3,
        ..Shape::default()
    };
    let mut group = Group::prepare(case, shape).await?;
    let begin = now();
    group
        .member_mut(WITNESS)
        .agent_variable("ROCKETMQ_HA_NO_FAILOVER", "true");
    for index in group.indexes() {
        group.member_mut(index).start()?;
    }
    group.formed(begin).await?;
    let mut spec = group.producer_spec(200);
    spec.pause = PAUSE;
    let producer = Producer::start(spec)?;
    let probers = group.probers();
    producer.accept_more(BETWEEN, LIMIT).await?;
    let first = group.master().await?;
    let mut run = Run {
        spared: group.others(first)[0],
        first_epoch: group.lease().await?.term.epoch,
        figures: Figures::default(),
        gaps: Vec::new(),
        rounds: 0,
        limit,
    };
    run.look(&mut group)?;
    let outcome = run.rounds(&mut group, &producer, times).await;
    if outcome.is_err() {
        run.last_words(&group).await;
    }
    run.tell(&group, version).await;
    let disputes = group.disputes(&probers);
    let dual = disputes.iter().map(|one| one.to.saturating_sub(one.from));
    println!(
        "two masters at once: {} ms; {} reigns seen",
        dual.max().unwrap_or_default().as_millis(),
        group.reigns(&probers).len()
    );
    outcome?;
    ensure!(disputes.is_empty(), "two masters at once: {disputes:?}");
    println!("{}", settle(&group, &producer).await?);
    Ok(())
}

struct Run {
    /// Its agent lives through the run.
    spared: usize,
    first_epoch: u64,
    figures: Figures,
    gaps: Vec<f64>,
    rounds: u32,
    /// No step of a round may take longer: a group that does is stuck.
    limit: Duration,
}

impl Run {
    async fn rounds(
        &mut self,
        group: &mut Group<'_>,
        producer: &Producer,
        times: u32,
    ) -> Result<()> {
        for round in 1..=times {
            let what = || format!("fail-over {round} of {times}");
            self.round(group, producer).await.with_context(what)?;
            self.rounds = round;
            if round % LOOK_EVERY == 0 || round == times {
                self.look(group)?;
                let books = self
                    .step("what can be read", settle(group, producer))
                    .await?;
                group.case().say(format!("BOOKS after {round}: {books}"));
                let gap = median(&self.gaps);
                group.case().say(format!("GAPS median {gap:.0} ms"));
            }
        }
        Ok(())
    }

    async fn round(&mut self, group: &mut Group<'_>, producer: &Producer) -> Result<()> {
        let master = self.step("a master that serves", group.master()).await?;
        let epoch = group.lease().await?.term.epoch;
        let (struck, begin) = (producer.elapsed(), now());
        if master == self.spared {
            group.member_mut(master).launcher()?.kill().await?;
            self.step("the broker's end", group.dead(master)).await?;
        } else {
            self.step("the member's end", group.member_mut(master).kill())
                .await?;
        }
        let lease = self
            .step("the other one serves", group.serving_after(epoch))
            .await?;
        let winner = group.index(&lease.term.master)?;
        ensure!(
            winner != WITNESS,
            "{} must never be elected",
            lease.term.master
        );
        self.step("clients are served", producer.accept_more(1, LIMIT))
            .await?;
        let gap = producer.ledger().largest_gap(struck).length();
        self.gaps.push(gap.as_secs_f64() * 1000.0);
        let back = now();
        group.member_mut(master).start()?;
        self.step("everybody follows, with equal logs", whole(group))
            .await?;
        self.figures.add(
            "old master started to all following, equal logs, ms",
            back.elapsed().as_secs_f64() * 1000.0,
        );
        self.step("messages", producer.accept_more(BETWEEN, LIMIT))
            .await?;
        self.figures
            .add("round in all, ms", begin.elapsed().as_secs_f64() * 1000.0);
        Ok(())
    }

    async fn step<T>(&self, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        match tokio::time::timeout(self.limit, work).await {
            Ok(outcome) => outcome.with_context(|| format!("wait for: {what}")),
            Err(_) => bail!("stuck: {what}: not within {:?}", self.limit),
        }
    }

    /// What everybody holds now.
    fn look(&mut self, group: &mut Group<'_>) -> Result<()> {
        let case = group.case();
        let spared = group.member_mut(self.spared);
        let mut lines = vec![(
            format!("{}: agent", spared.name()),
            holdings(spared.agent()?.pid())?,
        )];
        let witness = group.member_mut(WITNESS);
        let name = witness.name().to_owned();
        let jvm = witness.jvm_pid();
        lines.push((format!("{name}: agent"), holdings(witness.agent()?.pid())?));
        lines.push((
            format!("{name}: launcher"),
            holdings(witness.launcher()?.pid())?,
        ));
        if let Some(pid) = jvm {
            lines.push((format!("{name}: JVM"), holdings(pid)?));
        }
        for (who, found) in lines {
            case.say(format!("HOLDS after {} {who}: {found}", self.rounds));
        }
        for index in group.indexes() {
            let found = disk(group.member(index));
            case.say(format!("DISK after {} {found}", self.rounds));
        }
        Ok(())
    }

    /// What a group that is stuck says of itself.
    async fn last_words(&self, group: &Group<'_>) {
        let case = group.case();
        case.say(format!("LEASE {:?}", group.lease().await));
        for index in group.indexes() {
            let member = group.member(index);
            let status = member.status().await;
            let status = status.map_or_else(|error| format!("{error:#}"), |v| v.to_string());
            case.say(format!("STATUS {}: {status}", member.name()));
        }
    }

    async fn tell(&self, group: &Group<'_>, version: Version) {
        let mut figures = self.figures.clone();
        for gap in &self.gaps {
            figures.add("without an acknowledged message, ms", *gap);
        }
        figures.print(&format!(
            "{} fail-overs in a row, RocketMQ {version}",
            self.rounds
        ));
        if let Ok(lease) = group.lease().await {
            println!(
                "terms used: {} (from {} to {})",
                lease.term.epoch - self.first_epoch,
                self.first_epoch,
                lease.term.epoch
            );
        }
    }
}

/// Waits until one serves, all others follow it, and everybody's log is equal to its own as far as both go. Who that is may
/// change meanwhile: on a machine that stands still for seconds a master loses its Lease.
async fn whole(group: &Group<'_>) -> Result<()> {
    loop {
        let before = group.serving_after(0).await?.term;
        let master = group.index(&before.master)?;
        let found = tokio::time::timeout(LOOK_AGAIN, compared(group, master)).await;
        if group.lease().await?.term == before
            && let Ok(Ok(differing)) = found
        {
            ensure!(
                differing.is_none(),
                "logs differ in term {}: {differing:?}",
                before.epoch
            );
            return Ok(());
        }
        // What failed at once is looked at again, but not in a tight loop.
        tokio::time::sleep(PAUSE).await;
    }
}

/// Which follower's log differs from the master's; an error when it cannot be told now.
async fn compared(group: &Group<'_>, master: usize) -> Result<Option<(String, logs::Comparison)>> {
    for slave in group.others(master) {
        group.follows(slave).await?;
    }
    let masters = group.log(master).await?;
    for slave in group.others(master) {
        let found = logs::compare(&masters, &group.log(slave).await?)?;
        if !found.is_equal() {
            return Ok(Some((group.member(slave).name().to_owned(), found)));
        }
    }
    Ok(None)
}

fn disk(member: &Member) -> String {
    let mib = |bytes: u64| bytes.div_ceil(1 << 10).div_ceil(1 << 10);
    let part = |folder: &Path| -> String {
        let (bytes, files) = on_disk(folder);
        format!("{} KiB in {files} files", bytes / 1024)
    };
    let store = member.store();
    let (all, _) = on_disk(&store);
    let archives = store.join("ha/lost+found");
    let cuts = std::fs::read_dir(&archives).map_or(0, Iterator::count);
    format!(
        "{}: store {} MiB, of it ha/ {}, of it {cuts} archives {}",
        member.name(),
        mib(all),
        part(&store.join("ha")),
        part(&archives),
    )
}

/// What was acknowledged so far against what can be read and what was archived.
async fn settle(group: &Group<'_>, producer: &Producer) -> Result<String> {
    let (stamp, ledger) = (producer.stamp(), producer.ledger());
    let master = group.names().master(TOPIC).await?;
    let readable = read_all(master.address, TOPIC, master.queues, stamp).await?;
    // What was sent since is readable and not in the books.
    let settled = ledger.settle(readable);
    let mut archives = Archives::default();
    for index in group.indexes() {
        archives.add(Archives::read(&group.member(index).store())?);
    }
    let archived: BTreeSet<Number> = archives.numbers(stamp).into_iter().collect();
    let lost = settled.lost.iter();
    let silent: Vec<&Number> = lost.filter(|number| !archived.contains(number)).collect();
    ensure!(silent.is_empty(), "lost and not archived: {silent:?}");
    ensure!(
        settled.duplicated.is_empty() && settled.refused_stored.is_empty(),
        "there twice: {:?}; refused and there: {:?}",
        settled.duplicated,
        settled.refused_stored
    );
    Ok(format!(
        "{}; lost {}, each of them archived; in {} archives {} of the producer's messages, {} with the probers'",
        counted(producer),
        settled.lost.len(),
        archives.folders.len(),
        archived.len(),
        archives.messages,
    ))
}
