//! etcd as it was: taken while it runs, and put back later, so that the API's history goes backwards.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{READY_LIMIT, RealApi};
use crate::clock::{Deadline, LOOK_AGAIN};
use crate::process::Process;

/// Until every thread of a process that was told to stop stands still.
const STILL_LIMIT: Duration = Duration::from_secs(10);

/// etcd's files at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(PathBuf);

impl RealApi {
    /// Copies etcd's files between two of its instructions: what a kill at that moment would have left, which etcd takes
    /// for its own at the next start. Clients notice a pause of some 100 ms.
    ///
    /// # Errors
    /// When etcd does not run, or the copy fails.
    pub async fn snapshot(&mut self, name: &str) -> Result<Snapshot> {
        let snapshot = self.folder.join(format!("snapshot-{name}"));
        let from = self.etcd_folder();
        let etcd = self.etcd()?;
        etcd.freeze()?;
        let copied = match stands_still(etcd).await {
            Ok(()) => copy_folder(&from, &snapshot),
            Err(error) => Err(error),
        };
        etcd.thaw()?;
        copied?;
        Ok(Snapshot(snapshot))
    }

    /// Kills both, gives etcd the files of then, and starts both. Back when the API answers; it has forgotten all that
    /// was written since, and gives its versions a second time.
    ///
    /// # Errors
    /// When the files cannot be put back, or the API does not answer within [`READY_LIMIT`].
    pub async fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        for process in [&mut self.server, &mut self.etcd].into_iter().flatten() {
            process.kill().await?;
        }
        let folder = self.etcd_folder();
        std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
        copy_folder(&snapshot.0, &folder)?;
        self.start_etcd()?;
        self.start_server()?;
        self.ready(READY_LIMIT).await
    }
}

/// The signal has reached one thread when `kill` returns; the others stop a little later.
async fn stands_still(process: &Process) -> Result<()> {
    let deadline = Deadline::after(STILL_LIMIT);
    while !all_threads_stopped(process.pid()) {
        if deadline.is_over() {
            bail!("stop {}: a thread runs on", process.name());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

fn all_threads_stopped(pid: i32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    threads.into_iter().flatten().flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state follows the name, which may hold anything, in parentheses. A thread that is gone does not run.
        stat.rsplit_once(')')
            .is_none_or(|(_, rest)| rest.trim_start().starts_with(['T', 't', 'Z', 'X']))
    })
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    let entries = std::fs::read_dir(from).with_context(|| format!("read {}", from.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", from.display()))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_folder(&source, &target)?;
        } else {
            std::fs::copy(&source, &target)
                .with_context(|| format!("copy {}", source.display()))?;
        }
    }
    Ok(())
}
