//! The view of the group Lease.

use std::time::Duration;

use agent::names;
use agent_core::observation::{LeaseSeen, Reading, WriteResult};
use agent_core::{Tick, observation::Requests};
use kube_api::{Mode, Options, Verb};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::ground::{Ground, record, record_of};

fn at(seen: &Reading<LeaseSeen>) -> Option<Tick> {
    match seen {
        Reading::Known { at, .. } => Some(*at),
        Reading::Unknown => None,
    }
}

fn requests(seen: &Reading<LeaseSeen>) -> Option<Requests> {
    match seen.last()? {
        LeaseSeen::Record { requests, .. } | LeaseSeen::Damaged { requests, .. } => {
            Some(requests.clone())
        }
        _ => None,
    }
}

fn is_paused(seen: &Reading<LeaseSeen>) -> bool {
    requests(seen).is_some_and(|r| r.paused)
}

#[tokio::test]
async fn another_members_writes_and_a_deletion_are_seen() {
    let ground = Ground::new().await;
    let (mut one, _task) = ground.watcher().await;
    let (two, _task_two) = ground.watcher().await;
    two.write(None, record("a-1", 1, 1)).await;
    one.until_seq(1).await;
    two.write(two.rv(), record("a-1", 1, 2)).await;
    one.until_seq(2).await;
    assert_eq!(one.rv(), two.rv());
    ground.delete().await;
    one.until(|seen| seen.last() == Some(&LeaseSeen::Absent))
        .await;
    // The name may be used again.
    two.view.refresh();
    let mut two = two;
    two.until(|seen| seen.last() == Some(&LeaseSeen::Absent))
        .await;
    assert_eq!(
        two.write(None, record("a-1", 2, 1)).await,
        WriteResult::Committed
    );
    one.until(|seen| record_of(seen).is_some()).await;
}

#[tokio::test]
async fn what_anyone_asks_is_seen_also_beside_damage() {
    let ground = Ground::new().await;
    let (mut agent, _task) = ground.watcher().await;
    agent.write(None, record("a-0", 1, 1)).await;
    ground.annotate(names::PAUSED, "true").await;
    agent.until(is_paused).await;
    let request = json!({"id": "x", "term": {"epoch": 1, "nonce": 100}, "target": "a-1"});
    ground
        .annotate(names::SWITCHOVER, request.to_string())
        .await;
    agent
        .until(|seen| requests(seen).is_some_and(|r| r.switchover.is_some()))
        .await;
    ground.annotate(names::STATE, "by hand").await;
    agent
        .until(|seen| matches!(seen.last(), Some(LeaseSeen::Damaged { why, .. }) if why.contains("not JSON")))
        .await;
    assert!(is_paused(&agent.now()));
    ground.annotate(names::PAUSED, Value::Null).await;
    agent.until(|seen| !is_paused(seen)).await;
}

#[tokio::test]
async fn another_groups_lease_and_a_newer_one_are_told_apart() {
    let ground = Ground::new().await;
    let (mut agent, _task) = ground.watcher().await;
    agent.write(None, record("a-0", 1, 1)).await;
    ground.annotate(names::STATE, "{\"format\":99}").await;
    agent
        .until(|seen| seen.last() == Some(&LeaseSeen::Newer { format: 99 }))
        .await;
    ground.annotate(names::BROKER, "Broker_A").await;
    agent
        .until(|seen| matches!(seen.last(), Some(LeaseSeen::Stranger { whose }) if whose.contains("Broker_A")))
        .await;
}

#[tokio::test]
async fn the_watch_comes_back_after_an_outage_and_after_lost_history() {
    let ground = Ground::new().await;
    let (mut agent, _task) = ground.watcher().await;
    agent.write(None, record("a-0", 1, 1)).await;
    for paused in ["true", "false", "true", "false"] {
        let lists = ground.count(Verb::List);
        ground
            .annotate("example.org/round", lists.to_string())
            .await;
        ground.api.compact();
        ground.outage().await;
        ground.annotate(names::PAUSED, paused).await;
        agent
            .until(|seen| is_paused(seen) == (paused == "true"))
            .await;
        assert!(ground.count(Verb::List) > lists, "listed again");
    }
}

#[tokio::test]
async fn a_read_on_demand_makes_the_view_fresh_and_an_outage_leaves_it_old() {
    let ground = Ground::new().await;
    let (mut agent, _task) = ground.watcher().await;
    agent.write(None, record("a-0", 1, 1)).await;
    let before = at(&agent.now());
    sleep(Duration::from_millis(5)).await;
    agent.view.refresh();
    agent.until(|seen| at(seen) > before).await;
    let before = at(&agent.now());
    ground.api.set_mode(Mode::Failing(500));
    let gets = ground.count(Verb::Get);
    agent.view.refresh();
    while ground.count(Verb::Get) == gets {
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(at(&agent.now()), before);
    assert!(record_of(&agent.now()).is_some(), "what was seen stays");
}

#[tokio::test]
async fn bookmarks_make_no_view_fresher() {
    let ground = Ground::with(Options {
        bookmark_every: Duration::from_millis(20),
        ..Options::default()
    })
    .await;
    let (agent, _task) = ground.watcher().await;
    agent.write(None, record("a-0", 1, 1)).await;
    ground.annotate(names::PAUSED, "true").await;
    let mut agent = agent;
    agent.until(is_paused).await;
    let before = at(&agent.now());
    sleep(Duration::from_millis(200)).await;
    assert_eq!(at(&agent.now()), before);
}

#[tokio::test]
async fn a_server_that_fails_is_asked_ever_more_rarely() {
    let ground = Ground::new().await;
    ground.api.set_mode(Mode::Failing(500));
    let (agent, task) = ground.agent();
    let _task = crate::ground::Running(tokio::spawn(task));
    sleep(Duration::from_millis(1500)).await;
    let lists = ground.count(Verb::List);
    // 100 ms doubled four times is 1.5 s, half of it at the least.
    assert!((3..=7).contains(&lists), "{lists} lists in 1.5 s");
    assert_eq!(agent.now(), Reading::Unknown);
}
