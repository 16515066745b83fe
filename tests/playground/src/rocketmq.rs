//! Real RocketMQ: its jars, fetched by Maven once and kept in the cache.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cache::Cache;
use crate::process::{ProcessSpec, Spawner};
use crate::run_dir::random_word;
use crate::timeline::Timeline;
use crate::{tool, toolchain};

/// Some 90 MiB in 137 files; a slow line gets its time.
const FETCH_LIMIT: Duration = Duration::from_secs(20 * 60);

/// Broker and name server with what they need at run time. The copying plugin's version is fixed, so that
/// a machine with warm caches needs no network at all.
const POM: &str = include_str!("rocketmq/pom.xml");
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:2.8:copy-dependencies";

/// A version of RocketMQ whose broker and name server are on Maven Central (facts, head of the file), and on
/// which the recipes of this crate were seen to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// The last 4.9 there.
    V4_9_7,
    /// The first 5.x with every HA feature we use.
    V5_1_4,
    /// Widely run.
    V5_3_3,
    /// The newest.
    V5_5_0,
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: [Self; 4] = [Self::V4_9_7, Self::V5_1_4, Self::V5_3_3, Self::V5_5_0];
    /// The default everywhere.
    pub const NEWEST: Self = Self::V5_5_0;

    /// `5.5.0`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V4_9_7 => "4.9.7",
            Self::V5_1_4 => "5.1.4",
            Self::V5_3_3 => "5.3.3",
            Self::V5_5_0 => "5.5.0",
        }
    }

    /// The 4.x line: no 906 and 907, other logging, other stop order.
    #[must_use]
    pub fn generation(self) -> Generation {
        match self {
            Self::V4_9_7 => Generation::Four,
            Self::V5_1_4 | Self::V5_3_3 | Self::V5_5_0 => Generation::Five,
        }
    }
}

/// The two lines of RocketMQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// 4.9.
    Four,
    /// 5.x.
    Five,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Version {
    type Err = UnknownVersion;

    fn from_str(text: &str) -> Result<Self, UnknownVersion> {
        Self::ALL
            .into_iter()
            .find(|version| version.as_str() == text)
            .ok_or_else(|| UnknownVersion(text.to_owned()))
    }
}

/// A version that is not among [`Version::ALL`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownVersion(String);

impl fmt::Display for UnknownVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Version::ALL.map(Version::as_str).join(", ");
        write!(
            f,
            "RocketMQ {:?}: not a version that is known here; choose one of {known}",
            self.0
        )
    }
}

impl std::error::Error for UnknownVersion {}

/// The jars of one version.
#[derive(Debug, Clone)]
pub struct RocketMq {
    /// Which.
    pub version: Version,
    /// The folder with all jars.
    pub jars: PathBuf,
}

impl RocketMq {
    /// The jars of `version`, from the cache or by Maven.
    ///
    /// # Errors
    /// When Maven is missing and cannot be installed, or fails (offline, no space): with its last lines.
    pub async fn get(
        version: Version,
        cache: &Cache,
        spawner: &Spawner,
        timeline: &Timeline,
    ) -> Result<Self> {
        let jars = cache.folder().join(format!("rocketmq-{version}"));
        let found = Self { version, jars };
        if found.is_complete() {
            return Ok(found);
        }
        let waiting = || {
            let line = format!("another run is fetching RocketMQ {version}; waiting");
            timeline.say("mvn", line);
        };
        let _lock = cache
            .lock(&format!("rocketmq-{version}"), FETCH_LIMIT, waiting)
            .await?;
        // Somebody else may have fetched it while we waited for the lock.
        if found.is_complete() {
            return Ok(found);
        }
        found.fetch(cache, spawner, timeline).await?;
        Ok(found)
    }

    /// Fetched into a folder beside, renamed when complete: an interrupted download is never taken for jars.
    async fn fetch(&self, cache: &Cache, spawner: &Spawner, timeline: &Timeline) -> Result<()> {
        let version = self.version;
        sweep(cache.folder(), version);
        let work = cache
            .folder()
            .join(format!("{}{}", unfinished(version), random_word()?));
        let lib = work.join("lib");
        std::fs::create_dir_all(&lib).with_context(|| format!("create {}", lib.display()))?;
        let maven = toolchain::maven(spawner, &work, timeline).await?;
        let pom = work.join("pom.xml");
        std::fs::write(&pom, POM).with_context(|| format!("write {}", pom.display()))?;
        timeline.say(
            "mvn",
            format!("fetching RocketMQ {version} (some 90 MiB, once)"),
        );
        let spec = ProcessSpec::new("mvn", &maven, &work, work.join("maven.log"))
            .arguments(["-B", "-f"])
            .arguments([&pom])
            .arguments([
                COPY.to_owned(),
                format!("-Drocketmq={version}"),
                "-DincludeScope=runtime".to_owned(),
                format!("-DoutputDirectory={}", lib.display()),
            ]);
        tool::run(spawner, &spec, FETCH_LIMIT, timeline, |output| {
            progress(output, &lib)
        })
        .await
        .with_context(|| format!("fetch RocketMQ {version} by Maven"))?;
        self.take(&work, &lib)?;
        let (count, bytes) = content(&self.jars);
        timeline.say(
            "mvn",
            format!("RocketMQ {version}: {count} jars, {} MiB", bytes >> 20),
        );
        Ok(())
    }

    fn take(&self, work: &Path, lib: &Path) -> Result<()> {
        let fetched = Self {
            version: self.version,
            jars: lib.to_owned(),
        };
        if !fetched.is_complete() {
            bail!(
                "fetch RocketMQ {}: Maven succeeded, but broker or name server is not among the jars in {}",
                self.version,
                lib.display()
            );
        }
        if self.jars.exists() {
            std::fs::remove_dir_all(&self.jars)
                .with_context(|| format!("remove incomplete {}", self.jars.display()))?;
        }
        std::fs::rename(lib, &self.jars)
            .with_context(|| format!("rename {} to {}", lib.display(), self.jars.display()))?;
        std::fs::remove_dir_all(work).with_context(|| format!("remove {}", work.display()))
    }

    fn is_complete(&self) -> bool {
        ["broker", "namesrv"].iter().all(|part| {
            let jar = self
                .jars
                .join(format!("rocketmq-{part}-{}.jar", self.version));
            is_archive(&jar)
        })
    }
}

fn unfinished(version: Version) -> String {
    format!("unfinished-{version}-")
}

/// Removes what interrupted downloads of `version` left. Called under the lock; what cannot be removed
/// only takes space.
fn sweep(folder: &Path, version: Version) {
    let prefix = unfinished(version);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// How far Maven is, from its own words; never its hosts.
fn progress(output: &Path, lib: &Path) -> String {
    let (copied, _) = content(lib);
    if copied > 0 {
        return format!("copying: {copied} jars");
    }
    let text = std::fs::read_to_string(output).unwrap_or_default();
    let mut loaded = text
        .lines()
        .filter(|line| line.contains("Downloaded from "))
        .filter_map(|line| line.rsplit('/').nth(usize::from(line.ends_with("/s)"))));
    let count = loaded.clone().count();
    match loaded.next_back() {
        Some(last) => {
            let name = last.split_whitespace().next().unwrap_or(last);
            format!("downloaded {count} files, last {name}")
        }
        None => "resolving".to_owned(),
    }
}

/// Files in a folder and their bytes.
fn content(folder: &Path) -> (usize, u64) {
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .fold((0, 0), |(count, bytes), data| {
            (count + 1, bytes + data.len())
        })
}

fn is_archive(file: &Path) -> bool {
    let mut magic = [0_u8; 2];
    File::open(file)
        .and_then(|mut file| file.read_exact(&mut magic))
        .is_ok_and(|()| magic == *b"PK")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_dir::{Afterwards, RunDir};

    #[test]
    fn versions_are_read_as_they_are_written() {
        for version in Version::ALL {
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        let error = "5.3.4".parse::<Version>().unwrap_err();
        assert!(error.to_string().contains("choose one of 4.9.7"));
    }

    #[test]
    fn jars_without_the_broker_are_not_rocketmq() {
        let run = RunDir::create(Afterwards::Remove).unwrap();
        let found = RocketMq {
            version: Version::V5_5_0,
            jars: run.path().to_owned(),
        };
        let write = |part: &str, bytes: &[u8]| {
            std::fs::write(run.path().join(format!("rocketmq-{part}-5.5.0.jar")), bytes).unwrap();
        };
        write("namesrv", b"PK..");
        assert!(!found.is_complete());
        write("broker", b"<html>");
        assert!(!found.is_complete());
        write("broker", b"PK..");
        assert!(found.is_complete());
    }

    #[test]
    fn progress_names_the_file_not_the_host() {
        let run = RunDir::create(Afterwards::Remove).unwrap();
        let log = run.path().join("maven.log");
        let lib = run.folder("lib").unwrap();
        assert_eq!(progress(&log, &lib), "resolving");
        std::fs::write(
            &log,
            "Downloading from r: https://host/a/b.jar\nDownloaded from r: https://host/a/b.jar (2 kB at 3 kB/s)\n",
        )
        .unwrap();
        assert_eq!(progress(&log, &lib), "downloaded 1 files, last b.jar");
        std::fs::write(lib.join("b.jar"), "x").unwrap();
        assert_eq!(progress(&log, &lib), "copying: 1 jars");
    }
}
