//! Actions as a timeline writes them, and how often each may be asked for in a second.

use agent_core::action::Action;

pub(crate) fn action(action: &Action) -> String {
    match action {
        Action::ReadLease => "read-lease".into(),
        Action::Write(w) => format!(
            "{:?}#{} on {:?}: term {} seq {} holder {:?}",
            w.why, w.id, w.carries, w.record.term.id, w.record.seq, w.record.holder
        ),
        Action::Permit { term, until, .. } => format!("permit {term} until {}", until.as_millis()),
        Action::Kill { term, why } => format!("kill {term} {why}"),
        Action::Stop => "stop".into(),
        Action::Shut { .. } => "shut".into(),
        Action::Open { .. } => "open".into(),
        Action::Register { .. } => "register".into(),
        Action::Examine => "examine".into(),
        Action::Freeze { vacancy } => format!("freeze {}:{}", vacancy.term, vacancy.seq),
        Action::Repair { end, .. } => format!("repair {end}"),
        Action::Prove {
            holder, from, upto, ..
        } => format!("prove {holder} {from}..{upto}"),
        Action::Cut { to, end, .. } => format!("cut {end}->{to}"),
        Action::Persist {
            lineage, joined, ..
        } => {
            let last = lineage
                .last()
                .map_or_else(|| "-".into(), |e| format!("{}@{}", e.epoch, e.start));
            format!("persist {last} joined={:?}", joined.map(|j| j.epoch.get()))
        }
        Action::Start { role, term, .. } => format!("start {} {term}", role.as_str()),
        Action::Admit { members, .. } => {
            let names: Vec<_> = members.iter().map(|m| m.session.to_string()).collect();
            format!("admit {}", names.join(","))
        }
        Action::Attach { holder, .. } => format!("attach {holder}"),
        Action::Announce(event) => format!("!{event:?}"),
    }
}

/// Steady business is not told.
pub(crate) fn quiet(action: &Action) -> bool {
    matches!(action, Action::Permit { .. } | Action::ReadLease)
        || matches!(action, Action::Write(w) if w.why == agent_core::WriteReason::Renew)
}

/// What is counted together, and how often it may come in a second. A level-triggered order is given again at every
/// decision until it is seen done.
pub(crate) fn bound(action: &Action) -> (usize, &'static str, usize) {
    match action {
        Action::Write(_) => (0, "write", 8),
        Action::Open { .. } => (1, "open", 6),
        Action::Shut { .. } => (2, "shut", 6),
        Action::Register { .. } => (3, "register", 2),
        Action::Announce(_) => (4, "announce", 6),
        Action::Start { .. } => (5, "start", 12),
        Action::Cut { .. } => (6, "cut", 10),
        Action::Admit { .. } => (7, "admit", 6),
        Action::Attach { .. } => (8, "attach", 12),
        Action::ReadLease
        | Action::Permit { .. }
        | Action::Kill { .. }
        | Action::Stop
        | Action::Examine
        | Action::Freeze { .. }
        | Action::Repair { .. }
        | Action::Prove { .. }
        | Action::Persist { .. } => (usize::MAX, "again until done", usize::MAX),
    }
}
