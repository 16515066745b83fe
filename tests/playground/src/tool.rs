//! An outside program (Maven, apt-get) run to its end, under a deadline, with its output in a file.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::clock::Deadline;
use crate::process::{Process, ProcessSpec, Spawner, last_lines};
use crate::timeline::Timeline;

/// How often it is looked how far a download or a build is.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// After so many looks without news it is said again: people shall see that it lives.
const PATIENCE: u32 = 8;

/// Runs `spec` to its end. `progress` is called every two seconds with the output file; `timeline` says what it
/// tells when it is news.
///
/// # Errors
/// When it cannot be started, fails (with the end of its output), or is not done within `limit`.
pub(crate) async fn run(
    spawner: &Spawner,
    spec: &ProcessSpec,
    limit: Duration,
    timeline: &Timeline,
    progress: impl Fn(&Path) -> String,
) -> Result<()> {
    let mut process: Process = spawner.start(spec)?;
    let deadline = Deadline::after(limit);
    let mut said = String::new();
    let mut silent = 0;
    loop {
        if let Ok(status) = process.wait_for_end(LOOK_EVERY).await {
            if status.success() {
                return Ok(());
            }
            bail!(
                "run {}: {status}; the end of its output:\n{}",
                spec.name,
                last_lines(&spec.output, 15)
            );
        }
        if deadline.is_over() {
            bail!("run {}: not done after {limit:?}", spec.name);
        }
        let now = progress(&spec.output);
        silent += 1;
        if now != said || silent >= PATIENCE {
            timeline.say(&spec.name, &now);
            said = now;
            silent = 0;
        }
    }
}
