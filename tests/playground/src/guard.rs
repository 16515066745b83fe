//! Child processes die with the playground, however it dies.
//!
//! A handle that is dropped ends its process; a playground that gets SIGKILL drops nothing. So every
//! child is started through a guard that first asks the kernel for SIGKILL on its parent's death
//! (`PR_SET_PDEATHSIG`), and only then becomes the wanted program by `exec`: same pid, no process in
//! between. The request survives `exec`, not `fork`, so it covers exactly the program itself.
//!
//! The kernel means the parent *thread*: [`crate::process::Spawner`] is that thread.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

/// First argument of the guard: `demo __guard PARENT_PID PROGRAM ARGS…`.
pub const GUARD_WORD: &str = "__guard";

/// How a child is tied to our life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// This program (the `demo` binary) called with [`GUARD_WORD`].
    Program(PathBuf),
    /// `setpriv` of util-linux: for test binaries, which have no guard word of their own.
    Setpriv(PathBuf),
    /// Nothing at hand: children end with their handles only.
    Handles,
}

impl Guard {
    /// For the `demo` binary itself. `/proc/self/exe` stays right when cargo replaces the file.
    #[must_use]
    pub fn own_program() -> Self {
        Self::Program("/proc/self/exe".into())
    }

    /// For everybody else (e2e tests, benchmarks): `setpriv` when installed.
    #[must_use]
    pub fn for_tests() -> Self {
        program_in_path("setpriv").map_or(Self::Handles, Self::Setpriv)
    }

    /// The command that runs `program` under this guard; arguments are added by the caller.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        match self {
            Self::Program(guard) => {
                let mut command = Command::new(guard);
                command
                    .arg(GUARD_WORD)
                    .arg(std::process::id().to_string())
                    .arg(program);
                command
            }
            Self::Setpriv(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL", "--"]).arg(program);
                command
            }
            Self::Handles => Command::new(program),
        }
    }
}

/// The guard's whole life: called by `main` with the arguments after [`GUARD_WORD`].
///
/// # Errors
/// Returns only on failure: bad arguments, a parent already dead, a program that cannot be run.
pub fn become_guarded(arguments: &[OsString]) -> Result<std::convert::Infallible> {
    let [parent, program, rest @ ..] = arguments else {
        bail!("run a guarded program: want PARENT_PID PROGRAM ARGS…");
    };
    let parent: i32 = parent
        .to_str()
        .and_then(|text| text.parse().ok())
        .with_context(|| format!("read parent pid {}", parent.display()))?;
    prctl::set_pdeathsig(Signal::SIGKILL).context("ask for SIGKILL on the parent's death")?;
    // The parent may have died before the request: then nobody will ever send the signal.
    if getppid() != Pid::from_raw(parent) {
        bail!("run {}: parent {parent} is gone", program.display());
    }
    let error = Command::new(program).args(rest).exec();
    Err(error).with_context(|| format!("run {}", program.display()))
}

/// The first executable called `name` in `PATH`.
#[must_use]
pub fn program_in_path(name: impl AsRef<OsStr>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name.as_ref()))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    nix::unistd::access(file, nix::unistd::AccessFlags::X_OK).is_ok() && file.is_file()
}
