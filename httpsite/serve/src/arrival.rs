//! The first look at a connection that was just accepted.
//!
//! A client that sends one request per connection has usually sent it by then. When the answer is prepared and the
//! connection ends with it, there is no need for a task, a timer, or a wait for the runtime's poller.

use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::net::TcpStream;

use crate::Limits;
use crate::prepared::After;
use crate::quick::{Burst, Quick, READ, burst};

/// Reads what is there, without waiting, and answers what it can. None if there was nothing yet.
pub(crate) fn look(
    stream: &TcpStream,
    quick: &impl Quick,
    limits: &Limits,
    stays: impl Fn() -> After,
) -> Option<Burst> {
    // Past the runtime, which would only look at the socket after its poller has seen it.
    let mut bytes = [0; READ];
    let length = match recv(stream.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
        Ok(0) => return Some(Burst::Over),
        Ok(length) => length,
        Err(Errno::EAGAIN | Errno::EINTR) => return None,
        Err(_) => return Some(Burst::Over),
    };
    let read = bytes.get(..length).unwrap_or_default();
    Some(burst(stream, read, quick, limits, stays))
}
