//! What a base says that deserves a line in the log, though the broker can be started with it.

use std::fmt;

/// A key that the agent owns and the base sets too. The agent's value wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overridden {
    /// The key.
    pub key: &'static str,
    /// The line of the base, from 1.
    pub line: usize,
    /// The value that does not count.
    pub value: String,
}

/// Something odd in a base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The line of the base, from 1.
    pub line: usize,
    /// What is odd there.
    pub oddity: Oddity,
}

/// What can be odd without being wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// No broker from 4.9.7 to 5.5.0 knows the key: a typo, or newer than this agent.
    Unknown {
        /// The key.
        key: String,
    },
    /// The key stands again further down, and that one counts.
    Repeated {
        /// The key.
        key: String,
    },
    /// A text ends with a blank. Brokers before 5.3 keep it in the value, later ones cut it off.
    TrailingBlank {
        /// The key.
        key: String,
    },
    /// Written in UTF-8. The broker reads the file as ISO-8859-1, so it arrives garbled.
    Garbled {
        /// The key.
        key: String,
    },
    /// A listener in the range from which the system takes ports for connections: a start can fail on it (seen once).
    Ephemeral {
        /// The port.
        port: u16,
    },
    /// A 4.9 broker does not honour the key: it always listens on listenPort+1.
    HaPortIgnoredBy49 {
        /// The value.
        port: u16,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match &self.oddity {
            Oddity::Unknown { key } => write!(f, "no broker up to 5.5.0 knows {key}; a typo?"),
            Oddity::Repeated { key } => {
                write!(f, "{key} stands again further down, and that line counts")
            }
            Oddity::TrailingBlank { key } => {
                write!(
                    f,
                    "{key} ends with a blank, which brokers before 5.3 take into it"
                )
            }
            Oddity::Garbled { key } => write!(
                f,
                "{key} is UTF-8, which the broker reads as ISO-8859-1; write its characters as \\uXXXX"
            ),
            Oddity::Ephemeral { port } => {
                write!(
                    f,
                    "port {port} is in 32768-60999, where connections may take it first"
                )
            }
            Oddity::HaPortIgnoredBy49 { port } => {
                write!(
                    f,
                    "a 4.9 broker ignores haListenPort={port} and takes listenPort+1"
                )
            }
        }
    }
}
