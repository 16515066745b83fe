//! A child process with a name, its output in a file, and an end that cannot be forgotten.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::clock::{Deadline, LOOK_AGAIN};
use crate::guard::Guard;

/// A SIGKILLed process is gone within 35–170 ms (seen with brokers); one that takes longer than this hangs in the
/// kernel and nobody here can help.
const KILL_DEADLINE: Duration = Duration::from_secs(20);

/// Variables of the caller's shell that would change what a RocketMQ process does.
const FOREIGN_VARIABLES: [&str; 7] = [
    "NAMESRV_ADDR",
    "ROCKETMQ_HOME",
    "ROCKETMQ_SERIALIZE_TYPE",
    "JAVA_OPT_EXT",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "_JAVA_OPTIONS",
];

/// What to start.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    /// How people call it: `broker a`.
    pub name: String,
    /// The program file.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Variables set beside the inherited ones.
    pub variables: Vec<(OsString, OsString)>,
    /// Working folder.
    pub folder: PathBuf,
    /// Where stdout and stderr go, appended.
    pub output: PathBuf,
}

impl ProcessSpec {
    /// A program without arguments.
    #[must_use]
    pub fn new(name: impl Into<String>, program: &Path, folder: &Path, output: PathBuf) -> Self {
        Self {
            name: name.into(),
            program: program.to_owned(),
            arguments: Vec::new(),
            variables: Vec::new(),
            folder: folder.to_owned(),
            output,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments<S: Into<OsString>>(mut self, more: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(more.into_iter().map(Into::into));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn variable(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }
}

/// The thread that starts every child.
///
/// The kernel delivers the parent-death signal when the *thread* that started the child ends, and a
/// runtime ends idle threads. This one lives exactly as long as somebody holds a handle of it; each
/// running [`Process`] does.
#[derive(Debug, Clone)]
pub struct Spawner {
    requests: mpsc::Sender<SpawnRequest>,
    guard: Guard,
}

struct SpawnRequest {
    command: Command,
    answer: mpsc::Sender<std::io::Result<Child>>,
}

impl Spawner {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the machine has no thread left.
    pub fn new(guard: Guard) -> Result<Self> {
        let (requests, inbox) = mpsc::channel::<SpawnRequest>();
        std::thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || {
                for mut request in inbox {
                    // A caller that is gone drops its receiver; nothing is left to tell it.
                    let _ = request.answer.send(request.command.spawn());
                }
            })
            .context("start the spawner thread")?;
        Ok(Self { requests, guard })
    }

    /// Starts a process under the guard, in its own process group: a Ctrl-C at the terminal reaches the
    /// playground only, which then ends its children in order.
    ///
    /// # Errors
    /// When the output file cannot be opened or the program cannot be run. A guarded program that does
    /// not exist is noticed as an early end (its output says so), not here.
    pub fn start(&self, spec: &ProcessSpec) -> Result<Process> {
        let command = self.prepared(spec)?;
        let (answer, outcome) = mpsc::channel();
        self.requests
            .send(SpawnRequest { command, answer })
            .ok()
            .with_context(|| format!("start {}: the spawner thread is gone", spec.name))?;
        let child = outcome
            .recv()
            .with_context(|| format!("start {}: the spawner thread is gone", spec.name))?
            .with_context(|| format!("start {}: run {}", spec.name, spec.program.display()))?;
        let pid = i32::try_from(child.id())
            .with_context(|| format!("start {}: pid {}", spec.name, child.id()))?;
        Ok(Process {
            name: spec.name.clone(),
            output: spec.output.clone(),
            pid: Pid::from_raw(pid),
            child,
            end: None,
            _spawner: self.clone(),
        })
    }

    fn prepared(&self, spec: &ProcessSpec) -> Result<Command> {
        let mut command = self.guard.command(&spec.program);
        command
            .args(&spec.arguments)
            .current_dir(&spec.folder)
            .stdin(Stdio::null())
            .stdout(appended(&spec.output)?)
            .stderr(appended(&spec.output)?)
            .process_group(0);
        for name in FOREIGN_VARIABLES {
            command.env_remove(name);
        }
        command.envs(spec.variables.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }
}

fn appended(file: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .with_context(|| format!("open output file {}", file.display()))
}

/// A running (or ended) child. Dropped, it is killed and reaped.
#[derive(Debug)]
pub struct Process {
    name: String,
    output: PathBuf,
    pid: Pid,
    child: Child,
    end: Option<ExitStatus>,
    // Keeps the parent thread alive: its end would kill the child (see `Spawner`).
    _spawner: Spawner,
}

impl Process {
    /// How people call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its pid. Stays ours (not reused) until the handle has seen the end.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// How it ended, `None` while it runs (or is frozen).
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.end.is_none() {
            // An error here means "not our child any more", which only this handle could have caused.
            self.end = self.child.try_wait().ok().flatten();
        }
        self.end
    }

    /// True while it lives.
    pub fn is_running(&mut self) -> bool {
        self.ended().is_none()
    }

    /// SIGKILL, and back only when it is gone.
    ///
    /// # Errors
    /// When it is still there after 20 s.
    pub async fn kill(&mut self) -> Result<()> {
        self.send(Signal::SIGKILL)?;
        self.wait_for_end(KILL_DEADLINE).await.map(drop)
    }

    /// SIGTERM; after `grace` SIGKILL. Tells how it ended.
    ///
    /// # Errors
    /// When it cannot even be killed.
    pub async fn terminate(&mut self, grace: Duration) -> Result<ExitStatus> {
        self.send(Signal::SIGTERM)?;
        if let Ok(status) = self.wait_for_end(grace).await {
            return Ok(status);
        }
        self.send(Signal::SIGKILL)?;
        self.wait_for_end(KILL_DEADLINE).await
    }

    /// SIGSTOP: it stands still, its connections stay open.
    ///
    /// # Errors
    /// When it has ended.
    pub fn freeze(&mut self) -> Result<()> {
        self.send_to_living(Signal::SIGSTOP)
    }

    /// SIGCONT: it goes on.
    ///
    /// # Errors
    /// When it has ended.
    pub fn thaw(&mut self) -> Result<()> {
        self.send_to_living(Signal::SIGCONT)
    }

    /// Waits for the end, whoever causes it.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub async fn wait_for_end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Deadline::after(limit);
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            if deadline.is_over() {
                bail!(
                    "wait for {} (pid {}) to end: still there after {limit:?}",
                    self.name,
                    self.pid
                );
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// An error that tells why it ended and what it said last; for callers that wait for its work.
    pub fn describe_end(&mut self) -> String {
        let how = self.ended().map_or_else(
            || "still runs".to_owned(),
            |status| match (status.code(), status.signal()) {
                (Some(code), _) => format!("ended with code {code}"),
                (None, Some(signal)) => format!("was ended by signal {signal}"),
                (None, None) => "ended".to_owned(),
            },
        );
        let said = last_lines(&self.output, 12);
        format!(
            "{} (pid {}) {how}; the end of {}:\n{said}",
            self.name,
            self.pid,
            self.output.display()
        )
    }

    fn send_to_living(&mut self, signal: Signal) -> Result<()> {
        if !self.is_running() {
            bail!("send {signal} to {}: it has ended", self.name);
        }
        self.send(signal)
    }

    fn send(&mut self, signal: Signal) -> Result<()> {
        // Reaped: the pid may belong to somebody else now.
        if !self.is_running() {
            return Ok(());
        }
        // Nobody of its group outlives it: Maven and cargo have children of their own.
        let sent = match signal {
            Signal::SIGKILL => killpg(self.pid, signal),
            _ => kill(self.pid, signal),
        };
        sent.with_context(|| format!("send {signal} to {} (pid {})", self.name, self.pid))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        // Both fail only when the child is gone already, which is what is wanted.
        let _ = self.send(Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// The last `count` lines of a text file, at most 16 KiB of it; a reason when it cannot be read.
#[must_use]
pub(crate) fn last_lines(file: &Path, count: usize) -> String {
    const AT_MOST: usize = 16 * 1024;
    match std::fs::read(file) {
        Ok(bytes) => {
            let tail = bytes
                .get(bytes.len().saturating_sub(AT_MOST)..)
                .unwrap_or(&[]);
            let text = String::from_utf8_lossy(tail);
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(count)..].join("\n")
        }
        Err(error) => format!("(read {}: {error})", file.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_dir::{Afterwards, RunDir};

    fn sleeper(run: &RunDir, guard: Guard) -> Process {
        let spec = ProcessSpec::new(
            "sleeper",
            Path::new("/bin/sleep"),
            run.path(),
            run.path().join("out"),
        )
        .arguments(["300"]);
        Spawner::new(guard).unwrap().start(&spec).unwrap()
    }

    fn exists(pid: i32) -> bool {
        kill(Pid::from_raw(pid), None).is_ok()
    }

    #[tokio::test]
    async fn a_dropped_handle_ends_and_reaps_its_process() {
        let run = RunDir::create(Afterwards::Remove).unwrap();
        let process = sleeper(&run, Guard::Handles);
        let pid = process.pid();
        assert!(exists(pid));
        drop(process);
        assert!(!exists(pid));
    }

    #[tokio::test]
    async fn a_frozen_process_runs_on_the_books_and_can_be_killed() {
        let run = RunDir::create(Afterwards::Remove).unwrap();
        let mut process = sleeper(&run, Guard::for_tests());
        process.freeze().unwrap();
        assert!(process.is_running());
        process.thaw().unwrap();
        process.freeze().unwrap();
        process.kill().await.unwrap();
        assert_eq!(process.ended().unwrap().signal(), Some(9));
        assert!(process.freeze().is_err());
    }

    #[tokio::test]
    async fn terminate_tells_how_it_ended() {
        let run = RunDir::create(Afterwards::Remove).unwrap();
        let mut process = sleeper(&run, Guard::Handles);
        let status = process.terminate(Duration::from_secs(5)).await.unwrap();
        assert_eq!(status.signal(), Some(15));
    }

    #[tokio::test]
    async fn a_guarded_child_dies_with_its_spawner_thread() {
        let guard = Guard::for_tests();
        if guard == Guard::Handles {
            return; // No setpriv here: there is no guard to test.
        }
        let run = RunDir::create(Afterwards::Remove).unwrap();
        let mut process = sleeper(&run, guard);
        // The guard needs a moment to make its request: until then it is still setpriv.
        let deadline = Deadline::after(Duration::from_secs(5));
        while !cmdline(process.pid()).starts_with("/bin/sleep") && !deadline.is_over() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let (requests, _) = mpsc::channel();
        process._spawner.requests = requests;
        let status = process.wait_for_end(Duration::from_secs(5)).await.unwrap();
        assert_eq!(status.signal(), Some(9));
    }

    fn cmdline(pid: i32) -> String {
        let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    }
}
