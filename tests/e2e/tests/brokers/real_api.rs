//! A group on a real kube-apiserver with etcd, its agents under the Role that they are deployed with.

use anyhow::{Context, Result, ensure};
use e2e::books::{Books, accepted};
use e2e::group::{LIMIT, in_ms};
use e2e::{Case, Group, Shape, on_the_quickest};
use playground::archive::Archives;
use playground::clock::now;
use playground::real_api::READY_LIMIT;
use playground::real_api::program::Found;
use playground::{ApiKind, http};

on_the_quickest!(the_role_of_deploy_is_enough_on_a_real_api);

/// The API server is killed and is back before the permit ends: nobody steps down. Then the master is lost and comes back.
/// Fails when a rule is missing in deploy/rbac/agent.yaml: not one request of the agents was forbidden.
async fn the_role_of_deploy_is_enough_on_a_real_api(case: &Case) -> Result<()> {
    if let Found::NoGo(reason) = case.ground().real_api_program().await? {
        case.say(format!("SKIPPED: {reason}"));
        return Ok(());
    }
    // The production timing: a killed API server needs some seconds to be back.
    let shape = Shape {
        api: ApiKind::Real,
        flags: Vec::new(),
        ..Shape::default()
    };
    let mut group = Group::form(case, shape).await?;
    let producer = group.producer(200)?;
    let consumer = group.consumer(&producer);
    let probers = group.probers();
    producer.accept_more(300, LIMIT).await?;

    let old = group.master().await?;
    for index in group.indexes() {
        ensure!(forbidden(&group, index).await? == 0, "before the outage");
    }
    let outage = now();
    let api = group.plane_mut()?.real().context("find the real API")?;
    api.server()?.kill().await?;
    api.start_server()?;
    api.ready(READY_LIMIT).await?;
    case.say(format!("kube-apiserver back after {}", in_ms(outage)));
    producer.accept_more(300, LIMIT).await?;
    // A server that has just started listens before it has read its Roles, and forbids everything meanwhile.
    let mut refused = Vec::new();
    for index in group.indexes() {
        refused.push(forbidden(&group, index).await?);
    }

    // The outage may have outlived the permit on a busy machine: then it was another term, and maybe another master.
    let old = group.master().await.unwrap_or(old);
    let before = group.lease().await?;
    let replicated = accepted(&producer);
    group.replicated(old).await?;
    let lost = now();
    group.member_mut(old).kill().await?;
    producer.accept_more(1, LIMIT).await?;
    case.say(format!("first message after {}", in_ms(lost)));
    let after = group.serving_after(before.term.epoch).await?;
    let new = group.index(&after.term.master)?;
    ensure!(new != old, "the lost member is master: {:?}", after.term);
    group.member_mut(old).start()?;
    group.follows(old).await?;
    producer.accept_more(100, LIMIT).await?;

    let books = Books::close(&group, producer, consumer).await?;
    books.keeps(&replicated)?;
    books.lost_is_archived(&Archives::read(&group.member(old).store())?)?;
    group.announced("FailOver", "").await?;
    // The agent of the old one was started anew; that of the new one goes on with what the young API server refused.
    ensure!(forbidden(&group, old).await? == 0, "the old master's agent");
    let now = forbidden(&group, new).await?;
    ensure!(
        now == refused[new],
        "{now}, after the outage {}",
        refused[new]
    );
    drop(probers);
    group.logs_are_equal(new).await
}

/// Requests of a member's agent that were forbidden; it has counted others.
async fn forbidden(group: &Group<'_>, index: usize) -> Result<u64> {
    let metrics = http::get(group.member(index).admin(), "/metrics")
        .await?
        .body;
    let counted = metrics
        .lines()
        .filter(|line| line.contains("api_requests_total{"));
    ensure!(counted.clone().count() > 3, "{metrics}");
    let values = counted
        .filter(|line| line.contains("forbidden"))
        .filter_map(|line| line.rsplit_once(' '));
    values
        .map(|(_, value)| value.parse::<u64>().context("read a counter"))
        .sum()
}
