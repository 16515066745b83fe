//! The short way for plain requests with prepared answers: parse, copy, write, without hyper's buffers and allocations.
//!
//! A connection begins here. As long as every request arrives whole, is a plain GET or HEAD without a body, and has a
//! prepared answer, it costs two system calls and no allocation, and an idle connection holds no buffer at all. Whatever else
//! comes (half a head, a body, a parse error, a request that must wait) is handed to hyper together with the bytes that
//! were read, and stays there; so there is one place that judges what is odd.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use httparse::{EMPTY_HEADER, Header, Request, Status};
use hyper::StatusCode;
use nix::libc::MSG_MORE;
use nix::sys::socket::{MsgFlags, send};
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;

use crate::Limits;
use crate::head::is_plain_target;
use crate::prepared::{After, Method, Prepared};
use crate::tls::Unsecured;

/// Bytes read at once. A client of ours sends about 200.
pub(crate) const READ: usize = 4096;
/// More headers than any plain request has.
const HEADERS: usize = 32;
/// Answers to pipelined requests are collected up to here, bytes.
const BURST: usize = 32 * 1024;

/// A plain request that may have a prepared answer.
#[derive(Debug)]
pub struct Asked<'a> {
    method: Method,
    target: &'a str,
    headers: &'a [Header<'a>],
}

impl<'a> Asked<'a> {
    /// GET or HEAD.
    pub const fn method(&self) -> Method {
        self.method
    }

    /// The path, as it was sent.
    pub fn path(&self) -> &'a str {
        self.target.split('?').next().unwrap_or("")
    }

    /// What stands behind the first `?`.
    pub fn query(&self) -> Option<&'a str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        let mut found = self.headers.iter();
        found
            .find(|header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    }
}

/// Finds prepared answers. Called for every plain request; none sends the request on to the handler.
pub trait Quick: Send + Sync + 'static {
    /// The answer, if it is prepared.
    fn find(&self, asked: &Asked<'_>) -> Option<Arc<Prepared>>;

    /// Told of every answer that neither this nor the handler gave: the server itself refused the request.
    fn refused(&self, _status: StatusCode) {}

    /// Told of every connection that was closed because it is not secured, where TLS is wanted.
    fn unsecured(&self, _why: Unsecured) {}
}

/// Nothing is prepared: every request goes to the handler.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl Quick for Nothing {
    fn find(&self, _: &Asked<'_>) -> Option<Arc<Prepared>> {
        None
    }
}

/// How one look at the connection ended.
pub(crate) enum Burst {
    /// Everything that was asked is answered.
    Answered,
    /// Answered, but this part is not sent yet.
    Unsent(Vec<u8>, After),
    /// To be closed: the client left, or no further request is wanted.
    Over,
    /// These bytes are for hyper.
    Odd(Vec<u8>),
}

thread_local! {
    /// Where answers are put together; empty between two looks.
    static OUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Reads once and answers what it can.
pub(crate) fn poll_burst(
    cx: &mut Context<'_>,
    stream: &mut TcpStream,
    quick: &impl Quick,
    limits: &Limits,
    stays: impl Fn() -> After,
) -> Poll<Burst> {
    let mut bytes = [const { MaybeUninit::<u8>::uninit() }; READ];
    let mut buffer = ReadBuf::uninit(&mut bytes);
    if ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer)).is_err() {
        return Poll::Ready(Burst::Over);
    }
    let read = buffer.filled();
    if read.is_empty() {
        return Poll::Ready(Burst::Over);
    }
    Poll::Ready(burst(stream, read, quick, limits, stays))
}

/// Answers what it can of what was read.
pub(crate) fn burst(
    stream: &impl AsRawFd,
    mut rest: &[u8],
    quick: &impl Quick,
    limits: &Limits,
    stays: impl Fn() -> After,
) -> Burst {
    // Else the kernel may hold more, and a close with something unread is a reset, which drops what was not sent before.
    let all_read = rest.len() < READ;
    OUT.with_borrow_mut(|out| {
        let mut after = After::Stays;
        while !rest.is_empty() && after == After::Stays && out.len() < BURST {
            let Some((length, wish)) = answer(rest, quick, limits, &stays, out) else {
                break;
            };
            rest = rest.get(length..).unwrap_or_default();
            after = wish;
        }
        let sent = send_now(stream, out, after == After::Closes && all_read);
        let unsent = out.get(sent..).unwrap_or_default();
        let burst = if !unsent.is_empty() && rest.is_empty() {
            Burst::Unsent(unsent.to_vec(), after)
        } else if !unsent.is_empty() {
            // A client that sends much and reads nothing.
            Burst::Unsent(unsent.to_vec(), After::Closes)
        } else if after == After::Closes {
            Burst::Over
        } else if rest.is_empty() {
            Burst::Answered
        } else {
            Burst::Odd(rest.to_vec())
        };
        out.clear();
        burst
    })
}

/// Sends what goes at once, and says how much that was. Why not all of it went is found out by whoever sends the rest.
/// `closes`: the connection is closed right after.
fn send_now(stream: &impl AsRawFd, out: &[u8], closes: bool) -> usize {
    if out.is_empty() {
        return 0;
    }
    let mut flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    if closes {
        // The answer waits for the close that follows and shares a segment with it: one less for both sides.
        flags |= MsgFlags::from_bits_retain(MSG_MORE);
    }
    send(stream.as_raw_fd(), out, flags).unwrap_or(0)
}

/// Answers the first request in `bytes` into `out`: how long it was, and whether another may follow.
pub(crate) fn answer(
    bytes: &[u8],
    quick: &impl Quick,
    limits: &Limits,
    stays: impl Fn() -> After,
    out: &mut Vec<u8>,
) -> Option<(usize, After)> {
    let mut headers = [EMPTY_HEADER; HEADERS];
    let mut request = Request::new(&mut headers);
    let Ok(Status::Complete(length)) = request.parse(bytes) else {
        return None;
    };
    let (method, version) = (request.method?, request.version?);
    let target = request
        .path
        .filter(|target| target.len() <= limits.max_target_bytes && is_plain_target(target))?;
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        _ => return None,
    };
    let mut after = if version == 0 { After::Closes } else { stays() };
    for header in &*request.headers {
        match plain(header) {
            Plain::Yes => {}
            Plain::Closes => after = After::Closes,
            Plain::No => return None,
        }
    }
    let asked = Asked {
        method,
        target,
        headers: request.headers,
    };
    quick.find(&asked)?.push(out, method, after);
    Some((length, after))
}

enum Plain {
    Yes,
    Closes,
    No,
}

/// What a header means for the way of a request. Anything about a body or another protocol is hyper's.
fn plain(header: &Header<'_>) -> Plain {
    let is = |name: &str| header.name.eq_ignore_ascii_case(name);
    match header.name.len() {
        10 if is("connection") => {
            let value = header.value.trim_ascii();
            if value.eq_ignore_ascii_case(b"keep-alive") {
                Plain::Yes
            } else if value.eq_ignore_ascii_case(b"close") {
                Plain::Closes
            } else {
                Plain::No
            }
        }
        14 if is("content-length") => Plain::No,
        17 if is("transfer-encoding") => Plain::No,
        6 if is("expect") => Plain::No,
        7 if is("upgrade") => Plain::No,
        _ => Plain::Yes,
    }
}
