//! One run's folder: everything a run writes, gone when it ends.

use std::fmt::Write as _;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// Waits for the end of its input, which is our end, and then removes the folder. The processes of the
/// run die at the same moment and may still write, so it tries for ten seconds.
const JANITOR: &str = "cat >/dev/null; n=0; \
    until rm -rf -- \"$1\" 2>/dev/null || [ $n -ge 50 ]; do n=$((n+1)); sleep 0.2; done";

/// What happens to the folder when the run is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    /// Removed, also when the run is killed.
    Remove,
    /// Left for people to look at.
    Keep,
}

/// A private temporary folder, removed on drop, and by a small janitor process when the run is
/// SIGKILLed and nothing is dropped.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    janitor: Option<Child>,
}

impl RunDir {
    /// Creates it in the system's temporary folder, for this user only.
    ///
    /// # Errors
    /// When it cannot be created, or no `sh` can be run.
    pub fn create(afterwards: Afterwards) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("rocketmq-ha-{}", random_word()?));
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("create run folder {}", path.display()))?;
        let janitor = match afterwards {
            Afterwards::Remove => Some(janitor(&path)?),
            Afterwards::Keep => None,
        };
        Ok(Self { path, janitor })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder in it, created with what leads to it.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn folder(&self, name: impl AsRef<Path>) -> Result<PathBuf> {
        let folder = self.path.join(name);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("create folder {}", folder.display()))?;
        Ok(folder)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        let Some(mut janitor) = self.janitor.take() else {
            return;
        };
        // `wait` closes the janitor's input first: it removes the folder and ends.
        if let Err(error) = janitor.wait() {
            tracing::warn!(folder = %self.path.display(), %error, "run folder not removed");
        }
    }
}

fn janitor(folder: &Path) -> Result<Child> {
    Command::new("sh")
        .args(["-c", JANITOR, "sh"])
        .arg(folder)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A Ctrl-C at the terminal must not end it before us.
        .process_group(0)
        .spawn()
        .context("start the janitor of the run folder")
}

/// Eight random hexadecimal digits.
pub(crate) fn random_word() -> Result<String> {
    let mut bytes = [0_u8; 4];
    getrandom::fill(&mut bytes).context("read random bytes")?;
    let mut word = String::new();
    for byte in bytes {
        write!(word, "{byte:02x}").context("format random bytes")?;
    }
    Ok(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_run_leaves_no_folder() {
        let run = RunDir::create(Afterwards::Remove).unwrap();
        let path = run.path().to_owned();
        std::fs::write(run.folder("a/b").unwrap().join("file"), "x").unwrap();
        assert!(path.join("a/b/file").exists());
        drop(run);
        assert!(!path.exists());
    }

    #[test]
    fn a_kept_run_stays() {
        let run = RunDir::create(Afterwards::Keep).unwrap();
        let path = run.path().to_owned();
        drop(run);
        assert!(path.exists());
        std::fs::remove_dir_all(path).unwrap();
    }
}
