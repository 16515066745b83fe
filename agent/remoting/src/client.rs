//! The tokio client: many calls at once over one connection.

mod pending;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use self::pending::Pending;
use crate::call::Call;
use crate::command::Command;
use crate::error::CallError;
use crate::frame::encode;
use crate::inbox::{Inbox, READ_BYTES};
use crate::options::ClientOptions;

/// Frames waiting to be written. Small: every caller waits for its turn with its own deadline anyway.
const OUTGOING: usize = 8;

/// A peer that takes nothing for so long is given up: nobody waits that long for an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to one broker or name server. Clones share it; the last one closes it.
///
/// Replies find their calls by opaque number, in any order. Requests that the server makes are ignored. When the
/// connection ends, all calls on it fail at once, and so does every later one: make a new client. A server whose machine
/// vanishes without a word does not end the connection; that shows only as calls without a reply.
#[derive(Clone, Debug)]
pub struct Client {
    connection: Arc<Connection>,
}

#[derive(Debug)]
struct Connection {
    addr: SocketAddr,
    options: ClientOptions,
    next_opaque: AtomicI32,
    turns: Semaphore,
    outgoing: mpsc::Sender<Outgoing>,
    pending: Arc<Pending>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Outgoing {
    frame: Vec<u8>,
    /// Told when the frame is written. Its other end is dropped when nobody wants the frame to be sent any more.
    written: oneshot::Sender<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Client {
    /// Connects. Needs a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// [`CallError::Connect`] or [`CallError::ConnectTimeout`].
    pub async fn connect(addr: SocketAddr, options: &ClientOptions) -> Result<Self, CallError> {
        let after = options.connect_timeout;
        let connecting = TcpStream::connect(addr);
        let stream = match timeout(after, connecting).await {
            Ok(connected) => connected.and_then(|stream| stream.set_nodelay(true).map(|()| stream)),
            Err(_) => return Err(CallError::ConnectTimeout { addr, after }),
        };
        let stream = stream.map_err(|source| CallError::Connect { addr, source })?;
        Ok(Self::over(stream, addr, options.clone()))
    }

    fn over(stream: TcpStream, addr: SocketAddr, options: ClientOptions) -> Self {
        let (reading, writing) = stream.into_split();
        let (outgoing, frames) = mpsc::channel(OUTGOING);
        let pending = Arc::new(Pending::default());
        let task = tokio::spawn(carry(
            reading,
            writing,
            frames,
            options.frame_limit,
            Arc::clone(&pending),
        ));
        Self {
            connection: Arc::new(Connection {
                addr,
                next_opaque: AtomicI32::new(1),
                turns: Semaphore::new(options.max_in_flight.max(1)),
                options,
                outgoing,
                pending,
                task: task.abort_handle(),
            }),
        }
    }

    /// Makes a typed call, within the options' `call_timeout`.
    ///
    /// # Errors
    /// As [`call`](Self::call), or [`CallError::Answer`] when the server refused or answered something else.
    pub async fn ask<C: Call>(&self, call: &C) -> Result<C::Answer, CallError> {
        self.ask_within(call, self.connection.options.call_timeout)
            .await
    }

    /// Makes a typed call, within `after`.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn ask_within<C: Call>(
        &self,
        call: &C,
        after: Duration,
    ) -> Result<C::Answer, CallError> {
        let request = call.request();
        let code = request.code;
        let reply = self.call(request, after).await?;
        call.answer(&reply).map_err(|source| CallError::Answer {
            code,
            addr: self.connection.addr,
            source,
        })
    }

    /// Sends a request and waits for its reply, whatever it says, at most for `after`, waiting for a turn included. A
    /// request whose time is over before it was written is not sent.
    ///
    /// # Errors
    /// No reply in time, the connection ended, or the request cannot be encoded.
    pub async fn call(&self, request: Command, after: Duration) -> Result<Command, CallError> {
        let (code, addr) = (request.code, self.connection.addr);
        match timeout(after, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) => Err(CallError::Timeout { code, addr, after }),
        }
    }

    /// Sends a request that nobody answers; returns when it is written to the socket.
    ///
    /// # Errors
    /// Not written in time, the connection ended, or the request cannot be encoded.
    pub async fn oneway(&self, request: Command, after: Duration) -> Result<(), CallError> {
        let (code, addr) = (request.code, self.connection.addr);
        let sent = async {
            let _turn = self.turn(code).await?;
            let (_, frame) = self.frame(request.oneway())?;
            let written = self.enqueue(code, frame).await?;
            written.await.map_err(|_| self.closed_error(code))
        };
        match timeout(after, sent).await {
            Ok(result) => result,
            Err(_) => Err(CallError::Timeout { code, addr, after }),
        }
    }

    /// Waits until the connection ends, and says why. The end of a broker's process shows here first.
    pub async fn closed(&self) -> String {
        self.connection.pending.closed().await
    }

    /// Has the connection ended?
    pub fn is_closed(&self) -> bool {
        self.connection.pending.reason().is_some()
    }

    /// Whom it is connected to.
    pub fn addr(&self) -> SocketAddr {
        self.connection.addr
    }

    async fn exchange(&self, request: Command) -> Result<Command, CallError> {
        let code = request.code;
        let _turn = self.turn(code).await?;
        let (opaque, frame) = self.frame(request)?;
        let Some(waiting) = self.connection.pending.wait_for(opaque) else {
            return Err(self.closed_error(code));
        };
        // Held until the reply is there: dropped earlier, the frame would not be sent.
        let _wanted = self.enqueue(code, frame).await?;
        waiting.reply().await.ok_or_else(|| self.closed_error(code))
    }

    async fn turn(&self, code: i32) -> Result<tokio::sync::SemaphorePermit<'_>, CallError> {
        let turn = self.connection.turns.acquire().await;
        turn.map_err(|_| self.closed_error(code))
    }

    /// Numbers, signs and encodes a request.
    fn frame(&self, mut request: Command) -> Result<(i32, Vec<u8>), CallError> {
        let Connection {
            options,
            next_opaque,
            addr,
            ..
        } = &*self.connection;
        request.opaque = next_opaque.fetch_add(1, Ordering::Relaxed);
        if let Some(credentials) = &options.credentials {
            credentials.sign(&mut request);
        }
        let frame = encode(&request, options.header).map_err(|source| CallError::Encode {
            code: request.code,
            addr: *addr,
            source,
        })?;
        Ok((request.opaque, frame))
    }

    async fn enqueue(&self, code: i32, frame: Vec<u8>) -> Result<oneshot::Receiver<()>, CallError> {
        let (written, wanted) = oneshot::channel();
        let queued = self
            .connection
            .outgoing
            .send(Outgoing { frame, written })
            .await;
        queued.map_err(|_| self.closed_error(code)).map(|()| wanted)
    }

    fn closed_error(&self, code: i32) -> CallError {
        CallError::Closed {
            code,
            addr: self.connection.addr,
            reason: self
                .connection
                .pending
                .reason()
                .unwrap_or_else(|| "it is ending".to_owned()),
        }
    }
}

/// Carries frames both ways until the connection ends, then fails every call on it.
async fn carry(
    reading: OwnedReadHalf,
    writing: OwnedWriteHalf,
    frames: mpsc::Receiver<Outgoing>,
    frame_limit: usize,
    pending: Arc<Pending>,
) {
    let reason = tokio::select! {
        reason = receive(reading, frame_limit, &pending) => reason,
        reason = send(writing, frames) => reason,
    };
    tracing::debug!(%reason, "remoting connection closed");
    pending.close(reason);
}

async fn receive(mut reading: OwnedReadHalf, frame_limit: usize, pending: &Pending) -> String {
    let mut inbox = Inbox::new(frame_limit);
    let mut chunk = vec![0; READ_BYTES];
    loop {
        let received = match reading.read(&mut chunk).await {
            Ok(0) => return "by the server".to_owned(),
            Ok(count) => chunk.get(..count).unwrap_or_default(),
            Err(error) => return error.to_string(),
        };
        inbox.add(received);
        loop {
            match inbox.next() {
                Ok(Some(command)) => deliver(command, pending),
                Ok(None) => break,
                Err(error) => return with_source(&error),
            }
        }
    }
}

fn deliver(command: Command, pending: &Pending) {
    if !command.is_reply() {
        tracing::trace!(code = command.code, "request of the server ignored");
        return;
    }
    let opaque = command.opaque;
    if !pending.fulfil(command) {
        tracing::debug!(opaque, "reply dropped: nobody waits for it any more");
    }
}

async fn send(mut writing: OwnedWriteHalf, mut frames: mpsc::Receiver<Outgoing>) -> String {
    while let Some(Outgoing { frame, written }) = frames.recv().await {
        if written.is_closed() {
            continue;
        }
        match timeout(WRITE_TIMEOUT, writing.write_all(&frame)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return format!("the server took nothing for {WRITE_TIMEOUT:?}"),
        }
        // The caller may have given up meanwhile.
        let _ = written.send(());
    }
    "by us".to_owned()
}

/// This is where an error's chain ends: its text becomes the reason why the connection closed.
fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
