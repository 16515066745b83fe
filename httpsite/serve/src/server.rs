//! Accept connections up to a cap, serve each in its own task, and drain them when asked to stop.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, TRANSFER_ENCODING};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use crate::arrival::{Arrivals, Newcomer, look};
use crate::exchange::exchange;
use crate::gate::{Gate, Slot};
use crate::prepared::After;
use crate::quick::{Burst, Nothing, Quick, poll_burst};
use crate::stall::Stall;
use crate::tls::Tls;
use crate::{Answer, Limits};

/// Pause after a failed accept (usually: no file descriptor left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The smallest connection buffer that hyper takes without a panic, bytes.
const HYPER_MIN_BUFFER: usize = 8192;

/// The client's address, found among a request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still open at the drain deadline and were cut off.
    pub cut_off: usize,
}

/// Serves `handler` to `arrivals` until `shutdown` ends, then lets open exchanges finish under `limits.drain_deadline`.
///
/// The listener is closed first, idle connections at once. Dropping the returned future cuts off everything.
/// A request reaches the handler whole, with the client's [`Peer`] among its extensions.
pub async fn serve<H, F>(
    arrivals: Arrivals,
    limits: Limits,
    handler: H,
    shutdown: impl Future<Output = ()>,
) -> Drained
where
    H: Fn(Request<Bytes>) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    serve_quickly(arrivals, limits, None, Nothing, handler, shutdown).await
}

/// As [`serve`]; plain requests that `quick` has a prepared answer for never reach the handler. Behind TLS `quick` is told
/// what went wrong, but asked for no answer.
pub async fn serve_quickly<Q, H, F>(
    mut arrivals: Arrivals,
    limits: Limits,
    tls: Option<Tls>,
    quick: Q,
    handler: H,
    shutdown: impl Future<Output = ()>,
) -> Drained
where
    Q: Quick,
    H: Fn(Request<Bytes>) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let (closing, closed) = watch::channel(false);
    let port = Arc::new(Port {
        slots: Arc::new(Semaphore::new(limits.max_connections.max(1))),
        limits,
        tls,
        quick,
        handler,
        closing: closed,
    });
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            (slot, stream, peer) = admit(&mut arrivals, &port.slots) => {
                let read = port.first_look(&stream);
                if matches!(read, Some(Burst::Over)) {
                    continue;
                }
                let stream = match stream.settle() {
                    Ok(stream) => stream,
                    Err(error) => {
                        warn!(%error, peer = %peer, "connection dropped");
                        continue;
                    }
                };
                let port = Arc::clone(&port);
                connections.spawn(async move {
                    port.begin(stream, read, Peer(peer)).await;
                    drop(slot);
                });
            }
        }
    }
    drop(arrivals);
    closing.send_replace(true);
    drain(connections, port.limits.drain_deadline).await
}

/// Waits for a free slot, then for a connection. Safe to cancel at any point.
async fn admit(
    arrivals: &mut Arrivals,
    slots: &Arc<Semaphore>,
) -> (Option<OwnedSemaphorePermit>, Newcomer, SocketAddr) {
    // The semaphore is never closed, so a slot always comes.
    let slot = Arc::clone(slots).acquire_owned().await.ok();
    loop {
        match arrivals.next().await {
            Ok((stream, peer)) => return (slot, stream, peer),
            Err(error) => {
                warn!(%error, "accept failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn drain(mut connections: JoinSet<()>, deadline: Duration) -> Drained {
    let all_ended = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(deadline, all_ended).await;
    let cut_off = connections.len();
    connections.shutdown().await;
    Drained { cut_off }
}

/// What all connections of one server share.
struct Port<Q, H> {
    slots: Arc<Semaphore>,
    limits: Limits,
    tls: Option<Tls>,
    quick: Q,
    handler: H,
    closing: watch::Receiver<bool>,
}

/// Whether a connection was of use since its idle timer was last set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Served {
    None,
    Before,
    Lately,
}

impl<Q, H, F> Port<Q, H>
where
    Q: Quick,
    H: Fn(Request<Bytes>) -> F,
    F: Future<Output = Answer>,
{
    /// When somebody waits for a slot, nobody may keep one for later.
    fn stays(&self) -> After {
        match self.slots.available_permits() {
            0 => After::Closes,
            _ => After::Stays,
        }
    }

    /// What is there at once; behind TLS nothing can be read yet.
    fn first_look(&self, stream: &Newcomer) -> Option<Burst> {
        if self.tls.is_some() {
            return None;
        }
        look(stream, &self.quick, &self.limits, || self.stays())
    }

    /// The short way first. What is more than that is boxed, so that a connection which never needs it stays small.
    async fn begin(&self, mut stream: TcpStream, read: Option<Burst>, peer: Peer) {
        if let Some(tls) = &self.tls {
            return Box::pin(self.secured(tls, stream, peer)).await;
        }
        if let Some(first) = self.quickly(&mut stream, read).await {
            let _ = stream.set_nodelay(true);
            Box::pin(self.connection(first, stream, peer)).await;
        }
    }

    async fn secured(&self, tls: &Tls, stream: TcpStream, peer: Peer) {
        let _ = stream.set_nodelay(true);
        let mut closing = self.closing.clone();
        let accepted = tokio::select! {
            accepted = tls.accept(stream) => accepted,
            _ = closing.wait_for(|closing| *closing) => return,
        };
        match accepted {
            Ok(stream) => self.connection(Vec::new(), stream, peer).await,
            Err(why) => {
                debug!(why = why.as_str(), peer = %peer.0, "no TLS");
                self.quick.unsecured(why);
            }
        }
    }

    /// Answers plain requests, `read` before all others. What it returns is for hyper; nothing, when the connection is done.
    async fn quickly(&self, stream: &mut TcpStream, mut read: Option<Burst>) -> Option<Vec<u8>> {
        let mut closing = self.closing.clone();
        let mut closed = pin!(closing.wait_for(|closing| *closing));
        let mut idle = pin!(sleep(self.limits.head_deadline));
        let mut served = Served::None;
        loop {
            let look = poll_fn(|cx| match read.take() {
                Some(burst) => Poll::Ready(burst),
                None => poll_burst(cx, stream, &self.quick, &self.limits, || self.stays()),
            });
            let burst = tokio::select! {
                biased;
                burst = look => burst,
                _ = &mut closed => return None,
                // The timer is not set anew for every request: that would cost more than the request. So a connection
                // is idle for one to two deadlines when it is closed.
                () = &mut idle => match served {
                    Served::Lately => {
                        served = Served::Before;
                        idle.as_mut().reset(Instant::now() + self.limits.head_deadline);
                        continue;
                    }
                    Served::None | Served::Before => return None,
                },
            };
            match burst {
                Burst::Odd(first) => return Some(first),
                Burst::Over => return None,
                Burst::Unsent(bytes, after) => {
                    let sent = timeout(self.limits.write_stall, stream.write_all(&bytes)).await;
                    if !matches!(sent, Ok(Ok(()))) || after == After::Closes {
                        return None;
                    }
                }
                Burst::Answered => {}
            }
            if served == Served::None {
                // Only a connection that lives on has a next answer to delay.
                let _ = stream.set_nodelay(true);
            }
            served = Served::Lately;
        }
    }

    async fn connection<S>(&self, first: Vec<u8>, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let slot = Slot::new();
        let stream = Stall::new(stream, self.limits.write_stall);
        let mut gate = Gate::new(first, stream, &self.limits, &slot);
        if let Err(error) = self.exchanges(&mut gate, &slot, peer).await {
            debug!(%error, peer = %peer.0, "connection ended early");
            if error.is_timeout()
                && let Some(status) = gate.late().await
            {
                self.quick.refused(status);
            }
        }
        gate.close().await;
    }

    async fn exchanges<S>(
        &self,
        gate: &mut Gate<'_, S>,
        slot: &Slot,
        peer: Peer,
    ) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let service = service_fn(|mut request: Request<Incoming>| {
            // Judged here, not when the future runs: by then the next request may stand at the gate.
            let refusal = slot.get().copied();
            async move {
                // Of chunks only hyper knows the end, so no request behind them could be judged before hyper sees it.
                let last = request.headers().contains_key(TRANSFER_ENCODING);
                request.extensions_mut().insert(peer);
                let answered = match refusal {
                    Some(refusal) => Err(refusal),
                    None => exchange(request, &self.limits, &self.handler).await,
                };
                let mut answer = answered.unwrap_or_else(|refusal| {
                    self.quick.refused(refusal.status);
                    refusal.answer()
                });
                // When somebody waits for a slot, nobody may keep one for later.
                if last || self.slots.available_permits() == 0 {
                    let close = HeaderValue::from_static("close");
                    answer.headers_mut().insert(CONNECTION, close);
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let served = self
            .protocol()
            .serve_connection(TokioIo::new(gate), service);
        let mut served = pin!(served);
        let mut closing = self.closing.clone();
        tokio::select! {
            ended = &mut served => return ended,
            _ = closing.wait_for(|closing| *closing) => {}
        }
        served.as_mut().graceful_shutdown();
        served.await
    }

    fn protocol(&self) -> http1::Builder {
        let mut protocol = http1::Builder::new();
        protocol
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_deadline)
            .max_headers(self.limits.max_headers)
            .max_header_size(self.limits.max_head_bytes)
            .max_buf_size(self.limits.max_head_bytes.max(HYPER_MIN_BUFFER));
        protocol
    }
}
