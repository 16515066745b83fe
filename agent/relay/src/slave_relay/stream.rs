//! One link from its connection to its end: handshake, proof, forwarding within the window.

use super::Inner;
use super::desk::{Job, Phase};
use crate::clock::boottime_ms;
use crate::commit_log::LogComparer;
use crate::ha_stream::{Frame, FrameBuffer, FrameHeader, HaStreamError};
use crate::handshake::{self, HandshakeError, Welcome};
use crate::socket::{self, Got};
use crate::{Refusal, SlaveState};
use std::io;
use std::net::TcpStream;
use std::sync::{Arc, PoisonError};

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamEnd {
    #[error("the orders or the JVM's connection changed")]
    Superseded,
    #[error("compare the log with the master's: it differs at {0}")]
    Diverged(u64),
    #[error("attach to the master")]
    Refused(#[source] Refusal),
    #[error("open the peer link")]
    Handshake(#[source] HandshakeError),
    #[error("use the peer link")]
    Io(#[from] io::Error),
    #[error("read the own commit log")]
    Local(#[source] io::Error),
    #[error("read the peer link")]
    Content(#[from] HaStreamError),
    #[error("the master closed the peer link")]
    Closed,
    #[error("the peer link was silent")]
    Silent,
    #[error("write to the JVM")]
    BrokerGone(#[source] io::Error),
}

/// Opens the link and stays on it until it ends.
pub(super) fn attach(inner: &Inner, job: &Job) -> StreamEnd {
    match try_attach(inner, job) {
        Ok(never) => match never {},
        // What the other thread closed under us looks like an error of the socket.
        Err(_) if !inner.desk().stands(job) => StreamEnd::Superseded,
        Err(end) => end,
    }
}

fn try_attach(inner: &Inner, job: &Job) -> Result<std::convert::Infallible, StreamEnd> {
    inner.set_state(SlaveState::Connecting);
    let stream = Arc::new(TcpStream::connect_timeout(
        &job.attach.upstream,
        inner.tuning.handshake,
    )?);
    stream.set_nodelay(true)?;
    if !inner.desk().open_link(job, &stream) {
        return Err(StreamEnd::Superseded);
    }
    inner.set_state(SlaveState::Handshake);
    let welcome = handshake::ask(
        &stream,
        inner.tuning.handshake,
        &inner.key,
        &inner.group,
        &job.attach,
        job.end,
    )
    .map_err(|error| match error {
        HandshakeError::Refused(refusal) => StreamEnd::Refused(refusal),
        other => StreamEnd::Handshake(other),
    })?;
    if !is_sound(welcome, job.end, inner.tuning.proof_bytes) {
        return Err(StreamEnd::Refused(Refusal::Garbage));
    }
    socket::prepare(&stream, inner.tuning.tick)?;
    let mut desk = inner.desk();
    desk.counters.attaches += 1;
    desk.counters.proved = 0;
    desk.counters.master_min = Some(welcome.min);
    desk.set_phase(Phase::Proving);
    desk.set_state(SlaveState::Proving);
    drop(desk);
    Forwarder::new(inner, job, &stream, welcome).run()
}

/// Whether the master begins low enough that the tail is proved, or, for an empty slave, with its whole history.
fn is_sound(welcome: Welcome, end: u64, proof_bytes: u64) -> bool {
    let Welcome { min, from } = welcome;
    let least = min.max(1);
    if end == 0 {
        from == least
    } else {
        from >= least
            && from <= end.saturating_sub(proof_bytes).max(least)
            && from <= end
            && (min == 0 || min < end)
    }
}

/// Takes frames from the link to the JVM.
struct Forwarder<'a> {
    inner: &'a Inner,
    job: &'a Job,
    link: &'a TcpStream,
    mine: LogComparer,
    buffer: FrameBuffer,
    /// Where the next byte of the link belongs.
    next: u64,
    /// The log was compared up to its end.
    proved: bool,
    heard_ms: u64,
    /// The proof last advanced then.
    advanced_ms: u64,
}

impl<'a> Forwarder<'a> {
    fn new(inner: &'a Inner, job: &'a Job, link: &'a TcpStream, welcome: Welcome) -> Self {
        let now = boottime_ms();
        let mine = LogComparer::new(&job.attach.commitlog_dir, job.attach.commitlog_file_size);
        Self {
            inner,
            job,
            link,
            mine,
            buffer: FrameBuffer::default(),
            next: welcome.from,
            proved: false,
            heard_ms: now,
            advanced_ms: now,
        }
    }

    fn run(mut self) -> Result<std::convert::Infallible, StreamEnd> {
        self.note_proof(0);
        loop {
            while let Some(frame) = self.buffer.peek()? {
                self.take(&frame)?;
            }
            match socket::read(self.link, self.buffer.room()?)? {
                Got::Bytes(count) => {
                    self.buffer.filled(count);
                    self.heard_ms = boottime_ms();
                }
                Got::End => return Err(StreamEnd::Closed),
                Got::Nothing if self.is_over(self.heard_ms, self.inner.tuning.silence) => {
                    return Err(StreamEnd::Silent);
                }
                Got::Nothing => {}
            }
            if !self.proved && self.is_over(self.advanced_ms, self.inner.tuning.proof) {
                return Err(StreamEnd::Refused(Refusal::Ahead { at: self.next }));
            }
        }
    }

    fn is_over(&self, since_ms: u64, limit: std::time::Duration) -> bool {
        u128::from(boottime_ms().saturating_sub(since_ms)) >= limit.as_millis()
    }

    /// Handles the frame at the front of the buffer, and maybe some behind it.
    fn take(&mut self, frame: &Frame) -> Result<(), StreamEnd> {
        if frame.header.offset != self.next {
            return Err(HaStreamError::Gap {
                expected: self.next,
                got: frame.header.offset,
            }
            .into());
        }
        if frame.header.size == 0 {
            self.buffer.consume(frame);
            return Ok(());
        }
        if !self.proved {
            return self.prove(frame);
        }
        if self.is_first_of_empty() {
            return self.forward_first(frame);
        }
        let room = self.await_room(u64::from(frame.header.size))?;
        if u64::from(frame.header.size) > room {
            return self.forward_in_pieces(frame, 0);
        }
        let last = self.run_of_frames(frame, room)?;
        let bytes = self.buffer.slice(frame.bytes.start..last.bytes.end);
        self.write(&[bytes], last.header.end())?;
        self.next = last.header.end();
        self.buffer.consume(&last);
        Ok(())
    }

    /// Compares what lies below the own end; what lies above goes to the JVM.
    fn prove(&mut self, frame: &Frame) -> Result<(), StreamEnd> {
        let body = self.buffer.slice(frame.body());
        let below = usize::try_from(self.job.end - self.next)
            .unwrap_or(usize::MAX)
            .min(body.len());
        let (known, _) = body.split_at(below);
        if let Some(at) = self
            .mine
            .first_difference(self.next, known)
            .map_err(StreamEnd::Local)?
        {
            return Err(StreamEnd::Diverged(at));
        }
        self.next += below as u64;
        self.note_proof(below as u64);
        if self.proved && self.next < frame.header.end() {
            return self.forward_in_pieces(frame, below);
        }
        self.buffer.consume(frame);
        Ok(())
    }

    /// Counts compared bytes; at the end of the own log the proof is complete.
    fn note_proof(&mut self, compared: u64) {
        self.advanced_ms = boottime_ms();
        let mut desk = self.inner.desk();
        desk.counters.proved += compared;
        desk.counters.proved_total += compared;
        if self.next >= self.job.end {
            self.proved = true;
            desk.set_phase(Phase::Proved(0));
            desk.set_state(SlaveState::Streaming);
        }
    }

    /// The own log is empty and nothing was forwarded yet.
    fn is_first_of_empty(&self) -> bool {
        self.job.end == 0
            && self
                .inner
                .desk()
                .jvm
                .as_ref()
                .is_some_and(|jvm| jvm.forwarded == Some(0))
    }

    /// Begins an empty log. From 1 the missing byte 0 goes in front: it is the high byte of the first record's size,
    /// and records are smaller than 16 MiB, so it is 0 (rmq/RELAY R7). From the master's min the log begins there.
    fn forward_first(&mut self, frame: &Frame) -> Result<(), StreamEnd> {
        let lead: &[u8] = if frame.header.offset == 1 { &[0] } else { &[] };
        let size = frame.header.size + u32::from(frame.header.offset == 1);
        let header = FrameHeader {
            offset: frame.header.offset - u64::from(frame.header.offset == 1),
            size,
        };
        if let Some(jvm) = self.inner.desk().jvm_of(self.job) {
            jvm.begun = header.offset;
        }
        self.write(
            &[&header.encode(), lead, self.buffer.slice(frame.body())],
            header.end(),
        )?;
        self.next = header.end();
        self.buffer.consume(frame);
        Ok(())
    }

    /// Forwards a frame without its first `skip` bytes, as new frames no larger than the window leaves room for.
    fn forward_in_pieces(&mut self, frame: &Frame, skip: usize) -> Result<(), StreamEnd> {
        let body = frame.body();
        let mut at = body.start + skip;
        while at < body.end {
            let left = u64::try_from(body.end - at).unwrap_or(u64::MAX);
            let size = self.await_room(left)?.min(left);
            let to = at + usize::try_from(size).unwrap_or(0);
            let header = FrameHeader {
                offset: self.next,
                size: u32::try_from(size).unwrap_or(0),
            };
            self.write(&[&header.encode(), self.buffer.slice(at..to)], header.end())?;
            self.next = header.end();
            at = to;
        }
        self.buffer.consume(frame);
        Ok(())
    }

    /// The last of the frames behind `first` that fit into `room` together with it.
    fn run_of_frames(&self, first: &Frame, room: u64) -> Result<Frame, StreamEnd> {
        let mut last = first.clone();
        while let Some(next) = self.buffer.peek_behind(&last)? {
            let fits = next.header.end().saturating_sub(first.header.offset) <= room;
            if next.header.size == 0 || next.header.offset != last.header.end() || !fits {
                break;
            }
            last = next;
        }
        Ok(last)
    }

    /// Waits until the window has room for `size` bytes, or, for more than the window, is empty. Says how much.
    fn await_room(&self, size: u64) -> Result<u64, StreamEnd> {
        let window = self.inner.tuning.window.max(1);
        let mut desk = self.inner.desk();
        loop {
            let room = window.saturating_sub(
                desk.jvm_of(self.job)
                    .ok_or(StreamEnd::Superseded)?
                    .outstanding(),
            );
            if room >= size.min(window) {
                desk.window_awaited = false;
                return Ok(room);
            }
            if socket::is_hung_up(self.link) {
                return Err(StreamEnd::Closed);
            }
            desk.window_awaited = true;
            desk = self.inner.wait(desk, self.inner.tuning.tick);
        }
    }

    /// Writes to the JVM what brings it up to `end`.
    fn write(&self, parts: &[&[u8]], end: u64) -> Result<(), StreamEnd> {
        let _writing = self
            .inner
            .jvm_write
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut desk = self.inner.desk();
        let jvm = desk.jvm_of(self.job).ok_or(StreamEnd::Superseded)?;
        let before = jvm.forwarded.unwrap_or(0).max(jvm.begun);
        // Before the write: its report must find that it was given.
        jvm.forwarded = Some(end);
        jvm.written_ms = boottime_ms();
        desk.counters.bytes_total += end.saturating_sub(before);
        drop(desk);
        let joined;
        let bytes = match parts {
            [one] => one,
            several => {
                joined = several.concat();
                joined.as_slice()
            }
        };
        // An order to park does not stop a frame half written: the JVM gets the whole or loses its connection.
        let patience = |ticks: u32| {
            self.inner.tuning.tick * ticks < self.inner.tuning.jvm_stuck
                && !self.inner.desk().stopped
        };
        socket::write(&self.job.jvm, bytes, patience).map_err(|error| {
            socket::reset(&self.job.jvm);
            StreamEnd::BrokerGone(error)
        })
    }
}
