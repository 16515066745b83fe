//! `rocketmq-ha explain`: the last decisions of the agents, in their own words.

use std::io::Write;
use std::net::SocketAddr;

use clap::Args;
use serde_json::json;

use super::agent::{AgentStatus, Entry, action, ask};
use super::desk::Desk;
use super::{Form, Outcome, Place, Which, line_of_json};

/// The flags of `explain`.
#[derive(Args, Clone, Debug)]
pub struct ExplainArgs {
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Which group.
    #[command(flatten)]
    pub which: Which,
    /// How.
    #[command(flatten)]
    pub form: Form,
    /// Only this member; without it all members of the group
    #[arg(value_name = "MEMBER", conflicts_with = "agent")]
    pub member: Option<String>,
    /// Ask the agent at this admin address, without Kubernetes
    #[arg(long, value_name = "IP:PORT")]
    pub agent: Option<SocketAddr>,
    /// How many decisions of each agent
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    pub last: usize,
}

/// Finds the agents and explains.
///
/// # Errors
/// As [`explain`], and no usable kubeconfig.
pub async fn execute(args: &ExplainArgs, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    match args.agent {
        Some(address) => one(&ask(address).await?, args, out),
        None => explain(&Desk::open(&args.place).await?, args, out).await,
    }
}

/// Writes what the agents of a group say of their last decisions.
///
/// # Errors
/// The group or the member cannot be found, or no agent answers.
pub async fn explain(
    desk: &Desk,
    args: &ExplainArgs,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let group = desk.group(&args.which).await?;
    let wanted = |name: &str| args.member.as_ref().is_none_or(|m| m == name);
    let mut outcome = Outcome::Done;
    let mut found = false;
    for (member, word) in group.members.iter().filter(|(m, _)| wanted(m.as_str())) {
        found = true;
        let agent = &word.report.addresses.agent;
        let answer = match agent.parse() {
            Ok(address) => ask(address).await,
            Err(_) => Err(anyhow::anyhow!("its report names no agent: {agent:?}")),
        };
        match answer {
            Ok(status) => {
                one(&status, args, out)?;
            }
            Err(error) => {
                outcome = Outcome::NotDone;
                if args.form.json {
                    line_of_json(
                        out,
                        &json!({"member": member, "error": format!("{error:#}")}),
                    )?;
                } else {
                    writeln!(out, "{member}: no answer: {error:#}\n")?;
                }
            }
        }
    }
    if !found {
        let known: Vec<&str> = group.members.keys().map(|m| m.as_str()).collect();
        anyhow::bail!(
            "explain {}: no such member of {} has published a report; known are {}",
            args.member.as_deref().unwrap_or("the members"),
            group.title(),
            known.join(", ")
        );
    }
    Ok(outcome)
}

fn one(status: &AgentStatus, args: &ExplainArgs, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let skip = status.history.len().saturating_sub(args.last);
    let last = status.history.get(skip..).unwrap_or_default();
    if args.form.json {
        line_of_json(
            out,
            &json!({"member": status.member, "time": status.time, "reason": status.reason,
                "sentence": status.sentence, "history": last}),
        )?;
        return Ok(Outcome::Done);
    }
    writeln!(
        out,
        "{} now ({}): {}: {}",
        status.member, status.time, status.reason, status.sentence
    )?;
    for entry in last {
        writeln!(out, "  {}", decision(entry))?;
        for done in &entry.actions {
            writeln!(out, "    -> {}", action(done))?;
        }
    }
    writeln!(out)?;
    Ok(Outcome::Done)
}

fn decision(entry: &Entry) -> String {
    format!("{}  {}: {}", entry.time, entry.reason, entry.sentence)
}
