//! The guard: a small process that kills the broker's process group when the launcher is gone or asleep (safety H11).
//!
//! A parent-death signal reaches only the command's first process; with the stock scripts (sh → sh → java) the JVM would
//! live on without anybody who ends its permit. So the launcher starts itself a second time, in a session of its own,
//! and tells it over a socket pair which group lives and until when:
//!
//! ```text
//! <group> <permit end, CLOCK_BOOTTIME ms>\n      0 0\n = no broker
//! ```
//!
//! End of the stream: SIGKILL to the group. A permit that ended [`SLACK_MS`] ago: SIGKILL too, for a launcher that is
//! frozen or stuck. When the launcher is PID 1 the kernel kills everything with it; the guard runs all the same.

use std::{
    ffi::OsStr,
    io::{self, ErrorKind, Read, Write, stdin},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    path::Path,
    process::{Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        prctl,
        signal::{Signal, killpg},
    },
    unistd::{Pid, setsid},
};

use crate::clock::boottime_ms;

/// The first argument that makes `brokerStart` a guard. Not for people.
pub(crate) const GUARD_FLAG: &str = "--internal-guard";

/// How long after a permit's end the guard does what the launcher should have done, in milliseconds. Longer than the
/// launcher's own tick, shorter than safety §1.1's G.
const SLACK_MS: u64 = 300;

/// A guard that ended is replaced, at most once in this time in milliseconds.
const RESTART_MS: u64 = 1_000;

/// The longest line that the guard reads: two numbers.
const MAX_LINE: usize = 64;

/// How long the guard goes on killing a group that does not vanish (a process in an uninterruptible call).
const KILL_ROUNDS: u32 = 1_000;

/// The launcher's end.
#[derive(Debug)]
pub(crate) struct Guard {
    running: Option<Running>,
    armed: Option<(Pid, u64)>,
    started_ms: u64,
}

#[derive(Debug)]
struct Running {
    pid: Pid,
    line: UnixStream,
}

impl Guard {
    /// Starts the guard process; `exe` is this program.
    pub(crate) fn start(exe: &Path, now_ms: u64) -> io::Result<Self> {
        let running = Some(Running::start(exe)?);
        Ok(Self {
            running,
            armed: None,
            started_ms: now_ms,
        })
    }

    /// Whether the guard process runs and heard the last message.
    pub(crate) fn is_up(&self) -> bool {
        self.running.is_some()
    }

    /// "This group lives, until then." Also the news of a later permit.
    pub(crate) fn arm(&mut self, group: Pid, until_ms: u64) {
        self.armed = Some((group, until_ms));
        self.tell();
    }

    /// "No broker lives." Call it only when the group is gone.
    pub(crate) fn disarm(&mut self) {
        self.armed = None;
        self.tell();
    }

    /// Notes that a process was reaped; true when it was the guard.
    pub(crate) fn on_reaped(&mut self, pid: Pid) -> bool {
        let was_guard = self
            .running
            .as_ref()
            .is_some_and(|running| running.pid == pid);
        if was_guard {
            self.running = None;
        }
        was_guard
    }

    /// Starts the guard anew if it is down.
    pub(crate) fn tick(&mut self, exe: &Path, now_ms: u64) -> io::Result<()> {
        if self.running.is_some() || now_ms.saturating_sub(self.started_ms) < RESTART_MS {
            return Ok(());
        }
        self.started_ms = now_ms;
        self.running = Some(Running::start(exe)?);
        self.tell();
        Ok(())
    }

    fn tell(&mut self) {
        let Some(running) = &mut self.running else {
            return;
        };
        let (group, until_ms) = self
            .armed
            .map_or((0, 0), |(group, until_ms)| (group.as_raw(), until_ms));
        // A line is far smaller than the socket's buffer: a short or refused write means a guard that reads no more.
        if running
            .line
            .write_all(format!("{group} {until_ms}\n").as_bytes())
            .is_err()
        {
            let _ = nix::sys::signal::kill(running.pid, Signal::SIGKILL);
            self.running = None;
        }
    }
}

impl Running {
    fn start(exe: &Path) -> io::Result<Self> {
        let (line, theirs) = UnixStream::pair()?;
        line.set_nonblocking(true)?;
        let child = Command::new(exe)
            .arg0("brokerStart")
            .arg(GUARD_FLAG)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self {
            pid: pid_of(child.id()),
            line,
        })
    }
}

/// A child's number as the system calls want it.
pub(crate) fn pid_of(id: u32) -> Pid {
    // Linux pids are below 2^22; 0 would mean "my own group", so an impossible number becomes one that never exists.
    Pid::from_raw(i32::try_from(id).unwrap_or(i32::MAX))
}

/// Whether these arguments ask for the guard.
pub(crate) fn is_wanted(first: Option<&OsStr>) -> bool {
    first == Some(OsStr::new(GUARD_FLAG))
}

/// The guard process: never returns before the launcher is gone.
pub(crate) fn run() -> ExitCode {
    // Out of the launcher's session: what ends a terminal or a process group must not end its guard.
    let _ = setsid();
    let _ = prctl::set_name(c"brokerGuard");
    let armed = stdin()
        .as_fd()
        .try_clone_to_owned()
        .map(UnixStream::from)
        .and_then(|line| watch(&line));
    if let Ok(Some((group, _))) = armed {
        kill_all(group);
    }
    ExitCode::SUCCESS
}

/// Follows the launcher's messages to their end; returns what is armed then.
fn watch(mut line: &UnixStream) -> io::Result<Option<(Pid, u64)>> {
    let mut armed: Option<(Pid, u64)> = None;
    let mut held = Vec::with_capacity(MAX_LINE);
    let mut bytes = [0_u8; 256];
    loop {
        line.set_read_timeout(armed.map(|(_, until_ms)| wait(until_ms)))?;
        match line.read(&mut bytes) {
            Ok(0) => return Ok(armed),
            Ok(count) => {
                for byte in bytes.iter().take(count) {
                    if *byte == b'\n' {
                        armed = parse(&held);
                        held.clear();
                    } else if held.len() < MAX_LINE {
                        held.push(*byte);
                    }
                }
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            // A broken line is a launcher that is gone.
            Err(_) => return Ok(armed),
        }
        if let Some((group, until_ms)) = armed
            && boottime_ms() >= until_ms.saturating_add(SLACK_MS)
        {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

/// Time until the armed permit's end and the slack; at most a second, because read timeouts do not count suspended time.
fn wait(until_ms: u64) -> Duration {
    let left = until_ms
        .saturating_add(SLACK_MS)
        .saturating_sub(boottime_ms());
    Duration::from_millis(left.clamp(50, 1_000))
}

fn parse(line: &[u8]) -> Option<(Pid, u64)> {
    let (group, until_ms) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let group: i32 = group.parse().ok()?;
    // 0 and 1 and negative numbers mean something else to killpg.
    (group > 1).then_some((Pid::from_raw(group), until_ms.parse().ok()?))
}

fn kill_all(group: Pid) {
    for _ in 0..KILL_ROUNDS {
        if killpg(group, Signal::SIGKILL) == Err(Errno::ESRCH) {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_real_group_is_armed() {
        assert_eq!(parse(b"42 7"), Some((Pid::from_raw(42), 7)));
        for nonsense in [
            &b"0 0"[..],
            b"1 5",
            b"-7 5",
            b"x 5",
            b"42",
            b"",
            b"42 -1",
            b"\xff 1",
        ] {
            assert_eq!(parse(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn the_last_message_before_the_end_counts() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(format!("4194303 {}\n0 0\n4194302 {}\n", u64::MAX, u64::MAX).as_bytes())
            .unwrap();
        drop(ours);
        assert_eq!(
            watch(&theirs).unwrap(),
            Some((Pid::from_raw(4_194_302), u64::MAX))
        );
    }
}
