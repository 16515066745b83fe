//! Many agents on one real API server: groups of two, each with a broker that holds no messages ([`crate::fake_broker`]).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::case::{self, Case};
use playground::clock::now;
use playground::kube::NAMESPACE;
use playground::wait::until;
use playground::{ApiKind, ControlPlane, GroupSpec, Member, Version, http, nameserver};

use crate::api_side::ApiSide;
use crate::cost::{Cost, cost};
use crate::figures::Figures;
use crate::scrape::{Histogram, sum};

/// Half an hour, whatever is measured.
const LONGEST: Duration = Duration::from_secs(1_800);

/// Members that start at once. A machine that all start on at the same moment has nothing left for the API server: requests
/// run into their deadlines, their connections are given up, and the new ones cost even more (seen with 100 on two busy
/// cores: none of 50 groups formed within four minutes).
const WAVE: usize = 10;

/// A wave's, on whatever machine.
const FORM_LIMIT: Duration = Duration::from_secs(600);

/// What the server does for itself is looked at for so long before the agents come.
const IDLE: Duration = Duration::from_secs(30);

/// After the last group has formed: what is retried at the start has come round then.
const SETTLE: Duration = Duration::from_secs(60);

const RENEWALS: &str = "rocketmq_ha_lease_renew_duration_seconds";

pub(crate) fn measure(agents: u32, seconds: u32) {
    // The version of name server and configuration: what the fake brokers say they are.
    case::play_for("crowd", Version::V4_9_7, LONGEST, async |case| {
        story(case, agents, seconds).await
    });
}

async fn story(case: &Case, agents: u32, seconds: u32) -> Result<()> {
    let ground = case.ground();
    let mut plane = ControlPlane::of_kind(ApiKind::Real, ground).await?;
    let idle = {
        let api = plane.real().context("find the real API server")?;
        let before = ApiSide::look(api).await?;
        tokio::time::sleep(IDLE).await;
        ApiSide::look(api).await?.since(&before)
    };
    let mut server = ground.name_server("ns")?;
    let groups = agents / 2;
    let programs = ground.programs().await?;
    let own = std::env::current_exe().context("find this program's own file")?;
    let mut members = Vec::new();
    for index in 0..groups {
        let name = format!("g{index:03}");
        let spec = GroupSpec {
            members: vec![format!("{name}-0"), format!("{name}-1")],
            name_servers: vec![server.address()],
            name_server_site: None,
            kube: plane.agents().clone(),
            namespace: NAMESPACE.to_owned(),
            key_file: ground.group_key(&name)?,
            agent_flags: Vec::new(),
            settings: [].into(),
            name,
        };
        for name in &spec.members {
            let mut member = ground.member(name, &spec, &programs)?;
            member.broker_program(&own, &["fake-broker"]);
            members.push(member);
        }
    }
    server.ready(nameserver::READY_LIMIT).await?;
    let begin = now();
    let mut started = 0;
    while started < members.len() {
        let wave = members.len().min(started + WAVE);
        for member in &mut members[started..wave] {
            member.start()?;
        }
        let present = &members[started.saturating_sub(WAVE)..started];
        until("groups to form", FORM_LIMIT, async || formed(present).await).await?;
        started = wave;
    }
    until("all groups to form", FORM_LIMIT, async || {
        formed(&members).await
    })
    .await?;
    case.say(format!(
        "{groups} groups formed in {:.1} s",
        begin.elapsed().as_secs_f64()
    ));
    tokio::time::sleep(SETTLE).await;
    let api = plane.real().context("find the real API server")?;
    let server_before = ApiSide::look(api).await?;
    let before = look(&mut members).await?;
    tokio::time::sleep(Duration::from_secs(u64::from(seconds))).await;
    let after = look(&mut members).await?;
    let happened = ApiSide::look(api).await?.since(&server_before);
    formed(&members).await.context("be as it was at the end")?;
    tell(&before, &after, happened.span);
    happened.print(Some(&idle), f64::from(groups));
    Ok(())
}

/// Whether in every group one serves and the other one follows.
async fn formed(members: &[Member]) -> Result<()> {
    for pair in members.chunks(2) {
        let mut words = Vec::new();
        for member in pair {
            let status = member.status().await?;
            let word = status["reason"].as_str().unwrap_or_default();
            words.push(word.to_owned());
        }
        words.sort();
        ensure!(
            words == ["following", "serving"],
            "{} and its peer say {words:?}",
            pair[0].name()
        );
    }
    Ok(())
}

struct Look {
    agents: Vec<Cost>,
    launchers: Vec<Cost>,
    metrics: Vec<String>,
}

async fn look(members: &mut [Member]) -> Result<Look> {
    let mut look = Look {
        agents: Vec::new(),
        launchers: Vec::new(),
        metrics: Vec::new(),
    };
    for member in members {
        look.metrics
            .push(http::get(member.admin(), "/metrics").await?.body);
        look.agents.push(cost(member.agent()?.pid())?);
        look.launchers.push(cost(member.launcher()?.pid())?);
    }
    Ok(look)
}

fn tell(before: &Look, after: &Look, span: f64) {
    let mut figures = Figures::default();
    let kinds = [
        ("agent", &before.agents, &after.agents),
        ("launcher", &before.launchers, &after.launchers),
    ];
    for (who, before, after) in kinds {
        for (before, after) in before.iter().zip(after) {
            figures.add(&format!("{who}: RSS, MiB"), after.rss_mib);
            figures.add(
                &format!("{who}: % of a core"),
                (after.cpu - before.cpu) / span * 100.0,
            );
        }
    }
    figures.print(&format!("{} agents for {span:.0} s", after.agents.len()));
    let total = |costs: &[Cost]| costs.iter().map(|cost| cost.cpu).sum::<f64>();
    println!(
        "all agents together: {:.0} MiB, {:.1} % of a core",
        after.agents.iter().map(|cost| cost.rss_mib).sum::<f64>(),
        (total(&after.agents) - total(&before.agents)) / span * 100.0
    );
    let mut renewals = Histogram::default();
    for (texts, sign) in [(&before.metrics, -1.0), (&after.metrics, 1.0)] {
        for text in texts {
            renewals.add(text, RENEWALS, sign);
        }
    }
    let gained = |name: &str| -> f64 {
        let all = |texts: &[String]| -> f64 { texts.iter().map(|t| sum(t, name, |_| true)).sum() };
        all(&after.metrics) - all(&before.metrics)
    };
    println!(
        "renewals: {:.0}, p50 {:.1} ms, p99 {:.1} ms, max below {:.0} ms; not committed: {:.0}; changes of master: {:.0}",
        renewals.count(),
        renewals.quantile(0.5) * 1000.0,
        renewals.quantile(0.99) * 1000.0,
        renewals.quantile(1.0) * 1000.0,
        gained("rocketmq_ha_lease_renew_failures_total"),
        gained("rocketmq_ha_transitions_total"),
    );
}
