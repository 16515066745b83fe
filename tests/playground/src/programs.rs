//! Our own programs, agent, launcher and httpsite: built when needed, so that `cargo demo` is one command.

pub(crate) mod next_version;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{ProcessSpec, Spawner};
use crate::timeline::Timeline;
use crate::tool;

/// Names a folder with finished programs; nothing is built then.
pub const PROGRAMS_VARIABLE: &str = "ROCKETMQ_HA_PROGRAMS";

/// The workspace, as it was when this was compiled.
const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// From nothing, on two busy cores.
const BUILD_LIMIT: Duration = Duration::from_secs(20 * 60);

/// Where they are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `rocketmq-ha`.
    pub agent: PathBuf,
    /// `brokerStart`.
    pub launcher: PathBuf,
}

impl Programs {
    /// Those of `$ROCKETMQ_HA_PROGRAMS`, else built by cargo beside this very program: same target folder,
    /// same profile.
    ///
    /// # Errors
    /// When they cannot be built, or the folder lacks one.
    pub async fn get(spawner: &Spawner, folder: &Path, timeline: &Timeline) -> Result<Self> {
        let packages = ["agent", "launcher"];
        Self::in_folder(&built(spawner, folder, timeline, &packages).await?)
    }

    fn in_folder(folder: &Path) -> Result<Self> {
        Ok(Self {
            agent: find(folder, "rocketmq-ha")?,
            launcher: find(folder, "brokerStart")?,
        })
    }
}

/// httpsite's program, found or built as [`Programs::get`] does.
///
/// # Errors
/// When it cannot be built, or the folder lacks it.
pub async fn httpsite(spawner: &Spawner, folder: &Path, timeline: &Timeline) -> Result<PathBuf> {
    let folder = built(spawner, folder, timeline, &["httpsite"]).await?;
    find(&folder, "httpsite")
}

fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let program = folder.join(name);
    if !program.is_file() {
        bail!("find {}: not there", program.display());
    }
    Ok(program)
}

/// The folder with the programs of these packages.
async fn built(
    spawner: &Spawner,
    folder: &Path,
    timeline: &Timeline,
    packages: &[&str],
) -> Result<PathBuf> {
    if let Some(given) = std::env::var_os(PROGRAMS_VARIABLE) {
        return Ok(given.into());
    }
    let own = std::env::current_exe().context("find this program's own file")?;
    let Some((target, profile)) = target_and_profile(&own) else {
        bail!(
            "find the target folder of {}: not in debug or release; set {PROGRAMS_VARIABLE} to \
             the folder with rocketmq-ha, brokerStart and httpsite",
            own.display()
        );
    };
    let place = (Path::new(WORKSPACE), target.as_path(), profile);
    build(spawner, folder, timeline, packages, place).await?;
    Ok(target.join(profile))
}

/// `…/target/debug/demo` and `…/target/debug/deps/e2e-0123` are both in `…/target`, profile `debug`.
fn target_and_profile(own: &Path) -> Option<(PathBuf, &'static str)> {
    own.ancestors().skip(1).take(2).find_map(|folder| {
        let profile = match folder.file_name()?.to_str()? {
            "debug" => "debug",
            "release" => "release",
            _ => return None,
        };
        Some((folder.parent()?.to_owned(), profile))
    })
}

async fn build(
    spawner: &Spawner,
    folder: &Path,
    timeline: &Timeline,
    packages: &[&str],
    (workspace, target, profile): (&Path, &Path, &str),
) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut spec = ProcessSpec::new(
        "cargo build",
        Path::new(&cargo),
        workspace,
        folder.join("cargo.log"),
    )
    .arguments(["build"])
    .arguments(packages.iter().flat_map(|package| ["--package", package]))
    .arguments(["--bins", "--target-dir"])
    .arguments([target]);
    if profile == "release" {
        spec = spec.arguments(["--release"]);
    }
    timeline.say("cargo build", packages.join(" and "));
    tool::run(spawner, &spec, BUILD_LIMIT, timeline, |output| {
        let text = std::fs::read_to_string(output).unwrap_or_default();
        let compiled = text
            .lines()
            .filter(|line| line.contains("Compiling "))
            .count();
        format!("{compiled} packages so far")
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_is_told_by_the_own_path() {
        let of = |path: &str| target_and_profile(Path::new(path));
        assert_eq!(of("/t/debug/demo"), Some(("/t".into(), "debug")));
        assert_eq!(of("/t/release/deps/e2e-0f"), Some(("/t".into(), "release")));
        assert_eq!(of("/usr/bin/demo"), None);
    }

    #[test]
    fn a_folder_without_the_programs_is_an_error() {
        let error = Programs::in_folder(Path::new("/nowhere")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/rocketmq-ha"));
    }
}
