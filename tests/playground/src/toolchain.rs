//! A Java virtual machine and Maven: found, or installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::guard::program_in_path;
use crate::process::{ProcessSpec, Spawner};
use crate::timeline::Timeline;
use crate::tool;

/// 17 is what Debian 12 and Ubuntu 22.04/24.04 have, and what every version of RocketMQ here was seen on;
/// the second is what a system without it has.
const JAVA_PACKAGES: [&str; 2] = ["openjdk-17-jre-headless", "default-jre-headless"];
const MAVEN_PACKAGE: &str = "maven";
const INSTALL_LIMIT: Duration = Duration::from_secs(15 * 60);

/// A `java` that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Java {
    /// The program.
    pub program: PathBuf,
    /// 8, 11, 17, …
    pub major: u32,
}

/// Finds Java: `$JAVA_HOME`, then `PATH`. Installs it when it is missing.
///
/// # Errors
/// When it is missing and cannot be installed; the message is the command that does it.
pub async fn java(spawner: &Spawner, folder: &Path, timeline: &Timeline) -> Result<Java> {
    if let Some(java) = find_java() {
        return Ok(java);
    }
    install(spawner, folder, timeline).await?;
    find_java().context("find java after its installation: none runs")
}

/// Finds Maven in `PATH`. Installs it when it is missing.
///
/// # Errors
/// When it is missing and cannot be installed; the message is the command that does it.
pub async fn maven(spawner: &Spawner, folder: &Path, timeline: &Timeline) -> Result<PathBuf> {
    if let Some(maven) = program_in_path("mvn") {
        return Ok(maven);
    }
    install(spawner, folder, timeline).await?;
    program_in_path("mvn").context("find mvn after its installation: none in PATH")
}

fn find_java() -> Option<Java> {
    let home = std::env::var_os("JAVA_HOME")
        .map(|home| Path::new(&home).join("bin/java"))
        .filter(|program| program.is_file());
    [home, program_in_path("java")]
        .into_iter()
        .flatten()
        .find_map(|program| {
            let output = Command::new(&program)
                .arg("-version")
                .stdin(Stdio::null())
                .output()
                .ok()?;
            let major = major_version(&String::from_utf8_lossy(&output.stderr))?;
            Some(Java { program, major })
        })
}

/// `openjdk version "17.0.15" …` is 17, `java version "1.8.0_402"` is 8.
fn major_version(text: &str) -> Option<u32> {
    let version = text.split('"').nth(1)?;
    let mut numbers = version
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    match (numbers.next()?.ok()?, numbers.next()) {
        (1, Some(Ok(minor))) => Some(minor),
        (major, _) => Some(major),
    }
}

/// Installs Java, and Maven with it when that is missing, too: one command for people, one wait for us.
async fn install(spawner: &Spawner, folder: &Path, timeline: &Timeline) -> Result<()> {
    let [java, other_java] = JAVA_PACKAGES;
    let remedy = format!("apt-get install -y {java} {MAVEN_PACKAGE}");
    let Some(apt) = program_in_path("apt-get") else {
        bail!(
            "find Java and Maven: not installed, and this is no Debian or Ubuntu; install a JDK 17 and Maven \
             with your system's package manager (there it would be: {remedy})"
        );
    };
    if !nix::unistd::geteuid().is_root() {
        bail!("find Java and Maven: not installed; run: sudo {remedy}");
    }
    timeline.say("install", "Java and Maven by apt-get, a minute or two");
    let base = ProcessSpec::new("apt-get", &apt, folder, folder.join("apt-get.log"))
        .variable("DEBIAN_FRONTEND", "noninteractive");
    let update = base.clone().arguments(["-q", "update"]);
    let still = |_: &Path| "still at it".to_owned();
    tool::run(spawner, &update, INSTALL_LIMIT, timeline, still).await?;
    let install = |java: &'static str| {
        let mut packages = vec![java];
        if program_in_path("mvn").is_none() {
            packages.push(MAVEN_PACKAGE);
        }
        base.clone()
            .arguments(["-q", "install", "-y", "--no-install-recommends"])
            .arguments(packages)
    };
    if tool::run(spawner, &install(java), INSTALL_LIMIT, timeline, still)
        .await
        .is_ok()
    {
        return Ok(());
    }
    tool::run(
        spawner,
        &install(other_java),
        INSTALL_LIMIT,
        timeline,
        still,
    )
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_tells_its_version_in_two_ways() {
        assert_eq!(
            major_version("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK …"),
            Some(17)
        );
        assert_eq!(major_version("java version \"1.8.0_402\""), Some(8));
        assert_eq!(major_version("openjdk version \"21\" 2023-09-19"), Some(21));
        assert_eq!(major_version("openjdk version \"25-ea\""), Some(25));
        assert_eq!(major_version("command not found"), None);
    }
}
