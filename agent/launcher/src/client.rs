//! A small blocking client of the launcher's socket, for the probe, tests and people. The agent has its own.

use std::{
    io::{self, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use crate::{
    clock,
    protocol::{
        Hello, LineError, Lines, Op, PROTOCOL, Reply, ReplyError, Request, Status, decode, encode,
    },
};

/// Why the launcher gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody serves the socket (no file, or nobody listens): the launcher does not run.
    #[error("connect to the launcher's socket {path}")]
    Connect {
        /// The socket.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The connection broke.
    #[error("talk to the launcher")]
    Io(#[source] io::Error),
    /// No answer in time: the launcher hangs or the machine is overloaded.
    #[error("no answer of the launcher within {0} ms")]
    Late(u64),
    /// The launcher closed the connection.
    #[error("the launcher closed the connection")]
    Closed,
    /// The other side speaks something else.
    #[error("read the launcher's answer")]
    Line(#[from] LineError),
    /// The launcher refused.
    #[error("{}", .0.message)]
    Refused(ReplyError),
}

/// A connection to a launcher.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    lines: Lines,
    next_id: u64,
}

impl Client {
    /// Connects. (A Unix socket connects at once or not at all, unless the launcher's queue is full.)
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub fn connect(socket: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(socket).map_err(|source| ClientError::Connect {
            path: socket.display().to_string(),
            source,
        })?;
        Ok(Self {
            stream,
            lines: Lines::default(),
            next_id: 1,
        })
    }

    /// Says hello: orders are taken afterwards.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn hello(&mut self, agent_version: &str, limit: Duration) -> Result<Status, ClientError> {
        let hello = Hello {
            protocol: PROTOCOL,
            boot_id: clock::boot_id().map_err(ClientError::Io)?,
            boottime_ms: clock::boottime_ms(),
            agent_version: agent_version.to_owned(),
        };
        self.ask(Op::Hello(hello), limit)
    }

    /// Sends one request and waits for its answer; pushes of a watch in between are skipped.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the launcher refused, others when there was no answer.
    pub fn ask(&mut self, op: Op, limit: Duration) -> Result<Status, ClientError> {
        let id = self.next_id;
        self.next_id += 1;
        let deadline_ms = deadline(limit);
        self.stream
            .set_write_timeout(Some(limit.max(SHORTEST)))
            .map_err(ClientError::Io)?;
        self.stream
            .write_all(&encode(&Request { id, op })?)
            .map_err(|error| io_error(error, limit))?;
        loop {
            let reply = self.receive(deadline_ms, limit)?;
            // 0: the launcher could not read the request.
            if reply.id == id || reply.id == 0 {
                return reply
                    .error
                    .map_or(Ok(reply.status), |error| Err(ClientError::Refused(error)));
            }
        }
    }

    /// Waits for the next push of a watch.
    ///
    /// # Errors
    /// [`ClientError::Late`] and the other reasons for no answer.
    pub fn next_push(&mut self, limit: Duration) -> Result<Status, ClientError> {
        self.receive(deadline(limit), limit)
            .map(|reply| reply.status)
    }

    fn receive(&mut self, deadline_ms: u64, limit: Duration) -> Result<Reply, ClientError> {
        let mut bytes = [0_u8; 4_096];
        loop {
            if let Some(line) = self.lines.next_line()? {
                return Ok(decode(&line, "reply")?);
            }
            let left_ms = deadline_ms.saturating_sub(clock::boottime_ms());
            if left_ms == 0 {
                return Err(late(limit));
            }
            self.stream
                .set_read_timeout(Some(Duration::from_millis(left_ms)))
                .map_err(ClientError::Io)?;
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(ClientError::Closed),
                Ok(count) => self.lines.push(bytes.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(io_error(error, limit)),
            }
        }
    }
}

/// A socket's time-out must not be zero.
const SHORTEST: Duration = Duration::from_millis(1);

fn deadline(limit: Duration) -> u64 {
    clock::boottime_ms()
        .saturating_add(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))
        .saturating_add(1)
}

fn io_error(error: io::Error, limit: Duration) -> ClientError {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => late(limit),
        _ => ClientError::Io(error),
    }
}

fn late(limit: Duration) -> ClientError {
    ClientError::Late(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))
}
