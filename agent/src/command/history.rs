//! `rocketmq-ha history`: which member wrote which bytes, and what was announced lately.

use std::io::Write;

use agent_core::{LineageEntry, Offset};
use clap::Args;
use serde_json::json;

use super::desk::Desk;
use super::events::events;
use super::table::{or_dash, table};
use super::{Form, Outcome, Place, Which, line_of_json};

/// The flags of `history`.
#[derive(Args, Clone, Debug, Default)]
pub struct HistoryArgs {
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Which group.
    #[command(flatten)]
    pub which: Which,
    /// How.
    #[command(flatten)]
    pub form: Form,
}

/// Writes the terms of a group, newest last, and the Events on its Lease.
///
/// # Errors
/// The group cannot be found, or its Lease holds no sound record.
pub async fn history(
    desk: &Desk,
    args: &HistoryArgs,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let group = desk.group(&args.which).await?;
    let Some(record) = group.record() else {
        anyhow::bail!(
            "read the history of {}: {}",
            group.title(),
            group.trouble().unwrap_or_default()
        );
    };
    let terms = record.lineage.entries();
    // They are a help; who may not list Events still gets the terms.
    let told = events(desk, &group.name).await;
    if args.form.json {
        let told = told.unwrap_or_default();
        line_of_json(
            out,
            &json!({"cluster": group.cluster, "broker": group.broker, "terms": terms, "events": told}),
        )?;
        return Ok(Outcome::Done);
    }
    writeln!(out, "Terms of {}, oldest first:", group.title())?;
    table(out, "  ", &rows(terms))?;
    writeln!(out)?;
    match told {
        Ok(told) if told.is_empty() => {
            writeln!(out, "No Events: a server keeps them for about an hour.")?;
        }
        Ok(told) => {
            let heading = ["TIME", "EVENT", "MESSAGE"].map(str::to_owned);
            let rows = told.into_iter().map(|t| {
                let mark = if t.warning { "!" } else { "" };
                [or_dash(t.time), format!("{}{mark}", t.reason), t.message]
            });
            writeln!(out, "Events (! needs a look):")?;
            let all: Vec<_> = std::iter::once(heading).chain(rows).collect();
            table(out, "  ", &all)?;
        }
        Err(error) => writeln!(out, "No Events: {error:#}")?,
    }
    Ok(Outcome::Done)
}

fn rows(terms: &[LineageEntry]) -> Vec<[String; 4]> {
    let ends = terms.iter().skip(1).map(|t| Some(t.start)).chain([None]);
    let bytes = |from: Offset, upto: Option<Offset>| {
        upto.map_or_else(|| "now".to_owned(), |upto| upto.since(from).to_string())
    };
    let rows = terms.iter().zip(ends).map(|(term, end)| {
        [
            term.epoch.to_string(),
            term.master.to_string(),
            term.start.to_string(),
            bytes(term.start, end),
        ]
    });
    std::iter::once(["TERM", "MASTER", "FROM", "BYTES"].map(str::to_owned))
        .chain(rows)
        .collect()
}
