//! A switchover whose target does not catch up is given up in time: the gate opens again and nothing has changed.

use anyhow::{Result, ensure};
use e2e::books::Books;
use e2e::group::{Answer, LIMIT, SWITCHOVER, counted, in_ms};
use e2e::{Case, Group, Shape, figures, on_each_version};
use playground::clock::now;
use playground::traffic::Outcome;
use playground::wait::until;

on_each_version!(it_is_given_up_and_the_gate_opens_again);

async fn it_is_given_up_and_the_gate_opens_again(case: &Case) -> Result<()> {
    let mut group = Group::form(case, Shape::default()).await?;
    let producer = group.producer(200)?;
    let consumer = group.consumer(&producer);
    let probers = group.probers();
    producer.accept_more(100, LIMIT).await?;
    let (old, before) = (group.master().await?, group.lease().await?);
    let target = group.other(old);
    group.acknowledged(old).await?;

    // Its relay stands still; its broker answers its agent, so nothing speaks against it but its lag.
    group.member_mut(target).launcher()?.freeze()?;
    producer.accept_more(50, LIMIT).await?;
    let since = producer.elapsed();
    let asked = now();
    let answer = ask(&group, target).await?;
    ensure!(
        answer.code == Some(3) && answer.text.contains("did not finish in its time"),
        "the command ended with {answer:?}"
    );
    let given_up = in_ms(asked);
    request_is_gone(&group).await?;
    producer.accept_more(50, LIMIT).await?;
    let ledger = producer.ledger();
    let refused = ledger
        .attempts()
        .iter()
        .any(|one| one.sent > since && one.outcome == Outcome::Refused);
    ensure!(refused, "the gate was never shut");
    let gap = ledger.largest_gap(since).length();
    case.say(format!(
        "given up after {given_up}, no message accepted for {gap:.1?}"
    ));
    let lease = group.lease().await?;
    ensure!(
        lease.term == before.term && lease.holder == before.holder,
        "another term: {:?}",
        lease.term
    );

    group.member_mut(target).launcher()?.thaw()?;
    group.follows(target).await?;
    group.replicated(old).await?;
    let asked = now();
    let answer = ask(&group, target).await?;
    ensure!(answer.code == Some(0), "the command ended with {answer:?}");
    let after = group.serving_after(before.term.epoch).await?;
    ensure!(
        group.index(&after.term.master)? == target,
        "{:?}",
        after.term
    );
    producer.accept_more(1, LIMIT).await?;
    let took = in_ms(asked);
    let stages = figures::stages(group.member(target), "switchover").await?;
    case.say(format!(
        "with a target that keeps up: first message after {took} ({stages})"
    ));
    request_is_gone(&group).await?;
    producer.accept_more(50, LIMIT).await?;
    group.follows(old).await?;
    case.say(counted(&producer));
    let books = Books::close(&group, producer, consumer).await?;
    books.nothing_lost()?;
    group.reigned(&probers, &[old, target])?;
    drop(probers);
    group.logs_are_equal(target).await
}

async fn ask(group: &Group<'_>, target: usize) -> Result<Answer> {
    let target = group.member(target).name();
    group
        .command(&["switchover", "--to", target, "--limit", "3s", "--wait"])
        .await
}

async fn request_is_gone(group: &Group<'_>) -> Result<()> {
    until("the request to be cleared", LIMIT, async || {
        let lease = group.lease_object().await?;
        let request = &lease["metadata"]["annotations"][SWITCHOVER];
        ensure!(request.is_null(), "it is still there: {request}");
        Ok(())
    })
    .await
}
