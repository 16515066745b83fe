//! etcd and kube-apiserver as one program: built by Go from `tests/real-api` once, and kept in the cache.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ring::digest::{Context as Digest, SHA256};

use crate::cache::Cache;
use crate::guard::program_in_path;
use crate::process::{ProcessSpec, Spawner, last_lines};
use crate::run_dir::random_word;
use crate::timeline::Timeline;
use crate::tool;

/// Our Go module, as it was when this was compiled.
const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../real-api");

/// Some 1,300 packages from nothing: 4 to 6 minutes on two free cores, and this on busy ones with a slow line.
const BUILD_LIMIT: Duration = Duration::from_secs(45 * 60);

/// Go may fetch the version of itself that the module asks for.
const VERSION_LIMIT: Duration = Duration::from_secs(5 * 60);

/// What came of looking for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The program's file.
    Program(PathBuf),
    /// It cannot be built on this machine, and why: a reason to skip what needs it, not to fail.
    NoGo(String),
}

/// The program, from the cache or built.
///
/// # Errors
/// When Go is there and the build fails (offline, no space): with its last lines.
pub async fn get(cache: &Cache, spawner: &Spawner, timeline: &Timeline) -> Result<Found> {
    let Some(go) = program_in_path("go") else {
        return Ok(Found::NoGo(
            "there is no Go toolchain in PATH; install Go to build etcd and kube-apiserver"
                .to_owned(),
        ));
    };
    let work = Work::create(cache)?;
    let version = match go_version(&go, &work, spawner, timeline).await {
        Ok(version) => version,
        Err(reason) => {
            return Ok(Found::NoGo(format!(
                "Go does not take tests/real-api: {reason:#}"
            )));
        }
    };
    let sources = sources(Path::new(MODULE))?;
    let program = cache
        .folder()
        .join(format!("real-api-{}", key(&version, &sources)));
    if program.is_file() {
        return Ok(Found::Program(program));
    }
    let waiting = || timeline.say("go build", "another run is building it; waiting");
    let _lock = cache.lock("real-api", BUILD_LIMIT, waiting).await?;
    // Somebody else may have built it while we waited for the lock.
    if !program.is_file() {
        build(&go, &sources, &program, &work, spawner, timeline).await?;
    }
    Ok(Found::Program(program))
}

/// A folder in the cache for one attempt: on one file system with the program that comes of it.
struct Work(PathBuf);

impl Work {
    fn create(cache: &Cache) -> Result<Self> {
        let folder = cache
            .folder()
            .join(format!("unfinished-real-api-{}", random_word()?));
        std::fs::create_dir(&folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What cannot be removed only takes space.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn go_version(
    go: &Path,
    work: &Work,
    spawner: &Spawner,
    timeline: &Timeline,
) -> Result<String> {
    let output = work.0.join("version");
    let spec = ProcessSpec::new("go env", go, Path::new(MODULE), output.clone())
        .arguments(["env", "GOVERSION"]);
    let progress = |_: &Path| "fetching the version of Go that the module asks for".to_owned();
    tool::run(spawner, &spec, VERSION_LIMIT, timeline, progress).await?;
    Ok(last_lines(&output, 1))
}

/// Every file of the module by name, in order, with its content.
fn sources(module: &Path) -> Result<Vec<(String, String)>> {
    let mut sources = Vec::new();
    let entries =
        std::fs::read_dir(module).with_context(|| format!("read {}", module.display()))?;
    for entry in entries {
        let path = entry
            .with_context(|| format!("read {}", module.display()))?
            .path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".go") || name == "go.mod" || name == "go.sum" {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("read {}", path.display()))?;
            sources.push((name.into_owned(), text));
        }
    }
    sources.sort();
    Ok(sources)
}

/// Tells one program from another: equal sources and an equal Go make equal programs.
fn key(go_version: &str, sources: &[(String, String)]) -> String {
    let mut digest = Digest::new(&SHA256);
    let texts = sources
        .iter()
        .flat_map(|(name, text)| [name.as_str(), text.as_str()]);
    for text in std::iter::once(go_version).chain(texts) {
        // With their lengths, so that no text can pass for two.
        digest.update(&text.len().to_le_bytes());
        digest.update(text.as_bytes());
    }
    let mut key = String::new();
    for byte in digest.finish().as_ref().iter().take(6) {
        // Writing to a String cannot fail.
        let _ = write!(key, "{byte:02x}");
    }
    key
}

async fn build(
    go: &Path,
    sources: &[(String, String)],
    program: &Path,
    work: &Work,
    spawner: &Spawner,
    timeline: &Timeline,
) -> Result<()> {
    let kubernetes = kubernetes_version(sources)?;
    timeline.say(
        "go build",
        format!("etcd and kube-apiserver {kubernetes} (once; some minutes)"),
    );
    let made = work.0.join("real-api");
    let spec = ProcessSpec::new("go build", go, Path::new(MODULE), work.0.join("build.log"))
        .variable("CGO_ENABLED", "0")
        .arguments(["build", "-v", "-trimpath", "-buildvcs=false"])
        .arguments(["-mod=readonly", "-ldflags"])
        .arguments([linker_flags(&kubernetes)])
        .arguments(["-o"])
        .arguments([&made]);
    tool::run(spawner, &spec, BUILD_LIMIT, timeline, progress)
        .await
        .context("build etcd and kube-apiserver from tests/real-api")?;
    std::fs::rename(&made, program).with_context(|| format!("rename to {}", program.display()))?;
    timeline.say("go build", "etcd and kube-apiserver are ready");
    Ok(())
}

fn kubernetes_version(sources: &[(String, String)]) -> Result<String> {
    let go_mod = sources.iter().find(|(name, _)| name == "go.mod");
    let lines = go_mod.into_iter().flat_map(|(_, text)| text.lines());
    let version = lines
        .filter_map(|line| line.trim().strip_prefix("k8s.io/kubernetes v"))
        .next();
    match version {
        Some(version) => Ok(format!("v{version}")),
        None => bail!("read tests/real-api/go.mod: it does not require k8s.io/kubernetes"),
    }
}

/// Without them the server takes itself for version 0.0.0.
fn linker_flags(kubernetes: &str) -> String {
    let package = "k8s.io/component-base/version";
    let mut numbers = kubernetes.trim_start_matches('v').split('.');
    let major = numbers.next().unwrap_or_default();
    let minor = numbers.next().unwrap_or_default();
    format!(
        "-s -w -X {package}.gitVersion={kubernetes} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
    )
}

/// How far Go is, from its own words; never its hosts.
fn progress(output: &Path) -> String {
    let text = std::fs::read_to_string(output).unwrap_or_default();
    let (fetched, compiled): (Vec<&str>, Vec<&str>) =
        text.lines().partition(|line| line.starts_with("go: "));
    match (compiled.len(), fetched.len()) {
        (0, modules) => format!("{modules} modules fetched so far"),
        (packages, _) => format!("{packages} packages compiled so far"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_dir::{Afterwards, RunDir};

    fn source(name: &str, text: &str) -> (String, String) {
        (name.to_owned(), text.to_owned())
    }

    #[test]
    fn the_key_tells_sources_and_versions_apart() {
        let one = [source("a.go", "x"), source("b.go", "y")];
        assert_eq!(key("go1", &one), key("go1", &one));
        for other in [
            [source("a.go", "x"), source("b.go", "z")],
            [source("a.go", "xb.go"), source("", "y")],
        ] {
            assert_ne!(key("go1", &one), key("go1", &other));
        }
        assert_ne!(key("go1", &one), key("go2", &one));
    }

    #[test]
    fn the_module_names_its_kubernetes() {
        let sources = sources(Path::new(MODULE)).unwrap();
        let names: Vec<&str> = sources.iter().map(|(name, _)| name.as_str()).collect();
        assert!(
            names.contains(&"main.go") && names.contains(&"go.sum"),
            "{names:?}"
        );
        let version = kubernetes_version(&sources).unwrap();
        assert!(linker_flags(&version).contains("gitMajor=1 "), "{version}");
    }

    #[test]
    fn progress_counts_modules_then_packages() {
        let run = RunDir::create(Afterwards::Remove).unwrap();
        let log = run.path().join("log");
        assert_eq!(progress(&log), "0 modules fetched so far");
        std::fs::write(&log, "go: downloading a v1\ngo: downloading b v1\n").unwrap();
        assert_eq!(progress(&log), "2 modules fetched so far");
        std::fs::write(&log, "go: downloading a v1\na/b\na/c\n").unwrap();
        assert_eq!(progress(&log), "2 packages compiled so far");
    }
}
