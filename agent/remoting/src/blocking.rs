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

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use super::*;
    use crate::calls::ProbeNameServer;
    use crate::frame::{HeaderKind, decode};

    const LONG: Duration = Duration::from_secs(20);

    /// A server that reads one request and hands it with its end of the connection to `serve`.
    fn connected(
        serve: impl FnOnce(TcpStream, Command) + Send + 'static,
    ) -> (Connection, thread::JoinHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let request = read_request(&mut stream);
            serve(stream, request);
        });
        (
            Connection::connect(addr, &ClientOptions::default()).unwrap(),
            server,
        )
    }

    fn read_request(stream: &mut TcpStream) -> Command {
        let mut bytes = Vec::new();
        loop {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            bytes.extend(byte);
            if let Some((command, _)) = decode(&bytes, 100_000).unwrap() {
                return command;
            }
        }
    }

    fn send(stream: &mut TcpStream, command: &Command) {
        stream
            .write_all(&encode(command, HeaderKind::Binary).unwrap())
            .unwrap();
    }

    #[test]
    fn a_reply_finds_its_call_among_others() {
        let (mut connection, server) = connected(|mut stream, request| {
            send(
                &mut stream,
                &Command {
                    opaque: request.opaque,
                    ..Command::request(40)
                },
            );
            send(
                &mut stream,
                &Command {
                    opaque: 999,
                    ..Command::reply_to(&request, 1)
                },
            );
            send(&mut stream, &Command::reply_to(&request, 0));
            let next = read_request(&mut stream);
            send(&mut stream, &Command::reply_to(&next, 14));
        });
        connection.ask(&ProbeNameServer).unwrap();
        let refused = connection.ask(&ProbeNameServer).unwrap_err();
        assert_eq!(refused.refusal().unwrap().0.number(), 14);
        server.join().unwrap();
    }

    #[test]
    fn a_late_reply_is_dropped_and_the_connection_goes_on() {
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (mut connection, server) = connected(move |mut stream, late| {
            is_ready.recv().unwrap();
            send(&mut stream, &Command::reply_to(&late, 77));
            let next = read_request(&mut stream);
            send(&mut stream, &Command::reply_to(&next, 5));
        });
        let late = connection.call(Command::request(1), Duration::from_millis(20));
        assert!(matches!(late, Err(CallError::Timeout { code: 1, .. })));
        ready.send(()).unwrap();
        assert_eq!(connection.call(Command::request(2), LONG).unwrap().code, 5);
        server.join().unwrap();
    }

    #[test]
    fn drops_of_bytes_do_not_prolong_the_deadline() {
        let (done, is_done) = std::sync::mpsc::channel();
        let (mut connection, server) = connected(move |mut stream, request| {
            // One byte every few milliseconds: each read succeeds, the whole never does.
            let frame = encode(
                &Command::reply_to(&request, 0).with_body(vec![0; 100_000]),
                HeaderKind::Json,
            )
            .unwrap();
            for byte in frame {
                if is_done.recv_timeout(Duration::from_millis(5)).is_ok()
                    || stream.write_all(&[byte]).is_err()
                {
                    return;
                }
            }
        });
        let slow = connection.call(Command::request(1), Duration::from_millis(100));
        assert!(matches!(slow, Err(CallError::Timeout { .. })));
        done.send(()).unwrap();
        server.join().unwrap();
    }

    #[test]
    fn after_the_end_every_call_fails() {
        let (mut connection, server) = connected(|mut stream, _| {
            stream.write_all(&[0, 0, 0, 1]).unwrap();
        });
        let Err(CallError::Closed { reason, .. }) = connection.call(Command::request(1), LONG)
        else {
            panic!("closed expected");
        };
        assert!(reason.contains("does not speak this protocol"), "{reason}");
        let later = connection.call(Command::request(2), LONG);
        assert!(matches!(later, Err(CallError::Closed { code: 2, .. })));
        server.join().unwrap();
    }

    #[test]
    fn a_server_that_takes_nothing_does_not_hold_us() {
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        let (mut connection, server) = connected(move |_stream, _| {
            let _ = is_done.recv();
        });
        let small = connection.call(Command::request(1), Duration::from_millis(20));
        assert!(matches!(small, Err(CallError::Timeout { .. })));
        let large = Command::request(2).with_body(vec![0; 15 << 20]);
        let stuck = connection.call(large, Duration::from_millis(50));
        assert!(matches!(stuck, Err(CallError::Closed { code: 2, .. })));
        drop(done);
        server.join().unwrap();
    }
}
