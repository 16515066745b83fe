//! A whole member is lost: another one serves, nothing replicated is gone, and the lost one returns as a slave.

use anyhow::{Result, ensure};
use e2e::books::{Books, accepted};
use e2e::group::{LIMIT, counted, in_ms};
use e2e::{Case, Group, Shape, figures, on_each_version};
use playground::archive::Archives;
use playground::clock::now;

on_each_version!(another_serves_and_the_lost_one_returns);

async fn another_serves_and_the_lost_one_returns(case: &Case) -> Result<()> {
    let mut group = Group::form(case, Shape::default()).await?;
    let producer = group.producer(200)?;
    let consumer = group.consumer(&producer);
    let probers = group.probers();
    producer.accept_more(300, LIMIT).await?;
    let (old, before) = (group.master().await?, group.lease().await?);
    let replicated = accepted(&producer);
    group.replicated(old).await?;

    let lost = now();
    group.member_mut(old).kill().await?;
    producer.accept_more(1, LIMIT).await?;
    let took = in_ms(lost);
    let after = group.serving_after(before.term.epoch).await?;
    let new = group.index(&after.term.master)?;
    ensure!(new != old, "the lost member is master: {:?}", after.term);
    let stages = figures::stages(group.member(new), "failover").await?;
    case.say(format!("first message after {took} ({stages})"));
    producer.accept_more(200, LIMIT).await?;

    let back = now();
    group.member_mut(old).start()?;
    group.follows(old).await?;
    case.say(format!(
        "the lost member follows {} after its return",
        in_ms(back)
    ));
    producer.accept_more(100, LIMIT).await?;
    case.say(counted(&producer));
    let books = Books::close(&group, producer, consumer).await?;
    books.keeps(&replicated)?;
    books.lost_is_archived(&Archives::read(&group.member(old).store())?)?;
    group.reigned(&probers, &[old, new])?;
    drop(probers);
    group.logs_are_equal(new).await
}
