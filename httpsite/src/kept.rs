//! The last good lists on disk, by option: a restart while all sources are away then goes on with them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use tracing::warn;

use crate::list::List;
use crate::list_name::ListName;
use crate::name_server::{HostNames, parse_servers};

/// A folder with one file per list.
#[derive(Clone, Debug)]
pub struct Kept {
    folder: PathBuf,
    names: HostNames,
    wanted: Arc<watch::Sender<BTreeMap<ListName, String>>>,
}

impl Kept {
    /// The lists in `folder`.
    pub fn new(folder: PathBuf, names: HostNames) -> Self {
        Self {
            folder,
            names,
            wanted: Arc::new(watch::Sender::new(BTreeMap::new())),
        }
    }

    /// The list that was kept; none if there is none that makes sense.
    pub fn read(&self, name: &ListName) -> Option<List> {
        let path = self.path(name);
        let text = match read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(path = %path.display(), %error, "a kept list cannot be read; it is ignored");
                return None;
            }
        };
        match parse_servers(&text, self.names) {
            Ok(servers) => List::new(servers),
            Err(error) => {
                warn!(path = %path.display(), %error, "a kept list makes no sense; it is ignored");
                None
            }
        }
    }

    /// Has the list written soon.
    pub fn write(&self, name: &ListName, list: &List) {
        self.wanted.send_if_modified(|wanted| {
            let same = wanted.get(name).is_some_and(|line| line == list.line());
            if !same {
                wanted.insert(name.clone(), list.line().to_owned());
            }
            !same
        });
    }

    /// Writes what is to be written; for ever.
    pub async fn run(self) {
        let mut wanted = self.wanted.subscribe();
        let mut written: BTreeMap<ListName, String> = BTreeMap::new();
        loop {
            let lines = wanted.borrow_and_update().clone();
            for (name, line) in lines {
                if written.get(&name) == Some(&line) {
                    continue;
                }
                let (path, text) = (self.path(&name), line.clone());
                let done = tokio::task::spawn_blocking(move || replace(&path, &text)).await;
                match done {
                    Ok(Ok(())) => {
                        written.insert(name, line);
                    }
                    Ok(Err(error)) => {
                        warn!(folder = %self.folder.display(), %error, "a list cannot be kept on disk: is --keep-dir writable?");
                    }
                    Err(_) => return,
                }
            }
            if wanted.changed().await.is_err() {
                return;
            }
        }
    }

    fn path(&self, name: &ListName) -> PathBuf {
        self.folder.join(format!("{name}.list"))
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(64 * 1024)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// Whole or not at all, also when the power fails.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Duration, sleep, timeout};

    #[tokio::test]
    async fn a_list_survives_on_disk_and_nonsense_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::new(folder.path().to_owned(), HostNames::Refused);
        let name: ListName = "nsaddr".parse().unwrap();
        assert_eq!(kept.read(&name), None);
        let servers = parse_servers("10.0.0.1:9876", HostNames::Refused).unwrap();
        let list = List::new(servers).unwrap();
        let task = tokio::spawn(kept.clone().run());
        kept.write(&name, &list);
        let wait = async {
            while kept.read(&name).as_ref() != Some(&list) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(Duration::from_secs(5), wait).await.unwrap();
        task.abort();
        for nonsense in ["", "<html>"] {
            fs::write(kept.path(&name), nonsense).unwrap();
            assert_eq!(kept.read(&name), None);
        }
    }
}
