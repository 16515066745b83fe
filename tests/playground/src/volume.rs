//! A volume of its own for a member, small enough to be filled: an ext4 in a file, mounted at a folder.
//!
//! As on every disk, room is given page by page to the files that a broker maps into its memory: a broker that writes to a
//! page for which there is none left gets a signal instead of an error. (A tmpfs will not do: there even reading a page that
//! was never written takes room.)
//!
//! Needs root, loop devices and `mkfs.ext4`. It is unmounted when it is dropped, and by a small process of its own when
//! nothing is dropped any more.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Waits for the end of its input, which is our end. Lazily: a process that dies at the same moment may still hold a file.
const JANITOR: &str = "cat >/dev/null; umount --lazy -- \"$1\"";

/// One write of a filler.
const PIECE: usize = 4096;

/// A mounted volume.
#[derive(Debug)]
pub struct Volume {
    path: PathBuf,
    janitor: Child,
}

/// In sbin, which is not in everybody's `PATH`.
const MKFS: &str = "/usr/sbin/mkfs.ext4";

/// Why nothing can be mounted here; nothing if it can.
#[must_use]
pub fn lacking() -> Option<String> {
    if !Path::new("/dev/loop-control").exists() {
        return Some("there are no loop devices".to_owned());
    }
    if !tried_out(Command::new(MKFS).arg("-V")) {
        return Some(format!("{MKFS} is not installed"));
    }
    let tried = Command::new("unshare")
        .args(["--mount", "mount", "-t", "tmpfs", "tmpfs", "/tmp"])
        .output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Some(format!("no volume can be mounted: {}", said.trim()))
        }
        Err(error) => Some(format!("run unshare: {error}")),
    }
}

impl Volume {
    /// Mounts one with room for this many bytes at a folder, which is made.
    ///
    /// # Errors
    /// When it cannot be mounted: see [`lacking`].
    pub fn mount(path: &Path, bytes: u64) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("create {}", path.display()))?;
        // First who takes it away, then what is taken away.
        let mut janitor = Command::new("sh")
            .args(["-c", JANITOR, "sh"])
            .arg(path)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A Ctrl-C at the terminal must not end it before us.
            .process_group(0)
            .spawn()
            .context("start the janitor of a volume")?;
        match made(path, bytes) {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                janitor,
            }),
            Err(error) => {
                janitor.wait().context("wait for the janitor of a volume")?;
                Err(error.context(format!("mount a volume at {}", path.display())))
            }
        }
    }

    /// Fills it to the last page, or leaves this many bytes. What it held stays.
    ///
    /// # Errors
    /// When it has less room than that, or the filler cannot be written.
    pub fn fill(&self, leave: u64) -> Result<()> {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(self.filler())
            .context("open the filler of a volume")?;
        while leave == 0 || self.room()? > leave {
            match file.write_all(&[0x5a; PIECE]) {
                Ok(()) => {}
                Err(full) if full.kind() == ErrorKind::StorageFull => {
                    ensure!(leave == 0, "fill a volume: there is no room left");
                    break;
                }
                Err(error) => return Err(error).context("fill a volume"),
            }
        }
        Ok(())
    }

    /// Gives the room back that [`Self::fill`] took.
    ///
    /// # Errors
    /// When the filler cannot be removed.
    pub fn make_room(&self) -> Result<()> {
        fs::remove_file(self.filler()).context("remove the filler of a volume")
    }

    /// Bytes that can still be written.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn room(&self) -> Result<u64> {
        let told = nix::sys::statvfs::statvfs(&self.path);
        let told = told.with_context(|| format!("ask for the room in {}", self.path.display()))?;
        Ok(told.blocks_available().saturating_mul(told.fragment_size()))
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }
}

fn made(path: &Path, bytes: u64) -> Result<()> {
    let image = path.with_extension("image");
    File::create(&image)
        .and_then(|file| file.set_len(bytes))
        .context("make the file of a volume")?;
    done(Command::new(MKFS).args(["-q", "-F", "-m", "0"]).arg(&image))?;
    done(
        Command::new("mount")
            .args(["-o", "loop"])
            .arg(&image)
            .arg(path),
    )
}

fn done(command: &mut Command) -> Result<()> {
    let output = command.output();
    let output = output.with_context(|| format!("run {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", said.trim());
    Ok(())
}

fn tried_out(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

impl Drop for Volume {
    fn drop(&mut self) {
        // `wait` closes the janitor's input first: it unmounts and ends.
        if let Err(error) = self.janitor.wait() {
            tracing::warn!(volume = %self.path.display(), %error, "volume not unmounted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_dir::{Afterwards, RunDir};

    #[test]
    fn a_volume_is_filled_and_gone_when_it_is_dropped() {
        if let Some(why) = lacking() {
            eprintln!("SKIPPED: {why}");
            return;
        }
        let run = RunDir::create(Afterwards::Remove).unwrap();
        let path = run.path().join("volume");
        let volume = Volume::mount(&path, 16 << 20).unwrap();
        volume.fill(1 << 20).unwrap();
        assert!(volume.room().unwrap() <= 1 << 20 && volume.room().unwrap() > 0);
        volume.fill(0).unwrap();
        let refused = fs::write(path.join("one-more"), vec![1; 1 << 20]).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::StorageFull);
        volume.make_room().unwrap();
        fs::write(path.join("one-more"), vec![1; 1 << 20]).unwrap();
        drop(volume);
        assert!(path.exists() && !path.join("one-more").exists());
    }
}
