//! A command's bytes on the wire (`RemotingCommand#encode`, `NettyDecoder`):
//!
//! ```text
//! u32  L           bytes that follow
//! u8   encoding    of the header: 0 JSON, 1 binary
//! u24  H           header bytes
//! [H]              header
//! [L - 4 - H]      body
//! ```

use crate::command::Command;
use crate::cursor::Cursor;
use crate::error::CodecError;
use crate::{header_binary, header_json};

/// Longest frame that stock servers and clients accept, in bytes (`com.rocketmq.remoting.frameMaxLength`).
pub const DEFAULT_FRAME_LIMIT: usize = 16 * 1024 * 1024;

/// Longest header we write and read, in bytes. Its length has 24 bits, but the largest real ones carry 32 KiB of message
/// properties; a bound keeps a hostile header of many tiny arguments from taking many times its size in memory.
const LONGEST_HEADER: usize = 256 * 1024;

/// How a header is written. A reader goes by the byte in the frame: 4.9 answers in the encoding of the request, 5.x in
/// the one it is configured for (seen on 4.9.7 and 5.5.0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum HeaderKind {
    /// fastjson's JSON object: the default everywhere.
    #[default]
    Json,
    /// RocketMQ's own binary form (`-Drocketmq.serialize.type=ROCKETMQ`). It has 16 bits for code and version.
    Binary,
}

/// Writes `command` as one frame.
///
/// # Errors
/// The frame would exceed [`DEFAULT_FRAME_LIMIT`], which a stock server answers by closing the connection, or a value
/// does not fit into the header.
pub fn encode(command: &Command, kind: HeaderKind) -> Result<Vec<u8>, CodecError> {
    let (mark, header) = match kind {
        HeaderKind::Json => (0u8, header_json::encode(command)?),
        HeaderKind::Binary => (1u8, header_binary::encode(command)?),
    };
    let total = 8 + header.len() + command.body.len();
    check_header(header.len())?;
    if total > DEFAULT_FRAME_LIMIT {
        return Err(CodecError::FrameTooLarge {
            bytes: wide(total),
            limit: DEFAULT_FRAME_LIMIT,
        });
    }
    let length = word("frame length", total - 4)?;
    let [_, high, middle, low] = word("header length", header.len())?.to_be_bytes();
    let mut frame = Vec::with_capacity(total);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&[mark, high, middle, low]);
    frame.extend_from_slice(&header);
    frame.extend_from_slice(&command.body);
    Ok(frame)
}

/// Reads one frame from the start of `input`: the command and how many bytes it took, or `None` when the frame is not
/// complete yet. A frame longer than `limit` bytes is refused as soon as its length word is there, so a caller never
/// has to hold more than `limit` bytes for one frame.
///
/// # Errors
/// The bytes are no frame. The stream cannot be trusted after that: close it.
pub fn decode(input: &[u8], limit: usize) -> Result<Option<(Command, usize)>, CodecError> {
    let Some(length) = input
        .first_chunk::<4>()
        .map(|word| u32::from_be_bytes(*word))
    else {
        return Ok(None);
    };
    if length < 4 {
        return Err(CodecError::FrameTooShort { length });
    }
    let bytes = u64::from(length) + 4;
    let too_large = CodecError::FrameTooLarge { bytes, limit };
    let total = match usize::try_from(bytes) {
        Ok(total) if total <= limit => total,
        _ => return Err(too_large),
    };
    let Some(content) = input.get(4..total) else {
        return Ok(None);
    };
    Ok(Some((content_of(content)?, total)))
}

/// What follows a frame's length word.
fn content_of(content: &[u8]) -> Result<Command, CodecError> {
    let mut content = Cursor::new(content);
    let [kind, high, middle, low] = content.u32("header length")?.to_be_bytes();
    let header_length =
        usize::try_from(u32::from_be_bytes([0, high, middle, low])).unwrap_or(usize::MAX);
    check_header(header_length)?;
    let rest = content.rest();
    let Some((header, body)) = rest.split_at_checked(header_length) else {
        return Err(CodecError::HeaderTooLong {
            header: header_length,
            frame: rest.len(),
        });
    };
    let mut command = match kind {
        0 => header_json::decode(header)?,
        1 => header_binary::decode(header)?,
        unknown => return Err(CodecError::UnknownHeaderKind(unknown)),
    };
    command.body = body.to_vec();
    Ok(command)
}

fn check_header(bytes: usize) -> Result<(), CodecError> {
    if bytes > LONGEST_HEADER {
        return Err(CodecError::HeaderTooLarge {
            bytes,
            limit: LONGEST_HEADER,
        });
    }
    Ok(())
}

fn word(field: &'static str, length: usize) -> Result<u32, CodecError> {
    u32::try_from(length).map_err(|_| CodecError::TooBig {
        field,
        value: wide(length),
    })
}

fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::Language;

    fn commands() -> impl Strategy<Value = Command> {
        let language = proptest::sample::select(Language::all().collect::<Vec<_>>());
        // An empty remark is none in the binary header, so it is not generated.
        let remark = proptest::option::of("\\PC{1,40}");
        let ext = proptest::collection::btree_map("\\PC{0,12}", any::<String>(), 0..8);
        let body = proptest::collection::vec(any::<u8>(), 0..300);
        let numbers = (any::<i16>(), any::<i16>(), any::<i32>(), any::<i32>());
        (numbers, language, remark, ext, body).prop_map(
            |((code, version, opaque, flag), language, remark, ext, body)| Command {
                code: i32::from(code),
                language,
                version: i32::from(version),
                opaque,
                flag,
                remark,
                ext,
                body,
            },
        )
    }

    fn kinds() -> impl Strategy<Value = HeaderKind> {
        prop_oneof![Just(HeaderKind::Json), Just(HeaderKind::Binary)]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(command in commands(), kind in kinds(), after in proptest::collection::vec(any::<u8>(), 0..9)) {
            let frame = encode(&command, kind).unwrap();
            let mut stream = frame.clone();
            stream.extend_from_slice(&after);
            let (read, used) = decode(&stream, DEFAULT_FRAME_LIMIT).unwrap().unwrap();
            prop_assert_eq!(read, command);
            prop_assert_eq!(used, frame.len());
        }

        #[test]
        fn a_part_of_a_frame_asks_for_more(command in commands(), kind in kinds(), cut in any::<prop::sample::Index>()) {
            let frame = encode(&command, kind).unwrap();
            prop_assert!(decode(&frame[..cut.index(frame.len())], DEFAULT_FRAME_LIMIT).unwrap().is_none());
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes, DEFAULT_FRAME_LIMIT);
        }

        /// Random bytes rarely get past the length word; these do.
        #[test]
        fn a_random_header_never_panics(kind in 0u8..3, header in proptest::collection::vec(any::<u8>(), 0..200), claimed in 0u32..260) {
            let mut content = vec![kind];
            content.extend_from_slice(&claimed.to_be_bytes()[1..]);
            content.extend_from_slice(&header);
            let mut frame = u32::try_from(content.len()).unwrap().to_be_bytes().to_vec();
            frame.extend_from_slice(&content);
            let _ = decode(&frame, DEFAULT_FRAME_LIMIT);
        }

        #[test]
        fn a_frame_with_one_wrong_byte_never_panics(command in commands(), kind in kinds(), at in any::<prop::sample::Index>(), wrong in any::<u8>()) {
            let mut frame = encode(&command, kind).unwrap();
            let at = at.index(frame.len());
            frame[at] = wrong;
            let _ = decode(&frame, DEFAULT_FRAME_LIMIT);
        }
    }

    #[test]
    fn lengths_are_checked_before_anything_is_kept() {
        assert!(matches!(
            decode(&[0, 0, 0, 3], 64),
            Err(CodecError::FrameTooShort { length: 3 })
        ));
        assert!(matches!(
            decode(&[0, 0, 0, 61], 64),
            Err(CodecError::FrameTooLarge {
                bytes: 65,
                limit: 64
            })
        ));
        assert!(decode(&[0, 0, 0, 60], 64).unwrap().is_none());
        // What a Java reader would take for −1.
        assert!(matches!(
            decode(&[0xFF; 8], DEFAULT_FRAME_LIMIT),
            Err(CodecError::FrameTooLarge { .. })
        ));
        assert!(matches!(
            decode(&[0, 0, 0, 5, 0, 0, 0, 2, b'{'], 64),
            Err(CodecError::HeaderTooLong {
                header: 2,
                frame: 1
            })
        ));
        assert!(matches!(
            decode(&[0, 0, 0, 4, 7, 0, 0, 0], 64),
            Err(CodecError::UnknownHeaderKind(7))
        ));
    }

    #[test]
    fn a_frame_too_large_for_a_server_is_not_written() {
        let command = Command::request(1).with_body(vec![0; DEFAULT_FRAME_LIMIT]);
        assert!(matches!(
            encode(&command, HeaderKind::Json),
            Err(CodecError::FrameTooLarge { .. })
        ));
    }

    #[test]
    fn a_header_of_countless_arguments_is_refused() {
        let mut command = Command::request(1);
        for number in 0..50_000 {
            command.ext.insert(number.to_string(), String::new());
        }
        for kind in [HeaderKind::Json, HeaderKind::Binary] {
            assert!(matches!(
                encode(&command, kind),
                Err(CodecError::HeaderTooLarge { .. })
            ));
        }
        let mut frame = vec![0, 0x0F, 0xFF, 0xFF, 0, 0x04, 0, 1];
        frame.resize(0x10_0003, b' ');
        assert!(matches!(
            decode(&frame, DEFAULT_FRAME_LIMIT),
            Err(CodecError::HeaderTooLarge {
                bytes: 0x4_0001,
                ..
            })
        ));
    }

    #[test]
    fn an_empty_argument_survives() {
        let command = Command {
            ext: BTreeMap::from([("a".to_owned(), String::new())]),
            ..Command::request(1)
        };
        for kind in [HeaderKind::Json, HeaderKind::Binary] {
            let (read, _) = decode(&encode(&command, kind).unwrap(), 1000)
                .unwrap()
                .unwrap();
            assert_eq!(read, command);
        }
    }
}
