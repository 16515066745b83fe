//! A paused group lets a dead master rest; resumed, it goes on.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::books::{Books, accepted};
use e2e::group::{LIMIT, in_ms};
use e2e::holds::holds;
use e2e::{Case, Group, Shape, on_the_quickest};
use playground::clock::now;

on_the_quickest!(no_fail_over_until_it_is_resumed);

/// Longer than any election takes.
const REST: Duration = Duration::from_secs(4);

async fn no_fail_over_until_it_is_resumed(case: &Case) -> Result<()> {
    let mut group = Group::form(case, Shape::default()).await?;
    let producer = group.producer(200)?;
    let consumer = group.consumer(&producer);
    producer.accept_more(100, LIMIT).await?;
    let (old, before) = (group.master().await?, group.lease().await?);
    let new = group.other(old);

    order(&group, "pause").await?;
    producer.accept_more(100, LIMIT).await?;
    let replicated = accepted(&producer);
    group.replicated(old).await?;
    group.member_mut(old).kill().await?;
    group.says(new, &["paused"]).await?;
    let accepted = producer.accepted();
    holds("nobody takes over", REST, async || {
        let (term, reason) = (group.lease().await?.term, group.reason(new).await?);
        ensure!(term == before.term, "another term: {term:?}");
        ensure!(reason == "paused", "the slave says {reason}");
        ensure!(producer.accepted() == accepted, "messages are accepted");
        Ok(())
    })
    .await?;

    let resumed = now();
    order(&group, "resume").await?;
    producer.accept_more(1, LIMIT).await?;
    case.say(format!("first message {} after the resume", in_ms(resumed)));
    let after = group.serving_after(before.term.epoch).await?;
    ensure!(group.index(&after.term.master)? == new, "{:?}", after.term);
    let books = Books::close(&group, producer, consumer).await?;
    books.keeps(&replicated)
}

async fn order(group: &Group<'_>, word: &str) -> Result<()> {
    let answer = group.command(&[word]).await?;
    ensure!(answer.code == Some(0), "{word} ended with {answer:?}");
    Ok(())
}
