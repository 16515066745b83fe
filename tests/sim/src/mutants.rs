//! Deliberate defects of the core: each must be caught. They are patches beside the simulator, never in the product;
//! each is put into a copy of the sources, built in a folder of its own, and run until a law breaks.

use anyhow::{Context, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What became of one defect.
#[derive(Debug)]
pub struct Caught {
    /// Its name.
    pub name: String,
    /// Seeds run until a law broke, and which; absent when all kept every law.
    pub by: Option<(u64, String)>,
}

/// The folders that a build of the simulator needs.
const SOURCES: &[&str] = &[
    "agent/core/src",
    "agent/core/Cargo.toml",
    "tests/sim/src",
    "tests/sim/Cargo.toml",
];

/// Tries every defect under `tests/sim/mutants` whose name contains `only`, with up to `seeds` seeds each.
///
/// # Errors
/// When the sources cannot be copied, a patch does not apply any more, or a defect does not compile.
pub fn check(
    root: &Path,
    only: &str,
    seeds: u64,
    mut told: impl FnMut(&Caught),
) -> anyhow::Result<Vec<Caught>> {
    let scratch = root.join("target/mutants");
    let mut patches: Vec<PathBuf> = fs::read_dir(root.join("tests/sim/mutants"))
        .context("read tests/sim/mutants")?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "patch"))
        .filter(|path| path.to_string_lossy().contains(only))
        .collect();
    patches.sort();
    let mut all = Vec::new();
    for patch in patches {
        copy(root, &scratch)?;
        let name = patch.file_stem().map(|n| n.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        run(Command::new("patch")
            .args(["-s", "-p1", "-i"])
            .arg(&patch)
            .current_dir(&scratch))
        .with_context(|| {
            format!("{name}: the patch does not apply to the core any more; renew it")
        })?;
        run(Command::new("cargo")
            .args([
                "build",
                "--quiet",
                "--offline",
                "--profile",
                "mutant",
                "-p",
                "sim",
            ])
            .env("CARGO_TARGET_DIR", scratch.join("target"))
            .current_dir(&scratch))
        .with_context(|| format!("{name}: the defect does not compile"))?;
        let by = first_wrong(&scratch.join("target/mutant/sim"), seeds)?;
        let caught = Caught { name, by };
        told(&caught);
        all.push(caught);
    }
    Ok(all)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.stdin(Stdio::null()).status()?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

/// The lowest seed that breaks a law, counted from one.
fn first_wrong(program: &Path, seeds: u64) -> anyhow::Result<Option<(u64, String)>> {
    let output = Command::new(program)
        .args([
            "--enough",
            "1",
            "--lines",
            "0",
            "--seeds",
            &seeds.to_string(),
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .with_context(|| format!("run {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let wrong = text.lines().find_map(|line| {
        let (seed, law) = line.strip_prefix("seed ")?.split_once(": ")?;
        Some((seed.parse::<u64>().ok()?.saturating_add(1), law.to_owned()))
    });
    if wrong.is_none() && !output.status.success() {
        return Ok(Some((1, format!("it ended with {}", output.status))));
    }
    Ok(wrong)
}

/// A workspace of the core and the simulator alone.
fn copy(root: &Path, scratch: &Path) -> anyhow::Result<()> {
    for part in SOURCES {
        let to = scratch.join(part);
        if to.is_dir() {
            fs::remove_dir_all(&to).with_context(|| format!("empty {}", to.display()))?;
        }
        copy_all(&root.join(part), &to)?;
    }
    let manifest = fs::read_to_string(root.join("Cargo.toml")).context("read Cargo.toml")?;
    let (Some(from), Some(upto)) = (
        manifest.find("members = ["),
        manifest.find("[workspace.package]"),
    ) else {
        bail!("Cargo.toml has no members before [workspace.package]");
    };
    let head = manifest.get(..from).unwrap_or_default();
    let rest = manifest.get(upto..).unwrap_or_default();
    let profiles = rest.find("[profile.").unwrap_or(rest.len());
    let rest = rest.get(..profiles).unwrap_or_default();
    let members = "members = [\"agent/core\", \"tests/sim\"]\n\n";
    let profile = "[profile.mutant]\ninherits = \"release\"\nopt-level = 1\nlto = \"off\"\ncodegen-units = 16\nincremental = true\n";
    let manifest = format!("{head}{members}{rest}{profile}");
    write_new(&scratch.join("Cargo.toml"), manifest.as_bytes())?;
    copy_all(&root.join("Cargo.lock"), &scratch.join("Cargo.lock"))
}

/// Copies what differs, so that a build does not begin anew each time.
fn copy_all(from: &Path, to: &Path) -> anyhow::Result<()> {
    if !from.is_dir() {
        let bytes = fs::read(from).with_context(|| format!("read {}", from.display()))?;
        return write_new(to, &bytes);
    }
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        copy_all(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

fn write_new(to: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    fs::write(to, bytes).with_context(|| format!("write {}", to.display()))
}
