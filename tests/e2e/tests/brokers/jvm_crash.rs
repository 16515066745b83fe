//! A broker that crashes is started in place, which loses nothing; a second crash soon after, and another member takes
//! over.

use anyhow::{Result, ensure};
use e2e::books::{Books, accepted};
use e2e::group::{LIMIT, counted, in_ms};
use e2e::{Case, Group, Shape, figures, on_each_version};
use playground::archive::Archives;
use playground::clock::now;

on_each_version!(in_place_once_then_another_member);

async fn in_place_once_then_another_member(case: &Case) -> Result<()> {
    let group = Group::form(case, Shape::default()).await?;
    let producer = group.producer(200)?;
    let consumer = group.consumer(&producer);
    let probers = group.probers();
    producer.accept_more(200, LIMIT).await?;
    let (old, before) = (group.master().await?, group.lease().await?);

    let crash = now();
    group.member(old).kill_broker().await?;
    producer.accept_more(1, LIMIT).await?;
    let in_place = in_ms(crash);
    let lease = group.serving_after(before.term.epoch).await?;
    ensure!(
        lease.term.master == before.term.master && lease.term.epoch == before.term.epoch + 1,
        "restarted in place as {:?} after {:?}",
        lease.term,
        before.term
    );
    producer.accept_more(200, LIMIT).await?;
    let replayed = figures::stages(group.member(old), "in_place").await?;
    case.say(format!(
        "in place: first message after {in_place} ({replayed})"
    ));
    // Page cache survives a process: nothing may be gone, replicated or not.
    let kept = accepted(&producer);
    group.follows(group.other(old)).await?;
    group.replicated(old).await?;

    let crash = now();
    group.member(old).kill_broker().await?;
    producer.accept_more(1, LIMIT).await?;
    let moved = in_ms(crash);
    let after = group.serving_after(lease.term.epoch).await?;
    let new = group.index(&after.term.master)?;
    ensure!(
        new != old,
        "a second crash is answered in place: {:?}",
        after.term
    );
    producer.accept_more(200, LIMIT).await?;
    let stages = figures::stages(group.member(new), "handover").await?;
    case.say(format!(
        "second crash: first message after {moved} ({stages})"
    ));

    group.follows(old).await?;
    case.say(counted(&producer));
    let books = Books::close(&group, producer, consumer).await?;
    books.keeps(&kept)?;
    books.lost_is_archived(&Archives::read(&group.member(old).store())?)?;
    group.reigned(&probers, &[old, new])?;
    drop(probers);
    group.logs_are_equal(new).await
}
