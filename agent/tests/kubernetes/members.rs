//! Member Leases: our word published, the others' words read.

use agent::act::report::publish;
use agent::clock::Clock;
use agent::names;
use agent::observe::reports::{self, Reports};
use agent_core::observation::Reading;
use agent_core::report::Role;
use agent_core::{Offset, Report};
use kube::api::{Patch, PatchParams};
use kube_api::Verb;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::ground::{Ground, LIMIT, NAMESPACE, Running, report, until};

fn published(ground: &Ground) -> (watch::Receiver<Reports>, Running) {
    let (reports, task) = reports::observe(
        ground.client.clone(),
        NAMESPACE,
        &ground.names,
        Clock,
        ground.counter.clone(),
        LIMIT,
    );
    (reports, Running(tokio::spawn(task)))
}

fn of<'a>(reports: &'a Reports, member: &str) -> Option<&'a Report> {
    reports.get(&member.into()).and_then(Reading::last)
}

async fn annotate(ground: &Ground, lease: &str, key: &str, value: impl Into<Value>) {
    let value: Value = value.into();
    let patch = Patch::Merge(json!({"metadata": {"annotations": {key: value}}}));
    let params = PatchParams::default();
    ground.leases().patch(lease, &params, &patch).await.unwrap();
}

#[tokio::test]
async fn a_report_reaches_the_others_and_offsets_alone_do_not_hurry() {
    let ground = Ground::new().await;
    let (publisher, task) = publish(
        ground.client.clone(),
        NAMESPACE,
        ground.names.clone(),
        Clock,
        ground.counter.clone(),
        LIMIT,
    );
    let _publishing = Running(tokio::spawn(task));
    let (mut reports, _reading) = published(&ground);
    publisher.offer(&report("a-1", 100));
    until(&mut reports, |all| of(all, "a-1").is_some()).await;
    let name = ground.names.member_lease(&"a-1".into());
    let lease = ground.leases().get(&name).await.unwrap();
    assert_eq!(lease.spec.unwrap().holder_identity.as_deref(), Some("a-1"));

    let writes = ground.api.writes();
    publisher.offer(&report("a-1", 200));
    let slave = Report {
        role: Some(Role::Slave),
        ..report("a-1", 300)
    };
    publisher.offer(&slave);
    until(&mut reports, |all| {
        of(all, "a-1").is_some_and(|r| r.role == Some(Role::Slave))
    })
    .await;
    assert_eq!(ground.api.writes() - writes, 1);
    let told = of(&reports.borrow(), "a-1").and_then(|r| r.log);
    assert_eq!(told.map(|log| log.end), Some(Offset::new(300)));
}

#[tokio::test]
async fn a_publisher_with_nothing_to_say_rests() {
    let ground = Ground::new().await;
    let (_publisher, task) = publish(
        ground.client.clone(),
        NAMESPACE,
        ground.names.clone(),
        Clock,
        ground.counter.clone(),
        LIMIT,
    );
    let mut task = Box::pin(task);
    let mut polls = 0_u32;
    let counted = std::future::poll_fn(|context| {
        polls += 1;
        task.as_mut().poll(context)
    });
    let ended = tokio::time::timeout(std::time::Duration::from_millis(100), counted).await;
    assert!(ended.is_err());
    assert!(polls < 5, "polled {polls} times");
}

#[tokio::test]
async fn a_word_that_is_not_sound_or_not_its_own_is_no_word() {
    let ground = Ground::new().await;
    let (publisher, task) = publish(
        ground.client.clone(),
        NAMESPACE,
        ground.names.clone(),
        Clock,
        ground.counter.clone(),
        LIMIT,
    );
    let _publishing = Running(tokio::spawn(task));
    let (mut reports, _reading) = published(&ground);
    publisher.offer(&report("a-1", 100));
    until(&mut reports, |all| of(all, "a-1").is_some()).await;
    let name = ground.names.member_lease(&"a-1".into());
    let newer = json!({"format": 99});
    let other = serde_json::to_value(report("a-2", 5)).unwrap();
    for bad in ["nonsense".to_owned(), newer.to_string(), other.to_string()] {
        annotate(&ground, &name, names::REPORT, bad.clone()).await;
        until(&mut reports, |all| all.is_empty()).await;
        let good = serde_json::to_string(&report("a-1", 100)).unwrap();
        annotate(&ground, &name, names::REPORT, good).await;
        until(&mut reports, |all| of(all, "a-1").is_some()).await;
    }
    ground
        .leases()
        .delete(&name, &kube::api::DeleteParams::default())
        .await
        .unwrap();
    until(&mut reports, |all| all.is_empty()).await;
}

#[tokio::test]
async fn a_report_that_is_listed_again_is_as_old_as_it_was() {
    let ground = Ground::new().await;
    let (mut reports, _reading) = published(&ground);
    let lease = |member: &str| {
        serde_json::from_value(json!({
            "metadata": {
                "name": ground.names.member_lease(&member.into()),
                "labels": {names::GROUP_LABEL: ground.names.lease, names::KIND_LABEL: "member"},
                "annotations": {names::REPORT: serde_json::to_string(&report(member, 7)).unwrap()},
            },
            "spec": {},
        }))
        .unwrap()
    };
    let params = kube::api::PostParams::default();
    ground
        .leases()
        .create(&params, &lease("a-1"))
        .await
        .unwrap();
    until(&mut reports, |all| of(all, "a-1").is_some()).await;
    let before = reports.borrow().get(&"a-1".into()).cloned();
    let lists = ground.count(Verb::List);
    ground.outage().await;
    ground
        .leases()
        .create(&params, &lease("a-2"))
        .await
        .unwrap();
    until(&mut reports, |all| of(all, "a-2").is_some()).await;
    assert!(ground.count(Verb::List) > lists);
    assert_eq!(reports.borrow().get(&"a-1".into()).cloned(), before);
}
