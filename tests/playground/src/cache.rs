//! The cache folder: what survives a run on purpose (jars, port locks).

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use crate::clock::{Deadline, LOOK_AGAIN};

/// Names the cache folder; wins over `XDG_CACHE_HOME` and `HOME`.
pub const CACHE_VARIABLE: &str = "ROCKETMQ_HA_CACHE";

/// The folder that runs share: RocketMQ's jars, and the locks that keep their ports apart.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The user's cache: `$ROCKETMQ_HA_CACHE`, else `$XDG_CACHE_HOME/rocketmq-ha`, else
    /// `$HOME/.cache/rocketmq-ha`. Creates it.
    ///
    /// # Errors
    /// When none of the three variables is set, or the folder cannot be created.
    pub fn of_user() -> Result<Self> {
        let folder = chosen_folder(|name| std::env::var_os(name).map(PathBuf::from));
        let Some(folder) = folder else {
            bail!(
                "find a cache folder: neither {CACHE_VARIABLE}, XDG_CACHE_HOME nor HOME is set; \
                 set {CACHE_VARIABLE} to a folder that may hold some 300 MiB"
            );
        };
        Self::at(&folder)
    }

    /// A cache in `folder`, created when absent.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub fn at(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("create cache folder {}", folder.display()))?;
        let folder = folder
            .canonicalize()
            .with_context(|| format!("resolve cache folder {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Keeps all other runs from making `what` until the lock is dropped. `waiting` is called once if another run has it.
    ///
    /// # Errors
    /// When the lock's file cannot be opened, or another run holds it for longer than `limit`.
    pub(crate) async fn lock(
        &self,
        what: &str,
        limit: Duration,
        waiting: impl FnOnce(),
    ) -> Result<Flock<File>> {
        let path = self.folder.join(format!("{what}.lock"));
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("open lock {}", path.display()))?;
        let deadline = Deadline::after(limit);
        let mut waiting = Some(waiting);
        loop {
            file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                Err((file, _)) => file,
            };
            if let Some(tell) = waiting.take() {
                tell();
            }
            if deadline.is_over() {
                bail!("lock {}: held by another run for {limit:?}", path.display());
            }
            tokio::time::sleep(LOOK_AGAIN * 10).await;
        }
    }
}

fn chosen_folder(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|path| !path.as_os_str().is_empty());
    set(CACHE_VARIABLE)
        .or_else(|| {
            // The XDG specification says to ignore a relative path.
            set("XDG_CACHE_HOME")
                .filter(|path| path.is_absolute())
                .map(|path| path.join("rocketmq-ha"))
        })
        .or_else(|| set("HOME").map(|path| path.join(".cache/rocketmq-ha")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(pairs: &[(&str, &str)]) -> Option<PathBuf> {
        chosen_folder(|name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| PathBuf::from(value))
        })
    }

    #[test]
    fn our_own_variable_wins_then_xdg_then_home() {
        let all = [
            (CACHE_VARIABLE, "/own"),
            ("XDG_CACHE_HOME", "/xdg"),
            ("HOME", "/home/u"),
        ];
        assert_eq!(choose(&all), Some("/own".into()));
        assert_eq!(choose(&all[1..]), Some("/xdg/rocketmq-ha".into()));
        assert_eq!(choose(&all[2..]), Some("/home/u/.cache/rocketmq-ha".into()));
        assert_eq!(choose(&[]), None);
    }

    #[test]
    fn empty_and_relative_values_are_ignored() {
        let values = [
            (CACHE_VARIABLE, ""),
            ("XDG_CACHE_HOME", "relative"),
            ("HOME", "/home/u"),
        ];
        assert_eq!(choose(&values), Some("/home/u/.cache/rocketmq-ha".into()));
    }
}
