//! What a process costs, from /proc.

use std::fs;

use anyhow::{Context, Result};

/// Ticks per second in /proc's times, the same on every Linux.
const TICKS: f64 = 100.0;

/// Of one process, or of several together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) rss_mib: f64,
    /// Seconds of processor time since its start, user and system.
    pub(crate) cpu: f64,
}

/// Of one process.
pub(crate) fn cost(pid: i32) -> Result<Cost> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("read process {pid}"))?;
    let rss = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .and_then(|l| l.split_whitespace().next());
    let rss_kib: f64 = rss.context("read VmRSS")?.parse()?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("read stat")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks =
        |index: usize| -> Result<f64> { Ok(fields.get(index).context("read stat")?.parse()?) };
    Ok(Cost {
        rss_mib: rss_kib / 1024.0,
        cpu: (ticks(11)? + ticks(12)?) / TICKS,
    })
}

/// Of a process and its children, but not theirs.
pub(crate) fn cost_of_family(pid: i32) -> Result<Cost> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let mut sum = cost(pid)?;
    for child in children.split_whitespace() {
        let of_child = cost(child.parse().context("read the children")?)?;
        sum.rss_mib += of_child.rss_mib;
        sum.cpu += of_child.cpu;
    }
    Ok(sum)
}
