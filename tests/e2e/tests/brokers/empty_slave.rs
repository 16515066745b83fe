//! A member whose volume is lost gets the whole history, and may not win before it has it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::books::{Books, accepted};
use e2e::group::{LIMIT, counted, in_ms};
use e2e::holds::holds;
use e2e::{Case, Group, Shape, figures, on_each_version, raw};
use playground::clock::now;
use playground::wait::until;
use serde_json::Value;

on_each_version!(it_gets_the_whole_history_and_wins_only_then);

/// Small, so that the history is in several files.
const COMMIT_LOG_FILE_BYTES: u64 = 1 << 20;
const MESSAGES: u64 = 600;
const BODY_BYTES: usize = 8 * 1024;
const FILES: usize = 4;

/// Longer than any election takes.
const REST: Duration = Duration::from_secs(4);

async fn it_gets_the_whole_history_and_wins_only_then(case: &Case) -> Result<()> {
    let file_bytes = COMMIT_LOG_FILE_BYTES.to_string();
    let shape = Shape {
        settings: [("mappedFileSizeCommitLog".to_owned(), file_bytes)].into(),
        ..Shape::default()
    };
    let mut group = Group::form(case, shape).await?;
    let producer = group.producer(BODY_BYTES)?;
    let consumer = group.consumer(&producer);
    producer.accept_more(MESSAGES, LIMIT).await?;
    let (old, before) = (group.master().await?, group.lease().await?);
    let empty = group.other(old);

    group.member_mut(empty).kill().await?;
    let store = group.member(empty).store();
    std::fs::remove_dir_all(&store).with_context(|| format!("remove {}", store.display()))?;
    let kept = accepted(&producer);
    let returned = now();
    group.member_mut(empty).start()?;
    stop_before_its_first_byte(&mut group, empty).await?;
    group
        .announced("SlaveHollow", "not electable before")
        .await?;
    group.member_mut(old).kill().await?;
    group.member_mut(empty).thaw_broker()?;
    let word = group
        .says(empty, &["no_candidate", "not_electable"])
        .await?;
    ensure!(
        electable(&group, empty).await? == "hollow",
        "it may be elected"
    );
    holds("the hollow member does not win", REST, async || {
        let term = group.lease().await?.term;
        ensure!(term == before.term, "another term: {term:?}");
        Ok(())
    })
    .await?;
    case.say(format!("while it is empty the group waits: {word}"));

    let back = now();
    group.member_mut(old).start()?;
    let lease = group.serving_after(before.term.epoch).await?;
    ensure!(group.index(&lease.term.master)? == old, "{:?}", lease.term);
    producer.accept_more(1, LIMIT).await?;
    case.say(format!(
        "the old master serves {} after its return",
        in_ms(back)
    ));
    group.follows(empty).await?;
    group.replicated(old).await?;
    until("the filled member to be electable", LIMIT, async || {
        let word = electable(&group, empty).await?;
        ensure!(word == "yes", "it is {word}");
        Ok(())
    })
    .await?;
    group.logs_are_equal(old).await?;
    let files = raw::files(&group.member(empty).commit_log())?;
    ensure!(
        files.len() >= FILES && files.contains_key(&0),
        "the history is in {files:?}"
    );
    case.say(format!(
        "{} files, the whole history, {} after it came back empty",
        files.len(),
        in_ms(returned)
    ));

    let lost = now();
    group.member_mut(old).kill().await?;
    producer.accept_more(1, LIMIT).await?;
    let took = in_ms(lost);
    let after = group.serving_after(lease.term.epoch).await?;
    ensure!(
        group.index(&after.term.master)? == empty,
        "{:?}",
        after.term
    );
    let stages = figures::stages(group.member(empty), "failover").await?;
    case.say(format!("then it takes over in {took} ({stages})"));
    case.say(counted(&producer));
    let books = Books::close(&group, producer, consumer).await?;
    books.keeps(&kept)
}

/// Its JVM needs about a second until it asks for bytes; stopped as soon as it exists, it has none.
async fn stop_before_its_first_byte(group: &mut Group<'_>, member: usize) -> Result<()> {
    until(
        "the empty member's broker to be started",
        LIMIT,
        async || group.member(member).jvm_pid().context("no process yet"),
    )
    .await?;
    group.member_mut(member).freeze_broker()?;
    ensure!(
        is_empty(&group.member(member).commit_log())?,
        "it got bytes already"
    );
    Ok(())
}

fn is_empty(commit_log: &Path) -> Result<bool> {
    let Ok(files) = raw::files(commit_log) else {
        return Ok(true);
    };
    let Some(first) = files.keys().next() else {
        return Ok(true);
    };
    let head = raw::bytes(commit_log, *first, *first + 64)?;
    Ok(head.iter().all(|byte| *byte == 0))
}

async fn electable(group: &Group<'_>, member: usize) -> Result<String> {
    let status: Value = group.member(member).status().await?;
    let word = status["decision"]["report"]["electable"].as_str();
    word.map(str::to_owned)
        .context("read whether it is electable")
}
