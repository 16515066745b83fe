//! A connection to the launcher over its Unix socket, with a deadline on everything.
//!
//! Two of them are open: one receives the watch ([`crate::observe::launcher`]), one gives orders
//! ([`crate::act::launcher`]), so that a slow order never hides a death.

use std::path::PathBuf;
use std::time::Duration;

use agent_core::record::TermId;
use agent_core::report::Role;
use agent_core::{Epoch, Nonce};
use launcher::protocol::{
    self, Hello, LineError, Lines, Op, PROTOCOL, Reply, ReplyError, Request, Status, WATCH_EVERY_MS,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::clock::Clock;

/// How long one order or the connecting may take. The launcher answers at once; ends are seen by the watch.
const DEADLINE: Duration = Duration::from_secs(1);

/// How long a watch may be silent: three missed pushes.
const SILENCE: Duration = Duration::from_millis(3 * WATCH_EVERY_MS);

/// Where the launcher is, and what it wants to know of us.
#[derive(Clone, Debug)]
pub struct Link {
    /// Its socket.
    pub socket: PathBuf,
    /// This boot's name; both sides must see the same (safety H5).
    pub boot_id: String,
    /// Our clocks.
    pub clock: Clock,
}

/// Why the launcher did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nobody listens there.
    #[error("connect to the launcher at {}", socket.display())]
    Connect {
        /// Its socket.
        socket: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("talk to the launcher")]
    Io(#[from] std::io::Error),
    /// It closed the connection.
    #[error("talk to the launcher: it closed the connection")]
    Closed,
    /// It did not answer in time.
    #[error("talk to the launcher: no answer within {} ms", .0.as_millis())]
    Silent(Duration),
    /// It says what we do not understand.
    #[error("read the launcher's answer")]
    Line(#[from] LineError),
    /// It refused.
    #[error("{what} was refused by the launcher ({:?}): {}", error.kind, error.message)]
    Refused {
        /// Which order.
        what: &'static str,
        /// Its reason.
        error: ReplyError,
    },
}

/// An open connection on which the launcher knows us.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    lines: Lines,
    last_id: u64,
}

impl Link {
    /// Connects and says hello.
    ///
    /// # Errors
    /// Any [`LinkError`].
    pub async fn open(&self) -> Result<Connection, LinkError> {
        let connecting = timeout(DEADLINE, UnixStream::connect(&self.socket));
        let stream = connecting
            .await
            .map_err(|_| LinkError::Silent(DEADLINE))?
            .map_err(|source| LinkError::Connect {
                socket: self.socket.clone(),
                source,
            })?;
        let mut connection = Connection {
            stream,
            lines: Lines::default(),
            last_id: 0,
        };
        let hello = Hello {
            protocol: PROTOCOL,
            boot_id: self.boot_id.clone(),
            boottime_ms: self.clock.boot().as_millis(),
            agent_version: crate::VERSION.to_owned(),
        };
        connection.call("hello", Op::Hello(hello)).await?;
        Ok(connection)
    }
}

impl Connection {
    /// One order and its answer.
    ///
    /// # Errors
    /// Any [`LinkError`]. After another one than [`LinkError::Refused`] the connection is of no more use.
    pub async fn call(&mut self, what: &'static str, op: Op) -> Result<Status, LinkError> {
        self.last_id += 1;
        let id = self.last_id;
        let line = protocol::encode(&Request { id, op })?;
        let exchange = async {
            self.stream.write_all(&line).await?;
            loop {
                let reply = self.read().await?;
                // 0: the request could not be read at all.
                if reply.id == id || reply.id == 0 {
                    return Ok(reply);
                }
            }
        };
        let reply: Result<Reply, LinkError> = timeout(DEADLINE, exchange)
            .await
            .map_err(|_| LinkError::Silent(DEADLINE))?;
        let reply = reply?;
        match reply.error {
            None => Ok(reply.status),
            Some(error) => Err(LinkError::Refused { what, error }),
        }
    }

    /// The next pushed status of a watch.
    ///
    /// # Errors
    /// Any [`LinkError`]; a watch that says nothing for longer than it promised is one too.
    pub async fn pushed(&mut self) -> Result<Status, LinkError> {
        let reply = timeout(SILENCE, self.read())
            .await
            .map_err(|_| LinkError::Silent(SILENCE))??;
        Ok(reply.status)
    }

    async fn read(&mut self) -> Result<Reply, LinkError> {
        let mut bytes = [0_u8; 4096];
        loop {
            if let Some(line) = self.lines.next_line()? {
                return Ok(protocol::decode(&line, "reply")?);
            }
            let count = self.stream.read(&mut bytes).await?;
            let Some(read) = bytes.get(..count).filter(|read| !read.is_empty()) else {
                return Err(LinkError::Closed);
            };
            self.lines.push(read);
        }
    }
}

/// A term as the launcher and its relay write it.
#[must_use]
pub fn to_launcher(term: TermId) -> protocol::Term {
    protocol::Term {
        epoch: term.epoch.get(),
        nonce: term.nonce.get(),
    }
}

/// A term as the core writes it.
#[must_use]
pub fn from_launcher(term: protocol::Term) -> TermId {
    TermId {
        epoch: Epoch::new(term.epoch),
        nonce: Nonce::new(term.nonce),
    }
}

/// A role as the launcher writes it.
#[must_use]
pub fn role_to_launcher(role: Role) -> protocol::Role {
    match role {
        Role::Master => protocol::Role::Master,
        Role::Slave => protocol::Role::Slave,
    }
}

/// A role as the core writes it.
#[must_use]
pub fn role_from_launcher(role: protocol::Role) -> Role {
    match role {
        protocol::Role::Master => Role::Master,
        protocol::Role::Slave => Role::Slave,
    }
}
