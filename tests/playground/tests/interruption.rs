//! However the demo ends, it leaves no process and no file behind.

#![allow(clippy::unwrap_used, reason = "a test's own tools may end the test")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use playground::clock::{Deadline, now};
use playground::run_dir::{Afterwards, RunDir};

const DEMO: &str = env!("CARGO_BIN_EXE_demo");
const LIMIT: Duration = Duration::from_secs(20);

/// A demo whose temporary files and processes can be told by `folder`.
fn demo(folder: &Path) -> Child {
    Command::new(DEMO)
        .arg("--without-agents")
        .env("TMPDIR", folder)
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

/// Reads the timeline until a line holds `word`.
fn wait_for_line(demo: &mut Child, word: &str) {
    let timeline = BufReader::new(demo.stdout.as_mut().unwrap());
    let found = timeline
        .lines()
        .map(Result::unwrap)
        .any(|line| line.contains(word));
    assert!(found, "the demo ended before it said {word:?}");
}

fn processes_of(folder: &Path) -> Vec<String> {
    // Not the folder itself: our own janitor names that one.
    let inside = format!("{}/", folder.to_str().unwrap());
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
        .filter(|line| line.contains(&inside))
        .collect()
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

fn assert_nothing_is_left(folder: &Path) {
    let deadline = Deadline::after(LIMIT);
    loop {
        let (processes, files) = (processes_of(folder), files_in(folder));
        if processes.is_empty() && files.is_empty() {
            return;
        }
        assert!(!deadline.is_over(), "left behind: {processes:?} {files:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn interrupted_by(signal: Signal) {
    let run = RunDir::create(Afterwards::Remove).unwrap();
    let mut demo = demo(run.path());
    wait_for_line(&mut demo, "ns-2");
    assert!(processes_of(run.path()).len() >= 2, "the name servers run");
    let begin = now();
    kill(Pid::from_raw(i32::try_from(demo.id()).unwrap()), signal).unwrap();
    demo.wait().unwrap();
    assert!(begin.elapsed() < LIMIT);
    assert_nothing_is_left(run.path());
}

#[test]
fn a_killed_demo_leaves_nothing() {
    interrupted_by(Signal::SIGKILL);
}

#[test]
fn a_terminated_demo_leaves_nothing() {
    interrupted_by(Signal::SIGTERM);
}

#[test]
fn a_guard_whose_parent_is_gone_starts_nothing() {
    let run = RunDir::create(Afterwards::Remove).unwrap();
    let witness = run.path().join("witness");
    // Pid 1 is somebody's parent, never this guard's: as if ours had died and init had taken over.
    let status = Command::new(DEMO)
        .args(["__guard", "1", "touch"])
        .arg(&witness)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(!status.success());
    assert!(!witness.exists());
}
