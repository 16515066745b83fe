//! Watches the operator's broker.conf.
//!
//! A ConfigMap is swapped as a whole by renaming the link `..data` beside the file, so the folder is watched, not the
//! file. Notifications are only hints: every hint, and a slow clock where hints are lost (network file systems, no inotify
//! watches left, a folder replaced), leads to reading the file again, and only other bytes count as a change.

use crate::broker_conf::{BaseConf, ConfError};
use crate::properties::MAX_BYTES;
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

/// How often the file is read without a hint. A changed base is an operator's act: a minute late is soon enough.
const REREAD: Duration = Duration::from_secs(60);

/// How long a writer may take between its first and last step, such as truncating and filling the file.
const SETTLE: Duration = Duration::from_millis(100);

/// What the base says now, and what it said when it was last sound.
#[derive(Clone, Debug)]
pub struct Reading {
    latest: Result<Arc<BaseConf>, Arc<ConfError>>,
    good: Option<Arc<BaseConf>>,
}

impl Reading {
    /// The file as it is now.
    pub fn latest(&self) -> Result<&Arc<BaseConf>, &Arc<ConfError>> {
        self.latest.as_ref()
    }

    /// The newest sound one: what a running member goes on with. None if there never was one.
    pub fn last_good(&self) -> Option<&Arc<BaseConf>> {
        self.good.as_ref()
    }
}

/// The watching itself; [`BaseWatch::run`] is a task of the caller's.
#[derive(Debug)]
pub struct BaseWatch {
    path: PathBuf,
    seen: Seen,
    readings: watch::Sender<Reading>,
    hints: mpsc::Receiver<()>,
    reread: Duration,
    /// Dropped, it stops to notify. None if the system gave no watch.
    _watcher: Option<RecommendedWatcher>,
}

/// The bytes of the last read, or what the system said about it.
type Seen = Result<Vec<u8>, String>;

impl BaseWatch {
    /// Reads the base once and begins to watch it.
    pub fn new(path: &Path) -> (Self, watch::Receiver<Reading>) {
        let (hint, hints) = mpsc::channel(1);
        // Watch first, then read: a change in between leaves a hint.
        let watcher = match watcher(path, hint) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                warn!(path = %path.display(), %error, reread = ?REREAD, "no notifications for broker.conf, re-reading only");
                None
            }
        };
        let (seen, latest) = read(path);
        let good = latest.as_ref().ok().cloned();
        let (readings, receiver) = watch::channel(Reading { latest, good });
        let path = path.to_owned();
        (
            Self {
                path,
                seen,
                readings,
                hints,
                reread: REREAD,
                _watcher: watcher,
            },
            receiver,
        )
    }

    /// Publishes every change until nobody listens any more.
    pub async fn run(mut self) {
        loop {
            tokio::select! {
                () = self.readings.closed() => return,
                () = hinted(&mut self.hints, self.reread) => {}
            }
            self.look().await;
        }
    }

    async fn look(&mut self) {
        let path = self.path.clone();
        let Ok((seen, latest)) = tokio::task::spawn_blocking(move || read(&path)).await else {
            return;
        };
        if seen == self.seen {
            return;
        }
        self.seen = seen;
        info!(path = %self.path.display(), sound = latest.is_ok(), "broker.conf changed");
        self.readings.send_modify(|reading| {
            if let Ok(base) = &latest {
                reading.good = Some(Arc::clone(base));
            }
            reading.latest = latest;
        });
    }
}

/// Waits for a hint and for its writer to be done, or for the slow clock.
async fn hinted(hints: &mut mpsc::Receiver<()>, reread: Duration) {
    match timeout(reread, hints.recv()).await {
        Ok(Some(())) => {
            sleep(SETTLE).await;
            while hints.try_recv().is_ok() {}
        }
        // No watcher: its sender is gone.
        Ok(None) => sleep(reread).await,
        Err(_elapsed) => {}
    }
}

fn watcher(path: &Path, hint: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !is_mere_reading(event.kind)) {
            // A full channel holds a hint already.
            let _ = hint.try_send(());
        }
    })?;
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Our own reads are events too, and must not lead to the next read.
fn is_mere_reading(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

fn read(path: &Path) -> (Seen, Result<Arc<BaseConf>, Arc<ConfError>>) {
    match read_bytes(path) {
        Ok(bytes) => {
            let base = BaseConf::parse(path, &bytes);
            (Ok(bytes), base.map(Arc::new).map_err(Arc::new))
        }
        Err(source) => {
            let said = source.to_string();
            let path = path.to_owned();
            (Err(said), Err(Arc::new(ConfError::Read { path, source })))
        }
    }
}

/// At most one byte more than the parser takes, which it then refuses.
fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe would hold us until somebody writes.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    let limit = u64::try_from(MAX_BYTES)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const GOOD: &str = "brokerClusterName=c\nbrokerName=one\n";
    const OTHER: &str = "brokerClusterName=c\nbrokerName=two\n";

    /// Waits until the reading is as wanted.
    async fn until(
        readings: &mut watch::Receiver<Reading>,
        wanted: impl FnMut(&Reading) -> bool,
    ) -> Reading {
        let waited = timeout(Duration::from_secs(8), readings.wait_for(wanted)).await;
        waited.expect("the change was not seen").unwrap().clone()
    }

    fn name(reading: &Reading) -> Option<&str> {
        reading.latest().ok().map(|base| base.broker_name())
    }

    #[tokio::test]
    async fn sees_a_config_map_swapped_by_its_link() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("..1", GOOD), ("..2", OTHER)] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("broker.conf"), text).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/broker.conf", at("broker.conf")).unwrap();
        let (watch, mut readings) = BaseWatch::new(&at("broker.conf"));
        assert_eq!(name(&readings.borrow()), Some("one"));
        let task = tokio::spawn(watch.run());
        symlink("..2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        until(&mut readings, |reading| name(reading) == Some("two")).await;
        drop(readings);
        timeout(Duration::from_secs(8), task)
            .await
            .expect("ends when nobody listens")
            .unwrap();
    }

    #[tokio::test]
    async fn keeps_the_last_good_one_while_the_file_is_wrong_or_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.conf");
        fs::write(&path, GOOD).unwrap();
        let (watch, mut readings) = BaseWatch::new(&path);
        let task = tokio::spawn(watch.run());
        fs::write(&path, format!("{GOOD}listenPort=1 \n")).unwrap();
        let reading = until(&mut readings, |reading| reading.latest().is_err()).await;
        assert!(
            reading
                .latest()
                .unwrap_err()
                .to_string()
                .contains("broker.conf:3: ")
        );
        assert_eq!(
            reading.last_good().map(|base| base.broker_name()),
            Some("one")
        );
        fs::remove_file(&path).unwrap();
        let gone = |reading: &Reading| matches!(reading.latest(), Err(error) if matches!(**error, ConfError::Read { .. }));
        assert!(until(&mut readings, gone).await.last_good().is_some());
        fs::write(&path, OTHER).unwrap();
        let reading = until(&mut readings, |reading| name(reading) == Some("two")).await;
        assert_eq!(
            reading.last_good().map(|base| base.broker_name()),
            Some("two")
        );
        task.abort();
    }

    #[tokio::test]
    async fn sees_a_change_without_notifications() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.conf");
        fs::write(&path, GOOD).unwrap();
        let (mut watch, mut readings) = BaseWatch::new(&path);
        watch._watcher = None;
        watch.reread = Duration::from_millis(5);
        let task = tokio::spawn(watch.run());
        fs::write(&path, OTHER).unwrap();
        until(&mut readings, |reading| name(reading) == Some("two")).await;
        task.abort();
    }

    #[tokio::test]
    async fn reading_the_file_is_no_hint_to_read_it_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.conf");
        fs::write(&path, GOOD).unwrap();
        let (mut watch, _readings) = BaseWatch::new(&path);
        while timeout(SETTLE, watch.hints.recv()).await.is_ok() {}
        watch.look().await;
        let hint = timeout(SETTLE, watch.hints.recv()).await;
        assert!(hint.is_err(), "the watch would never rest");
        fs::write(&path, OTHER).unwrap();
        let hint = timeout(Duration::from_secs(8), watch.hints.recv()).await;
        assert_eq!(hint, Ok(Some(())), "the watch does not work at all");
    }

    #[test]
    fn what_is_no_readable_file_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let (watch, readings) = BaseWatch::new(folder.path());
        let reading = readings.borrow().clone();
        assert!(reading.last_good().is_none() && watch.seen.is_err());
        let message = reading.latest().unwrap_err().to_string();
        assert!(
            message.contains(&folder.path().display().to_string()),
            "{message}"
        );
        let long = folder.path().join("long");
        fs::write(&long, vec![b'#'; MAX_BYTES + 10]).unwrap();
        let message = read(&long).1.unwrap_err().to_string();
        assert!(message.contains("is it the right file?"), "{message}");
    }
}
