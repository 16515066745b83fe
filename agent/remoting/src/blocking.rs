//! A client without an async runtime: one connection, one call at a time.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::call::Call;
use crate::clock::Deadline;
use crate::command::Command;
use crate::error::CallError;
use crate::frame::encode;
use crate::inbox::{Inbox, READ_BYTES};
use crate::options::ClientOptions;

/// A connection to one broker or name server.
///
/// After an error it may be used again unless the error was [`CallError::Closed`]; a reply that comes too late is
/// dropped.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    addr: SocketAddr,
    options: ClientOptions,
    inbox: Inbox,
    next_opaque: i32,
    /// Why it cannot be used any more.
    broken: Option<String>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// [`CallError::Connect`] or [`CallError::ConnectTimeout`].
    pub fn connect(addr: SocketAddr, options: &ClientOptions) -> Result<Self, CallError> {
        let after = options.connect_timeout;
        let connected = TcpStream::connect_timeout(&addr, after.max(Duration::from_millis(1)));
        let stream = connected.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
        let stream = stream.map_err(|source| match source.kind() {
            io::ErrorKind::TimedOut => CallError::ConnectTimeout { addr, after },
            _ => CallError::Connect { addr, source },
        })?;
        Ok(Self {
            stream,
            addr,
            options: options.clone(),
            inbox: Inbox::new(options.frame_limit),
            next_opaque: 1,
            broken: None,
        })
    }

    /// Makes a typed call, within the options' `call_timeout`.
    ///
    /// # Errors
    /// As [`call`](Self::call), or [`CallError::Answer`] when the server refused or answered something else.
    pub fn ask<C: Call>(&mut self, call: &C) -> Result<C::Answer, CallError> {
        self.ask_within(call, self.options.call_timeout)
    }

    /// Makes a typed call, within `after`.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn ask_within<C: Call>(
        &mut self,
        call: &C,
        after: Duration,
    ) -> Result<C::Answer, CallError> {
        let request = call.request();
        let code = request.code;
        let reply = self.call(request, after)?;
        call.answer(&reply).map_err(|source| CallError::Answer {
            code,
            addr: self.addr,
            source,
        })
    }

    /// Sends a request and waits for its reply, whatever it says, at most for `after`.
    ///
    /// # Errors
    /// No reply in time, the connection ended, or the request cannot be encoded.
    pub fn call(&mut self, mut request: Command, after: Duration) -> Result<Command, CallError> {
        let (code, addr) = (request.code, self.addr);
        if let Some(reason) = self.broken.clone() {
            return Err(CallError::Closed { code, addr, reason });
        }
        request.opaque = self.next_opaque;
        self.next_opaque = self.next_opaque.wrapping_add(1);
        if let Some(credentials) = &self.options.credentials {
            credentials.sign(&mut request);
        }
        let frame = encode(&request, self.options.header).map_err(|source| CallError::Encode {
            code,
            addr,
            source,
        })?;
        let deadline = Deadline::after(after);
        let result = self
            .write(&frame, deadline)
            .and_then(|()| self.read_reply(request.opaque, deadline));
        result.map_err(|failure| match failure {
            Failure::Timeout => CallError::Timeout { code, addr, after },
            Failure::Closed(reason) => {
                self.broken = Some(reason.clone());
                CallError::Closed { code, addr, reason }
            }
        })
    }

    /// Whom it is connected to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn write(&mut self, frame: &[u8], deadline: Deadline) -> Result<(), Failure> {
        let mut rest = frame;
        while !rest.is_empty() {
            let Some(left) = deadline.remaining() else {
                // Part of the frame may be out: nothing can follow it.
                return Err(Failure::Closed(
                    "the server took no whole request in time".to_owned(),
                ));
            };
            self.stream
                .set_write_timeout(Some(left))
                .map_err(Failure::closed)?;
            match self.stream.write(rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if may_go_on(&error) => {}
                Err(error) => return Err(Failure::closed(error)),
            }
        }
        Ok(())
    }

    fn read_reply(&mut self, opaque: i32, deadline: Deadline) -> Result<Command, Failure> {
        let mut chunk = vec![0; READ_BYTES];
        loop {
            while let Some(command) = self.inbox.next().map_err(Failure::closed)? {
                if command.is_reply() && command.opaque == opaque {
                    return Ok(command);
                }
            }
            let left = deadline.remaining().ok_or(Failure::Timeout)?;
            self.stream
                .set_read_timeout(Some(left))
                .map_err(Failure::closed)?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(Failure::Closed("by the server".to_owned())),
                Ok(count) => self.inbox.add(chunk.get(..count).unwrap_or_default()),
                Err(error) if may_go_on(&error) => {}
                Err(error) => return Err(Failure::closed(error)),
            }
        }
    }
}

enum Failure {
    Timeout,
    Closed(String),
}

impl Failure {
    fn closed(error: impl std::error::Error) -> Self {
        Self::Closed(match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        })
    }
}

/// A signal, or the socket's own time-out: the deadline decides.
fn may_go_on(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}
