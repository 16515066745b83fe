//! Stored messages as a pull returns them: the commit log's own records (facts §5.3, `MessageExtEncoder`).
//!
//! This is for reading what a broker sends. Reading a commit log on disk, where a record may be torn, is the store
//! crate's work.

use std::collections::BTreeMap;

use crate::cursor::{Cursor, text};
use crate::error::CodecError;
use crate::offset::{LogOffset, QueueOffset};

const MAGIC_V1: u32 = 0xDAA3_20A7;
/// Records of topics longer than 127 bytes.
const MAGIC_V2: u32 = 0xDAA3_20AB;
const COMPRESSED: i32 = 1;
const BORN_HOST_IS_IPV6: i32 = 1 << 4;
const STORE_HOST_IS_IPV6: i32 = 1 << 5;

/// A stored message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its queue.
    pub queue_id: i32,
    /// Its place in the queue.
    pub queue_offset: QueueOffset,
    /// Where its record starts in the commit log.
    pub log_offset: LogOffset,
    /// Length of its record in bytes.
    pub record_bytes: u32,
    /// When it was made, ms since 1970 by the producer's clock.
    pub born_timestamp_ms: i64,
    /// When it was stored, ms since 1970 by the master's clock.
    pub store_timestamp_ms: i64,
    /// How often it was given back by consumers.
    pub reconsume_times: i32,
    /// Is the body compressed? It is left as it is then.
    pub compressed: bool,
    /// Its properties, `KEYS`, `TAGS` and `UNIQ_KEY` among them.
    pub properties: BTreeMap<String, String>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Message {
    /// The keys it can be found by, separated by blanks.
    pub fn keys(&self) -> Option<&str> {
        self.properties.get("KEYS").map(String::as_str)
    }
}

/// Reads records that follow each other without a gap.
///
/// # Errors
/// A record is torn, of unknown make, or its length is not the sum of its parts.
pub fn messages(body: &[u8]) -> Result<Vec<Message>, CodecError> {
    let mut found = Vec::new();
    let mut rest = Cursor::new(body);
    while !rest.is_empty() {
        let at = body.len() - rest.rest().len();
        found.push(next(at, &mut rest)?);
    }
    Ok(found)
}

fn next(at: usize, rest: &mut Cursor<'_>) -> Result<Message, CodecError> {
    let bad = |reason| CodecError::BadRecord { at, reason };
    let record_bytes = rest.u32("record length")?;
    let content_bytes = usize::try_from(record_bytes)
        .ok()
        .and_then(|bytes| bytes.checked_sub(4))
        .ok_or_else(|| bad("shorter than its length word"))?;
    let mut record = Cursor::new(rest.take("record", content_bytes)?);
    let topic_length_is_short = match record.u32("magic")? {
        MAGIC_V1 => false,
        MAGIC_V2 => true,
        _ => return Err(bad("unknown magic number")),
    };
    record.u32("body checksum")?;
    let queue_id = record.i32("queue id")?;
    record.i32("flag")?;
    let queue_offset = record.i64("queue offset")?;
    let log_offset = record.i64("physical offset")?;
    let sys_flag = record.i32("system flag")?;
    let born_timestamp_ms = record.i64("born timestamp")?;
    record.take("born host", host_bytes(sys_flag, BORN_HOST_IS_IPV6))?;
    let store_timestamp_ms = record.i64("store timestamp")?;
    record.take("store host", host_bytes(sys_flag, STORE_HOST_IS_IPV6))?;
    let reconsume_times = record.i32("reconsume times")?;
    record.i64("prepared transaction offset")?;
    let body = record.long_bytes("body")?.to_vec();
    let topic = if topic_length_is_short {
        record.short_bytes("topic")?
    } else {
        let length = record.u8("topic")?;
        record.take("topic", usize::from(length))?
    };
    let topic = text("topic", topic)?;
    let properties = properties(&text("properties", record.short_bytes("properties")?)?);
    if !record.is_empty() {
        return Err(bad("longer than its parts"));
    }
    Ok(Message {
        topic,
        queue_id,
        queue_offset: QueueOffset::from_java(queue_offset)
            .ok_or_else(|| bad("negative queue offset"))?,
        log_offset: LogOffset::from_java(log_offset)
            .ok_or_else(|| bad("negative physical offset"))?,
        record_bytes,
        born_timestamp_ms,
        store_timestamp_ms,
        reconsume_times,
        compressed: sys_flag & COMPRESSED != 0,
        properties,
        body,
    })
}

/// An address of 4 or 16 bytes and a port of 4.
fn host_bytes(sys_flag: i32, ipv6: i32) -> usize {
    if sys_flag & ipv6 == 0 { 8 } else { 20 }
}

fn properties(text: &str) -> BTreeMap<String, String> {
    text.split('\u{2}')
        .filter_map(|property| property.split_once('\u{1}'))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(magic: u32, sys_flag: i32, topic: &str, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(magic.to_be_bytes());
        out.extend([0; 4]);
        out.extend(3i32.to_be_bytes());
        out.extend([0; 4]);
        out.extend(7i64.to_be_bytes());
        out.extend(4711i64.to_be_bytes());
        out.extend(sys_flag.to_be_bytes());
        out.extend(1i64.to_be_bytes());
        out.extend(vec![1; if sys_flag & 16 == 0 { 8 } else { 20 }]);
        out.extend(2i64.to_be_bytes());
        out.extend(vec![1; if sys_flag & 32 == 0 { 8 } else { 20 }]);
        out.extend([0; 12]);
        out.extend(i32::try_from(body.len()).unwrap().to_be_bytes());
        out.extend(body);
        if magic == MAGIC_V2 {
            out.extend(i16::try_from(topic.len()).unwrap().to_be_bytes());
        } else {
            out.push(u8::try_from(topic.len()).unwrap());
        }
        out.extend(topic.as_bytes());
        let properties = "KEYS\u{1}k1 k2\u{2}TAGS\u{1}t\u{2}";
        out.extend(i16::try_from(properties.len()).unwrap().to_be_bytes());
        out.extend(properties.as_bytes());
        let length = u32::try_from(out.len() + 4).unwrap();
        [&length.to_be_bytes()[..], &out].concat()
    }

    #[test]
    fn both_record_versions_and_both_kinds_of_hosts_are_read() {
        let long_topic = "t".repeat(200);
        let mut bytes = record(MAGIC_V1, 0, "topic", b"one");
        bytes.extend(record(MAGIC_V2, 16 | 32 | 1, &long_topic, b""));
        let read = messages(&bytes).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(
            (read[0].topic.as_str(), read[0].body.as_slice()),
            ("topic", &b"one"[..])
        );
        assert_eq!(read[0].log_offset, LogOffset::new(4711));
        assert_eq!(read[0].queue_offset, QueueOffset::new(7));
        assert_eq!(read[0].keys(), Some("k1 k2"));
        assert!(!read[0].compressed);
        assert_eq!(read[1].topic, long_topic);
        assert!(read[1].compressed);
    }

    #[test]
    fn torn_records_are_errors() {
        let whole = record(MAGIC_V1, 0, "topic", b"one");
        for cut in 1..whole.len() {
            assert!(messages(&whole[..cut]).is_err(), "{cut}");
        }
        let mut longer = whole.clone();
        longer[3] += 1;
        longer.push(0);
        assert!(matches!(
            messages(&longer),
            Err(CodecError::BadRecord { at: 0, .. })
        ));
        assert!(matches!(
            messages(&[0, 0, 0, 0]),
            Err(CodecError::BadRecord { .. })
        ));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = messages(&bytes);
        }

        #[test]
        fn one_wrong_byte_never_panics(at in any::<prop::sample::Index>(), wrong in any::<u8>(), flag in 0i32..64) {
            let mut bytes = record(MAGIC_V1, flag, "topic", b"body");
            let at = at.index(bytes.len());
            bytes[at] = wrong;
            let _ = messages(&bytes);
        }
    }
}
