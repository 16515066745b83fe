//! brokerStart's flags; each is also an environment variable.

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use crate::{
    command::{CommandError, Template},
    protocol::MAX_GRACE_MS,
};

/// What `--help` shows.
pub(crate) const USAGE: &str = "\
brokerStart [FLAGS] -- COMMAND [ARGUMENTS]

Starts, stops and fences one RocketMQ broker on the orders of its rocketmq-ha agent. It starts nothing by itself, and
kills the broker when the permit that the agent last gave runs out. Also installed as brokerStart.sh.

COMMAND is the broker's own: `sh mqbroker`, a script around it, or a line that begins with java. It must stay in the
foreground. The conf file is put in by brokerStart (after -c or --configFile, else appended; in a text for `sh -c` write
$ROCKETMQ_HA_CONF).

  --socket PATH             where the agent gives its orders, at most 107 bytes   ROCKETMQ_HA_SOCKET
                            (default /run/rocketmq-ha/launcher.sock)
  --stop-grace-ms N         time for an orderly stop after SIGTERM, then SIGKILL  ROCKETMQ_HA_STOP_GRACE_MS
                            (default 60000, at most 600000)
  --help, --version

Signals: SIGTERM, SIGINT and SIGHUP stop the broker in order and end brokerStart; a second one kills the broker. SIGQUIT
goes to the JVM (thread dump).
Exit codes: 0 ended in order; 1 could not work (socket, /proc, guard); 2 wrong arguments; 137 the broker had to be killed.
";

const DEFAULT_SOCKET: &str = "/run/rocketmq-ha/launcher.sock";
const DEFAULT_STOP_GRACE_MS: u64 = 60_000;

/// What brokerStart was asked to do.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// Work.
    Run(Box<Settings>),
    /// Show the usage.
    Help,
    /// Show the version.
    Version,
}

/// How brokerStart works.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The control socket.
    pub(crate) socket: PathBuf,
    /// Milliseconds between SIGTERM and SIGKILL to the broker when the launcher itself is stopped.
    pub(crate) stop_grace_ms: u64,
    /// The broker's command.
    pub(crate) command: Template,
}

/// A wrong flag or value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SettingsError {
    /// No such flag.
    #[error("unknown argument {0}: the broker's own command goes after `--`")]
    Unknown(String),
    /// A flag without its value.
    #[error("{0} needs a value")]
    NoValue(&'static str),
    /// A value that cannot be used.
    #[error("{flag} {value:?}: {reason}")]
    Value {
        /// The flag, or its environment variable.
        flag: &'static str,
        /// What was given.
        value: String,
        /// What is wrong with it and what is right.
        reason: String,
    },
    /// The command.
    #[error(transparent)]
    Command(#[from] CommandError),
}

/// The flags that take a value, and their environment variables.
const FLAGS: [(&str, &str); 2] = [
    ("--socket", "ROCKETMQ_HA_SOCKET"),
    ("--stop-grace-ms", "ROCKETMQ_HA_STOP_GRACE_MS"),
];

impl Settings {
    /// Reads flags, then environment variables, then defaults.
    ///
    /// # Errors
    /// What is wrong, with its name, the reason and the remedy.
    pub(crate) fn parse(
        arguments: impl Iterator<Item = OsString>,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Parsed, SettingsError> {
        let mut arguments = arguments;
        let mut given: [Option<OsString>; FLAGS.len()] = Default::default();
        let mut words = Vec::new();
        while let Some(argument) = arguments.next() {
            match argument.to_str() {
                Some("--") => words.extend(arguments.by_ref()),
                Some("--help" | "-h") => return Ok(Parsed::Help),
                Some("--version" | "-V") => return Ok(Parsed::Version),
                _ => take_flag(&argument, &mut arguments, &mut given)?,
            }
        }
        for (value, (_, variable)) in given.iter_mut().zip(FLAGS) {
            if value.is_none() {
                *value = environment(variable).filter(|text| !text.is_empty());
            }
        }
        let [socket, grace] = given;
        Ok(Parsed::Run(Box::new(Self {
            socket: PathBuf::from(socket.unwrap_or_else(|| DEFAULT_SOCKET.into())),
            stop_grace_ms: grace
                .as_deref()
                .map_or(Ok(DEFAULT_STOP_GRACE_MS), parse_grace)?,
            command: Template::new(words)?,
        })))
    }
}

fn take_flag(
    argument: &OsStr,
    rest: &mut impl Iterator<Item = OsString>,
    given: &mut [Option<OsString>; FLAGS.len()],
) -> Result<(), SettingsError> {
    let unknown = || SettingsError::Unknown(argument.to_string_lossy().into_owned());
    let text = argument.to_str().ok_or_else(unknown)?;
    let (name, joined) = text
        .split_once('=')
        .map_or((text, None), |(name, value)| (name, Some(value)));
    let place = FLAGS
        .iter()
        .position(|(flag, _)| *flag == name)
        .ok_or_else(unknown)?;
    let (Some((flag, _)), Some(slot)) = (FLAGS.get(place), given.get_mut(place)) else {
        return Err(unknown());
    };
    let value = joined
        .map(OsString::from)
        .or_else(|| rest.next())
        .ok_or(SettingsError::NoValue(flag))?;
    *slot = Some(value);
    Ok(())
}

fn parse_grace(text: &OsStr) -> Result<u64, SettingsError> {
    let value = text.to_string_lossy();
    match value.parse() {
        Ok(grace) if grace <= MAX_GRACE_MS => Ok(grace),
        _ => Err(SettingsError::Value {
            flag: "--stop-grace-ms",
            value: value.into_owned(),
            reason: format!("give whole milliseconds, at most {MAX_GRACE_MS}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Parsed, SettingsError> {
        let find = |name: &str| {
            environment
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.into())
        };
        Settings::parse(arguments.iter().map(OsString::from), find)
    }

    fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Settings {
        match parse(arguments, environment).unwrap() {
            Parsed::Run(settings) => *settings,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_win_over_the_environment() {
        let settings = run(
            &["--socket=/a", "--", "mqbroker"],
            &[("ROCKETMQ_HA_SOCKET", "/b")],
        );
        assert_eq!(settings.socket, PathBuf::from("/a"));
        assert_eq!(settings.stop_grace_ms, 60_000);
        let settings = run(
            &["--", "x", "--help"],
            &[
                ("ROCKETMQ_HA_STOP_GRACE_MS", "5"),
                ("ROCKETMQ_HA_SOCKET", "/b"),
            ],
        );
        assert_eq!(
            (settings.stop_grace_ms, settings.socket),
            (5, PathBuf::from("/b"))
        );
    }

    #[test]
    fn mistakes_are_named() {
        let error = |arguments: &[&str]| parse(arguments, &[]).unwrap_err().to_string();
        assert_eq!(
            error(&["--scoket", "/a", "--", "x"]),
            "unknown argument --scoket: the broker's own command goes after `--`"
        );
        assert_eq!(error(&["--socket"]), "--socket needs a value");
        assert!(
            error(&["--stop-grace-ms", "5s", "--", "x"])
                .starts_with("--stop-grace-ms \"5s\": give whole")
        );
        assert!(error(&[]).contains("no command after"));
    }
}
