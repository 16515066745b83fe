//! `rocketmq-ha status`: who is master, who could be, and how far everybody is.

use std::io::Write;
use std::time::Duration;

use agent_core::observation::SwitchoverRequest;
use agent_core::record::{GroupRecord, Phase, Qos, Stage};
use agent_core::report::{Addresses, Electable, Role};
use agent_core::{Epoch, Member, Offset, Report};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::agent::{AgentStatus, ask};
use super::desk::Desk;
use super::group::{Group, Word};
use super::table::{age, or_dash, table};
use super::{Form, Outcome, Place, Which, line_of_json};
use crate::settings::duration;

/// The flags of `status`.
#[derive(Args, Clone, Debug, Default)]
pub struct StatusArgs {
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Which groups.
    #[command(flatten)]
    pub which: Which,
    /// How.
    #[command(flatten)]
    pub form: Form,
    /// Go on until interrupted; with a value that often
    #[arg(long, value_name = "EVERY", num_args = 0..=1, default_missing_value = "2s", value_parser = duration)]
    pub watch: Option<Duration>,
    /// Only what stands on the API server: no agent is asked
    #[arg(long)]
    pub offline: bool,
}

/// A group at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct GroupStatus {
    /// `brokerClusterName`.
    pub cluster: String,
    /// `brokerName`.
    pub broker: String,
    /// The group Lease.
    pub lease: String,
    /// Where the group stands.
    pub state: State,
    /// What a person must mend.
    pub troubles: Vec<String>,
    /// Who reigns, or reigned last.
    pub master: Option<Member>,
    /// The newest term.
    pub epoch: Option<Epoch>,
    /// Where it began.
    pub start: Option<Offset>,
    /// How the group replicates.
    pub phase: Option<Phase>,
    /// What is in force.
    pub qos: Option<Qos>,
    /// Elections, switchovers and cuts rest.
    pub paused: bool,
    /// A switchover that was asked for and not answered yet.
    pub switchover: Option<SwitchoverRequest>,
    /// How long ago the holder renewed, by wall clocks.
    pub renewed_seconds_ago: Option<u64>,
    /// Everybody who belongs to the group, or says so.
    pub members: Vec<MemberStatus>,
}

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A master serves.
    Serving,
    /// A master is being started.
    Opening,
    /// The Lease was given up and not taken yet.
    Released,
    /// The holder has not renewed for longer than its followers wait, by wall clocks.
    Silent,
    /// The Lease gives no rights.
    Unreadable,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Opening => "opening",
            Self::Released => "released",
            Self::Silent => "silent",
            Self::Unreadable => "unreadable",
        }
    }
}

/// A member at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct MemberStatus {
    /// Who.
    pub member: Member,
    /// What its broker runs as.
    pub role: Option<Role>,
    /// In which term.
    pub epoch: Option<Epoch>,
    /// First offset held.
    pub min: Option<Offset>,
    /// Log end.
    pub end: Option<Offset>,
    /// How far a slave is behind the master's log end. Both are read at slightly different moments.
    pub lag_bytes: Option<u64>,
    /// May it be elected, or why not.
    pub electable: Option<Electable>,
    /// Its log was proven for its term.
    pub joined: Option<bool>,
    /// Whether the agent itself answered; else it is what was published, up to half a minute old.
    pub live: bool,
    /// How long ago this was said, by wall clocks.
    pub heard_seconds_ago: Option<u64>,
    /// Why the agent does what it does.
    pub reason: Option<String>,
    /// Its failure zone.
    pub zone: Option<String>,
    /// The agent's version.
    pub version: Option<String>,
    /// Where it is reached.
    pub addresses: Option<Addresses>,
}

/// Writes the groups' status, once or again and again.
///
/// # Errors
/// The API server gave no list, at the first time.
pub async fn status(
    desk: &Desk,
    args: &StatusArgs,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let mut outcome = once(desk, args, out).await?;
    while let Some(every) = args.watch {
        out.flush()?;
        sleep(every.max(Duration::from_millis(200))).await;
        match once(desk, args, out).await {
            Ok(now) => outcome = now,
            // Somebody watches: an outage is what they want to see.
            Err(error) if error.downcast_ref::<std::io::Error>().is_none() => {
                writeln!(out, "{}  {error:#}\n", desk.clock.wall())?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(outcome)
}

async fn once(desk: &Desk, args: &StatusArgs, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let groups = desk.groups(&args.which).await?;
    let answers = if args.offline {
        Vec::new()
    } else {
        ask_all(&groups).await
    };
    let now = desk.clock.wall();
    let groups: Vec<GroupStatus> = groups.iter().map(|g| look(g, &answers, now)).collect();
    if args.form.json {
        line_of_json(out, &groups)?;
    } else {
        if args.watch.is_some() {
            writeln!(out, "{now}")?;
        }
        if groups.is_empty() {
            let namespace = desk.namespace();
            writeln!(out, "No group in namespace {namespace:?}.")?;
        }
        for group in &groups {
            text(group, out)?;
        }
    }
    let well = groups.iter().all(|g| g.state == State::Serving);
    Ok(if well && !groups.is_empty() {
        Outcome::Done
    } else {
        Outcome::NotDone
    })
}

/// All agents at once; who does not answer is left out.
async fn ask_all(groups: &[Group]) -> Vec<AgentStatus> {
    let mut questions = JoinSet::new();
    let words = groups.iter().flat_map(|g| g.members.values());
    for address in words.filter_map(|w| w.report.addresses.agent.parse().ok()) {
        questions.spawn(ask(address));
    }
    let answers = questions.join_all().await;
    answers.into_iter().filter_map(Result::ok).collect()
}

/// A group from its objects and what its agents answered.
fn look(group: &Group, answers: &[AgentStatus], now: Timestamp) -> GroupStatus {
    let record = group.record();
    let mut troubles: Vec<String> = group.trouble().into_iter().collect();
    troubles.extend(group.complaints.iter().cloned());
    let renewed = group.renewed.map(|at| since(now, at));
    let mut status = GroupStatus {
        cluster: group.cluster.clone(),
        broker: group.broker.clone(),
        lease: group.name.clone(),
        state: record.map_or(State::Unreadable, |r| state(r, renewed)),
        troubles,
        master: record.map(|r| r.term.master.clone()),
        epoch: record.map(|r| r.term.id.epoch),
        start: record.map(|r| r.term.start),
        phase: record.map(|r| r.phase),
        qos: record.map(|r| r.qos_enforced),
        paused: group.requests().is_some_and(|r| r.paused),
        switchover: group.requests().and_then(|r| r.switchover.clone()),
        renewed_seconds_ago: renewed,
        members: members(group, answers, now),
    };
    let end = status
        .members
        .iter()
        .find(|m| Some(&m.member) == status.master.as_ref() && m.role == Some(Role::Master))
        .and_then(|m| m.end);
    for member in &mut status.members {
        if member.role == Some(Role::Slave) {
            member.lag_bytes = end.zip(member.end).map(|(master, own)| master.since(own));
        }
    }
    status
}

fn state(record: &GroupRecord, renewed: Option<u64>) -> State {
    if record.holder.is_empty() {
        return State::Released;
    }
    // Twice the wait: two wall clocks may differ, and this is a hint for a person.
    let wait = record.take_wait_ms.div_ceil(1000).saturating_mul(2);
    if renewed.is_some_and(|ago| ago > wait) {
        return State::Silent;
    }
    match record.term.stage {
        Stage::Opening => State::Opening,
        Stage::Serving => State::Serving,
    }
}

fn members(group: &Group, answers: &[AgentStatus], now: Timestamp) -> Vec<MemberStatus> {
    let named = group.record().into_iter().flat_map(|r| r.members.keys());
    let all: std::collections::BTreeSet<&Member> = named.chain(group.members.keys()).collect();
    all.into_iter()
        .map(|member| {
            let word = group.members.get(member);
            let answer = word.and_then(|w| answer_of(w, answers));
            member_status(member, word, answer, now)
        })
        .collect()
}

/// An answer counts for the very volume whose report led to it: names are not unique across groups.
fn answer_of<'a>(word: &Word, answers: &'a [AgentStatus]) -> Option<(&'a AgentStatus, &'a Report)> {
    answers
        .iter()
        .filter_map(|a| Some((a, a.decision.report.as_ref()?)))
        .find(|(_, report)| {
            report.who.member == word.report.who.member
                && report.who.volume == word.report.who.volume
        })
}

fn member_status(
    member: &Member,
    word: Option<&Word>,
    answer: Option<(&AgentStatus, &Report)>,
    now: Timestamp,
) -> MemberStatus {
    let report = answer.map(|(_, r)| r).or_else(|| word.map(|w| &w.report));
    let heard = match answer {
        Some(_) => Some(0),
        None => word.and_then(|w| w.written).map(|at| since(now, at)),
    };
    MemberStatus {
        member: member.clone(),
        role: report.and_then(|r| r.role),
        epoch: report.and_then(|r| r.term).map(|t| t.epoch),
        min: report.and_then(|r| r.log).map(|l| l.min),
        end: report.and_then(|r| r.log).map(|l| l.end),
        lag_bytes: None,
        electable: report.map(|r| r.electable),
        joined: report.map(|r| r.joined),
        live: answer.is_some(),
        heard_seconds_ago: heard,
        reason: answer.map(|(a, _)| a.reason.clone()),
        zone: report.map(|r| r.zone.to_string()),
        version: report.map(|r| r.version.clone()),
        addresses: report.map(|r| r.addresses.clone()),
    }
}

fn since(now: Timestamp, then: Timestamp) -> u64 {
    u64::try_from(now.duration_since(then).as_secs()).unwrap_or(0)
}

fn text(group: &GroupStatus, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut facts = vec![group.state.as_str().to_owned()];
    facts.extend(group.master.as_ref().map(|m| format!("master {m}")));
    let term = group.epoch.zip(group.start);
    facts.extend(term.map(|(epoch, start)| format!("term {epoch} from offset {start}")));
    facts.extend(group.phase.map(|p| format!("phase {}", p.as_str())));
    facts.extend(group.qos.map(|q| format!("QoS {}", u8::from(q))));
    facts.extend(
        group
            .renewed_seconds_ago
            .map(|s| format!("renewed {} ago", age(s))),
    );
    if group.paused {
        facts.push("PAUSED".to_owned());
    }
    if let Some(request) = &group.switchover {
        let to = request
            .target
            .as_ref()
            .map_or("the best slave", Member::as_str);
        facts.push(format!("switchover to {to} asked for"));
    }
    writeln!(
        out,
        "{} of {}: {}",
        group.broker,
        group.cluster,
        facts.join(", ")
    )?;
    for trouble in &group.troubles {
        writeln!(out, "  ! {trouble}")?;
    }
    let heading = [
        "MEMBER",
        "ROLE",
        "TERM",
        "OFFSET",
        "LAG",
        "ELECTABLE",
        "HEARD",
        "ZONE",
        "DOING",
    ];
    let rows = group.members.iter().map(row);
    let rows: Vec<_> = std::iter::once(heading.map(str::to_owned))
        .chain(rows)
        .collect();
    table(out, "  ", &rows)?;
    writeln!(out)?;
    Ok(())
}

fn row(member: &MemberStatus) -> [String; 9] {
    let heard = match (member.live, member.heard_seconds_ago) {
        (true, _) => "now".to_owned(),
        (false, Some(seconds)) => format!("{} ago", age(seconds)),
        (false, None) => "never".to_owned(),
    };
    [
        member.member.to_string(),
        or_dash(member.role.map(Role::as_str)),
        or_dash(member.epoch),
        or_dash(member.end),
        or_dash(member.lag_bytes),
        or_dash(member.electable.map(Electable::as_str)),
        heard,
        or_dash(member.zone.as_ref().filter(|z| !z.is_empty())),
        or_dash(member.reason.as_ref()),
    ]
}
