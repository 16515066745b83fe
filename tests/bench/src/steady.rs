//! What agents and launchers cost with nothing going on.

use std::time::Duration;

use anyhow::Result;
use e2e::case::{self, Case};
use e2e::group::{Group, LIMIT, Shape};
use playground::{ApiKind, Member, Version, http};

use crate::api_side::ApiSide;
use crate::cost::{Cost, cost};
use crate::figures::Figures;
use crate::scrape::sum;

pub(crate) fn measure(version: Version, seconds: u32, api: ApiKind) {
    case::play("bench", version, async |case| {
        story(case, version, seconds, api).await
    });
}

async fn story(case: &Case, version: Version, seconds: u32, api: ApiKind) -> Result<()> {
    // The timing that operators get: the load on the API server depends on it.
    let mut group = Group::form(
        case,
        Shape {
            flags: Vec::new(),
            api,
            ..Shape::default()
        },
    )
    .await?;
    let producer = group.producer(1024)?;
    producer.accept_more(100, LIMIT).await?;
    producer.stop().await?;
    let master = group.master().await?;
    let mut figures = Figures::default();
    let server_before = server_side(&mut group).await?;
    let mut before = Vec::new();
    for index in [master, group.other(master)] {
        before.push(reading(group.member_mut(index)).await?);
    }
    tokio::time::sleep(Duration::from_secs(u64::from(seconds))).await;
    let server_after = server_side(&mut group).await?;
    for (index, before) in [master, group.other(master)].into_iter().zip(before) {
        let role = if index == master { "master" } else { "slave" };
        let after = reading(group.member_mut(index)).await?;
        let span = f64::from(seconds);
        figures.add(&format!("{role}: agent RSS, MiB"), after.agent.rss_mib);
        figures.add(
            &format!("{role}: agent, % of a core"),
            (after.agent.cpu - before.agent.cpu) / span * 100.0,
        );
        figures.add(
            &format!("{role}: API writes/s"),
            (after.writes - before.writes) / span,
        );
        figures.add(
            &format!("{role}: API reads/s"),
            (after.reads - before.reads) / span,
        );
        figures.add(
            &format!("{role}: launcher RSS, MiB"),
            after.launcher.rss_mib,
        );
        figures.add(
            &format!("{role}: launcher, % of a core"),
            (after.launcher.cpu - before.launcher.cpu) / span * 100.0,
        );
    }
    figures.print(&format!("steady state for {seconds} s, RocketMQ {version}"));
    if let (Some(before), Some(after)) = (server_before, server_after) {
        after.since(&before).print(None, 1.0);
    }
    Ok(())
}

/// A look at the API server, where it is a real one.
async fn server_side(group: &mut Group<'_>) -> Result<Option<ApiSide>> {
    match group.plane_mut()?.real() {
        Some(api) => ApiSide::look(api).await.map(Some),
        None => Ok(None),
    }
}

struct Reading {
    agent: Cost,
    launcher: Cost,
    writes: f64,
    reads: f64,
}

async fn reading(member: &mut Member) -> Result<Reading> {
    let metrics = http::get(member.admin(), "/metrics").await?.body;
    let requests = |verbs: &[&str]| -> f64 {
        sum(&metrics, "rocketmq_ha_api_requests_total", |labels| {
            labels
                .get("verb")
                .is_some_and(|verb| verbs.contains(&verb.as_str()))
        })
    };
    Ok(Reading {
        writes: requests(&["create", "update", "patch", "delete"]),
        reads: requests(&["get", "list", "watch"]),
        agent: cost(member.agent()?.pid())?,
        launcher: cost(member.launcher()?.pid())?,
    })
}
