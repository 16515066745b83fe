//! `rocketmq-ha pause` and `resume`.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use super::desk::Desk;
use super::group::Group;
use super::{Form, Outcome, Place, Which, line_of_json};
use crate::names;

/// The flags of `pause` and `resume`.
#[derive(Args, Clone, Debug, Default)]
pub struct PauseArgs {
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

/// What is wished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Elections, switchovers and cuts rest (H43).
    Rest,
    /// They go on.
    GoOn,
}

/// Sets or takes off the request to rest.
///
/// # Errors
/// The group cannot be found, or its Lease not be edited.
pub async fn pause(
    desk: &Desk,
    args: &PauseArgs,
    wish: Wish,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let group = desk.group(&args.which).await?;
    let rests = wish == Wish::Rest;
    let asked = |group: &Group| group.requests().is_some_and(|r| r.paused);
    let value = if rests { json!("true") } else { Value::Null };
    let changed = desk
        .annotate(&group.name, |now| {
            if let Some(trouble) = unreadable(now) {
                anyhow::bail!("pause or resume {}: {trouble}", group.title());
            }
            Ok((asked(now) != rests).then(|| json!({ names::PAUSED: value })))
        })
        .await?;
    if args.form.json {
        line_of_json(
            out,
            &json!({"cluster": group.cluster, "broker": group.broker, "paused": rests, "changed": changed}),
        )?;
        return Ok(Outcome::Done);
    }
    let title = group.title();
    let line = match (wish, changed) {
        (Wish::Rest, true) => format!(
            "{title} rests: no elections, switchovers or cuts until `rocketmq-ha resume`; a master that dies is only restarted in place"
        ),
        (Wish::Rest, false) => format!("{title} rests already"),
        (Wish::GoOn, true) => format!("{title} goes on"),
        (Wish::GoOn, false) => format!("{title} does not rest"),
    };
    writeln!(out, "{line}")?;
    Ok(Outcome::Done)
}

/// Nobody would read the request there.
fn unreadable(group: &Group) -> Option<String> {
    group.requests().is_none().then(|| group.trouble())?
}
