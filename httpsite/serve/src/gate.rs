//! The stream that hyper reads: it shows hyper whole heads only, and only sound ones.
//!
//! A head is collected here, under the limits, and judged ([`Head`]). In place of one that is refused hyper is shown
//! [`STAND_IN`], and the refusal is left in the [`Slot`], where the service finds the answer to it. So a refusal leaves in
//! its turn, after the answers to the requests before it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::timeout;

use crate::Limits;
use crate::head::{Body, Head, Refusal};
use crate::prepared::{After, Method, Prepared};

/// Bytes read at once.
const READ: usize = 4096;

/// How long, and for how many bytes, a refused client may go on sending before the connection is cut: a kernel that has
/// unread bytes when a socket is closed takes back what was answered.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// What hyper sees in place of a request that is refused. The answer to a HEAD must have no body.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
const STAND_IN_FOR_HEAD: &[u8] = b"HEAD / HTTP/1.1\r\n\r\n";

/// Why the request that hyper sees next, or saw last, is refused.
pub(crate) type Slot = OnceLock<Refusal>;

/// See above.
pub(crate) struct Gate<'a, S> {
    stream: S,
    limits: &'a Limits,
    slot: &'a Slot,
    /// Read and not yet shown to hyper.
    held: Vec<u8>,
    at: At,
}

/// Where in the client's bytes we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In a head that is not judged yet.
    Head,
    /// In so many bytes that hyper may see.
    Free(usize),
    /// In chunks, after which no further request is taken.
    Chunks,
    /// In a stand-in, of which this is not shown yet.
    StandIn(&'static [u8]),
    /// Behind the last request.
    End,
}

impl<'a, S> Gate<'a, S> {
    /// Begins with bytes that were read already.
    pub(crate) const fn new(first: Vec<u8>, stream: S, limits: &'a Limits, slot: &'a Slot) -> Self {
        Self {
            stream,
            limits,
            slot,
            held: first,
            at: At::Head,
        }
    }

    fn show(&mut self, most: usize, to: &mut ReadBuf<'_>) -> usize {
        let count = most.min(self.held.len()).min(to.remaining());
        to.put_slice(self.held.get(..count).unwrap_or_default());
        self.held.drain(..count);
        if self.held.is_empty() {
            self.held = Vec::new();
        }
        count
    }

    fn refuse(&mut self, refusal: Refusal) {
        let _ = self.slot.set(refusal);
        let is_head = self.request().starts_with(b"HEAD ");
        self.at = At::StandIn(if is_head { STAND_IN_FOR_HEAD } else { STAND_IN });
        self.held = Vec::new();
    }

    /// What is held of a request. Blank lines, and only those, may stand before it.
    fn request(&self) -> &[u8] {
        let begins = self.held.iter().position(|byte| !b"\r\n".contains(byte));
        begins
            .and_then(|at| self.held.get(at..))
            .unwrap_or_default()
    }

    fn holds_part_of_a_head(&self) -> bool {
        self.at == At::Head && !self.request().is_empty()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Gate<'_, S> {
    /// What is due when the head's deadline is over: a refusal, if a request had begun. Tells whether it had.
    pub(crate) async fn late(&mut self) -> Option<StatusCode> {
        if !self.holds_part_of_a_head() {
            return None;
        }
        let refusal = Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "the request's head took too long\n",
        );
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        let answer = Prepared::new(refusal.status, vec![(CONTENT_TYPE, kind)], refusal.reason);
        let mut bytes = Vec::new();
        answer.push(&mut bytes, Method::Get, After::Closes);
        let _ = self.stream.write_all(&bytes).await;
        Some(refusal.status)
    }

    /// Closes the connection, so that a client which still sends finds its answer nevertheless.
    pub(crate) async fn close(mut self) {
        let unread = !self.held.is_empty() || !matches!(self.at, At::Head | At::Free(0));
        if self.stream.shutdown().await.is_err() || !unread {
            return;
        }
        let discard = async {
            let mut bytes = [0; READ];
            let mut discarded = 0;
            while let Ok(count @ 1..) = self.stream.read(&mut bytes).await {
                discarded += count;
                if discarded > LINGER_BYTES {
                    return;
                }
            }
        };
        let _ = timeout(LINGER, discard).await;
    }
}

impl<S: AsyncRead + Unpin> Gate<'_, S> {
    /// Reads more of what is held; none at the end.
    fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut bytes = [0; READ];
        let mut buffer = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        self.held.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn judge(&mut self) -> Judged {
        match Head::of(&self.held, self.limits) {
            Head::Part => return Judged::Wants,
            Head::Refused(refusal) => self.refuse(refusal),
            Head::Whole(length, Body::Sized(body)) => self.at = At::Free(length + body),
            Head::Whole(_, Body::Chunked) => self.at = At::Chunks,
        }
        Judged::Done
    }
}

enum Judged {
    Done,
    Wants,
}

impl<S: AsyncRead + Unpin> AsyncRead for Gate<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.at {
                At::Head => {
                    let judged = match self.held.as_slice() {
                        [] => Judged::Wants,
                        _ => self.judge(),
                    };
                    if matches!(judged, Judged::Wants) && ready!(self.poll_hold(cx))? == 0 {
                        if !self.holds_part_of_a_head() {
                            return Poll::Ready(Ok(()));
                        }
                        let reason = "the request ends before its head does\n";
                        self.refuse(Refusal::new(StatusCode::BAD_REQUEST, reason));
                    }
                }
                At::Free(0) => self.at = At::Head,
                // One request at a time: hyper never sees the next one while it reads this one.
                At::Free(left) => {
                    if self.held.is_empty() && ready!(self.poll_hold(cx))? == 0 {
                        return Poll::Ready(Ok(()));
                    }
                    let shown = self.show(left, buf);
                    self.at = At::Free(left - shown);
                    return Poll::Ready(Ok(()));
                }
                At::Chunks if self.held.is_empty() => {
                    return Pin::new(&mut self.stream).poll_read(cx, buf);
                }
                At::Chunks => {
                    self.show(usize::MAX, buf);
                    return Poll::Ready(Ok(()));
                }
                At::StandIn([]) => self.at = At::End,
                At::StandIn(rest) => {
                    let (now, later) = rest.split_at(rest.len().min(buf.remaining()));
                    buf.put_slice(now);
                    self.at = At::StandIn(later);
                    return Poll::Ready(Ok(()));
                }
                // The answer to the stand-in closes the connection; until then there is nothing more, and no end either,
                // which hyper would take for a client that left.
                At::End => return Poll::Pending,
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gate<'_, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// What else is to be said is said by `late`, and [`Gate::close`] ends it.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
