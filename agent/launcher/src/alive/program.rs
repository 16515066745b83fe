//! The program `brokerAliveTest`: flags, the memory's file, one line of output, the exit code.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use serde::Serialize;

use super::{AliveState, Limits, Memory, Mode, Target, Verdict, check};
use crate::{conf::Conf, settings::DEFAULT_SOCKET};

/// What `--help` shows.
const USAGE: &str = "\
brokerAliveTest [FLAGS]

Tells whether the broker of this container is alive: asks its launcher (brokerStart), then the broker itself. Also
installed as brokerAliveTest.sh. Exit code 0 alive, 1 dead, 2 wrong arguments.

  --socket PATH       the launcher's socket                       ROCKETMQ_HA_SOCKET
                      (default /run/rocketmq-ha/launcher.sock)
  --addr IP:PORT      the broker's address (default: 127.0.0.1 and the port that the launcher says)
  --conf FILE         take the port from this broker.conf instead
  --timeout-ms N      for the whole check, 100 to 60000 (default 2000; a probe's own timeoutSeconds must be longer)
  --mode MODE         liveness (default), readiness or startup
  --json              print the verdict as JSON
  --help, --version

  state        exit code as: liveness  readiness  startup
";

const USAGE_ERROR: u8 = 2;

struct Arguments {
    target: Target,
    mode: Mode,
    json: bool,
}

enum Parsed {
    Check(Arguments),
    Show(String),
}

#[derive(Serialize)]
struct Shown<'a> {
    alive: bool,
    #[serde(flatten)]
    verdict: &'a Verdict,
}

/// The program `brokerAliveTest`: `arguments` are those after its name.
pub fn broker_alive_test(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments = match parse(arguments) {
        Ok(Parsed::Check(arguments)) => arguments,
        Ok(Parsed::Show(text)) => {
            print(&text);
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            let _ = writeln!(
                io::stderr(),
                "brokerAliveTest: {message} (see brokerAliveTest --help)"
            );
            return ExitCode::from(USAGE_ERROR);
        }
    };
    let file = memory_file(&arguments.target.socket);
    let mut memory = recall(&file);
    let verdict = check(&arguments.target, &mut memory, &Limits::default());
    keep(&file, &memory);
    let alive = verdict.state.passes(arguments.mode);
    print(&if arguments.json {
        serde_json::to_string(&Shown {
            alive,
            verdict: &verdict,
        })
        .unwrap_or_default()
            + "\n"
    } else {
        format!("{}: {}\n", verdict.state.as_str(), verdict.reason)
    });
    if alive {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn print(text: &str) {
    // A reader that is gone must not change the exit code.
    let _ = io::stdout().write_all(text.as_bytes());
}

fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Parsed, String> {
    let mut socket = env::var_os("ROCKETMQ_HA_SOCKET").filter(|text| !text.is_empty());
    let (mut addr, mut conf, mut budget_ms, mut mode, mut json) =
        (None, None, 2_000, Mode::Liveness, false);
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let text = argument
            .into_string()
            .map_err(|raw| format!("unknown argument {}", raw.display()))?;
        let (flag, joined) = match text.split_once('=') {
            Some((flag, value)) => (flag.to_owned(), Some(OsString::from(value))),
            None => (text.clone(), None),
        };
        let mut value = || {
            joined
                .clone()
                .or_else(|| arguments.next())
                .ok_or_else(|| format!("{flag} needs a value"))
        };
        match flag.as_str() {
            "--socket" => socket = Some(value()?),
            "--addr" => addr = Some(parse_addr(&value()?.to_string_lossy())?),
            "--conf" => conf = Some(PathBuf::from(value()?)),
            "--timeout-ms" => budget_ms = parse_budget(&value()?.to_string_lossy())?,
            "--mode" => mode = parse_mode(&value()?.to_string_lossy())?,
            "--json" if joined.is_none() => json = true,
            "--help" | "-h" => return Ok(Parsed::Show(USAGE.to_owned() + &table())),
            "--version" | "-V" => {
                return Ok(Parsed::Show(
                    concat!("brokerAliveTest ", env!("CARGO_PKG_VERSION"), "\n").into(),
                ));
            }
            _ => return Err(format!("unknown argument {text}")),
        }
    }
    if let Some(path) = conf {
        if addr.is_some() {
            return Err("--conf and --addr exclude each other".to_owned());
        }
        let conf = Conf::read(&path)
            .map_err(|error| format!("read --conf {}: {error}", path.display()))?;
        addr = Some((Ipv4Addr::LOCALHOST, conf.listen_port()).into());
    }
    let socket = PathBuf::from(socket.unwrap_or_else(|| DEFAULT_SOCKET.into()));
    Ok(Parsed::Check(Arguments {
        target: Target {
            socket,
            addr,
            budget: Duration::from_millis(budget_ms),
        },
        mode,
        json,
    }))
}

/// No names: a resolver has its own idea of time, and a static program has none at all.
fn parse_addr(text: &str) -> Result<SocketAddr, String> {
    let local = text
        .strip_prefix("localhost:")
        .map(|port| format!("127.0.0.1:{port}"));
    let parsed = local.as_deref().unwrap_or(text).parse();
    parsed.map_err(|_| format!("--addr {text:?}: give IP:PORT or localhost:PORT"))
}

fn parse_budget(text: &str) -> Result<u64, String> {
    let budget = text
        .parse()
        .ok()
        .filter(|budget| (100..=60_000).contains(budget));
    budget
        .ok_or_else(|| format!("--timeout-ms {text:?}: give whole milliseconds from 100 to 60000"))
}

fn parse_mode(text: &str) -> Result<Mode, String> {
    match text {
        "liveness" => Ok(Mode::Liveness),
        "readiness" => Ok(Mode::Readiness),
        "startup" => Ok(Mode::Startup),
        _ => Err(format!(
            "--mode {text:?}: give liveness, readiness or startup"
        )),
    }
}

/// The state table as `--help` shows it.
fn table() -> String {
    let code = |state: AliveState, mode| u8::from(!state.passes(mode));
    let row = |state: AliveState| {
        let codes = [Mode::Liveness, Mode::Readiness, Mode::Startup].map(|mode| code(state, mode));
        format!(
            "  {:<12} {:>21} {:>10} {:>8}\n",
            state.as_str(),
            codes[0],
            codes[1],
            codes[2]
        )
    };
    AliveState::ALL.into_iter().map(row).collect()
}

fn memory_file(socket: &Path) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(".alive");
    name.into()
}

/// What earlier checks saw; nothing, if it cannot be read.
fn recall(file: &Path) -> Memory {
    const MAX_MEMORY: u64 = 4_096;
    let mut text = String::new();
    let read =
        fs::File::open(file).and_then(|file| file.take(MAX_MEMORY).read_to_string(&mut text));
    read.ok()
        .and_then(|_| serde_json::from_str(&text).ok())
        .unwrap_or_default()
}

/// Best effort: without the file the next check only knows less.
fn keep(file: &Path, memory: &Memory) {
    let Ok(text) = serde_json::to_vec(memory) else {
        return;
    };
    let mut part = file.as_os_str().to_owned();
    // Two probes may run at once.
    part.push(format!(".{}", std::process::id()));
    if fs::write(&part, text)
        .and_then(|()| fs::rename(&part, file))
        .is_err()
    {
        let _ = fs::remove_file(&part);
    }
}
