//! One admitted slave: its link, its HA connection to the JVM, and a thread for each direction.

use super::Admitted;
use crate::clock::boottime_ms;
use crate::ha_stream::{Frame, FrameBuffer, FrameHeader, HaStreamError, Report, ReportReader};
use crate::socket::{self, Got};
use crate::{Peer, Term, Tuning};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) peer: Peer,
    pub(super) term: Term,
    pub(super) address: SocketAddr,
    pub(super) jvm: TcpStream,
    link: Arc<TcpStream>,
    from: u64,
    sent: AtomicU64,
    closed: AtomicBool,
}

/// Why a direction ended.
#[derive(Debug, thiserror::Error)]
enum StreamEnd {
    #[error("read or write the stream")]
    Io(#[from] io::Error),
    #[error("read the stream")]
    Content(#[from] HaStreamError),
    #[error("take an acknowledgement of {0}: that much was never sent")]
    Phantom(u64),
    #[error("the other side closed")]
    Closed,
    #[error("the link was silent")]
    Silent,
}

impl Connection {
    pub(super) const fn new(
        id: u64,
        peer: Peer,
        term: Term,
        address: SocketAddr,
        link: Arc<TcpStream>,
        jvm: TcpStream,
        from: u64,
    ) -> Self {
        Self {
            id,
            peer,
            term,
            address,
            jvm,
            link,
            from,
            sent: AtomicU64::new(from),
            closed: AtomicBool::new(false),
        }
    }

    /// Bytes below this were sent to the slave.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.sent().saturating_sub(self.from)
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        socket::close(&self.link);
        // The JVM's data is on its way to nobody: no need to let it drain.
        socket::reset(&self.jvm);
    }

    fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Acquire)
    }
}

/// Runs both directions until either ends. The caller drops `admitted` afterwards, which closes what is left.
pub(super) fn run(admitted: &Admitted) {
    let tuning = admitted.relay.tuning;
    if socket::prepare(&admitted.connection.link, tuning.tick).is_err() {
        return;
    }
    let down = (
        Arc::clone(&admitted.relay),
        Arc::clone(&admitted.connection),
    );
    let spawned = admitted.relay.threads.spawn("relay-down", move || {
        let (relay, connection) = down;
        let first_frame = || relay.ledger().started(connection.id);
        // How it ended is seen from the other direction, which strikes the connection off the ledger.
        let _unused = send_data(&connection, &relay.tuning, first_frame);
        connection.close();
    });
    if spawned.is_ok() {
        let _unused = take_acknowledgements(admitted, &tuning);
    }
}

/// JVM to slave, whole frames as they come.
fn send_data(
    connection: &Connection,
    tuning: &Tuning,
    first_frame: impl FnOnce(),
) -> Result<(), StreamEnd> {
    let mut first_frame = Some(first_frame);
    let mut buffer = FrameBuffer::default();
    let mut written_ms = boottime_ms();
    while connection.is_open() {
        match socket::read(&connection.jvm, buffer.room()?)? {
            Got::Bytes(count) => buffer.filled(count),
            Got::End => return Err(StreamEnd::Closed),
            Got::Nothing => {
                if is_due(written_ms, tuning.heartbeat) {
                    let alive = FrameHeader {
                        offset: connection.sent(),
                        size: 0,
                    };
                    pass(connection, &alive.encode())?;
                    written_ms = boottime_ms();
                }
                continue;
            }
        }
        let Some((first, last)) = whole_frames(&buffer, connection.sent())? else {
            continue;
        };
        if let Some(first_frame) = first_frame.take() {
            first_frame();
        }
        // Before the write: an acknowledgement must find that it was sent.
        connection
            .sent
            .fetch_max(last.header.end(), Ordering::AcqRel);
        pass(connection, buffer.slice(first.bytes.start..last.bytes.end))?;
        buffer.consume(&last);
        written_ms = boottime_ms();
    }
    Ok(())
}

/// The first and last of the whole frames in the buffer, checked to follow each other from `expected`.
pub(super) fn whole_frames(
    buffer: &FrameBuffer,
    expected: u64,
) -> Result<Option<(Frame, Frame)>, HaStreamError> {
    let Some(first) = buffer.peek()? else {
        return Ok(None);
    };
    let mut expected = after(&first, expected)?;
    let mut last = first.clone();
    while let Some(next) = buffer.peek_behind(&last)? {
        expected = after(&next, expected)?;
        last = next;
    }
    Ok(Some((first, last)))
}

/// Where the log goes on behind `frame`. A heartbeat must stand there too: a stock slave closes on any other.
fn after(frame: &Frame, expected: u64) -> Result<u64, HaStreamError> {
    if frame.header.offset == expected {
        Ok(frame.header.end())
    } else {
        Err(HaStreamError::Gap {
            expected,
            got: frame.header.offset,
        })
    }
}

/// Writes to the slave's relay. A slave that is alive but full is waited for: the other direction ends the connection
/// when the link falls silent.
fn pass(connection: &Connection, bytes: &[u8]) -> io::Result<()> {
    socket::write(&connection.link, bytes, |_| connection.is_open())
}

/// Slave to JVM, through the ledger's rule.
fn take_acknowledgements(admitted: &Admitted, tuning: &Tuning) -> Result<(), StreamEnd> {
    let connection = &admitted.connection;
    let mut reports = ReportReader::default();
    let mut bytes = [0; 512];
    let (mut heard_ms, mut ticked_ms) = (boottime_ms(), boottime_ms());
    while connection.is_open() {
        match socket::read(&connection.link, &mut bytes)? {
            Got::End => return Err(StreamEnd::Closed),
            Got::Bytes(count) => {
                heard_ms = boottime_ms();
                match reports.feed(bytes.get(..count).unwrap_or_default())? {
                    Some(Report::End(offset)) if offset > connection.sent() => {
                        return Err(StreamEnd::Phantom(offset));
                    }
                    Some(Report::End(offset)) => {
                        admitted.relay.ledger().acknowledge(connection.id, offset)
                    }
                    Some(Report::Alive) | None => {}
                }
            }
            Got::Nothing if is_due(heard_ms, tuning.silence) => return Err(StreamEnd::Silent),
            Got::Nothing => {}
        }
        if is_due(ticked_ms, tuning.tick) {
            ticked_ms = boottime_ms();
            admitted.relay.ledger().tick();
        }
    }
    Ok(())
}

fn is_due(since_ms: u64, period: Duration) -> bool {
    u128::from(boottime_ms().saturating_sub(since_ms)) >= period.as_millis()
}
