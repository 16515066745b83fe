//! What the agent and the launcher say to each other: one JSON object per line over a Unix socket.
//!
//! * The socket has mode 0600 and the launcher answers only peers of its own user id (SO_PEERCRED).
//! * A line is at most [`MAX_LINE`] bytes, its newline included. A longer or unreadable one is answered once and the
//!   connection is closed.
//! * Every [`Request`] gets one [`Reply`] with its `id`, in order. After a [`Op::Watch`] further replies with the
//!   watch's `id` are pushed: at once when the broker's state changes, and at least every [`WATCH_EVERY_MS`].
//!   Other requests may go on over the same connection.
//! * All times are milliseconds of CLOCK_BOOTTIME of the machine that both sides run on (safety H5).
//! * [`PROTOCOL`] grows whenever a field comes that the other side must not ignore; unknown fields are ignored. The
//!   launcher outlives upgrades of the agent, so a newer agent must be able to speak an older protocol.

use std::path::PathBuf;

pub use relay::Term;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The protocol's number.
pub const PROTOCOL: u32 = 1;

/// The longest line in bytes, newline included.
pub const MAX_LINE: usize = 64 * 1024;

/// The longest pause in milliseconds between two pushed replies of a watch.
pub const WATCH_EVERY_MS: u64 = 1_000;

/// How far the two sides' CLOCK_BOOTTIME may differ at [`Op::Hello`], in milliseconds (safety H5).
pub const MAX_CLOCK_DIFFERENCE_MS: u64 = 1_000;

/// How far ahead a permit may end, in milliseconds. No policy needs more, and a wall-clock time given by mistake (which
/// would mean "for decades") is refused.
pub const MAX_PERMIT_MS: u64 = 120_000;

/// The longest grace of [`Op::Stop`] in milliseconds. An orderly stop takes 13 to 17 s on 5.x (facts §6.3), up to minutes
/// with a large unflushed log.
pub const MAX_GRACE_MS: u64 = 600_000;

/// The most options of one [`StartOrder`].
pub const MAX_JVM_OPTIONS: usize = 64;

/// One question or order of the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the asker; the reply carries it back.
    pub id: u64,
    /// What is wanted.
    pub op: Op,
}

/// What can be asked of a launcher.
///
/// [`Op::Status`] and [`Op::Watch`] need no [`Op::Hello`] before them (the probe asks them); every other one does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Says who asks and proves that both sides read the same clock.
    Hello(Hello),
    /// Starts the broker.
    Start(StartOrder),
    /// Prolongs the running broker's permit.
    Permit(Permit),
    /// Stops the broker in order: SIGTERM, then SIGKILL after the grace. Answered at once; watch for the end.
    /// Without a broker it is answered with the status and changes nothing.
    Stop {
        /// Milliseconds from now to SIGKILL, at most [`MAX_GRACE_MS`]. The permit's end kills even earlier.
        grace_ms: u64,
    },
    /// Kills the broker's whole process group with SIGKILL. Answered at once; watch for the end.
    Kill,
    /// Asks for the status.
    Status,
    /// Asks for the status now and on every change.
    Watch,
    /// Replaces the orders of both ends of the replication relay.
    Relay(RelayOrders),
}

/// The agent's first words on a connection that gives orders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the agent; refused when the launcher does not speak it.
    pub protocol: u32,
    /// The agent's `/proc/sys/kernel/random/boot_id`; refused when it is not the launcher's.
    pub boot_id: String,
    /// The agent's CLOCK_BOOTTIME; refused when it is more than [`MAX_CLOCK_DIFFERENCE_MS`] away from the launcher's.
    pub boottime_ms: u64,
    /// The agent's version, for people.
    pub agent_version: String,
}

/// What a broker runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It takes writes.
    Master,
    /// It follows a master.
    Slave,
}

/// How to start the broker.
///
/// Refused while a broker lives, and when `term` is equal to or older than one that this launcher already started as
/// master or whose permit was ended by [`Op::Permit`] with 0: one term is one JVM process (safety H9).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartOrder {
    /// What it runs as.
    pub role: Role,
    /// For a master its own term, for a slave the term it follows.
    pub term: Term,
    /// Pod uid, a dot, and this launcher's [`Status::launcher_nonce`] (safety H1).
    pub instance: String,
    /// The rendered broker.conf, an absolute path that the launcher's container can read.
    pub conf: PathBuf,
    /// When the broker is killed unless a later permit comes; at most [`MAX_PERMIT_MS`] ahead.
    pub permit_until_ms: u64,
    /// Extra JVM options, at most [`MAX_JVM_OPTIONS`], each without blanks (the stock scripts split them at blanks).
    pub jvm_options: Vec<String>,
}

/// "Go on until then." Taken only for the running broker's own term and instance, and only if it is later than the
/// permit it has; an earlier one is answered with the status and changes nothing. `until_ms` 0 withdraws the permit: the
/// broker is killed at once and nothing is started again under a term of this epoch or an older one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permit {
    /// The broker's term.
    pub term: Term,
    /// The broker's instance.
    pub instance: String,
    /// The new end, at most [`MAX_PERMIT_MS`] ahead; 0 = never again.
    pub until_ms: u64,
}

/// What both ends of the replication relay are to do: a level, equal orders given again change nothing.
///
/// The launcher itself takes the master's orders away when that broker is killed or has ended, and parks the slave's end
/// when a master is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayOrders {
    /// Taken only while a broker runs here as master of exactly this term and instance.
    pub master: Option<relay::MasterOrders>,
    /// `Attach` is taken unless a broker runs here as master; its instance must end in the launcher's nonce.
    pub slave: relay::SlaveOrders,
}

/// How both ends of the relay go; `None` = not configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayStatus {
    /// Where slaves of this member connect.
    pub master: Option<relay::MasterStatus>,
    /// Where this member's own JVM connects.
    pub slave: Option<relay::SlaveStatus>,
}

/// The launcher's answer, and what a watch receives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The request's number; 0 when the request could not be read.
    pub id: u64,
    /// Set when the request was refused; nothing changed then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ReplyError>,
    /// How things are after the request.
    pub status: Status,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyError {
    /// For programs.
    pub kind: ErrorKind,
    /// For people: what, why, and what to do.
    pub message: String,
}

/// Kinds of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Not JSON, not a request, or a line that is too long. The connection is closed.
    BadRequest,
    /// An order came before a successful [`Op::Hello`].
    HelloFirst,
    /// The two sides share no protocol version.
    Protocol,
    /// The agent runs under another boot of the kernel, or on another machine.
    BootId,
    /// The two CLOCK_BOOTTIMEs differ.
    Clock,
    /// The instance does not end in this launcher's nonce, or is not the running broker's.
    Instance,
    /// The term was already used here, or is not the running broker's.
    Term,
    /// A broker is alive (or not wholly gone yet).
    Alive,
    /// No broker is alive.
    NoBroker,
    /// The permit's end has passed, or is too far ahead.
    Permit,
    /// The conf cannot be read.
    Conf,
    /// A JVM option cannot be passed on, or there are too many.
    JvmOptions,
    /// The grace is too long.
    Grace,
    /// The command could not be started.
    Start,
    /// The launcher is stopping (it got SIGTERM): no broker is started any more.
    Leaving,
    /// The relay could not take its orders.
    Relay,
}

/// How the launcher and its broker are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`PROTOCOL`] of the launcher.
    pub protocol: u32,
    /// The launcher's version, for people.
    pub version: String,
    /// 16 hex digits, fresh at every start of the launcher (safety H1).
    pub launcher_nonce: String,
    /// `/proc/sys/kernel/random/boot_id` as the launcher sees it.
    pub boot_id: String,
    /// CLOCK_BOOTTIME when this status was made.
    pub boottime_ms: u64,
    /// True when the broker's processes surely die with the launcher: it is PID 1, or its guard runs (safety H11).
    pub guarded: bool,
    /// True when the nonce stands where the kubelet shows it once this container is gone ([`crate::epitaph`]).
    #[serde(default)]
    pub epitaph: bool,
    /// True from SIGTERM on: the launcher stops its broker and ends.
    pub leaving: bool,
    /// The broker.
    pub broker: Broker,
    /// The replication relay.
    pub relay: RelayStatus,
}

/// The broker as the launcher knows it. The agent adopts role, term, instance and permit only from here (safety H12).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broker {
    /// Where in its life it is.
    pub state: BrokerState,
    /// Its process group's number, which is the pid of the command's first process (with the stock scripts a shell).
    pub pid: Option<u32>,
    /// What it was started as. From here on: of the present broker or, in [`BrokerState::Ended`], of the last one.
    pub role: Option<Role>,
    /// The term it was started under.
    pub term: Option<Term>,
    /// The instance it was started with.
    pub instance: Option<String>,
    /// When it is killed; 0 when its permit was withdrawn.
    pub permit_until_ms: Option<u64>,
    /// When it was started.
    pub started_ms: Option<u64>,
    /// When its listen port was first seen open.
    pub running_ms: Option<u64>,
    /// The listen port of its conf, where it will answer.
    pub listen_port: Option<u16>,
    /// What its processes have done so far; `None` without a broker or when it cannot be read.
    pub activity: Option<Activity>,
    /// How the last broker ended; `None` until one has.
    pub last_end: Option<BrokerEnd>,
}

/// Where in its life a broker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BrokerState {
    /// None was started yet.
    Waiting,
    /// Processes live; the conf's listen port has not been seen open yet (metadata, recovery; facts §6.2).
    Starting,
    /// The listen port was seen open. The first answer may come up to 1.5 s later (cold JVM).
    Running,
    /// It was told to stop, or is being killed; its group is not wholly gone yet.
    Stopping,
    /// No process of its group is left. See [`Broker::last_end`].
    Ended,
}

/// Sums over the living processes of the broker's group: two readings that differ show progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// When this was read; at most about a second before the status.
    pub at_ms: u64,
    /// Processor time used, in milliseconds.
    pub cpu_ms: u64,
    /// Bytes read and written by system calls, and page faults that went to the disk counted as 4096 each.
    pub io_bytes: u64,
    /// True when a process of the group is frozen (SIGSTOP or a debugger).
    pub frozen: bool,
}

/// How a broker ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerEnd {
    /// Exit code of the command's first process. The broker's own: facts §6.1; a shell reports a child killed by signal
    /// n as 128+n.
    pub code: Option<i32>,
    /// The signal that ended the command's first process.
    pub signal: Option<i32>,
    /// Why it ended.
    pub why: EndReason,
    /// When its whole group was gone.
    pub at_ms: u64,
    /// What it had been started as.
    pub role: Role,
    /// The term it had been started under.
    pub term: Term,
}

/// Why a broker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// By itself, or by somebody else's signal.
    Exited,
    /// It obeyed [`Op::Stop`] or the launcher's own SIGTERM.
    Stopped,
    /// It did not stop within the grace and was killed.
    StopForced,
    /// [`Op::Kill`], or a permit withdrawn.
    Killed,
    /// Its permit ended while an agent was connected.
    PermitEnded,
    /// Its permit ended and no agent was connected.
    AgentGone,
}

impl EndReason {
    /// The word that logs, metrics and JSON share.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Stopped => "stopped",
            Self::StopForced => "stop_forced",
            Self::Killed => "killed",
            Self::PermitEnded => "permit_ended",
            Self::AgentGone => "agent_gone",
        }
    }
}

impl Role {
    /// The word that logs, metrics and JSON share.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Slave => "slave",
        }
    }
}

impl BrokerState {
    /// The word that logs, metrics and JSON share.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Ended => "ended",
        }
    }

    /// Whether processes of a broker may live.
    #[must_use]
    pub fn is_alive(self) -> bool {
        match self {
            Self::Starting | Self::Running | Self::Stopping => true,
            Self::Waiting | Self::Ended => false,
        }
    }
}

/// A line that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// It would be, or is, longer than [`MAX_LINE`].
    #[error("a line of more than {MAX_LINE} bytes")]
    TooLong,
    /// It is not the JSON of what was expected.
    #[error("a line that is not the JSON of a {what}")]
    Json {
        /// What was expected.
        what: &'static str,
        /// What the JSON reader said.
        source: serde_json::Error,
    },
}

/// A request or reply as one line, newline included.
///
/// # Errors
/// [`LineError::TooLong`] when it does not fit into [`MAX_LINE`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, LineError> {
    let mut line = serde_json::to_vec(message).map_err(|source| LineError::Json {
        what: "message",
        source,
    })?;
    line.push(b'\n');
    if line.len() > MAX_LINE {
        return Err(LineError::TooLong);
    }
    Ok(line)
}

/// A request or reply from one line (its newline may be missing). `what` names it in the error.
///
/// # Errors
/// [`LineError::TooLong`] above [`MAX_LINE`], [`LineError::Json`] when it is something else.
pub fn decode<T: DeserializeOwned>(line: &[u8], what: &'static str) -> Result<T, LineError> {
    if line.len() > MAX_LINE {
        return Err(LineError::TooLong);
    }
    serde_json::from_slice(line).map_err(|source| LineError::Json { what, source })
}

/// Cuts a stream of bytes into lines; holds at most [`MAX_LINE`] bytes and what was given in one [`Lines::push`].
#[derive(Debug, Default)]
pub struct Lines {
    held: Vec<u8>,
}

impl Lines {
    /// Adds bytes as they came from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// The next whole line without its newline, or `None` until more bytes come.
    ///
    /// # Errors
    /// [`LineError::TooLong`] when there is no newline within [`MAX_LINE`] bytes: close the connection then.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, LineError> {
        let Some(end) = self
            .held
            .iter()
            .take(MAX_LINE)
            .position(|byte| *byte == b'\n')
        else {
            return if self.held.len() >= MAX_LINE {
                Err(LineError::TooLong)
            } else {
                Ok(None)
            };
        };
        let line = self.held.get(..end).unwrap_or_default().to_vec();
        self.held.drain(..=end);
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn many_short_lines_in_one_push_come_out_in_order() {
        let mut lines = Lines::default();
        lines.push(b"a\n\nbc\nrest");
        let mut out = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            out.push(line);
        }
        assert_eq!(out, [&b"a"[..], b"", b"bc"]);
        // What is left is kept as it is: nothing is copied for each line that is taken.
        assert_eq!(lines.held, b"rest");
        let mut lines = Lines::default();
        lines.push(&[b'\n'; MAX_LINE]);
        let room = lines.held.as_ptr();
        lines.next_line().unwrap();
        assert_eq!(lines.held.as_ptr(), room);
    }

    fn start_order() -> StartOrder {
        StartOrder {
            role: Role::Master,
            term: Term {
                epoch: 7,
                nonce: u64::MAX,
            },
            instance: "uid.0123456789abcdef".into(),
            conf: "/shared/broker.conf".into(),
            permit_until_ms: 123_456,
            jvm_options: vec!["-Xmx512m".into()],
        }
    }

    #[test]
    fn the_words_on_the_wire_stay_as_they_are() {
        let request = Request {
            id: 3,
            op: Op::Start(start_order()),
        };
        let line = String::from_utf8(encode(&request).unwrap()).unwrap();
        assert_eq!(
            line,
            concat!(
                r#"{"id":3,"op":{"start":{"role":"master","term":{"epoch":7,"nonce":18446744073709551615},"#,
                r#""instance":"uid.0123456789abcdef","conf":"/shared/broker.conf","permit_until_ms":123456,"#,
                r#""jvm_options":["-Xmx512m"]}}}"#,
                "\n"
            )
        );
        assert_eq!(
            encode(&Request {
                id: 1,
                op: Op::Kill
            })
            .unwrap(),
            b"{\"id\":1,\"op\":\"kill\"}\n"
        );
        assert_eq!(
            encode(&Request {
                id: 1,
                op: Op::Stop { grace_ms: 5 }
            })
            .unwrap(),
            b"{\"id\":1,\"op\":{\"stop\":{\"grace_ms\":5}}}\n"
        );
    }

    #[test]
    fn unknown_fields_are_ignored_and_unknown_ops_are_errors() {
        let line = br#"{"id":9,"op":{"permit":{"term":{"epoch":1,"nonce":2},"instance":"i","until_ms":3,"new":true}}}"#;
        let request: Request = decode(line, "request").unwrap();
        assert_eq!(request.id, 9);
        assert!(decode::<Request>(br#"{"id":9,"op":"dance"}"#, "request").is_err());
        assert!(decode::<Request>(br#"{"id":-9,"op":"kill"}"#, "request").is_err());
    }

    #[test]
    fn a_line_is_bounded() {
        let mut order = start_order();
        order.instance = "x".repeat(MAX_LINE);
        assert!(matches!(
            encode(&Request {
                id: 1,
                op: Op::Start(order)
            }),
            Err(LineError::TooLong)
        ));
        let mut lines = Lines::default();
        lines.push(&vec![b'x'; MAX_LINE - 1]);
        assert!(lines.next_line().unwrap().is_none());
        lines.push(b"x\n");
        assert!(lines.next_line().is_err());
    }

    proptest! {
        #[test]
        fn lines_survive_any_cutting(words in prop::collection::vec("[a-z]{0,20}", 0..20), cut in 1usize..7) {
            let stream: Vec<u8> = words.iter().flat_map(|word| format!("{word}\n").into_bytes()).collect();
            let mut lines = Lines::default();
            let mut seen = Vec::new();
            for piece in stream.chunks(cut) {
                lines.push(piece);
                while let Some(line) = lines.next_line().unwrap() {
                    seen.push(String::from_utf8(line).unwrap());
                }
            }
            prop_assert_eq!(seen, words);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<Request>(&bytes, "request");
            let _ = decode::<Reply>(&bytes, "reply");
        }
    }
}
