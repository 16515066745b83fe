//! Starts the broker's command in a process group of its own.
//!
//! Between fork and exec only `unsafe` code can run, so the launcher starts itself, and that second self becomes the
//! command: it asks for a parent-death signal, unblocks the signals that the launcher blocks for itself, waits until the
//! guard knows the group (so that no instant is unguarded), and execs. Over its stdin, a socket:
//!
//! ```text
//! launcher → g                  go: the guard is armed
//! launcher ← (end of stream)    the command runs
//! launcher ← text               why it could not be started
//! ```

use std::{
    ffi::{OsStr, OsString},
    io::{self, Read, Write, stdin},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            net::UnixStream,
            process::{CommandExt, parent_id},
        },
    },
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use nix::sys::{
    prctl,
    signal::{SigSet, Signal},
};

use crate::{
    command::Ready,
    group::Group,
    guard::{Guard, pid_of},
};

/// The first argument that makes `brokerStart` become the broker's command. Not for people.
const RUN_FLAG: &str = "--internal-run";

/// How long the launcher waits to learn whether the command could be started. It takes about 2 ms; a machine too busy to
/// tell within this time is taken as having started it, and a failure shows as an exit with code 127.
const EXEC_WAIT: Duration = Duration::from_secs(1);

/// The longest explanation read.
const MAX_EXPLANATION: u64 = 1_024;

/// Why the command could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("start a second brokerStart for the command")]
    Spawn(#[source] io::Error),
    #[error("{0}")]
    Exec(String),
}

/// Starts the command; it is guarded and has its permit before its first instruction.
pub(crate) fn start(
    exe: &Path,
    ready: &Ready,
    guard: &mut Guard,
    permit_until_ms: u64,
) -> Result<Group, StartError> {
    let (mut ours, theirs) = UnixStream::pair().map_err(StartError::Spawn)?;
    ours.set_read_timeout(Some(EXEC_WAIT))
        .map_err(StartError::Spawn)?;
    let child = Command::new(exe)
        .arg0("brokerStart")
        .arg(RUN_FLAG)
        .arg(std::process::id().to_string())
        .args(&ready.words)
        .envs(ready.env.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .process_group(0)
        .spawn()
        .map_err(StartError::Spawn)?;
    let group = Group::new(pid_of(child.id()));
    guard.arm(group.id(), permit_until_ms);
    // If it is gone already, the read below says so, or its exit does.
    let _ = ours.write_all(b"g");
    let mut explanation = String::new();
    let read = ours.take(MAX_EXPLANATION).read_to_string(&mut explanation);
    if read.is_ok() && !explanation.is_empty() {
        return Err(StartError::Exec(explanation));
    }
    Ok(group)
}

/// Whether these arguments ask for the second self.
pub(crate) fn is_wanted(first: Option<&OsStr>) -> bool {
    first == Some(OsStr::new(RUN_FLAG))
}

/// The second self: becomes the command, or returns when it cannot.
pub(crate) fn become_command(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    const NOT_STARTED: u8 = 127;
    let launcher = arguments
        .next()
        .and_then(|text| text.to_str()?.parse::<u32>().ok());
    let words: Vec<OsString> = arguments.collect();
    let Ok(line) = stdin().as_fd().try_clone_to_owned() else {
        return ExitCode::from(NOT_STARTED);
    };
    // Closed by exec (std duplicates with close-on-exec): the end of the stream is the good news.
    let mut line = UnixStream::from(line);
    if let Err(error) = prepare(launcher, &mut line) {
        let _ = write!(line, "prepare the broker's process: {error}");
        return ExitCode::from(NOT_STARTED);
    }
    let Some((program, arguments)) = words.split_first() else {
        return ExitCode::from(NOT_STARTED);
    };
    let error = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .exec();
    let _ = write!(line, "start {}: {error}", Path::new(program).display());
    ExitCode::from(NOT_STARTED)
}

fn prepare(launcher: Option<u32>, line: &mut UnixStream) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // A launcher that died before that call sends no signal any more.
    if launcher != Some(parent_id()) {
        return Err(io::Error::other("the launcher is gone"));
    }
    SigSet::empty().thread_set_mask()?;
    let mut go = [0_u8];
    line.read_exact(&mut go)
}
