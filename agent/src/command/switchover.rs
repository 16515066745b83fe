//! `rocketmq-ha switchover`: asks the master to hand over, and follows what becomes of it.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use agent_core::Member;
use agent_core::observation::SwitchoverRequest;
use agent_core::record::{GroupRecord, Stage, TermId};
use anyhow::bail;
use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::desk::Desk;
use super::events::events;
use super::group::Group;
use super::{Form, Outcome, Place, Which, line_of_json};
use crate::names;
use crate::settings::duration;

/// Between two looks at the Lease.
const LOOK: Duration = Duration::from_millis(200);
/// What a hand-over may take where the request names no limit, as the agents count it.
const USUAL_LIMIT: Duration = Duration::from_secs(30);
/// How long after that the target may take to serve: the JVM's start and recovery.
const OPENING: Duration = Duration::from_secs(120);
/// How long an announcement may be on its way.
const WORD: Duration = Duration::from_secs(2);

/// The flags of `switchover`.
#[derive(Args, Clone, Debug, Default)]
pub struct SwitchoverArgs {
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Which group.
    #[command(flatten)]
    pub which: Which,
    /// How.
    #[command(flatten)]
    pub form: Form,
    /// Who shall become master; without it the slave that has most
    #[arg(long, value_name = "MEMBER")]
    pub to: Option<String>,
    /// Give up if the old master could not let go within this time; nothing is lost then
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub limit: Option<Duration>,
    /// Follow it until it is done or has failed (exit code 3)
    #[arg(long)]
    pub wait: bool,
}

/// What was asked for.
struct Asked {
    id: String,
    term: TermId,
    master: Member,
    target: Option<Member>,
}

/// What a look at the Lease says about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Progress {
    /// Not over yet.
    Waiting(String),
    /// Somebody else serves.
    Done(String),
    /// It was turned down, or something else happened.
    Failed(String),
}

/// Sets the request, and follows it where that is wished.
///
/// # Errors
/// There is no serving master to ask, the target is no member, another request is open, or the API server refuses.
pub async fn switchover(
    desk: &Desk,
    args: &SwitchoverArgs,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let group = desk.group(&args.which).await?;
    let target = args.to.as_deref().map(Member::from);
    if let Some(target) = &target
        && group.record().is_some_and(|r| reigns(r, target))
    {
        return end(
            &group,
            args,
            out,
            None,
            Progress::Done(format!("{target} is master already")),
        );
    }
    let before = told_already(desk, &group.name).await;
    let asked = ask(desk, &group, target, args.limit).await?;
    let to = asked
        .target
        .as_ref()
        .map_or("the slave that has most", Member::as_str);
    let line = format!("{} is asked to hand over to {to}", asked.master);
    if !args.wait {
        return end(&group, args, out, Some(&asked), Progress::Waiting(line));
    }
    if !args.form.json {
        writeln!(out, "{line}")?;
        out.flush()?;
    }
    let limit = args.limit.unwrap_or(USUAL_LIMIT) + OPENING;
    let mut progress = follow(desk, &group, &asked, limit, args.form, out).await?;
    if let Progress::Failed(why) = &mut progress
        && let Some(word) = announced(desk, &group.name, &before).await
    {
        *why = word;
    }
    end(&group, args, out, Some(&asked), progress)
}

fn reigns(record: &GroupRecord, member: &Member) -> bool {
    record.term.master == *member
        && !record.holder.is_empty()
        && record.term.stage == Stage::Serving
}

/// Writes the request under the term that is served at that moment.
async fn ask(
    desk: &Desk,
    group: &Group,
    target: Option<Member>,
    limit: Option<Duration>,
) -> anyhow::Result<Asked> {
    let id = names::hex(&getrandom::u64()?.to_be_bytes());
    let limit_ms = limit.map(|l| u64::try_from(l.as_millis()).unwrap_or(u64::MAX));
    let mut asked = None;
    desk.annotate(&group.name, |now| {
        let record = may_ask(group, now, target.as_ref())?;
        let request = SwitchoverRequest {
            id: id.clone(),
            term: record.term.id,
            target: target.clone(),
            limit_ms,
        };
        asked = Some((record.term.id, record.term.master.clone()));
        let text = serde_json::to_string(&request)?;
        Ok(Some(json!({ names::SWITCHOVER: text })))
    })
    .await?;
    let Some((term, master)) = asked else {
        bail!(
            "ask for a switchover of {}: nothing was written; try again",
            group.title()
        );
    };
    Ok(Asked {
        id,
        term,
        master,
        target,
    })
}

/// The record a request can be put under, or why none can.
fn may_ask<'a>(
    group: &Group,
    now: &'a Group,
    target: Option<&Member>,
) -> anyhow::Result<&'a GroupRecord> {
    let title = group.title();
    let Some(record) = now.record() else {
        bail!(
            "ask for a switchover of {title}: {}",
            now.trouble().unwrap_or_default()
        );
    };
    if record.holder.is_empty() || record.term.stage != Stage::Serving {
        bail!(
            "ask for a switchover of {title}: no master serves now, so nobody can hand over; see `rocketmq-ha status` and try again"
        );
    }
    let requests = now.requests();
    if requests.is_some_and(|r| r.paused) {
        bail!(
            "ask for a switchover of {title}: the group is paused; end that with `rocketmq-ha resume`"
        );
    }
    if let Some(open) = requests.and_then(|r| r.switchover.as_ref())
        && open.term == record.term.id
    {
        bail!(
            "ask for a switchover of {title}: one is asked for already (id {}); wait for it, or remove annotation {} from Lease {}",
            open.id,
            names::SWITCHOVER,
            group.name
        );
    }
    if let Some(target) = target
        && !record.members.contains_key(target)
        && !group.members.contains_key(target)
    {
        let known: BTreeSet<&str> = record
            .members
            .keys()
            .chain(group.members.keys())
            .map(Member::as_str)
            .collect();
        let known: Vec<&str> = known.into_iter().collect();
        bail!(
            "ask {title} to hand over to {target}: it has no such member; known are {}",
            known.join(", ")
        );
    }
    Ok(record)
}

async fn follow(
    desk: &Desk,
    group: &Group,
    asked: &Asked,
    limit: Duration,
    form: Form,
    out: &mut dyn Write,
) -> anyhow::Result<Progress> {
    let until = Instant::now() + limit;
    let mut said = String::new();
    loop {
        let progress = match desk.lease(&group.name).await {
            Ok(lease) => judge(asked, &Group::new(lease)),
            // The agents may reach it where we do not.
            Err(error) => Progress::Waiting(format!("the Lease cannot be read: {error:#}")),
        };
        let Progress::Waiting(step) = progress else {
            return Ok(progress);
        };
        if Instant::now() >= until {
            let seconds = limit.as_secs();
            return Ok(Progress::Waiting(format!(
                "not finished after {seconds} s: {step}"
            )));
        }
        if step != said && !form.json {
            writeln!(out, "{step}")?;
            out.flush()?;
        }
        said = step;
        sleep(LOOK).await;
    }
}

/// What became of a request, as far as the Lease shows.
fn judge(asked: &Asked, now: &Group) -> Progress {
    let Some(record) = now.record() else {
        return Progress::Waiting(now.trouble().unwrap_or_default());
    };
    let term = &record.term;
    if term.id == asked.term {
        return of_old_term(asked, record, now);
    }
    if term.master == asked.master {
        return Progress::Failed(format!("{} began term {} itself", term.master, term.id));
    }
    let (new, epoch) = (&term.master, term.id);
    match (term.stage, &asked.target) {
        (Stage::Opening, _) => {
            Progress::Waiting(format!("{new} is being started as master of term {epoch}"))
        }
        (Stage::Serving, Some(target)) if target != new => {
            Progress::Failed(format!("{new} became master of term {epoch} instead"))
        }
        (Stage::Serving, _) => Progress::Done(format!(
            "{new} is master of term {epoch}, from offset {}",
            term.start
        )),
    }
}

fn of_old_term(asked: &Asked, record: &GroupRecord, now: &Group) -> Progress {
    if record.holder.is_empty() {
        let to = record.target.as_ref().map_or("anybody", Member::as_str);
        return Progress::Waiting(format!("{} let go; {to} may take over", asked.master));
    }
    let open = now.requests().and_then(|r| r.switchover.as_ref());
    match open {
        Some(request) if request.id == asked.id => {
            Progress::Waiting(format!("{} prepares to hand over", asked.master))
        }
        Some(_) | None => Progress::Failed(format!(
            "{} took the request off and goes on; see `rocketmq-ha explain {}`",
            asked.master, asked.master
        )),
    }
}

async fn told_already(desk: &Desk, lease: &str) -> BTreeSet<String> {
    let told = events(desk, lease).await.unwrap_or_default();
    told.into_iter().map(|t| t.id).collect()
}

/// Why the master says it turned the request down. Nobody has to say it, or be able to read it.
async fn announced(desk: &Desk, lease: &str, before: &BTreeSet<String>) -> Option<String> {
    let until = Instant::now() + WORD;
    loop {
        let told = events(desk, lease).await.ok()?;
        let mut new = told.into_iter().filter(|t| !before.contains(&t.id));
        if let Some(word) = new.find(|t| t.reason == "SwitchOverFailed") {
            return Some(word.message);
        }
        if Instant::now() >= until {
            return None;
        }
        sleep(LOOK).await;
    }
}

fn end(
    group: &Group,
    args: &SwitchoverArgs,
    out: &mut dyn Write,
    asked: Option<&Asked>,
    progress: Progress,
) -> anyhow::Result<Outcome> {
    let (result, text, outcome) = match progress {
        Progress::Done(text) => ("done", text, Outcome::Done),
        Progress::Failed(text) => ("failed", text, Outcome::NotDone),
        Progress::Waiting(text) if args.wait => ("unfinished", text, Outcome::NotDone),
        Progress::Waiting(text) => ("asked", text, Outcome::Done),
    };
    if args.form.json {
        line_of_json(
            out,
            &json!({
                "cluster": group.cluster, "broker": group.broker, "result": result, "text": text,
                "id": asked.map(|a| &a.id), "epoch": asked.map(|a| a.term.epoch),
                "from": asked.map(|a| &a.master), "to": asked.and_then(|a| a.target.as_ref()),
            }),
        )?;
    } else {
        writeln!(out, "{result}: {text}")?;
    }
    Ok(outcome)
}
