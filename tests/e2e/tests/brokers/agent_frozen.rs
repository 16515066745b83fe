//! An agent that stands still cannot renew: its broker is dead before anybody else may be master, and after the thaw it
//! is a slave.

use anyhow::{Result, ensure};
use e2e::books::{Books, accepted};
use e2e::group::{LIMIT, counted, in_ms};
use e2e::{Case, Group, Shape, figures, on_each_version};
use playground::archive::Archives;
use playground::clock::now;
use playground::wait::until;

on_each_version!(its_broker_dies_first_and_it_returns_as_slave);

async fn its_broker_dies_first_and_it_returns_as_slave(case: &Case) -> Result<()> {
    let mut group = Group::form(case, Shape::default()).await?;
    let producer = group.producer(200)?;
    let consumer = group.consumer(&producer);
    let probers = group.probers();
    producer.accept_more(200, LIMIT).await?;
    let (old, before) = (group.master().await?, group.lease().await?);
    let replicated = accepted(&producer);
    group.replicated(old).await?;

    let frozen = now();
    group.member_mut(old).agent()?.freeze()?;
    until("the frozen agent's broker to be dead", LIMIT, async || {
        let pid = group.member(old).jvm_pid();
        ensure!(pid.is_none(), "pid {pid:?} lives");
        Ok(())
    })
    .await?;
    // Read after the death was seen: an unmoved Lease here proves the order.
    let lease = group.lease().await?;
    ensure!(
        lease.term == before.term && lease.holder == before.holder,
        "the Lease moved to {:?} while the frozen agent's broker may have lived",
        lease.term
    );
    let dead = in_ms(frozen);
    producer.accept_more(1, LIMIT).await?;
    let took = in_ms(frozen);
    let after = group.serving_after(before.term.epoch).await?;
    let new = group.index(&after.term.master)?;
    ensure!(new != old, "the frozen member is master: {:?}", after.term);
    let stages = figures::stages(group.member(new), "failover").await?;
    case.say(format!(
        "broker dead after {dead}, first message elsewhere after {took} ({stages})"
    ));
    producer.accept_more(100, LIMIT).await?;

    group.member_mut(old).agent()?.thaw()?;
    group.follows(old).await?;
    producer.accept_more(100, LIMIT).await?;
    case.say(counted(&producer));
    let books = Books::close(&group, producer, consumer).await?;
    books.keeps(&replicated)?;
    books.lost_is_archived(&Archives::read(&group.member(old).store())?)?;
    group.reigned(&probers, &[old, new])?;
    drop(probers);
    group.logs_are_equal(new).await
}
