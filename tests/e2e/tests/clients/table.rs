//! What each kind of client saw in each phase, as rows of a table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::account::Account;
use crate::crowd::{CONSUMERS, PRODUCERS};
use crate::heard::Heard;

/// A time of a story, milliseconds since the epoch; its clients are back on `member` at its end.
#[derive(Debug, Clone)]
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) member: String,
}

/// One row per phase and kind: errors, longest gap, first success on the phase's master, duplicates.
pub(crate) fn rows(label: &str, heard: &Heard, phases: &[Phase]) -> String {
    let mut text = String::from(
        "\n| clients | phase | kind | longest gap | on the new master after | duplicates | errors |\n|---|---|---|---|---|---|---|\n",
    );
    for phase in phases {
        for kind in PRODUCERS {
            let sent = heard.sent.iter().filter(|one| one.kind == kind);
            let times: Vec<u64> = sent.clone().map(|one| one.at).collect();
            let on_it = sent.filter(|one| one.member == phase.member && one.at >= phase.from);
            let first = on_it.map(|one| one.at).min();
            row(
                &mut text,
                (label, phase, &format!("{kind} producer")),
                &times,
                first,
                None,
                errors(heard, phase, kind),
            );
        }
        for kind in CONSUMERS {
            let got = heard.got.iter().filter(|one| one.kind == kind);
            let times: Vec<u64> = got.clone().map(|one| one.at).collect();
            let on_it = got
                .clone()
                .filter(|one| one.member == phase.member && one.at >= phase.from);
            let first = on_it.map(|one| one.at).min();
            let (mut once, mut twice) = (BTreeSet::new(), 0);
            for one in got {
                let again = !once.insert(&one.message);
                twice += usize::from(again && (phase.from..phase.to).contains(&one.at));
            }
            let errors = if kind == "pull" {
                errors(heard, phase, kind)
            } else {
                String::new()
            };
            row(
                &mut text,
                (label, phase, &format!("{kind} consumer")),
                &times,
                first,
                Some(twice),
                errors,
            );
        }
    }
    text
}

fn row(
    text: &mut String,
    (label, phase, kind): (&str, &Phase, &str),
    times: &[u64],
    first: Option<u64>,
    twice: Option<usize>,
    errors: String,
) {
    let gap = longest_gap(times, phase);
    let first = match first {
        Some(at) if phase.name != "rejoin" => in_seconds(at - phase.from),
        Some(_) | None => "–".to_owned(),
    };
    let twice = twice.map_or_else(|| "–".to_owned(), |count| count.to_string());
    let errors = if errors.is_empty() {
        "–".to_owned()
    } else {
        errors
    };
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "| {label} | {} | {kind} | {} | {first} | {twice} | {errors} |",
        phase.name,
        in_seconds(gap)
    );
}

/// The longest time without one, from the last before the phase to its end.
fn longest_gap(times: &[u64], phase: &Phase) -> u64 {
    let before = times.iter().copied().filter(|at| *at < phase.from).max();
    let mut inside: Vec<u64> = times
        .iter()
        .copied()
        .filter(|at| (phase.from..phase.to).contains(at))
        .collect();
    inside.sort_unstable();
    let all: Vec<u64> = before.into_iter().chain(inside).chain([phase.to]).collect();
    all.windows(2)
        .map(|pair| pair[1] - pair[0])
        .max()
        .unwrap_or_default()
}

fn errors(heard: &Heard, phase: &Phase, kind: &str) -> String {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for one in &heard.failed {
        if one.kind == kind && (phase.from..phase.to).contains(&one.at) {
            *kinds.entry(&one.why).or_default() += 1;
        }
    }
    let words = kinds.iter().map(|(why, count)| format!("{count} × {why}"));
    words.collect::<Vec<_>>().join(", ")
}

fn in_seconds(milliseconds: u64) -> String {
    format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100)
}

/// The account in words.
pub(crate) fn settled(account: &Account) -> String {
    format!(
        "SETTLED lost {:?}, stored twice {:?}, skipped {:?}, out of order across queues {}",
        account.lost, account.stored_twice, account.skipped, account.out_of_order
    )
}
