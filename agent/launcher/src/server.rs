//! The control socket: who may connect, lines in, replies and pushes out. Never waits for anybody.

use std::{
    fs,
    io::{self, ErrorKind, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use nix::{
    poll::PollFlags,
    sys::{
        socket::{getsockopt, sockopt::PeerCredentials},
        stat::{Mode, umask},
    },
    unistd::geteuid,
};

use crate::{
    journal::Journal,
    protocol::{
        ErrorKind as Kind, Lines, MAX_LINE, Reply, ReplyError, Request, Status, WATCH_EVERY_MS,
        decode, encode,
    },
};

/// More connections are accepted and closed at once. There is one agent, and a few probes at a time.
const MAX_CONNECTIONS: usize = 16;

/// A connection that watches nothing and asks nothing is closed after this many milliseconds. (A slave's agent renews
/// its 30 s permit far more often.)
const IDLE_MS: u64 = 60_000;

/// A reader that takes nothing for this many milliseconds is closed.
const STUCK_MS: u64 = 10_000;

/// Bytes that wait for a slow reader; beyond it the connection is closed.
const MAX_WAITING: usize = 2 * MAX_LINE;

/// The longest path of a Unix socket (sun_path without its final zero).
const MAX_PATH: usize = 107;

/// Why the socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// Too long for the kernel.
    #[error("socket path {path} has more than {MAX_PATH} bytes: choose a shorter one")]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// Another launcher answers on it.
    #[error("another launcher serves {path}: stop it, or give this one another --socket")]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// Anything else.
    #[error("serve the socket {path}")]
    Io {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// What a connection has earned so far.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// Said a proper hello: may give orders.
    pub(crate) is_agent: bool,
    /// The id of its watch.
    pub(crate) watch: Option<u64>,
}

/// The listening socket and its connections.
#[derive(Debug)]
pub(crate) struct Server {
    listener: UnixListener,
    path: PathBuf,
    connections: Vec<Connection>,
    /// The last accept failed for want of descriptors: the listener stays readable, so it is tried at the next turn only.
    is_exhausted: bool,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    lines: Lines,
    waiting: Vec<u8>,
    session: Session,
    heard_ms: u64,
    taken_ms: u64,
    pushed_ms: u64,
    pushed_change: u64,
    is_closing: bool,
    is_dead: bool,
}

impl Server {
    /// Binds the socket with mode 0600. A socket that nobody serves (its launcher was killed) is replaced.
    pub(crate) fn bind(path: &Path) -> Result<Self, SocketError> {
        let io_error = |source| SocketError::Io {
            path: path.to_owned(),
            source,
        };
        if path.as_os_str().len() > MAX_PATH {
            return Err(SocketError::TooLong {
                path: path.to_owned(),
            });
        }
        if fs::symlink_metadata(path).is_ok() {
            match UnixStream::connect(path) {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    fs::remove_file(path).map_err(io_error)?
                }
                Ok(_) => {
                    return Err(SocketError::InUse {
                        path: path.to_owned(),
                    });
                }
                Err(error) => return Err(io_error(error)),
            }
        }
        // No other thread runs yet that could make files.
        let before = umask(Mode::from_bits_truncate(0o177));
        let bound = UnixListener::bind(path);
        umask(before);
        let listener = bound.map_err(io_error)?;
        listener.set_nonblocking(true).map_err(io_error)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            connections: Vec::new(),
            is_exhausted: false,
        })
    }

    /// What to wait for.
    pub(crate) fn interests(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let connections = self.connections.iter().map(|connection| {
            // One that is closing only waits for its reader; its end of stream would stay readable.
            let reads = if connection.is_closing {
                PollFlags::empty()
            } else {
                PollFlags::POLLIN
            };
            let writes = if connection.waiting.is_empty() {
                PollFlags::empty()
            } else {
                PollFlags::POLLOUT
            };
            (connection.stream.as_fd(), reads | writes)
        });
        let listener = (!self.is_exhausted).then(|| (self.listener.as_fd(), PollFlags::POLLIN));
        listener.into_iter().chain(connections)
    }

    /// Whether an agent (anybody who said hello) is connected.
    pub(crate) fn has_agent(&self) -> bool {
        self.connections
            .iter()
            .any(|connection| connection.session.is_agent)
    }

    /// Takes new connections.
    pub(crate) fn accept(&mut self, now_ms: u64, journal: &mut Journal) {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.is_exhausted = error.kind() != ErrorKind::WouldBlock;
                    return;
                }
            };
            let same_user = getsockopt(&stream, PeerCredentials)
                .is_ok_and(|peer| peer.uid() == geteuid().as_raw());
            if !same_user {
                journal.say(format_args!("refused a connection of another user"));
            } else if self.connections.len() >= MAX_CONNECTIONS {
                journal.say(format_args!(
                    "refused a connection: {MAX_CONNECTIONS} are open"
                ));
            } else if stream.set_nonblocking(true).is_ok() {
                self.connections.push(Connection::new(stream, now_ms));
            }
        }
    }

    /// Reads what came and answers it.
    pub(crate) fn serve(
        &mut self,
        now_ms: u64,
        change: u64,
        status: &mut dyn FnMut() -> Status,
        answer: &mut dyn FnMut(&mut Session, Request) -> Reply,
    ) {
        for connection in &mut self.connections {
            connection.receive(now_ms);
            let watched = connection.session.watch;
            connection.answer_all(status, answer);
            if connection.session.watch != watched {
                // The watch's own answer was its first push.
                connection.pushed_ms = now_ms;
                connection.pushed_change = change;
            }
            connection.flush(now_ms);
            connection.give_up_if_idle(now_ms);
        }
        self.connections.retain(|connection| !connection.is_dead);
    }

    /// Sends the status to those who watch: on a change at once, else every second. `change` counts changes.
    pub(crate) fn push(&mut self, now_ms: u64, change: u64, status: &mut dyn FnMut() -> Status) {
        let is_due = |connection: &Connection| {
            let news = connection.pushed_change != change;
            let late = now_ms.saturating_sub(connection.pushed_ms) >= WATCH_EVERY_MS;
            // A slow reader gets the newest status when it has taken the one before.
            (news || late) && connection.waiting.is_empty() && !connection.is_closing
        };
        for connection in &mut self.connections {
            if let Some(id) = connection.session.watch
                && is_due(connection)
            {
                connection.pushed_ms = now_ms;
                connection.pushed_change = change;
                connection.send(&Reply {
                    id,
                    error: None,
                    status: status(),
                });
                connection.flush(now_ms);
            }
        }
        self.connections.retain(|connection| !connection.is_dead);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // If it is gone already, that was somebody's wish.
        let _ = fs::remove_file(&self.path);
    }
}

impl Connection {
    fn new(stream: UnixStream, now_ms: u64) -> Self {
        Self {
            stream,
            lines: Lines::default(),
            waiting: Vec::new(),
            session: Session::default(),
            heard_ms: now_ms,
            taken_ms: now_ms,
            pushed_ms: 0,
            pushed_change: 0,
            is_closing: false,
            is_dead: false,
        }
    }

    /// Reads at most one line's worth; the rest is read at the next turn.
    fn receive(&mut self, now_ms: u64) {
        let mut bytes = [0_u8; 4_096];
        let mut left = MAX_LINE;
        while left > 0 && !self.is_closing {
            match self.stream.read(&mut bytes) {
                Ok(0) => self.is_closing = true,
                Ok(count) => {
                    left = left.saturating_sub(count);
                    self.heard_ms = now_ms;
                    self.lines.push(bytes.get(..count).unwrap_or_default());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.is_dead = true,
            }
            if self.is_dead {
                return;
            }
        }
    }

    fn answer_all(
        &mut self,
        status: &mut dyn FnMut() -> Status,
        answer: &mut dyn FnMut(&mut Session, Request) -> Reply,
    ) {
        loop {
            let read = match self.lines.next_line() {
                Ok(None) => return,
                Ok(Some(line)) => decode::<Request>(&line, "request"),
                Err(error) => Err(error),
            };
            let reply = match read {
                Ok(request) => answer(&mut self.session, request),
                Err(error) => {
                    self.is_closing = true;
                    let reason =
                        std::error::Error::source(&error).map(|source| format!(" ({source})"));
                    let message = format!(
                        "{error}{}: send one request per line",
                        reason.unwrap_or_default()
                    );
                    Reply {
                        id: 0,
                        error: Some(ReplyError {
                            kind: Kind::BadRequest,
                            message,
                        }),
                        status: status(),
                    }
                }
            };
            self.send(&reply);
            if self.is_closing || self.is_dead {
                return;
            }
        }
    }

    fn send(&mut self, reply: &Reply) {
        match encode(reply) {
            Ok(line) if self.waiting.len() + line.len() <= MAX_WAITING => {
                self.waiting.extend_from_slice(&line)
            }
            _ => self.is_dead = true,
        }
    }

    fn flush(&mut self, now_ms: u64) {
        while !self.waiting.is_empty() && !self.is_dead {
            match self.stream.write(&self.waiting) {
                Ok(0) => self.is_dead = true,
                Ok(count) => {
                    self.taken_ms = now_ms;
                    self.waiting.drain(..count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.is_dead = now_ms.saturating_sub(self.taken_ms) > STUCK_MS;
                    return;
                }
                Err(_) => self.is_dead = true,
            }
        }
        self.taken_ms = now_ms;
        // A peer that closed its sending side has heard its answers now.
        self.is_dead |= self.is_closing;
    }

    fn give_up_if_idle(&mut self, now_ms: u64) {
        let idle = now_ms.saturating_sub(self.heard_ms) > IDLE_MS;
        self.is_dead |= idle && self.session.watch.is_none();
    }
}
