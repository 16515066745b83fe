//! Sockets that never block for ever: reads and writes tick, and what must not block does not.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send, setsockopt, sockopt};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// No Nagle, and both directions give up after `tick` so that their thread can look around.
pub(crate) fn prepare(stream: &TcpStream, tick: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(tick))?;
    stream.set_write_timeout(Some(tick))
}

/// Closes with RST: what the other side has not read yet is thrown away.
pub(crate) fn reset(stream: &TcpStream) {
    let linger = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // Both fail only on a socket that is gone already.
    let _unused = setsockopt(stream, sockopt::Linger, &linger);
    let _unused = stream.shutdown(Shutdown::Both);
}

/// Ends both directions; a thread blocked on the socket wakes.
pub(crate) fn close(stream: &TcpStream) {
    // Fails only if the other side was quicker.
    let _unused = stream.shutdown(Shutdown::Both);
}

/// What a read brought.
pub(crate) enum Got {
    Bytes(usize),
    Nothing,
    End,
}

/// One read; a tick without bytes is `Nothing`.
pub(crate) fn read(mut stream: &TcpStream, into: &mut [u8]) -> io::Result<Got> {
    match stream.read(into) {
        Ok(0) => Ok(Got::End),
        Ok(count) => Ok(Got::Bytes(count)),
        Err(error) if is_tick(&error) => Ok(Got::Nothing),
        Err(error) => Err(error),
    }
}

/// Writes all of it, asking after every tick without progress, with the time since the last progress in ticks,
/// whether to go on.
pub(crate) fn write(
    mut stream: &TcpStream,
    mut bytes: &[u8],
    go_on: impl Fn(u32) -> bool,
) -> io::Result<()> {
    let mut quiet = 0;
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = bytes.get(count..).unwrap_or_default();
                quiet = 0;
            }
            Err(error) if is_tick(&error) => {
                quiet += 1;
                if !go_on(quiet) {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes a few bytes without waiting: `false` = no room now. A part of them written is an error, the stream is lost.
pub(crate) fn write_now(stream: &TcpStream, bytes: &[u8]) -> io::Result<bool> {
    match send(
        stream.as_raw_fd(),
        bytes,
        MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
    ) {
        Ok(count) if count == bytes.len() => Ok(true),
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn is_tick(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// Waits until one of the sockets has something to read; says which.
pub(crate) fn readable<const N: usize>(
    fds: [BorrowedFd<'_>; N],
    limit: Duration,
) -> io::Result<[bool; N]> {
    let mut polled = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    match poll(&mut polled, limit) {
        Ok(_) => Ok(polled.map(|fd| fd.any().unwrap_or(true))),
        Err(Errno::EINTR) => Ok([false; N]),
        Err(error) => Err(error.into()),
    }
}

/// Whether the other side is gone, though bytes of it may still be unread. Does not wait.
pub(crate) fn is_hung_up(stream: &TcpStream) -> bool {
    let half_closed = PollFlags::from_bits_retain(nix::libc::POLLRDHUP);
    let mut polled = [PollFd::new(stream.as_fd(), half_closed)];
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
    // nix knows no POLLRDHUP and answers `None` when the kernel sets it, the only such flag that was asked for.
    poll(&mut polled, PollTimeout::ZERO).is_ok()
        && polled
            .iter()
            .any(|fd| fd.revents().is_none_or(|seen| seen.intersects(gone)))
}

/// Wakes a thread that waits in [`readable`].
#[derive(Debug)]
pub(crate) struct Waker {
    ring: UnixStream,
    hear: UnixStream,
}

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        let (ring, hear) = UnixStream::pair()?;
        ring.set_nonblocking(true)?;
        hear.set_nonblocking(true)?;
        Ok(Self { ring, hear })
    }

    pub(crate) fn wake(&self) {
        // A full buffer means that it is being woken already.
        let _unused = (&self.ring).write(&[1]);
    }

    /// To be called by the woken thread before it looks around.
    pub(crate) fn clear(&self) {
        let mut bytes = [0; 64];
        while matches!((&self.hear).read(&mut bytes), Ok(count) if count == bytes.len()) {}
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.hear.as_fd()
    }
}
