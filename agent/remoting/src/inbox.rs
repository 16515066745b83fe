//! Received bytes, until they make a whole frame.

use crate::command::Command;
use crate::error::CodecError;
use crate::frame::decode;

/// Bytes asked for per read.
pub(crate) const READ_BYTES: usize = 16 * 1024;

/// An emptied buffer larger than this is given back: one large answer must not cost memory for ever.
const KEPT_BYTES: usize = 64 * 1024;

/// Received bytes that are not yet read as commands. Holds at most one incomplete frame of the limit's length and what
/// one read brings.
#[derive(Debug)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    read: usize,
    limit: usize,
}

impl Inbox {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            read: 0,
            limit,
        }
    }

    /// Adds what came in. Call [`next`](Self::next) until it has no more before adding again.
    pub(crate) fn add(&mut self, received: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
        self.bytes.extend_from_slice(received);
    }

    /// The next whole command.
    pub(crate) fn next(&mut self) -> Result<Option<Command>, CodecError> {
        let unread = self.bytes.get(self.read..).unwrap_or_default();
        let Some((command, used)) = decode(unread, self.limit)? else {
            return Ok(None);
        };
        self.read += used;
        Ok(Some(command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{HeaderKind, encode};

    #[test]
    fn commands_come_out_however_the_bytes_come_in() {
        let stream: Vec<u8> = (0..50)
            .flat_map(|opaque| {
                let body = vec![7; usize::try_from(opaque).unwrap() * 3];
                let command = Command {
                    opaque,
                    ..Command::request(1)
                }
                .with_body(body);
                encode(&command, HeaderKind::Binary).unwrap()
            })
            .collect();
        for piece in [1, 7, 100, stream.len()] {
            let mut inbox = Inbox::new(1000);
            let mut seen = Vec::new();
            for bytes in stream.chunks(piece) {
                inbox.add(bytes);
                while let Some(command) = inbox.next().unwrap() {
                    seen.push(command.opaque);
                }
            }
            assert_eq!(seen, (0..50).collect::<Vec<_>>(), "pieces of {piece}");
        }
    }

    #[test]
    fn a_large_answer_does_not_cost_memory_for_ever() {
        let large = Command::request(1).with_body(vec![0; 1 << 20]);
        let mut inbox = Inbox::new(2 << 20);
        inbox.add(&encode(&large, HeaderKind::Json).unwrap());
        assert!(inbox.next().unwrap().is_some());
        inbox.add(&[0]);
        assert!(inbox.bytes.capacity() <= KEPT_BYTES);
    }
}
