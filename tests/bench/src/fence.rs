//! How soon a master that lost its API server is gone: from its last good renewal to the end of its broker's process, with
//! the timing that operators get.
//!
//! Once the member's host is cut off from the API server, where the agent kills in time; once the agent stands still, where
//! the launcher alone does, at the permit's end. The permit counts from the moment at which the renewal was *sent*, which is
//! the time that the Lease tells; all clocks here are one.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::case::{self, Case};
use e2e::group::{Group, LIMIT, Place, Shape};
use e2e::leases::STATE;
use jiff::Timestamp;
use playground::Version;
use playground::clock::{Deadline, now};
use playground::network::{Cut, lacking};
use playground::traffic::Producer;
use serde_json::Value;

use crate::figures::Figures;

/// A run takes some 25 s.
const LONGEST: Duration = Duration::from_secs(3_600);

/// Between two looks at Lease and process.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Messages between two blows.
const BETWEEN: u64 = 200;

pub(crate) fn measure(version: Version, runs: u32) {
    case::play_for("fence", version, LONGEST, async |case| {
        story(case, version, runs).await
    });
}

#[derive(Clone, Copy)]
enum Blow {
    /// The member's host is cut off from the API server.
    Cut,
    /// The agent stands still.
    Frozen,
}

async fn story(case: &Case, version: Version, runs: u32) -> Result<()> {
    if let Some(why) = lacking() {
        case.say(format!("SKIPPED: {why}"));
        return Ok(());
    }
    let shape = Shape {
        place: Place::Hosts,
        flags: Vec::new(),
        ..Shape::default()
    };
    let mut group = Group::form(case, shape).await?;
    let producer = group.producer(200)?;
    let blows = [
        (Blow::Cut, "cut off from the API server"),
        (Blow::Frozen, "agent stands still"),
    ];
    for (blow, words) in blows {
        let mut figures = Figures::default();
        for _ in 0..runs {
            run(&mut group, &producer, blow, &mut figures).await?;
        }
        figures.print(&format!(
            "{words}, RocketMQ {version}, ms; the permit is 7000 ms"
        ));
    }
    Ok(())
}

async fn run(
    group: &mut Group<'_>,
    producer: &Producer,
    blow: Blow,
    figures: &mut Figures,
) -> Result<()> {
    let master = group.master().await?;
    group.follows(group.other(master)).await?;
    producer.accept_more(BETWEEN, LIMIT).await?;
    let before = group.lease().await?;
    let pid = group.member(master).jvm_pid().context("find the broker")?;
    let cut = Cut::between(group.host(master)?.ip(), group.network()?.api());
    // Right after a renewal, so that its commit was seen.
    let renewal = next_renewal(group, before.term.epoch).await?;
    let struck = producer.elapsed();
    match blow {
        Blow::Cut => group.network()?.cut(cut)?,
        Blow::Frozen => group.member_mut(master).agent()?.freeze()?,
    }
    let seen = watched(group, pid, before.term.epoch, renewal).await?;
    let since_start = producer.elapsed();
    let lease = group.serving_after(before.term.epoch).await?;
    ensure!(
        group.index(&lease.term.master)? != master,
        "it took over from itself"
    );
    producer.accept_more(1, LIMIT).await?;
    match blow {
        Blow::Cut => group.network()?.mend(cut)?,
        Blow::Frozen => group.member_mut(master).agent()?.thaw()?,
    }
    let from_sent = seen.ended_at.duration_since(seen.sent).as_secs_f64();
    figures.add(
        "last good renewal sent to the broker's end",
        from_sent * 1000.0,
    );
    figures.add(
        "last good renewal committed (seen) to the broker's end",
        ms(seen.ended.duration_since(seen.committed)),
    );
    let last = producer.ledger().largest_gap(struck).from;
    let before_end = since_start.saturating_sub(last);
    figures.add(
        "  last acknowledged message to the broker's end",
        ms(before_end),
    );
    group.follows(master).await
}

struct Seen {
    /// As the Lease tells it.
    sent: Timestamp,
    committed: Instant,
    ended: Instant,
    ended_at: Timestamp,
}

/// When a renewal was sent, as the Lease tells it, and when it was first seen there.
type Renewal = (Timestamp, Instant);

/// Waits for the next renewal of this term.
async fn next_renewal(group: &Group<'_>, epoch: u64) -> Result<Renewal> {
    let limit = Deadline::after(LIMIT);
    let known = renewed(&group.lease_object().await?, epoch)?;
    loop {
        let sent = renewed(&group.lease_object().await?, epoch)?;
        if sent != known {
            return Ok((sent, now()));
        }
        ensure!(!limit.is_over(), "no renewal within {LIMIT:?}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Watches the Lease of this term until the process is gone.
async fn watched(group: &Group<'_>, pid: i32, epoch: u64, mut last: Renewal) -> Result<Seen> {
    let limit = Deadline::after(LIMIT);
    loop {
        if !lives(pid) {
            let (sent, committed) = last;
            return Ok(Seen {
                sent,
                committed,
                ended: now(),
                ended_at: Timestamp::now(),
            });
        }
        let sent = renewed(&group.lease_object().await?, epoch)?;
        if last.0 != sent {
            last = (sent, now());
        }
        ensure!(!limit.is_over(), "the broker lives on after {LIMIT:?}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn renewed(lease: &Value, epoch: u64) -> Result<Timestamp> {
    let state = lease["metadata"]["annotations"][STATE].as_str();
    let state: Value = serde_json::from_str(state.context("find the group's state")?)?;
    ensure!(
        state["term"]["epoch"].as_u64() == Some(epoch),
        "another term began while the old master lived: {state}"
    );
    let time = lease["spec"]["renewTime"].as_str();
    let time = time.context("find the renewal's time")?;
    time.parse().with_context(|| format!("read {time}"))
}

/// A zombie answers nobody.
fn lives(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    !state.is_some_and(|rest| rest.starts_with(['Z', 'X']))
}

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}
