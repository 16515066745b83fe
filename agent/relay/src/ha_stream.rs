//! RocketMQ's classic HA protocol as pure functions over bytes (facts §4.1).
//!
//! Slave to master: repeated big-endian `i64` reports of the slave's log end. Master to slave: `i64` offset, `i32`
//! size, body; size 0 is a heartbeat. The peer link between two relays uses the same bytes with one addition: the
//! report −1 says "alive, nothing to report".

use std::ops::Range;

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 12;
/// Bytes of a report.
pub const REPORT_BYTES: usize = 8;
/// The largest body taken. A stock slave's own buffer holds 4 MiB with the header (`READ_MAX_BUFFER_SIZE`), so a
/// larger frame could not reach it anyway; the default batch is 32 KiB.
pub const MAX_BODY_BYTES: u32 = 4 * 1024 * 1024 - 12;
/// What a stream's buffer holds at first; it grows only for a frame that does not fit.
const BUFFER_BYTES: usize = 256 * 1024;

/// Bytes that are no HA stream, or not the one expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HaStreamError {
    /// An offset below zero.
    #[error("read an HA frame: offset {0} is negative")]
    NegativeOffset(i64),
    /// A size below zero.
    #[error("read an HA frame: size {0} is negative")]
    NegativeSize(i32),
    /// A body above [`MAX_BODY_BYTES`].
    #[error("read an HA frame: {0} bytes are more than {MAX_BODY_BYTES}")]
    TooLarge(u32),
    /// The frame would end above the largest offset.
    #[error("read an HA frame: offset {0} leaves no room for the body")]
    Overflow(u64),
    /// A report below −1.
    #[error("read an HA report: offset {0} is negative")]
    NegativeReport(i64),
    /// The frame does not follow the one before.
    #[error("read an HA frame: it begins at {got} instead of {expected}")]
    Gap {
        /// Where the next byte belongs.
        expected: u64,
        /// Where the frame says it belongs.
        got: u64,
    },
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Where the body belongs in the log.
    pub offset: u64,
    /// Bytes of body; 0 is a heartbeat.
    pub size: u32,
}

impl FrameHeader {
    /// Reads a header.
    ///
    /// # Errors
    /// A negative or too large field.
    pub fn decode(bytes: [u8; HEADER_BYTES]) -> Result<Self, HaStreamError> {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
        let offset = i64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let size = i32::from_be_bytes([i, j, k, l]);
        let offset = u64::try_from(offset).map_err(|_| HaStreamError::NegativeOffset(offset))?;
        let size = u32::try_from(size).map_err(|_| HaStreamError::NegativeSize(size))?;
        if size > MAX_BODY_BYTES {
            return Err(HaStreamError::TooLarge(size));
        }
        if offset > i64::MAX.unsigned_abs() - u64::from(size) {
            return Err(HaStreamError::Overflow(offset));
        }
        Ok(Self { offset, size })
    }

    /// The header's bytes.
    #[must_use]
    pub fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&self.offset.to_be_bytes());
        bytes[8..].copy_from_slice(&self.size.to_be_bytes());
        bytes
    }

    /// The offset behind the body.
    #[must_use]
    pub const fn end(self) -> u64 {
        // Cannot overflow: `decode` checked it, and our own frames lie within a log.
        self.offset.saturating_add(self.size as u64)
    }
}

/// What one report says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Alive, nothing to report (peer link only).
    Alive,
    /// The log ends here; everything below is acknowledged.
    End(u64),
}

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    /// Anything below −1.
    pub fn decode(bytes: [u8; REPORT_BYTES]) -> Result<Self, HaStreamError> {
        match i64::from_be_bytes(bytes) {
            -1 => Ok(Self::Alive),
            value => u64::try_from(value)
                .map(Self::End)
                .map_err(|_| HaStreamError::NegativeReport(value)),
        }
    }

    /// The report's bytes.
    #[must_use]
    pub fn encode(self) -> [u8; REPORT_BYTES] {
        match self {
            Self::Alive => (-1_i64).to_be_bytes(),
            Self::End(offset) => offset.to_be_bytes(),
        }
    }
}

/// Joins reports that arrive in pieces or several at once. Of several only the last matters.
#[derive(Debug, Default)]
pub struct ReportReader {
    partial: [u8; REPORT_BYTES],
    held: usize,
}

impl ReportReader {
    /// Takes what was read; gives the last whole report in it.
    ///
    /// # Errors
    /// If any of the reports is negative.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<Option<Report>, HaStreamError> {
        let mut last = None;
        while !bytes.is_empty() {
            let take = bytes.len().min(REPORT_BYTES - self.held);
            let (now, later) = bytes.split_at(take);
            self.partial[self.held..self.held + take].copy_from_slice(now);
            self.held += take;
            bytes = later;
            if self.held == REPORT_BYTES {
                self.held = 0;
                last = Some(Report::decode(self.partial)?);
            }
        }
        Ok(last)
    }
}

/// A whole frame within a [`FrameBuffer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its header.
    pub header: FrameHeader,
    /// Where the buffer holds header and body.
    pub bytes: Range<usize>,
}

impl Frame {
    /// Where the buffer holds the body.
    #[must_use]
    pub fn body(&self) -> Range<usize> {
        self.bytes.start + HEADER_BYTES..self.bytes.end
    }
}

/// Collects a stream of frames and hands out whole ones, in place.
#[derive(Debug)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Default for FrameBuffer {
    fn default() -> Self {
        Self {
            bytes: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
        }
    }
}

impl FrameBuffer {
    /// Room for the next read, never empty. Moves what is left to the front, and grows if the frame in progress does
    /// not fit (bounded by [`MAX_BODY_BYTES`]).
    ///
    /// # Errors
    /// If the frame in progress has no valid header.
    pub fn room(&mut self) -> Result<&mut [u8], HaStreamError> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
        let needed = self
            .header_at(self.start)?
            .map_or(HEADER_BYTES, |header| HEADER_BYTES + size_of_body(header));
        if self.start > 0 && self.bytes.len() - self.start < needed.max(BUFFER_BYTES / 2) {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.bytes.len() - self.start < needed {
            self.bytes.resize(self.start + needed, 0);
        }
        if self.end == self.bytes.len() {
            // Only when whole frames were left unread, which our callers do not do; still never hand out an empty slice.
            self.bytes.resize(self.end + BUFFER_BYTES, 0);
        }
        Ok(&mut self.bytes[self.end..])
    }

    /// Says how many bytes of [`FrameBuffer::room`] were filled.
    pub fn filled(&mut self, count: usize) {
        self.end = self.bytes.len().min(self.end.saturating_add(count));
    }

    /// The next whole frame, if there is one; it stays until [`FrameBuffer::consume`].
    ///
    /// # Errors
    /// If its header is invalid.
    pub fn peek(&self) -> Result<Option<Frame>, HaStreamError> {
        self.peek_at(self.start)
    }

    /// The whole frame behind `frame`, if there is one.
    ///
    /// # Errors
    /// If its header is invalid.
    pub fn peek_behind(&self, frame: &Frame) -> Result<Option<Frame>, HaStreamError> {
        self.peek_at(frame.bytes.end)
    }

    /// Drops everything up to the end of `frame`.
    pub fn consume(&mut self, frame: &Frame) {
        self.start = frame.bytes.end.clamp(self.start, self.end);
    }

    /// The bytes of a range given out by a [`Frame`].
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    fn peek_at(&self, at: usize) -> Result<Option<Frame>, HaStreamError> {
        let Some(header) = self.header_at(at)? else {
            return Ok(None);
        };
        let bytes = at..at + HEADER_BYTES + size_of_body(header);
        Ok((bytes.end <= self.end).then_some(Frame { header, bytes }))
    }

    fn header_at(&self, at: usize) -> Result<Option<FrameHeader>, HaStreamError> {
        let held = self.bytes.get(at..self.end).unwrap_or_default();
        held.first_chunk::<HEADER_BYTES>()
            .map(|bytes| FrameHeader::decode(*bytes))
            .transpose()
    }
}

/// At most [`MAX_BODY_BYTES`], so it fits any platform's `usize`.
fn size_of_body(header: FrameHeader) -> usize {
    usize::try_from(header.size).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(bodies: &[Vec<u8>]) -> (Vec<u8>, Vec<FrameHeader>) {
        let (mut bytes, mut headers, mut offset) = (Vec::new(), Vec::new(), 7_u64);
        for body in bodies {
            let header = FrameHeader {
                offset,
                size: u32::try_from(body.len()).unwrap(),
            };
            bytes.extend_from_slice(&header.encode());
            bytes.extend_from_slice(body);
            headers.push(header);
            offset = header.end();
        }
        (bytes, headers)
    }

    fn take_all(buffer: &mut FrameBuffer, into: &mut Vec<(FrameHeader, Vec<u8>)>) {
        while let Some(frame) = buffer.peek().unwrap() {
            into.push((frame.header, buffer.slice(frame.body()).to_vec()));
            buffer.consume(&frame);
        }
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut_of_the_stream(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 0..20),
            cuts in prop::collection::vec(1_usize..700, 1..200),
        ) {
            let (bytes, headers) = stream(&bodies);
            let (mut buffer, mut got, mut rest) = (FrameBuffer::default(), Vec::new(), bytes.as_slice());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let room = buffer.room().unwrap();
                let count = (*cut).min(rest.len()).min(room.len());
                room[..count].copy_from_slice(&rest[..count]);
                buffer.filled(count);
                rest = &rest[count..];
                take_all(&mut buffer, &mut got);
            }
            let expected: Vec<_> = headers.into_iter().zip(bodies).collect();
            prop_assert_eq!(got, expected);
        }

        #[test]
        fn any_header_is_read_or_refused_and_round_trips(bytes in any::<[u8; HEADER_BYTES]>()) {
            if let Ok(header) = FrameHeader::decode(bytes) {
                prop_assert_eq!(header.encode(), bytes);
                prop_assert!(header.size <= MAX_BODY_BYTES);
                prop_assert!(header.end() <= i64::MAX as u64);
            }
        }

        #[test]
        fn garbage_never_panics_nor_grows_the_buffer_beyond_its_bound(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
            let mut buffer = FrameBuffer::default();
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let Ok(room) = buffer.room() else { break };
                let count = rest.len().min(room.len()).min(97);
                room[..count].copy_from_slice(&rest[..count]);
                buffer.filled(count);
                rest = &rest[count..];
                while let Ok(Some(frame)) = buffer.peek() { buffer.consume(&frame); }
            }
            prop_assert!(buffer.bytes.len() <= BUFFER_BYTES * 2 + MAX_BODY_BYTES as usize);
        }

        #[test]
        fn the_last_whole_report_counts(values in prop::collection::vec(-1_i64.., 0..20), cut in 1_usize..30) {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_be_bytes()).collect();
            let (mut reader, mut last) = (ReportReader::default(), None);
            for piece in bytes.chunks(cut) {
                last = reader.feed(piece).unwrap().or(last);
            }
            prop_assert_eq!(last.map(Report::encode), values.last().map(|value| value.to_be_bytes()));
        }
    }

    #[test]
    fn a_frame_larger_than_the_buffer_fits() {
        let (bytes, _) = stream(&[vec![1; 100], vec![2; 3_000_000], vec![3; 5]]);
        let (mut buffer, mut got, mut rest) =
            (FrameBuffer::default(), Vec::new(), bytes.as_slice());
        while !rest.is_empty() {
            let room = buffer.room().unwrap();
            let count = rest.len().min(room.len()).min(70_000);
            room[..count].copy_from_slice(&rest[..count]);
            buffer.filled(count);
            rest = &rest[count..];
            take_all(&mut buffer, &mut got);
        }
        let sizes: Vec<_> = got
            .iter()
            .map(|(header, body)| (header.size, body.len()))
            .collect();
        assert_eq!(sizes, [(100, 100), (3_000_000, 3_000_000), (5, 5)]);
    }

    #[test]
    fn negative_and_oversized_fields_are_named() {
        let header = |offset: i64, size: i32| {
            let mut bytes = [0; HEADER_BYTES];
            bytes[..8].copy_from_slice(&offset.to_be_bytes());
            bytes[8..].copy_from_slice(&size.to_be_bytes());
            FrameHeader::decode(bytes)
        };
        assert_eq!(header(-1, 0), Err(HaStreamError::NegativeOffset(-1)));
        assert_eq!(header(0, -5), Err(HaStreamError::NegativeSize(-5)));
        assert_eq!(
            header(0, i32::MAX),
            Err(HaStreamError::TooLarge(i32::MAX.unsigned_abs()))
        );
        assert_eq!(
            header(i64::MAX, 1),
            Err(HaStreamError::Overflow(i64::MAX.unsigned_abs()))
        );
        assert_eq!(
            Report::decode((-2_i64).to_be_bytes()),
            Err(HaStreamError::NegativeReport(-2))
        );
    }
}
