//! The only file of this crate that reads a clock: the `Date` of an answer, which is for people and caches.
#![allow(
    clippy::disallowed_methods,
    reason = "HTTP wants the wall clock's time; nothing is decided by it"
)]

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

/// The last date that was written, and of which second it is.
struct Written {
    second: u64,
    line: String,
}

thread_local! {
    static WRITTEN: RefCell<Written> = const { RefCell::new(Written { second: u64::MAX, line: String::new() }) };
}

/// Appends `date: …\r\n`.
pub(crate) fn push_date(out: &mut Vec<u8>) {
    let now = SystemTime::now();
    let second = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    WRITTEN.with_borrow_mut(|written| {
        if written.second != second {
            written.second = second;
            written.line = format!("date: {}\r\n", httpdate::fmt_http_date(now));
        }
        out.extend_from_slice(written.line.as_bytes());
    });
}
