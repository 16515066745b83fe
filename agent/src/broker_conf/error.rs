//! What is wrong with a broker.conf: where, what, and what to do about it.

use std::path::PathBuf;

/// Why a base cannot be used. The message names file, line (where there is one), reason and remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConfError {
    /// The file cannot be read.
    #[error("read broker.conf {}: is it mounted, and readable for the agent's user?", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// One line of it is wrong.
    #[error("{}:{line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: Problem,
    },
    /// The file as a whole is wrong.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: Problem,
    },
}

/// What is wrong, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No java-properties text.
    #[error("{0}")]
    Syntax(String),
    /// A key that a broker of a group cannot do without.
    #[error("{0} is missing; add {0}=<name>")]
    Missing(&'static str),
    /// A key is there and its value is empty.
    #[error("{0} is empty; give it a value")]
    Empty(&'static str),
    /// Blanks at the end belong to the value in this format (facts §3.1).
    #[error(
        "{key} ends with a blank, so the broker ignores the value or takes the blank into it; delete the blanks after {value:?}"
    )]
    TrailingBlank {
        /// The key.
        key: String,
        /// The value without the blanks.
        value: String,
    },
    /// The broker would silently keep its default (facts §3.1).
    #[error(
        "the broker silently ignores {key}={value:?}; write {expected}, or remove the line for the default"
    )]
    NotTaken {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What the key takes.
        expected: &'static str,
    },
    /// A number out of the range in which the broker can work.
    #[error("{key}={value} is out of range; use {range}")]
    OutOfRange {
        /// The key.
        key: &'static str,
        /// The value.
        value: i64,
        /// The range.
        range: &'static str,
    },
    /// Two listeners of the broker on one port. It also listens on listenPort−2.
    #[error(
        "haListenPort={ha} is a port that listenPort={listen} uses too (it takes listenPort-2 as well); leave haListenPort out for listenPort+1, or choose another"
    )]
    PortClash {
        /// `haListenPort`.
        ha: u16,
        /// `listenPort`.
        listen: u16,
    },
    /// A feature that works against the fail-over, whatever the QoS.
    #[error("{key}={value} cannot be used with rocketmq-ha: {reason}; remove the line")]
    Refused {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// Why not.
        reason: &'static str,
    },
    /// Acknowledged bytes in a pool of the JVM die with it (safety H10).
    #[error(
        "transientStorePoolEnable=true loses acknowledged messages when the JVM dies, which QoS {qos} excludes; set it to false or ask for QoS 0"
    )]
    TransientPool {
        /// The QoS that was asked for.
        qos: u8,
    },
    /// A kind of broker or store whose role the agent does not change.
    #[error("{key}={value}: {reason}; rocketmq-ha leaves such a broker alone")]
    Unmanaged {
        /// The key that says so.
        key: String,
        /// Its value.
        value: String,
        /// What it means.
        reason: &'static str,
    },
    /// `render` was given nothing to register with.
    #[error(
        "no name server is known, and a broker without one never registers; set the name servers or check their source"
    )]
    NoNameServer,
}
