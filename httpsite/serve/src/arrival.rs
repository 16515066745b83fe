//! Connections as they come in, and the first look at each.
//!
//! A client that sends one request per connection has usually sent it by the time its connection is accepted. When the
//! answer is prepared and the connection ends with it, there is no need for a task, a timer, or the runtime's poller, which
//! therefore hears of most connections only when they live on.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::coop::consume_budget;

use crate::Limits;
use crate::prepared::After;
use crate::quick::{Burst, Quick, READ, burst};

/// The connections of one listener.
#[derive(Debug)]
pub struct Arrivals {
    listener: TcpListener,
    /// The same socket, past the runtime.
    direct: std::net::TcpListener,
    /// Where one came, more may wait: those are taken directly.
    more: bool,
}

impl Arrivals {
    /// Listens on `address`; port 0 is any free one.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::bind`], or for want of file descriptors.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let direct = listener.as_fd().try_clone_to_owned()?.into();
        Ok(Self {
            listener,
            direct,
            more: false,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::local_addr`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The next connection. Safe to cancel at any point.
    ///
    /// # Errors
    ///
    /// When a connection was there but cannot be taken, usually for want of file descriptors.
    pub(crate) async fn next(&mut self) -> io::Result<(Newcomer, SocketAddr)> {
        if self.more {
            // However many come, others have their turn.
            consume_budget().await;
            match self.direct.accept() {
                Ok((stream, peer)) => return Ok((Newcomer::Direct(stream), peer)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.more = false,
                Err(error) => return Err(error),
            }
        }
        let (stream, peer) = self.listener.accept().await?;
        self.more = true;
        Ok((Newcomer::Known(stream), peer))
    }
}

/// A connection that was just accepted.
pub(crate) enum Newcomer {
    /// The runtime knows it.
    Known(TcpStream),
    /// It does not.
    Direct(std::net::TcpStream),
}

impl Newcomer {
    /// Makes it known to the runtime.
    ///
    /// # Errors
    ///
    /// When the socket or the runtime's poller refuses.
    pub(crate) fn settle(self) -> io::Result<TcpStream> {
        match self {
            Self::Known(stream) => Ok(stream),
            Self::Direct(stream) => {
                stream.set_nonblocking(true)?;
                TcpStream::from_std(stream)
            }
        }
    }
}

impl AsRawFd for Newcomer {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Known(stream) => stream.as_raw_fd(),
            Self::Direct(stream) => stream.as_raw_fd(),
        }
    }
}

/// Reads what is there, without waiting, and answers what it can. None if there was nothing yet.
pub(crate) fn look(
    stream: &Newcomer,
    quick: &impl Quick,
    limits: &Limits,
    stays: impl Fn() -> After,
) -> Option<Burst> {
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
