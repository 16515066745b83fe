//! The compare-and-swap on the group Lease.

use agent::names;
use agent_core::ids::Rv;
use agent_core::observation::{LeaseSeen, WriteResult};
use kube_api::{Mode, Verb};
use serde_json::json;

use crate::ground::{Ground, LIMIT, order, record, record_of};

#[tokio::test]
async fn a_commit_is_in_the_view_before_its_outcome_and_says_what_lease_readers_expect() {
    let ground = Ground::new().await;
    let (agent, _task) = ground.watcher().await;
    assert_eq!(agent.now().last(), Some(&LeaseSeen::Absent));
    assert_eq!(
        agent.write(None, record("a-0", 1, 1)).await,
        WriteResult::Committed
    );
    let (rv, seen) = record_of(&agent.now()).expect("in the view at once");
    assert_eq!(seen, record("a-0", 1, 1));
    assert_eq!(
        agent.write(Some(rv), record("a-0", 1, 2)).await,
        WriteResult::Committed
    );
    assert!(agent.rv() > Some(rv));

    let lease = ground.lease().await;
    let spec = lease.spec.unwrap();
    assert_eq!(spec.holder_identity.as_deref(), Some("a-0"));
    assert_eq!(spec.lease_duration_seconds, Some(10));
    assert!(spec.renew_time.is_some());
    let annotations = lease.metadata.annotations.unwrap();
    assert_eq!(annotations[names::CLUSTER], "DefaultCluster");
    assert_eq!(annotations[names::BROKER], "broker-a");
    let labels = lease.metadata.labels.unwrap();
    assert_eq!(labels[names::GROUP_LABEL], ground.names.lease);
}

#[tokio::test]
async fn a_released_lease_has_no_holder_and_a_new_master_counts_as_a_transition() {
    let ground = Ground::new().await;
    let (agent, _task) = ground.watcher().await;
    agent.write(None, record("a-0", 1, 1)).await;
    let mut released = record("a-0", 1, 2);
    released.holder = "".into();
    agent.write(agent.rv(), released).await;
    let spec = ground.lease().await.spec.unwrap();
    assert_eq!(spec.holder_identity, None);
    assert_eq!(spec.lease_transitions, Some(0));
    agent.write(agent.rv(), record("a-1", 2, 1)).await;
    let spec = ground.lease().await.spec.unwrap();
    assert_eq!(spec.holder_identity.as_deref(), Some("a-1"));
    assert_eq!(spec.lease_transitions, Some(1));
}

#[tokio::test]
async fn of_two_that_create_one_wins_and_the_other_hears_conflict() {
    let ground = Ground::new().await;
    let (winner, _blind) = ground.agent();
    let (loser, _blind_too) = ground.agent();
    assert_eq!(
        winner.write(None, record("a-0", 1, 1)).await,
        WriteResult::Committed
    );
    assert_eq!(
        loser.write(None, record("a-1", 1, 1)).await,
        WriteResult::Conflict
    );
    assert_eq!(ground.count(Verb::Create), 2);
}

#[tokio::test]
async fn a_server_that_knows_a_newer_version_says_conflict() {
    let ground = Ground::new().await;
    let (agent, _blind) = ground.agent();
    agent.write(None, record("a-0", 1, 1)).await;
    ground.annotate("example.org/note", "hello").await;
    // The view was not told.
    assert_eq!(
        agent.write(agent.rv(), record("a-0", 1, 2)).await,
        WriteResult::Conflict
    );
    assert_eq!(ground.count(Verb::Update), 1);
}

#[tokio::test]
async fn h2_a_write_decided_on_an_older_view_never_goes_out() {
    let ground = Ground::new().await;
    let (mut agent, _task) = ground.watcher().await;
    agent.write(None, record("a-0", 1, 1)).await;
    let decided_on = agent.rv();
    ground.annotate(names::PAUSED, "true").await;
    agent
        .until(|seen| record_of(seen).map(|(rv, _)| rv) > decided_on)
        .await;
    let stale = agent.write(decided_on, record("a-1", 2, 1)).await;
    assert_eq!(stale, WriteResult::Conflict);
    let creating = agent.write(None, record("a-1", 2, 1)).await;
    assert_eq!(creating, WriteResult::Conflict);
    let unseen = agent.write(Some(Rv::new(999)), record("a-1", 2, 1)).await;
    assert_eq!(unseen, WriteResult::Conflict);
    assert_eq!(
        (ground.count(Verb::Update), ground.count(Verb::Create)),
        (0, 1)
    );
}

#[tokio::test]
async fn h46_what_others_wrote_survives_a_renewal() {
    let ground = Ground::new().await;
    let (mut agent, _task) = ground.watcher().await;
    agent.write(None, record("a-0", 1, 1)).await;
    let before = agent.rv();
    ground
        .edit(json!({"metadata": {
            "annotations": {"example.org/note": "keep me", names::PAUSED: "true", names::SWITCHOVER: "{}"},
            "labels": {"team": "messaging"},
            "finalizers": ["example.org/wait"],
        }}))
        .await;
    agent
        .until(|seen| record_of(seen).map(|(rv, _)| rv) > before)
        .await;
    assert_eq!(
        agent.write(agent.rv(), record("a-0", 1, 2)).await,
        WriteResult::Committed
    );
    let metadata = ground.lease().await.metadata;
    let annotations = metadata.annotations.unwrap();
    assert_eq!(annotations["example.org/note"], "keep me");
    assert_eq!(annotations[names::PAUSED], "true");
    assert_eq!(annotations[names::SWITCHOVER], "{}");
    assert_eq!(metadata.labels.unwrap()["team"], "messaging");
    assert_eq!(metadata.finalizers.unwrap(), ["example.org/wait"]);
}

#[tokio::test]
async fn an_answered_switchover_is_taken_off_and_nothing_else() {
    let ground = Ground::new().await;
    let (mut agent, _task) = ground.watcher().await;
    agent.write(None, record("a-0", 1, 1)).await;
    let before = agent.rv();
    ground
        .edit(
            json!({"metadata": {"annotations": {names::PAUSED: "true", names::SWITCHOVER: "now"}}}),
        )
        .await;
    agent
        .until(|seen| record_of(seen).map(|(rv, _)| rv) > before)
        .await;
    let mut answer = order(agent.rv(), record("a-0", 1, 2));
    answer.clear_switchover = true;
    assert_eq!(
        agent.writer.write(&answer).await.result,
        WriteResult::Committed
    );
    let annotations = ground.lease().await.metadata.annotations.unwrap();
    assert!(!annotations.contains_key(names::SWITCHOVER));
    assert_eq!(annotations[names::PAUSED], "true");
}

#[tokio::test]
async fn a_deleted_lease_is_not_brought_back_by_a_renewal() {
    let ground = Ground::new().await;
    let (agent, _blind) = ground.agent();
    agent.write(None, record("a-0", 1, 1)).await;
    ground.delete().await;
    let renewal = agent.write(agent.rv(), record("a-0", 1, 2)).await;
    assert!(
        matches!(renewal, WriteResult::Conflict | WriteResult::Refused),
        "{renewal:?}"
    );
    assert!(
        ground
            .leases()
            .get_opt(&ground.names.lease)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn h3_an_answer_that_does_not_come_is_unknown_and_the_watch_tells_that_it_landed() {
    let ground = Ground::new().await;
    let (mut agent, _task) = ground.watcher().await;
    agent.write(None, record("a-0", 1, 1)).await;
    ground.api.set_mode(Mode::ReplyLost);
    let began = agent::clock::Clock.boot();
    let outcome = agent
        .writer
        .write(&order(agent.rv(), record("a-0", 1, 2)))
        .await;
    assert_eq!(outcome.result, WriteResult::Unknown);
    let took = agent::clock::Clock.boot().since(began);
    assert!(took >= LIMIT && took < LIMIT * 3, "{took:?}");
    assert!(outcome.sent >= began && outcome.sent.since(began) < LIMIT);
    agent.until_seq(2).await;
}

#[tokio::test]
async fn h3_a_silent_server_is_unknown_and_nothing_lands() {
    let ground = Ground::new().await;
    let (agent, _task) = ground.watcher().await;
    agent.write(None, record("a-0", 1, 1)).await;
    ground.api.set_mode(Mode::Silent);
    let outcome = agent.write(agent.rv(), record("a-0", 1, 2)).await;
    assert_eq!(outcome, WriteResult::Unknown);
    ground.api.set_mode(Mode::Down);
    let outcome = agent.write(agent.rv(), record("a-0", 1, 2)).await;
    assert_eq!(outcome, WriteResult::Unknown);
    ground.api.set_mode(Mode::Up);
    assert_eq!(
        agent.rv(),
        agent::record_codec::version(&ground.lease().await)
    );
}

#[tokio::test]
async fn every_status_is_classified_and_no_write_is_sent_twice() {
    let ground = Ground::new().await;
    let (agent, _task) = ground.watcher().await;
    agent.write(None, record("a-0", 1, 1)).await;
    for (status, result) in [
        (401, WriteResult::Refused),
        (403, WriteResult::Refused),
        (404, WriteResult::Refused),
        (422, WriteResult::Refused),
        (409, WriteResult::Conflict),
        (408, WriteResult::Unknown),
        (429, WriteResult::Unknown),
        (500, WriteResult::Unknown),
        (503, WriteResult::Unknown),
        (504, WriteResult::Unknown),
    ] {
        ground.api.set_mode(Mode::Failing(status));
        let before = ground.count(Verb::Update);
        let outcome = agent.write(agent.rv(), record("a-0", 1, 2)).await;
        assert_eq!(outcome, result, "status {status}");
        assert_eq!(ground.count(Verb::Update) - before, 1, "status {status}");
    }
}

#[tokio::test]
async fn a_damaged_lease_can_be_written_over_by_who_carries_its_version() {
    let ground = Ground::new().await;
    let (mut agent, _task) = ground.watcher().await;
    agent.write(None, record("a-0", 1, 1)).await;
    ground.annotate(names::STATE, "{\"format\":1}").await;
    agent
        .until(|seen| matches!(seen.last(), Some(LeaseSeen::Damaged { .. })))
        .await;
    let Some(LeaseSeen::Damaged { rv, .. }) = agent.now().last().cloned() else {
        unreachable!("waited for");
    };
    assert_eq!(
        agent.write(Some(rv), record("a-0", 1, 2)).await,
        WriteResult::Committed
    );
    assert_eq!(record_of(&agent.now()).unwrap().1.seq, 2);
}
