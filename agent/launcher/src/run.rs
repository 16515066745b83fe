//! brokerStart's one loop: signals, the control socket and deadlines in a single thread that never waits for anything else.

use std::{ffi::OsString, io, os::fd::AsFd, path::PathBuf, process::ExitCode};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
};

use crate::{
    broker::Life,
    clock, epitaph,
    guard::{self, Guard},
    journal::Journal,
    launcher::Launcher,
    protocol::EndReason,
    relays::{Relays, RelaysError},
    server::{Server, SocketError},
    settings::{Parsed, Settings, USAGE},
    spawn,
};

/// A second self must work also when the file was replaced meanwhile.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// The longest pause between two looks around without any deadline, in milliseconds. Also the pace of a watch.
const MAX_PAUSE_MS: u64 = 1_000;

/// What `brokerStart` answers when its broker had to be killed while it was stopping: 128 + SIGKILL.
const KILLED: u8 = 137;

/// What it answers to wrong arguments.
const USAGE_ERROR: u8 = 2;

/// Why `brokerStart` cannot do its work.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("read this boot's id from /proc: is /proc mounted?")]
    BootId(#[source] io::Error),
    #[error("draw a random number for this launcher")]
    Random(#[source] getrandom::Error),
    #[error("prepare for signals and orphans")]
    Signals(#[source] Errno),
    #[error("start the guard, a second {OWN_PROGRAM}")]
    Guard(#[source] io::Error),
    #[error("wait for events")]
    Poll(#[source] Errno),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Relays(#[from] RelaysError),
}

/// The program `brokerStart`: `arguments` are those after its name.
pub fn broker_start(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.peekable();
    let first = arguments.peek().map(OsString::as_os_str);
    if guard::is_wanted(first) {
        return guard::run();
    }
    if spawn::is_wanted(first) {
        return spawn::become_command(arguments.skip(1));
    }
    let mut journal = Journal::new("brokerStart");
    match Settings::parse(arguments, |name| std::env::var_os(name)) {
        Ok(Parsed::Help) => {
            show(USAGE);
            ExitCode::SUCCESS
        }
        Ok(Parsed::Version) => {
            show(concat!("brokerStart ", env!("CARGO_PKG_VERSION"), "\n"));
            ExitCode::SUCCESS
        }
        Ok(Parsed::Run(settings)) => match run(*settings) {
            Ok(code) => code,
            Err(error) => {
                let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
                journal.say(format_args!("{error}{}", source.unwrap_or_default()));
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            journal.say(format_args!("{error} (see brokerStart --help)"));
            ExitCode::from(USAGE_ERROR)
        }
    }
}

fn show(text: &str) {
    // A reader that is gone (`| head`) is no reason to fail.
    let _ = io::Write::write_all(&mut io::stdout(), text.as_bytes());
}

fn run(settings: Settings) -> Result<ExitCode, RunError> {
    let Settings {
        socket,
        stop_grace_ms,
        termination_log,
        relay,
        command,
    } = settings;
    let boot_id = clock::boot_id().map_err(RunError::BootId)?;
    let nonce = format!("{:016x}", getrandom::u64().map_err(RunError::Random)?);
    let signals = take_signals().map_err(RunError::Signals)?;
    let mut server = Server::bind(&socket)?;
    let relays = Relays::bind(relay)?;
    let exe = PathBuf::from(OWN_PROGRAM);
    let guard = Guard::start(&exe, clock::boottime_ms()).map_err(RunError::Guard)?;
    let mut journal = Journal::new("brokerStart");
    let epitaph = epitaph::leave(&termination_log, &nonce).unwrap_or_else(|error| {
        journal.say(format_args!(
            "write {}: {error}; nobody will see by it that this container is gone",
            termination_log.display()
        ));
        false
    });
    let mut launcher = Launcher {
        exe,
        command,
        nonce,
        epitaph,
        boot_id,
        stop_grace_ms,
        journal,
        guard,
        relays,
        life: Life::new(),
        burned: None,
        is_leaving: false,
        had_broker: false,
        last_refusal: None,
        has_agent: false,
    };
    launcher.journal.say(format_args!(
        "waiting for orders: socket={} nonce={} version={}",
        socket.display(),
        launcher.nonce,
        env!("CARGO_PKG_VERSION")
    ));
    turn(&mut launcher, &mut server, &signals)?;
    Ok(launcher.exit_code())
}

/// Blocks the signals for this and all later threads, to read them from a descriptor instead.
fn take_signals() -> Result<SignalFd, Errno> {
    let wanted = [
        Signal::SIGCHLD,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        // By default they would end the launcher; they mean nothing to it.
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGALRM,
    ];
    let set = SigSet::from_iter(wanted);
    set.thread_block()?;
    // Orphans of the broker's scripts become our children, so that we reap them and see the group's end.
    prctl::set_child_subreaper(true)?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

fn turn(launcher: &mut Launcher, server: &mut Server, signals: &SignalFd) -> Result<(), RunError> {
    loop {
        take_in(launcher, signals);
        let wake_ms = launcher.tick();
        let now_ms = clock::boottime_ms();
        server.accept(now_ms, &mut launcher.journal);
        answer(launcher, server, now_ms);
        launcher.has_agent = server.has_agent();
        let change = launcher.life.changes();
        server.push(now_ms, change, &mut || launcher.status());
        if launcher.is_leaving && !launcher.life.is_alive() {
            return Ok(());
        }
        // An order of this turn (a start, a kill) wants a tick soon.
        let wake_ms = if launcher.life.is_alive() {
            wake_ms.unwrap_or(now_ms)
        } else {
            now_ms + MAX_PAUSE_MS
        };
        wait(server, signals, wake_ms)?;
    }
}

fn answer(launcher: &mut Launcher, server: &mut Server, now_ms: u64) {
    let change = launcher.life.changes();
    // Both closures need the launcher, one at a time.
    let launcher = std::cell::RefCell::new(launcher);
    server.serve(
        now_ms,
        change,
        &mut || launcher.borrow_mut().status(),
        &mut |session, request| launcher.borrow_mut().answer(session, &request),
    );
}

/// Signals and dead children.
fn take_in(launcher: &mut Launcher, signals: &SignalFd) {
    while let Ok(Some(info)) = signals.read_signal() {
        let signal = i32::try_from(info.ssi_signo)
            .ok()
            .and_then(|number| Signal::try_from(number).ok());
        if let Some(signal) = signal {
            launcher.on_signal(signal);
        }
    }
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            break;
        }
        launcher.on_reaped(status);
    }
}

fn wait(server: &Server, signals: &SignalFd, wake_ms: u64) -> Result<(), RunError> {
    let pause_ms = wake_ms
        .saturating_sub(clock::boottime_ms())
        .min(MAX_PAUSE_MS);
    let timeout = u16::try_from(pause_ms).map_or(PollTimeout::ZERO, PollTimeout::from);
    let mut interests: Vec<PollFd<'_>> = server
        .interests()
        .map(|(file, flags)| PollFd::new(file, flags))
        .collect();
    interests.push(PollFd::new(signals.as_fd(), PollFlags::POLLIN));
    match poll(&mut interests, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(RunError::Poll(error)),
    }
}

impl Launcher {
    /// 0 after an orderly end, [`KILLED`] when the broker had to be killed for it.
    fn exit_code(&self) -> ExitCode {
        let end = self.life.last_end().filter(|_| self.had_broker);
        match end.map(|end| end.why) {
            None | Some(EndReason::Exited | EndReason::Stopped) => ExitCode::SUCCESS,
            Some(
                EndReason::StopForced
                | EndReason::Killed
                | EndReason::PermitEnded
                | EndReason::AgentGone,
            ) => ExitCode::from(KILLED),
        }
    }
}
