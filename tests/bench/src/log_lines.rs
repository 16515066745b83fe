//! What a member's programs wrote, with the time of each line on this machine's clock.

use anyhow::{Context, Result};
use jiff::Timestamp;
use playground::Member;
use std::fs;

/// One line of an agent's log.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// When it was written.
    pub(crate) at: Timestamp,
    /// The rest of it.
    pub(crate) text: String,
}

/// The agent's lines since a moment.
pub(crate) fn agent_since(member: &Member, since: Timestamp) -> Result<Vec<Line>> {
    let path = member.home().join("agent.out");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let lines = text.lines().filter_map(|line| {
        let (at, text) = line.split_once(char::is_whitespace)?;
        Some(Line {
            at: at.parse().ok()?,
            text: text.to_owned(),
        })
    });
    Ok(lines.filter(|line| line.at >= since).collect())
}

/// The stages of the promotion to `epoch` as the new master's agent measured them, in milliseconds.
pub(crate) fn stages(lines: &[Line], epoch: u64) -> Result<Vec<(String, f64)>> {
    let wanted = format!("promotion complete epoch={epoch} ");
    let line = lines.iter().find(|line| line.text.contains(&wanted));
    let line = line.with_context(|| format!("find the promotion to term {epoch} in the log"))?;
    let (_, stages) = line
        .text
        .split_once("stages=\"")
        .context("read the stages")?;
    let (stages, _) = stages.split_once('"').context("read the stages")?;
    let parse = |stage: &str| {
        let (name, ms) = stage.split_once('=')?;
        Some((name.to_owned(), ms.strip_suffix("ms")?.parse().ok()?))
    };
    Ok(stages.split(' ').filter_map(parse).collect())
}

/// How long the JVM that was started last took until its port was open, in milliseconds, as its launcher saw it.
pub(crate) fn jvm_start(member: &Member) -> Result<f64> {
    let path = member.home().join("launcher.out");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let line = text.lines().rfind(|line| line.contains("broker listens"));
    let (_, ms) = line
        .and_then(|line| line.split_once("after_ms="))
        .context("find the JVM's start")?;
    ms.trim().parse().context("read the JVM's start")
}
