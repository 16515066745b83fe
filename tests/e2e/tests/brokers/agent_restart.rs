//! An agent may die and come back within its permit: its broker does not notice.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::books::Books;
use e2e::group::{LIMIT, counted, in_ms};
use e2e::holds::holds;
use e2e::{Case, Group, Shape, on_the_quickest};
use playground::clock::now;
use playground::traffic::Outcome;

on_the_quickest!(the_broker_does_not_notice);

/// The permit of [`QUICK`](e2e::group::QUICK): whoever still serves when it is over was given a new one.
const PERMIT: Duration = Duration::from_secs(4);

async fn the_broker_does_not_notice(case: &Case) -> Result<()> {
    let mut group = Group::form(case, Shape::default()).await?;
    let producer = group.producer(200)?;
    let consumer = group.consumer(&producer);
    let probers = group.probers();
    producer.accept_more(200, LIMIT).await?;
    let (master, before) = (group.master().await?, group.lease().await?);
    let pid = group.member(master).jvm_pid().context("find the broker")?;
    let steady = producer.elapsed();

    let dead = now();
    group.member_mut(master).agent()?.kill().await?;
    group.member_mut(master).start_agent()?;
    group.says(master, &["serving", "renew"]).await?;
    let back = in_ms(dead);
    holds("the broker serves on", PERMIT * 3 / 2, async || {
        ensure!(
            group.member(master).jvm_pid() == Some(pid),
            "another process"
        );
        let term = group.lease().await?.term;
        ensure!(term == before.term, "another term: {term:?}");
        Ok(())
    })
    .await?;
    producer.accept_more(100, LIMIT).await?;
    let gap = producer.ledger().largest_gap(steady).length();
    case.say(format!(
        "the new agent serves after {back}; longest time between two messages {gap:.1?}; {}",
        counted(&producer)
    ));
    let ledger = producer.ledger();
    let others: Vec<_> = ledger
        .attempts()
        .iter()
        .filter(|one| one.sent > steady && one.outcome != Outcome::Accepted)
        .collect();
    ensure!(others.is_empty(), "sends were not accepted: {others:?}");
    let books = Books::close(&group, producer, consumer).await?;
    books.nothing_lost()?;
    group.reigned(&probers, &[master])?;
    drop(probers);
    group.logs_are_equal(master).await
}
