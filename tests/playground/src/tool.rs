//! An outside program (Maven, apt-get) run to its end, under a deadline, with its output in a file.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::clock::Deadline;
use crate::process::{Process, ProcessSpec, Spawner, last_lines};

/// How often somebody who waits for a download is told how far it is.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// Runs `spec` to its end. `tell` is called every two seconds with the output file, to say how far it is.
///
/// # Errors
/// When it cannot be started, fails (with the end of its output), or is not done within `limit`.
pub(crate) async fn run(
    spawner: &Spawner,
    spec: &ProcessSpec,
    limit: Duration,
    tell: impl Fn(&Path),
) -> Result<()> {
    let mut process: Process = spawner.start(spec)?;
    let deadline = Deadline::after(limit);
    loop {
        if let Ok(status) = process.wait_for_end(TELL_EVERY).await {
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
        tell(&spec.output);
    }
}
