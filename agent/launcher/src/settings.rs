//! brokerStart's flags; each is also an environment variable.

use std::{
    ffi::{OsStr, OsString},
    net::SocketAddr,
    path::PathBuf,
};

use crate::{
    command::{CommandError, Template},
    epitaph,
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
  --relay-listen IP:PORT    where slaves' launchers connect for replication        ROCKETMQ_HA_RELAY_LISTEN
  --relay-local IP:PORT     where this broker's own JVM connects as a slave,       ROCKETMQ_HA_RELAY_LOCAL
                            a loopback address
  --group-key-file PATH     the group's shared key (both relays need it)           ROCKETMQ_HA_GROUP_KEY_FILE
  --cluster NAME            brokerClusterName (both relays need it)                ROCKETMQ_HA_CLUSTER
  --broker-name NAME        brokerName (both relays need it)                       ROCKETMQ_HA_BROKER_NAME
  --member NAME             refuse relay orders for another member                 ROCKETMQ_HA_MEMBER
  --termination-log PATH    where the kubelet reads a container's last word      ROCKETMQ_HA_TERMINATION_LOG
                            (default /dev/termination-log; used only if it is there)
  --help, --version

Signals: SIGTERM, SIGINT and SIGHUP stop the broker in order and end brokerStart; a second one kills the broker. SIGQUIT
goes to the JVM (thread dump).
Exit codes: 0 ended in order; 1 could not work (socket, /proc, guard); 2 wrong arguments; 137 the broker had to be killed.
";

pub(crate) const DEFAULT_SOCKET: &str = "/run/rocketmq-ha/launcher.sock";
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
    /// Where the kubelet reads this container's last word.
    pub(crate) termination_log: PathBuf,
    /// The replication relay, if any.
    pub(crate) relay: Option<RelaySettings>,
    /// The broker's command.
    pub(crate) command: Template,
}

/// The replication relay's own settings.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RelaySettings {
    /// Where slaves' launchers connect.
    pub(crate) listen: Option<SocketAddr>,
    /// Where the own JVM connects; loopback.
    pub(crate) local: Option<SocketAddr>,
    /// The group's key.
    pub(crate) key_file: PathBuf,
    /// `brokerClusterName`.
    pub(crate) cluster: String,
    /// `brokerName`.
    pub(crate) broker: String,
    /// This member, if it is to be checked.
    pub(crate) member: Option<String>,
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
    /// A flag that another one makes necessary.
    #[error("a relay address without {0}: give it")]
    Missing(&'static str),
    /// The command.
    #[error(transparent)]
    Command(#[from] CommandError),
}

/// The flags that take a value, and their environment variables.
const FLAGS: [(&str, &str); 9] = [
    (SOCKET, "ROCKETMQ_HA_SOCKET"),
    (STOP_GRACE, "ROCKETMQ_HA_STOP_GRACE_MS"),
    (TERMINATION_LOG, "ROCKETMQ_HA_TERMINATION_LOG"),
    (RELAY_LISTEN, "ROCKETMQ_HA_RELAY_LISTEN"),
    (RELAY_LOCAL, "ROCKETMQ_HA_RELAY_LOCAL"),
    (GROUP_KEY_FILE, "ROCKETMQ_HA_GROUP_KEY_FILE"),
    (CLUSTER, "ROCKETMQ_HA_CLUSTER"),
    (BROKER_NAME, "ROCKETMQ_HA_BROKER_NAME"),
    (MEMBER, "ROCKETMQ_HA_MEMBER"),
];

const SOCKET: &str = "--socket";
const STOP_GRACE: &str = "--stop-grace-ms";
const TERMINATION_LOG: &str = "--termination-log";
const RELAY_LISTEN: &str = "--relay-listen";
const RELAY_LOCAL: &str = "--relay-local";
const GROUP_KEY_FILE: &str = "--group-key-file";
const CLUSTER: &str = "--cluster";
const BROKER_NAME: &str = "--broker-name";
const MEMBER: &str = "--member";

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
        let [socket, grace, termination_log, relay @ ..] = given;
        Ok(Parsed::Run(Box::new(Self {
            socket: PathBuf::from(socket.unwrap_or_else(|| DEFAULT_SOCKET.into())),
            stop_grace_ms: grace
                .as_deref()
                .map_or(Ok(DEFAULT_STOP_GRACE_MS), parse_grace)?,
            termination_log: termination_log
                .map_or_else(|| epitaph::DEFAULT_PATH.into(), PathBuf::from),
            relay: parse_relay(relay)?,
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
            flag: STOP_GRACE,
            value: value.into_owned(),
            reason: format!("give whole milliseconds, at most {MAX_GRACE_MS}"),
        }),
    }
}

fn parse_relay(given: [Option<OsString>; 6]) -> Result<Option<RelaySettings>, SettingsError> {
    let [listen, local, key_file, cluster, broker, member] = given;
    if listen.is_none() && local.is_none() {
        return Ok(None);
    }
    let local = parse_address(RELAY_LOCAL, local)?;
    if let Some(address) = local
        && !address.ip().is_loopback()
    {
        let reason =
            "anybody could give the broker data there: choose a loopback address".to_owned();
        return Err(SettingsError::Value {
            flag: RELAY_LOCAL,
            value: address.to_string(),
            reason,
        });
    }
    Ok(Some(RelaySettings {
        listen: parse_address(RELAY_LISTEN, listen)?,
        local,
        key_file: key_file
            .ok_or(SettingsError::Missing(GROUP_KEY_FILE))?
            .into(),
        cluster: parse_text(CLUSTER, cluster)?.ok_or(SettingsError::Missing(CLUSTER))?,
        broker: parse_text(BROKER_NAME, broker)?.ok_or(SettingsError::Missing(BROKER_NAME))?,
        member: parse_text(MEMBER, member)?,
    }))
}

fn parse_address(
    flag: &'static str,
    given: Option<OsString>,
) -> Result<Option<SocketAddr>, SettingsError> {
    let Some(value) = parse_text(flag, given)? else {
        return Ok(None);
    };
    match value.parse() {
        Ok(address) => Ok(Some(address)),
        Err(_) => {
            let reason = "give IP:PORT, for instance 0.0.0.0:10913 or [::]:10913".to_owned();
            Err(SettingsError::Value {
                flag,
                value,
                reason,
            })
        }
    }
}

fn parse_text(
    flag: &'static str,
    given: Option<OsString>,
) -> Result<Option<String>, SettingsError> {
    given
        .map(OsString::into_string)
        .transpose()
        .map_err(|raw| SettingsError::Value {
            flag,
            value: raw.to_string_lossy().into_owned(),
            reason: "it is no UTF-8".to_owned(),
        })
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
        assert_eq!(
            error(&["--relay-listen", "1.2.3.4:5", "--", "x"]),
            "a relay address without --group-key-file: give it"
        );
        assert!(
            error(&["--relay-local", "1.2.3.4:5", "--", "x"]).contains("choose a loopback address")
        );
        assert!(error(&["--relay-listen", "10913", "--", "x"]).contains("give IP:PORT"));
    }

    #[test]
    fn a_whole_relay_is_read() {
        let environment = [
            ("ROCKETMQ_HA_CLUSTER", "c"),
            ("ROCKETMQ_HA_BROKER_NAME", "b"),
            ("ROCKETMQ_HA_GROUP_KEY_FILE", "/k"),
        ];
        let settings = run(
            &[
                "--relay-local=127.0.0.1:7",
                "--relay-listen=[::]:8",
                "--",
                "x",
            ],
            &environment,
        );
        let wanted = RelaySettings {
            listen: Some("[::]:8".parse().unwrap()),
            local: Some("127.0.0.1:7".parse().unwrap()),
            key_file: "/k".into(),
            cluster: "c".into(),
            broker: "b".into(),
            member: None,
        };
        assert_eq!(settings.relay, Some(wanted));
        assert_eq!(run(&["--", "x"], &environment).relay, None);
    }
}
