//! Of two slaves the one with more of the log takes over, and only that one; the other one follows it.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::books::{Books, accepted};
use e2e::group::{LIMIT, counted, in_ms};
use e2e::leases::term_start;
use e2e::{Case, Group, Shape, figures, on_the_newest};
use playground::archive::Archives;
use playground::clock::now;
use playground::traffic::Producer;
use playground::wait::until;

on_the_newest!(the_more_advanced_slave_takes_over);

/// With bodies of [`BODY_BYTES`] some 6 MiB: far more than the 128 KiB that a relay has on the way to a slave, so what the
/// lagging one takes after its thaw does not close the gap.
const TAIL_MESSAGES: u64 = 400;
const BODY_BYTES: usize = 16 * 1024;

/// Fails when the lagging slave wins (the term would begin below what the other one had), when both win (the probers
/// would see two masters), and when a slave keeps to itself what the new master does not have (the logs would differ).
async fn the_more_advanced_slave_takes_over(case: &Case) -> Result<()> {
    let shape = Shape {
        members: 3,
        ..Shape::default()
    };
    let mut group = Group::form(case, shape).await?;
    let mut producer = group.producer_spec(BODY_BYTES);
    producer.pause = Duration::from_millis(1);
    let producer = Producer::start(producer)?;
    let consumer = group.consumer(&producer);
    let probers = group.probers();
    producer.accept_more(100, LIMIT).await?;
    let (old, before) = (group.master().await?, group.lease().await?);
    group.replicated(old).await?;
    // The name that comes first would win if the logs were equal: it is the one that lags.
    let others = group.others(old);
    let [lagging, ahead] = others[..] else {
        anyhow::bail!("not two slaves: {others:?}");
    };

    let behind = group.end(lagging).await?;
    group.member_mut(lagging).freeze_broker()?;
    producer.accept_more(TAIL_MESSAGES, LIMIT).await?;
    let (replicated, goal) = (accepted(&producer), group.end(old).await?);
    until("the other slave to have it all", LIMIT, async || {
        let has = group.end(ahead).await?;
        ensure!(has >= goal, "it has {has} of {goal} bytes");
        Ok(())
    })
    .await?;
    let lost = now();
    group.member_mut(old).kill().await?;
    group.member_mut(lagging).thaw_broker()?;
    producer.accept_more(1, LIMIT).await?;
    let took = in_ms(lost);
    let after = group.serving_after(before.term.epoch).await?;
    let start = term_start(&group.lease_object().await?)?;
    ensure!(
        group.index(&after.term.master)? == ahead && start >= goal,
        "{:?} begins at {start}; one slave had {behind}, the other one {goal}",
        after.term
    );
    let stages = figures::stages(group.member(ahead), "failover").await?;
    case.say(format!(
        "the slave that was {} bytes ahead took over: first message after {took} ({stages})",
        goal - behind
    ));
    group.follows(lagging).await?;
    producer.accept_more(100, LIMIT).await?;

    group.member_mut(old).start()?;
    group.follows(old).await?;
    case.say(counted(&producer));
    let books = Books::close(&group, producer, consumer).await?;
    books.keeps(&replicated)?;
    books.lost_is_archived(&Archives::read(&group.member(old).store())?)?;
    group.reigned(&probers, &[old, ahead])?;
    drop(probers);
    group.logs_are_equal(ahead).await
}
