//! The thread that faces the slave's JVM: accepts it, reads its reports, keeps it and the link alive.

use super::Inner;
use super::desk::{Jvm, Verdict};
use crate::clock::boottime_ms;
use crate::ha_stream::{FrameHeader, HaStreamError, Report, ReportReader};
use crate::socket::{self, Got};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// The connection being read.
struct Reading {
    id: u64,
    stream: Arc<TcpStream>,
    reports: ReportReader,
}

pub(super) fn run(inner: &Inner, listener: &TcpListener) {
    let mut reading: Option<Reading> = None;
    let mut ticked_ms = boottime_ms();
    // With no JVM there is nothing to keep alive: sleep until somebody comes.
    while !inner.desk().stopped {
        let limit = if reading.is_some() {
            inner.tuning.tick
        } else {
            Duration::from_secs(60)
        };
        let ready = match &reading {
            Some(current) => socket::readable(
                [current.stream.as_fd(), listener.as_fd(), inner.waker.fd()],
                limit,
            ),
            None => socket::readable(
                [inner.waker.fd(), listener.as_fd(), inner.waker.fd()],
                limit,
            ),
        };
        let Ok([jvm, caller, woken]) = ready else {
            // No memory for a poll: nothing to do but to try again, slowly.
            std::thread::park_timeout(inner.tuning.tick);
            continue;
        };
        if woken {
            inner.waker.clear();
        }
        if jvm && let Some(current) = &mut reading {
            let kept = read(inner, current);
            if !kept {
                hang_up(inner, current);
                reading = None;
            }
        }
        if caller {
            reading = accept(inner, listener).or(reading);
        }
        if u128::from(boottime_ms().saturating_sub(ticked_ms)) >= inner.tuning.tick.as_millis() {
            ticked_ms = boottime_ms();
            tick(inner);
        }
    }
}

/// Takes a new connection in the place of the old: the JVM has one HA client, which closes before it connects again.
fn accept(inner: &Inner, listener: &TcpListener) -> Option<Reading> {
    let (stream, _) = match listener.accept() {
        Ok(accepted) => accepted,
        Err(error) => {
            if error.kind() != io::ErrorKind::WouldBlock {
                // No descriptor left, or the like: it would be tried again at once, so wait a little first.
                std::thread::park_timeout(inner.tuning.tick);
            }
            return None;
        }
    };
    let prepared = stream
        .set_nonblocking(false)
        .and_then(|()| socket::prepare(&stream, inner.tuning.tick));
    if prepared.is_err() {
        return None;
    }
    let mut desk = inner.desk();
    desk.adopt(stream);
    let reading = desk.jvm.as_ref().map(|jvm| Reading {
        id: jvm.id,
        stream: Arc::clone(&jvm.stream),
        reports: ReportReader::default(),
    });
    drop(desk);
    inner.changed.notify_all();
    reading
}

/// Reads what is there; `false` if the connection is over.
fn read(inner: &Inner, current: &mut Reading) -> bool {
    let mut bytes = [0; 4096];
    let count = match socket::read(&current.stream, &mut bytes) {
        Ok(Got::Bytes(count)) => count,
        Ok(Got::Nothing) => return true,
        Ok(Got::End) | Err(_) => return false,
    };
    match current.reports.feed(bytes.get(..count).unwrap_or_default()) {
        Ok(None) => true,
        Ok(Some(Report::End(end))) => take_report(inner, current.id, end),
        // A broker never sends −1; a stranger on the loopback might.
        Ok(Some(Report::Alive)) | Err(HaStreamError::NegativeReport(_)) => {
            note(inner, "the JVM reported a negative offset")
        }
        Err(_) => note(inner, "the JVM's report could not be read"),
    }
}

fn take_report(inner: &Inner, id: u64, end: u64) -> bool {
    let mut desk = inner.desk();
    let verdict = desk.report(id, end);
    let awaited = desk.window_awaited || desk.is_idle();
    drop(desk);
    if awaited {
        inner.changed.notify_all();
    }
    verdict == Verdict::Fine || note(inner, "the JVM reported an end that it cannot have")
}

/// Notes why the connection must go.
fn note(inner: &Inner, why: &str) -> bool {
    inner.desk().counters.last_error = Some(why.to_owned());
    false
}

fn hang_up(inner: &Inner, current: &Reading) {
    socket::reset(&current.stream);
    inner.desk().jvm_gone(current.id);
    inner.changed.notify_all();
}

/// Heartbeats where it was quiet.
fn tick(inner: &Inner) {
    let quiet_ms = u64::try_from(inner.tuning.heartbeat.as_millis()).unwrap_or(u64::MAX);
    // While data is being written the JVM needs no heartbeat, and one in the middle of a frame would destroy it.
    let writing = match inner.jvm_write.try_lock() {
        Ok(guard) => Some(guard),
        Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(PoisonError::into_inner(poisoned)),
        Err(std::sync::TryLockError::WouldBlock) => None,
    };
    let mut desk = inner.desk();
    desk.keep_link(quiet_ms);
    if writing.is_some()
        && let Some(jvm) = &mut desk.jvm
    {
        keep_jvm(jvm, quiet_ms);
    }
}

fn keep_jvm(jvm: &mut Jvm, quiet_ms: u64) {
    let (Some(offset), now) = (jvm.forwarded, boottime_ms()) else {
        return;
    };
    if now.saturating_sub(jvm.written_ms) < quiet_ms {
        return;
    }
    match socket::write_now(&jvm.stream, &FrameHeader { offset, size: 0 }.encode()) {
        Ok(true) => jvm.written_ms = now,
        Ok(false) => {}
        Err(_) => socket::reset(&jvm.stream),
    }
}
