//! What a cut removes, as JSON lines: one per message, one per stretch that is no message.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::error::{At, StoreError};
use crate::extent::data_end;
use crate::record::{HEAD, Head, Record, RecordFault};
use crate::segments::{Segment, Segments};
use crate::sparse;
use crate::walk::{Advance, Walker};

/// How much a listing holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Whole records below the log's former end.
    pub(crate) messages: u64,
    /// Whole records found beyond it.
    pub(crate) stray_messages: u64,
    /// Earliest due time in ms of the timers whose delivered copies are listed.
    pub(crate) first_fired_ms: Option<i64>,
}

/// One message of the listing. Read by tools, so names and units are fixed.
#[derive(Serialize)]
struct Line<'a> {
    offset: u64,
    size_bytes: u32,
    topic: Cow<'a, str>,
    queue: i32,
    queue_offset: i64,
    /// The id clients know, else the broker's.
    message_id: String,
    offset_message_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<String>,
    body_bytes: usize,
    store_time_ms: i64,
    /// Where a delayed or transactional message was meant for.
    #[serde(skip_serializing_if = "Option::is_none")]
    real_topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    real_queue: Option<String>,
    /// Found beyond the log's end: no broker counted it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stray: bool,
}

/// A stretch that is no message.
#[derive(Serialize)]
struct Garbage {
    offset: u64,
    garbage_bytes: u64,
    fault: String,
}

/// Lists everything from `from` on in all files; records below `end_before` were part of the log.
pub(crate) fn write(
    segments: &Segments,
    from: u64,
    end_before: u64,
    out: &mut impl Write,
) -> Result<Counts, StoreError> {
    let mut listing = Listing {
        end_before,
        counts: Counts::default(),
        out,
    };
    for segment in segments.all().iter().filter(|file| file.end > from) {
        let start = from.max(segment.start);
        if let Some(end) = data_end(segment, start)? {
            listing.file(segment, start, end)?;
        }
    }
    Ok(listing.counts)
}

struct Listing<'w, W> {
    end_before: u64,
    counts: Counts,
    out: &'w mut W,
}

impl<W: Write> Listing<'_, W> {
    fn file(&mut self, segment: &Segment, from: u64, end: u64) -> Result<(), StoreError> {
        let mut walker = Walker::start(segment, from)?;
        while walker.position() < end {
            let fault = match walker.advance()? {
                Advance::Record(record) => {
                    self.message(&record).at("list", &segment.path)?;
                    continue;
                }
                Advance::Blank => return Ok(()),
                Advance::Stopped(fault) => fault,
            };
            // Power loss leaves holes with good records behind them: look for the next one.
            let stopped = walker.position();
            let next = next_record(&walker, segment, stopped + 1)?.unwrap_or(end);
            self.garbage(segment, stopped, next.min(end), fault)?;
            walker.jump(next);
        }
        Ok(())
    }

    fn message(&mut self, record: &Record<'_>) -> io::Result<()> {
        if let Some(due_ms) = fired_at(record) {
            let first = self.counts.first_fired_ms.unwrap_or(due_ms);
            self.counts.first_fired_ms = Some(first.min(due_ms));
        }
        let stray = record.physical_offset >= self.end_before;
        if stray {
            self.counts.stray_messages += 1;
        } else {
            self.counts.messages += 1;
        }
        let offset_message_id = record.offset_message_id();
        self.line(&Line {
            offset: record.physical_offset,
            size_bytes: record.size,
            topic: String::from_utf8_lossy(record.topic),
            queue: record.queue_id,
            queue_offset: record.queue_offset,
            message_id: record
                .unique_key()
                .unwrap_or_else(|| offset_message_id.clone()),
            offset_message_id,
            keys: record.keys(),
            tags: record.tags(),
            body_bytes: record.body.len(),
            store_time_ms: record.store_timestamp_ms,
            real_topic: record.property("REAL_TOPIC"),
            real_queue: record.property("REAL_QID"),
            stray,
        })
    }

    fn garbage(
        &mut self,
        segment: &Segment,
        from: u64,
        to: u64,
        fault: RecordFault,
    ) -> Result<(), StoreError> {
        let file = segment.open()?;
        let (skip, until) = (from - segment.start, to - segment.start);
        let Some(end) = sparse::end_of_data(&file, skip, until).at("read", &segment.path)? else {
            return Ok(());
        };
        self.line(&Garbage {
            offset: from,
            garbage_bytes: end - skip,
            fault: fault.to_string(),
        })
        .at("list", &segment.path)
    }

    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut *self.out, line)?;
        self.out.write_all(b"\n")
    }
}

/// When a timer was due, if this record is its delivered copy: 5.x keeps that as a property and notes when it took the
/// message off the wheel.
fn fired_at(record: &Record<'_>) -> Option<i64> {
    record.property("TIMER_DEQUEUE_MS")?;
    record.property("TIMER_OUT_MS")?.parse().ok()
}

/// The next place in the file, from `from` on, where a head says that it belongs right there.
fn next_record(walker: &Walker, segment: &Segment, from: u64) -> Result<Option<u64>, StoreError> {
    let len = segment.end - segment.start;
    let mut found = None;
    // Heads straddle blocks: the last bytes of one are looked at again in front of the next.
    let mut window = Vec::new();
    let mut window_at = from - segment.start;
    sparse::for_each_block(walker.file(), window_at, len, |at, block| {
        let window_end = window_at + u64::try_from(window.len()).unwrap_or(u64::MAX);
        if at != window_end {
            window.clear();
            window_at = at;
        }
        window.extend_from_slice(block);
        for (place, head) in (window_at..).zip(window.windows(HEAD)) {
            let here = segment.start + place;
            if matches!(Head::parse(head), Ok(Head::Record { physical_offset, .. }) if physical_offset == here)
            {
                found = Some(here);
                return Ok(false);
            }
        }
        let looked_at = (window.len() + 1).saturating_sub(HEAD);
        window.drain(..looked_at);
        window_at += u64::try_from(looked_at).unwrap_or(u64::MAX);
        Ok(true)
    })
    .at("read", &segment.path)?;
    Ok(found)
}

/// Counts what is written to it.
#[derive(Debug, Default)]
pub(crate) struct ByteCount(pub(crate) u64);

impl Write for ByteCount {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
