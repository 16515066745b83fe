//! Rights that an agent has not: each of deploy/rbac/agent.yaml taken away in turn, on a real API server.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use e2e::group::LIMIT;
use e2e::{Case, Group, Shape, Trial, on_the_quickest};
use playground::clock::now;
use playground::kube::NAMESPACE;
use playground::real_api::program::Found;
use playground::wait::until;
use playground::{ApiKind, http};
use serde_json::{Value, json};

on_the_quickest!(each_taken_in_turn, token_rotated);

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

/// A kubelet puts another token in the file long before the old one ends; here the old one is invalid the moment after. Fails
/// when an agent goes on with what it read at its start.
async fn token_rotated(case: &Case) -> Result<()> {
    if let Found::NoGo(reason) = case.ground().real_api_program().await? {
        case.say(format!("SKIPPED: {reason}"));
        return Ok(());
    }
    let begin = now();
    let shape = Shape {
        api: ApiKind::Real,
        ..Shape::default()
    };
    let mut group = Group::prepare(case, shape).await?;
    let file = group.plane().agents().kube_token_file.clone();
    let file = file.context("find the agents' token")?;
    let mut valid = bound_token(&mut group, "first").await?;
    put(&file, &valid)?;
    for index in group.indexes() {
        group.member_mut(index).start()?;
    }
    group.formed(begin).await?;
    let mut trial = Trial::with(group).await?;
    trial.strike();
    for (old, new) in [("first", "second"), ("second", "third")] {
        let next = bound_token(trial.group_mut(), new).await?;
        put(&file, &next)?;
        let before = trial.group().lease().await?;
        trial.group().plane().delete(&secret(old)).await?;
        refused(trial.group_mut(), &valid).await?;
        case.say(format!("the {old} token is refused"));
        // Every agent has asked with it since, or with the new one.
        trial.group().renewed(&before, 20).await?;
        valid = next;
    }
    let costs = trial.end().await?;
    ensure!(costs.reigns.len() == 1 && costs.lost == 0, "{costs}");
    Ok(())
}

/// A token of the agents' account that lives as long as a Secret of this name.
async fn bound_token(group: &mut Group<'_>, name: &str) -> Result<String> {
    let api = group.plane_mut()?.real().context("find the real API")?;
    api.bound_token(NAMESPACE, "rocketmq-ha-agent", name).await
}

fn secret(name: &str) -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/secrets/{name}")
}

/// As the kubelet does it: nobody reads half a token.
fn put(file: &Path, token: &str) -> Result<()> {
    let fresh = file.with_extension("fresh");
    std::fs::write(&fresh, token).context("write a token")?;
    std::fs::rename(&fresh, file).context("put a token in its place")
}

/// Waits until the API server does not know whoever has this token: it remembers one that was valid for 10 s.
async fn refused(group: &mut Group<'_>, token: &str) -> Result<()> {
    let api = group.plane_mut()?.real().context("find the real API")?;
    until("a deleted token to be refused", LIMIT, async || {
        ensure!(api.refuses(token).await?, "it is still taken");
        Ok(())
    })
    .await
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
