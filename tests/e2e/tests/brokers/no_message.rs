//! A group that has not taken a single message yet is looked after like any other.

use anyhow::{Result, ensure};
use e2e::books::Books;
use e2e::group::{LIMIT, counted, in_ms};
use e2e::{Case, Group, Shape, figures, on_each_version};
use playground::clock::now;

on_each_version!(a_planned_switchover_works);

/// With empty logs the slave has nothing to acknowledge and nothing to prove. Fails when that is taken for a slave that
/// is not in step (the command would be turned down), and when the first message cannot be replicated afterwards.
async fn a_planned_switchover_works(case: &Case) -> Result<()> {
    let group = Group::form(case, Shape::default()).await?;
    let (old, before) = (group.master().await?, group.lease().await?);
    let new = group.other(old);
    ensure!(group.end(old).await? == 0, "somebody wrote something");

    let asked = now();
    group.switch_over(new).await?;
    let after = group.serving_after(before.term.epoch).await?;
    ensure!(group.index(&after.term.master)? == new, "{:?}", after.term);
    let took = in_ms(asked);
    let stages = figures::stages(group.member(new), "switchover").await?;
    case.say(format!("serves after {took} ({stages})"));

    let producer = group.producer(200)?;
    let consumer = group.consumer(&producer);
    producer.accept_more(100, LIMIT).await?;
    group.follows(old).await?;
    case.say(counted(&producer));
    let books = Books::close(&group, producer, consumer).await?;
    books.nothing_lost()?;
    group.logs_are_equal(new).await
}
