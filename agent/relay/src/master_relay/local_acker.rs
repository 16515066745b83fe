//! The local acker: one more HA connection to the own JVM that acknowledges at once whatever the JVM sends.
//!
//! With it a broker that runs as SYNC_MASTER (5.x: `inSyncReplicas=2`) answers sends like an asynchronous one, and the
//! group tightens without a change of the broker's settings: the acker stops, at an offset that the ledger knows, and
//! from the next record on only the slaves' acknowledgements count (safety §1.8, H30).
//!
//! It acknowledges only while the term's permit is valid. A lost connection to the JVM is opened again, from where the
//! log is known to reach; meanwhile nothing is acknowledged. A JVM that ends takes its term and so the orders with it.

use super::Inner;
use super::ledger::local::Target;
use super::{JVM_CONNECT, connection};
use crate::backoff::Backoff;
use crate::ha_stream::FrameBuffer;
use crate::socket::{self, Got};
use std::net::TcpStream;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// The longest sleep without a look around; every change wakes it anyway.
const LONG: Duration = Duration::from_secs(60);

/// Works until the relay ends.
pub(super) fn run(inner: &Inner) {
    let mut backoff = Backoff::new(inner.tuning.retry);
    while let Some(target) = await_target(inner) {
        if acknowledge(inner, &target).is_some() {
            backoff.reset();
        }
        pause(inner, backoff.pause());
    }
}

/// Waits until there is something to acknowledge; `None` = the relay ends.
fn await_target(inner: &Inner) -> Option<Target> {
    let mut ledger = inner.ledger();
    loop {
        if ledger.is_stopped() {
            return None;
        }
        if let Some(target) = ledger.local_target() {
            return Some(target);
        }
        ledger = inner
            .changed
            .wait_timeout(ledger, LONG)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
}

/// Waits before the next try, or for the end of the relay.
fn pause(inner: &Inner, pause: Duration) {
    let ledger = inner.ledger();
    let _unused = inner
        .changed
        .wait_timeout_while(ledger, pause, |ledger| !ledger.is_stopped());
}

/// Connects and acknowledges until the connection ends; `Some` if the JVM sent anything.
fn acknowledge(inner: &Inner, target: &Target) -> Option<()> {
    let min = crate::commit_log::min_offset(&target.commitlog_dir).ok()?;
    let jvm = Arc::new(TcpStream::connect_timeout(&target.ha, JVM_CONNECT).ok()?);
    socket::prepare(&jvm, inner.tuning.tick).ok()?;
    let (id, from) = inner.ledger().open_local(target, &jvm, min)?;
    let heard = follow(inner, id, &jvm, from);
    inner.ledger().local_gone(id);
    heard.then_some(())
}

/// Reads the JVM's frames and acknowledges the end of each batch; says whether there was any.
fn follow(inner: &Inner, id: u64, jvm: &TcpStream, from: u64) -> bool {
    let mut buffer = FrameBuffer::default();
    let (mut next, mut heard) = (from, false);
    loop {
        let Ok(room) = buffer.room() else {
            return heard;
        };
        match socket::read(jvm, room) {
            Ok(Got::Bytes(count)) => buffer.filled(count),
            Ok(Got::Nothing) => {
                inner.ledger().local_tick(id);
                continue;
            }
            Ok(Got::End) | Err(_) => return heard,
        }
        // A gap is a JVM we do not understand: nothing of it is acknowledged.
        let Ok(frames) = connection::whole_frames(&buffer, next) else {
            return heard;
        };
        if let Some((_, last)) = frames {
            next = last.header.end();
            heard = true;
            if !inner.ledger().local_read(id, next) {
                return heard;
            }
            buffer.consume(&last);
        }
    }
}
