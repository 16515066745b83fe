//! Tells when files may have changed.
//!
//! A mounted ConfigMap or Secret is swapped as a whole by renaming the link `..data` beside the file, so the folder is
//! watched, not the file. Notifications are only hints: every hint, and a slow clock where hints are lost (network file
//! systems, no inotify watches left), leads to reading the files again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::warn;

/// How often a file is read without a hint.
const REREAD: Duration = Duration::from_secs(10);

/// How long a writer may take between its first and last step, such as truncating and filling the file.
const SETTLE: Duration = Duration::from_millis(50);

/// Whether the last look at the files found what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Sound,
    Failed,
}

/// Watches the folders of some files.
pub(crate) struct Hints {
    paths: Vec<PathBuf>,
    hint: mpsc::Sender<()>,
    hints: mpsc::Receiver<()>,
    /// Watches as long as it lives; none where that is impossible.
    watcher: Option<RecommendedWatcher>,
}

impl Hints {
    /// Make this before the first look: a change in between leaves a hint.
    pub(crate) fn new(paths: Vec<PathBuf>) -> Self {
        let (hint, hints) = mpsc::channel(1);
        let watcher = watcher(&paths, hint.clone())
            .inspect_err(|error| {
                warn!(?paths, %error, reread = ?REREAD, "no notifications for files, re-reading only");
            })
            .ok();
        Self {
            paths,
            hint,
            hints,
            watcher,
        }
    }

    /// Waits until it is time for another look.
    pub(crate) async fn next(&mut self, last: Look) {
        if timeout(REREAD, self.hints.recv()).await.is_ok() {
            sleep(SETTLE).await;
            while self.hints.try_recv().is_ok() {}
        } else if self.watcher.is_none() || last == Look::Failed {
            // A folder may have come, or may be another one.
            self.watcher = watcher(&self.paths, self.hint.clone()).ok();
        }
    }
}

fn watcher(paths: &[PathBuf], hint: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !is_mere_reading(event.kind)) {
            // A full channel holds a hint already.
            let _ = hint.try_send(());
        }
    })?;
    for path in paths {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

/// Our own reads are events too, and must not lead to the next read.
fn is_mere_reading(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}
