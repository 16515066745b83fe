//! A log whose oldest files the broker has deleted begins above offset 0: an empty slave gets all that is left.

use anyhow::{Context, Result, ensure};
use e2e::group::{LIMIT, counted, in_ms};
use e2e::{Case, Group, Shape, figures, on_each_version, raw};
use playground::clock::now;

on_each_version!(an_empty_slave_gets_what_is_left);

/// Small, so that the history is in several files.
const COMMIT_LOG_FILE_BYTES: u64 = 1 << 20;
const MESSAGES: u64 = 600;
const BODY_BYTES: usize = 8 * 1024;

/// What a broker deletes that keeps files for some days: the oldest, whole.
const DELETED_FILES: usize = 2;

/// Fails when the slave's log begins elsewhere than the master's (as RocketMQ's own HA would have it, which begins with
/// the last file, or as a relay that asks from 0 would), when a byte differs, when the slave never becomes electable,
/// and when it cannot serve and be followed with such a log.
async fn an_empty_slave_gets_what_is_left(case: &Case) -> Result<()> {
    let file_bytes = COMMIT_LOG_FILE_BYTES.to_string();
    let shape = Shape {
        settings: [("mappedFileSizeCommitLog".to_owned(), file_bytes)].into(),
        ..Shape::default()
    };
    let mut group = Group::form(case, shape).await?;
    let mut producer = group.producer_spec(BODY_BYTES);
    producer.pause = std::time::Duration::from_millis(1);
    let producer = playground::traffic::Producer::start(producer)?;
    producer.accept_more(MESSAGES, LIMIT).await?;
    let (old, before) = (group.master().await?, group.lease().await?);
    let empty = group.other(old);

    group.member_mut(empty).kill().await?;
    let store = group.member(empty).store();
    std::fs::remove_dir_all(&store).with_context(|| format!("remove {}", store.display()))?;
    group.member_mut(old).kill().await?;
    let min = delete_oldest(&group.member(old).commit_log())?;
    let returned = now();
    group.member_mut(old).start()?;
    group.member_mut(empty).start()?;
    let lease = group.serving_after(before.term.epoch).await?;
    ensure!(
        group.index(&lease.term.master)? == old,
        "the empty one is master: {:?}",
        lease.term
    );
    group.follows(empty).await?;
    group.logs_are_equal_from(old, min).await?;
    case.say(format!(
        "from {min} on the empty slave has everything {} after its return",
        in_ms(returned)
    ));

    group.switch_over(empty).await?;
    let after = group.serving_after(lease.term.epoch).await?;
    ensure!(
        group.index(&after.term.master)? == empty,
        "{:?}",
        after.term
    );
    producer.accept_more(50, LIMIT).await?;
    let stages = figures::stages(group.member(empty), "switchover").await?;
    case.say(format!("then it takes over ({stages})"));
    group.follows(old).await?;
    case.say(counted(&producer));
    producer.stop().await?;
    group.logs_are_equal_from(empty, min).await
}

/// Where the log begins afterwards.
fn delete_oldest(commit_log: &std::path::Path) -> Result<u64> {
    let mut files = raw::files(commit_log)?;
    for _ in 0..DELETED_FILES {
        let (_, oldest) = files.pop_first().context("find the oldest file")?;
        std::fs::remove_file(&oldest).with_context(|| format!("remove {}", oldest.display()))?;
    }
    ensure!(files.len() >= 2, "too little is left: {files:?}");
    files
        .keys()
        .next()
        .copied()
        .context("find where the log begins")
}
