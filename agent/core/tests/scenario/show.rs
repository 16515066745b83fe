//! Actions and events as a story writes them.

use agent_core::Epoch;
use agent_core::action::{Action, Event, LeaseWrite, WriteReason};
use agent_core::record::{GroupRecord, MemberSession};
use std::collections::BTreeSet;

pub fn actions(actions: &[Action]) -> String {
    actions.iter().map(action).collect::<Vec<_>>().join("; ")
}

fn action(action: &Action) -> String {
    match action {
        Action::ReadLease => "read-lease".into(),
        Action::Write(write) => self::write(write),
        Action::Permit { term, .. } => format!("permit {term}"),
        Action::Kill { why, .. } => format!("kill {why}"),
        Action::Stop => "stop".into(),
        Action::Shut { .. } => "shut".into(),
        Action::Open { .. } => "open".into(),
        Action::Register { .. } => "register".into(),
        Action::Examine => "examine".into(),
        Action::Freeze { .. } => "freeze".into(),
        Action::Repair { end, .. } => format!("repair {end}"),
        Action::Prove {
            holder, from, upto, ..
        } => format!("prove {holder} {from}..{upto}"),
        Action::Cut { to, end, .. } => format!("cut {end}->{to}"),
        Action::Persist {
            lineage,
            highest,
            joined,
            seeding,
        } => {
            let last = lineage
                .last()
                .map_or("-".into(), |e| format!("{}@{}", e.epoch, e.start));
            let joined = joined.map_or(String::new(), |t| format!(" joined={t}"));
            let seeding = seeding.map_or(String::new(), |s| format!(" seeding={s}"));
            let seen = lineage.last().map_or(Epoch::default(), |e| e.epoch) < *highest;
            let seen = if seen {
                format!(" seen={highest}")
            } else {
                String::new()
            };
            format!("persist {last}{joined}{seeding}{seen}")
        }
        Action::Start { role, term, .. } => format!("start {} {term}", role.as_str()),
        Action::Admit { members, .. } => format!("admit {}", names(members)),
        Action::Attach { holder, .. } => format!("attach {holder}"),
        Action::Announce(event) => self::event(event),
    }
}

fn write(write: &LeaseWrite) -> String {
    let record: &GroupRecord = &write.record;
    let create = if write.carries.is_none() {
        "create-"
    } else {
        ""
    };
    let k = record
        .replication
        .as_ref()
        .map_or_else(|| "-".into(), |r| names(&r.members));
    match write.why {
        WriteReason::Renew => format!("{create}renew"),
        WriteReason::Acquire => format!("{create}acquire {}@{}", record.term.id, record.term.start),
        WriteReason::Serve => "serve".into(),
        WriteReason::Members => format!("members {k}"),
        WriteReason::Answer => "answer".into(),
        WriteReason::Release => record
            .target
            .as_ref()
            .map_or_else(|| "release".into(), |target| format!("release to {target}")),
    }
}

fn event(event: &Event) -> String {
    match event {
        Event::LeaderElected { term, .. } => format!("!elected {term}"),
        Event::FailOver { from, .. } => format!("!failover from {from}"),
        Event::FailOverFailed { why, .. } => format!("!failover-failed {why}"),
        Event::SwitchOver { target } => format!("!switchover {target}"),
        Event::SwitchOverFailed { why } => format!("!switchover-failed {why}"),
        Event::Fenced { .. } => "!fenced".into(),
        Event::Diverged { keep, end } => format!("!diverged {end}->{keep}"),
        Event::BrokerRestarted { .. } => "!restarted".into(),
        Event::DataLossPossible { bytes } => format!("!loss {bytes}"),
        Event::SlaveHollow { until } => format!("!hollow {until}"),
    }
}

fn names(members: &BTreeSet<MemberSession>) -> String {
    let names: Vec<_> = members.iter().map(|m| m.member.to_string()).collect();
    if names.is_empty() {
        "none".into()
    } else {
        names.join(",")
    }
}
