//! Rights that an agent has not: each of deploy/rbac/agent.yaml taken away in turn, on a real API server.

use anyhow::{Context, Result, ensure};
use e2e::group::LIMIT;
use e2e::{Case, Group, Shape, Trial, on_the_quickest};
use playground::kube::NAMESPACE;
use playground::real_api::program::Found;
use playground::wait::until;
use playground::{ApiKind, http};
use serde_json::{Value, json};

on_the_quickest!(each_taken_in_turn);

/// What becomes of a group whose agents lack a right, while one of them is started anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// The one that starts says so, and waits or does without; the master goes on.
    Said,
    /// Nobody needs it while the objects are there; `get` of leases is needed where a group forms, and there are no pods here.
    Unused,
    /// The master cannot renew: it stops, and nobody takes over until the right is back.
    Stops,
}

const RIGHTS: [(&str, &str, Effect); 10] = [
    ("leases", "list", Effect::Said),
    ("leases", "watch", Effect::Said),
    ("leases", "get", Effect::Unused),
    ("leases", "create", Effect::Unused),
    ("leases", "patch", Effect::Said),
    ("pods", "list", Effect::Said),
    ("pods", "watch", Effect::Said),
    ("pods", "patch", Effect::Unused),
    ("events", "create", Effect::Unused),
    ("leases", "update", Effect::Stops),
];

async fn each_taken_in_turn(case: &Case) -> Result<()> {
    if let Found::NoGo(reason) = case.ground().real_api_program().await? {
        case.say(format!("SKIPPED: {reason}"));
        return Ok(());
    }
    let shape = Shape {
        api: ApiKind::Real,
        ..Shape::default()
    };
    let mut trial = Trial::begin(case, shape).await?;
    let whole = role(trial.group()).await?;
    trial.strike();
    for (resource, verb, effect) in RIGHTS {
        set(trial.group(), &without(&whole, resource, verb)?).await?;
        let master = trial.group().master().await?;
        let slave = trial.group().other(master);
        trial.group_mut().member_mut(slave).agent()?.kill().await?;
        trial.group_mut().member_mut(slave).start_agent()?;
        match effect {
            Effect::Said => said(trial.group(), slave, resource, verb).await?,
            Effect::Unused => trial.group().follows(slave).await?,
            Effect::Stops => {
                trial.group().dead(master).await?;
                said(trial.group(), master, resource, verb).await?;
            }
        }
        if effect != Effect::Stops {
            trial.producer().accept_more(50, LIMIT).await?;
        }
        case.say(format!("without {verb} {resource}: {effect:?}"));
        set(trial.group(), &whole).await?;
        trial.healed().await?;
    }
    trial.end().await?;
    Ok(())
}

/// In the metric and in the log.
async fn said(group: &Group<'_>, index: usize, resource: &str, verb: &str) -> Result<()> {
    let member = group.member(index);
    let wanted = [
        format!("resource=\"{resource}\""),
        format!("verb=\"{verb}\""),
    ];
    let what = format!("{} to count a refused {verb} of {resource}", member.name());
    until(&what, LIMIT, async || {
        let metrics = http::get(member.admin(), "/metrics").await?.body;
        let counted = |line: &&str| wanted.iter().all(|label| line.contains(label));
        let all: Vec<&str> = metrics.lines().filter(counted).collect();
        ensure!(all.iter().any(|line| line.contains("forbidden")), "{all:?}");
        Ok(())
    })
    .await?;
    let log = std::fs::read_to_string(member.home().join("agent.out"))?;
    let mut lines = log
        .lines()
        .filter(|line| line.contains("WARN") || line.contains("ERROR"));
    let line = lines.find(|line| line.contains("forbidden") && line.contains(resource));
    line.map(drop)
        .with_context(|| format!("find a line about {verb} {resource} in the log"))
}

async fn role(group: &Group<'_>) -> Result<Value> {
    let role = group.plane().get(&path()).await?;
    Ok(role["rules"].clone())
}

async fn set(group: &Group<'_>, rules: &Value) -> Result<()> {
    let patch = json!({ "rules": rules });
    group.plane().merge_patch(&path(), &patch).await.map(drop)
}

fn path() -> String {
    format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/roles/rocketmq-ha-agent")
}

fn without(rules: &Value, resource: &str, verb: &str) -> Result<Value> {
    let mut rules = rules.clone();
    let all = rules.as_array_mut().context("read the rules")?;
    let rule = all.iter_mut().find(|rule| rule["resources"][0] == resource);
    let rule = rule.with_context(|| format!("find the rule for {resource}"))?;
    let verbs = rule["verbs"].as_array_mut().context("read its verbs")?;
    let before = verbs.len();
    verbs.retain(|known| known != verb);
    ensure!(
        verbs.len() + 1 == before,
        "{verb} is not among the verbs of {resource}"
    );
    // A rule without a verb is none.
    all.retain(|rule| rule["verbs"] != json!([]));
    Ok(rules)
}
