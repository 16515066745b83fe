//! Our programs as the next version of them will be, as far as that can be known today: the same source under another
//! version number, built from a copy of the workspace.

use std::path::Path;

use anyhow::{Context, Result};

use super::{Programs, WORKSPACE, build, target_and_profile};
use crate::process::Spawner;
use crate::timeline::Timeline;

/// In the target folder: the copy, and what is built of it.
const FOLDER: &str = "next-version";

/// What is no source.
const LEFT_OUT: [&str; 2] = ["target", ".git"];

/// Builds agent and launcher of the next version beside this very program. The first time that takes minutes.
///
/// # Errors
/// When the copy cannot be made or built, or this program is not in a target folder.
pub(crate) async fn get(spawner: &Spawner, folder: &Path, timeline: &Timeline) -> Result<Programs> {
    let own = std::env::current_exe().context("find this program's own file")?;
    let (target, profile) = target_and_profile(&own).with_context(|| {
        format!(
            "find the target folder of {}: not in debug or release",
            own.display()
        )
    })?;
    let place = target.join(FOLDER);
    let source = place.join("source");
    copy(Path::new(WORKSPACE), &source, true)?;
    let (packages, target) = (["agent", "launcher"], place.join("target"));
    let place = (source.as_path(), target.as_path(), profile);
    build(spawner, folder, timeline, &packages, place).await?;
    Programs::in_folder(&target.join(profile))
}

/// Files that are as they should be are left alone: cargo goes by their times.
fn copy(from: &Path, to: &Path, top: bool) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    let entries = std::fs::read_dir(from).with_context(|| format!("read {}", from.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", from.display()))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if LEFT_OUT.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if source.is_dir() {
            copy(&source, &target, false)?;
        } else {
            let renumbered = top && entry.file_name() == "Cargo.toml";
            copy_file(&source, &target, renumbered)?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path, renumbered: bool) -> Result<()> {
    let mut content = std::fs::read(from).with_context(|| format!("read {}", from.display()))?;
    if renumbered {
        let text = String::from_utf8(content).context("read Cargo.toml as text")?;
        content = with_next_version(&text)?.into_bytes();
    }
    // Cargo writes the new version into it.
    let kept = to.file_name().is_some_and(|name| name == "Cargo.lock") && to.is_file();
    if kept || std::fs::read(to).is_ok_and(|there| there == content) {
        return Ok(());
    }
    std::fs::write(to, content).with_context(|| format!("write {}", to.display()))
}

/// The first version in it is the workspace's: 0.1.0 becomes 0.2.0.
fn with_next_version(text: &str) -> Result<String> {
    let (before, rest) = text
        .split_once("\nversion = \"")
        .context("find the workspace's version in Cargo.toml")?;
    let (version, after) = rest
        .split_once('"')
        .context("read the workspace's version")?;
    let parts: Vec<&str> = version.split('.').collect();
    let [major, minor, _patch] = parts[..] else {
        anyhow::bail!("read version {version:?}: not three numbers");
    };
    let minor: u32 = minor
        .parse()
        .with_context(|| format!("read version {version:?}"))?;
    let next = minor + 1;
    Ok(format!("{before}\nversion = \"{major}.{next}.0\"{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_version_is_one_minor_up() {
        let text = "[workspace.package]\nversion = \"0.1.7\"\n[x]\ny = { version = \"1\" }\n";
        let next = with_next_version(text).unwrap();
        assert_eq!(next, text.replace("0.1.7", "0.2.0"));
        assert!(with_next_version("[workspace]\n").is_err());
    }
}
