//! One record of a commit log, read out of a byte slice (facts §5.3). Pure: no file, no clock, no panic on garbage.

mod fields;

use std::fmt::Write as _;
use std::net::IpAddr;

use self::fields::Fields;

/// Magic of a record whose topic length takes one byte.
pub const MAGIC_V1: u32 = 0xDAA3_20A7;
/// Magic of a record whose topic length takes two bytes (topics above 127 bytes, 5.x).
pub const MAGIC_V2: u32 = 0xDAA3_20AB;
/// Magic of the filler at the end of a file.
pub const MAGIC_BLANK: u32 = 0xCBD4_3194;
/// Shortest record in bytes: version 1, both hosts IPv4, no body, topic or properties.
pub const MIN_RECORD: usize = 91;
/// Longest record believed, in bytes. A broker's frame limit is 16 MiB, so four times that is never a real record, and
/// it bounds the memory a walk takes.
pub const MAX_RECORD: usize = 64 << 20;
/// Bytes that decide what stands at a position: up to the end of `physicalOffset`.
pub const HEAD: usize = 36;

const SYSFLAG_BORN_IPV6: u32 = 1 << 4;
const SYSFLAG_STORE_IPV6: u32 = 1 << 5;

/// Why the bytes at a position are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// Zeros: nothing was ever written here.
    #[error("nothing is written here")]
    Zero,
    /// The file or slice ends before the record does.
    #[error("{needed} bytes are needed, {have} are there")]
    Short {
        /// Bytes the record claims, or the bytes of a head.
        needed: usize,
        /// Bytes left.
        have: usize,
    },
    /// Neither a record's nor a blank's magic.
    #[error("magic {0:#010x} is unknown")]
    Magic(u32),
    /// The lengths inside do not add up to the record's length, or one of them is out of range.
    #[error("lengths do not add up to {0}")]
    Size(u32),
    /// The record says it belongs elsewhere: a stale or a joined tail.
    #[error("the record says it belongs at {claimed}")]
    Offset {
        /// The offset it claims; negative offsets are shown as they are.
        claimed: i64,
    },
    /// The body does not match its checksum.
    #[error("body checksum is {computed:#010x}, the record says {stored:#010x}")]
    Crc {
        /// CRC-32 of the body, 31 bits.
        computed: u32,
        /// What the record says.
        stored: u32,
    },
}

/// What the first bytes at a position announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// A record of `total` bytes that says it starts at `physical_offset`.
    Record {
        /// Whole length in bytes.
        total: usize,
        /// Its own offset in the log, in bytes.
        physical_offset: u64,
    },
    /// The filler up to the end of the file.
    Blank {
        /// Bytes from here to the end of the file.
        total: u64,
    },
}

impl Head {
    /// Reads a head from the first [`HEAD`] bytes at a position; a blank needs only eight.
    ///
    /// # Errors
    /// No record and no blank begins here.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordFault> {
        let mut fields = Fields::new(bytes);
        let total = fields.u32()?;
        let magic = fields.u32()?;
        match magic {
            MAGIC_BLANK => {
                return Ok(Self::Blank {
                    total: u64::from(total),
                });
            }
            MAGIC_V1 | MAGIC_V2 => {}
            0 if total == 0 => return Err(RecordFault::Zero),
            other => return Err(RecordFault::Magic(other)),
        }
        let length = usize::try_from(total).map_err(|_| RecordFault::Size(total))?;
        if !(MIN_RECORD..=MAX_RECORD).contains(&length) {
            return Err(RecordFault::Size(total));
        }
        fields.skip(20)?;
        let claimed = fields.i64()?;
        let physical_offset =
            u64::try_from(claimed).map_err(|_| RecordFault::Offset { claimed })?;
        Ok(Self::Record {
            total: length,
            physical_offset,
        })
    }
}

/// A host as stored in a record: address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredHost {
    /// IPv4 or IPv6 address.
    pub ip: IpAddr,
    /// The port's four bytes, unchecked.
    pub port: u32,
}

/// A whole record with a correct checksum and lengths that add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Whole length in bytes.
    pub size: u32,
    /// Queue number.
    pub queue_id: i32,
    /// Position in the queue, in messages; 0 for prepared and rolled-back transactions.
    pub queue_offset: i64,
    /// Own offset in the log, in bytes.
    pub physical_offset: u64,
    /// Flag bits as stored.
    pub sys_flag: u32,
    /// When the producer made it, in milliseconds of the producer's clock.
    pub born_timestamp_ms: i64,
    /// When the broker stored it, in milliseconds of that broker's clock.
    pub store_timestamp_ms: i64,
    /// The broker that stored it.
    pub store_host: StoredHost,
    /// The body as stored, perhaps compressed.
    pub body: &'a [u8],
    /// Topic, UTF-8 as far as the producer kept to it.
    pub topic: &'a [u8],
    /// Raw properties: key 0x01 value 0x02 …
    properties: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads the record that starts at the first byte. Bytes after it are ignored.
    ///
    /// The body's checksum is verified; whether `physical_offset` is right only the caller can know.
    ///
    /// # Errors
    /// What is wrong with it. A blank is [`RecordFault::Magic`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordFault> {
        let Head::Record {
            total,
            physical_offset,
        } = Head::parse(bytes)?
        else {
            return Err(RecordFault::Magic(MAGIC_BLANK));
        };
        let whole = bytes.get(..total).ok_or(RecordFault::Short {
            needed: total,
            have: bytes.len(),
        })?;
        let mut fields = Fields::new(whole);
        let size = fields.u32()?;
        // From here on a field that does not fit means that the lengths lie.
        let record = Self::fields(&mut fields, size, physical_offset)
            .map_err(|_| RecordFault::Size(size))?;
        if !fields.is_empty() {
            return Err(RecordFault::Size(size));
        }
        record.check_body(whole)
    }

    fn fields(
        fields: &mut Fields<'a>,
        size: u32,
        physical_offset: u64,
    ) -> Result<Self, RecordFault> {
        let long_topic = fields.u32()? == MAGIC_V2;
        fields.skip(4)?;
        let queue_id = fields.i32()?;
        fields.skip(4)?;
        let queue_offset = fields.i64()?;
        fields.skip(8)?;
        let sys_flag = fields.u32()?;
        let born_timestamp_ms = fields.i64()?;
        fields.host(sys_flag & SYSFLAG_BORN_IPV6 != 0)?;
        let store_timestamp_ms = fields.i64()?;
        let store_host = fields.host(sys_flag & SYSFLAG_STORE_IPV6 != 0)?;
        fields.skip(4 + 8)?;
        let body_len = fields.u32()?;
        let body = fields.take(body_len)?;
        let topic_len = if long_topic {
            fields.u16()?
        } else {
            u16::from(fields.u8()?)
        };
        let topic = fields.take(u32::from(topic_len))?;
        let properties_len = fields.u16()?;
        let properties = fields.take(u32::from(properties_len))?;
        Ok(Self {
            size,
            queue_id,
            queue_offset,
            physical_offset,
            sys_flag,
            born_timestamp_ms,
            store_timestamp_ms,
            store_host,
            body,
            topic,
            properties,
        })
    }

    fn check_body(self, whole: &[u8]) -> Result<Self, RecordFault> {
        // The broker, too, leaves the checksum of an empty body unchecked.
        if self.body.is_empty() {
            return Ok(self);
        }
        let mut fields = Fields::new(whole);
        fields.skip(8)?;
        let stored = fields.u32()?;
        let computed = crc32fast::hash(self.body) & 0x7FFF_FFFF;
        if computed == stored {
            Ok(self)
        } else {
            Err(RecordFault::Crc { computed, stored })
        }
    }

    /// The value of a property, as text.
    #[must_use]
    pub fn property(&self, key: &str) -> Option<String> {
        self.properties
            .split(|b| *b == 0x02)
            .filter_map(|pair| {
                let at = pair.iter().position(|b| *b == 0x01)?;
                Some((pair.get(..at)?, pair.get(at + 1..)?))
            })
            .find(|(name, _)| *name == key.as_bytes())
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    }

    /// The producer's id of the message (`UNIQ_KEY`): what clients show as message id.
    #[must_use]
    pub fn unique_key(&self) -> Option<String> {
        self.property("UNIQ_KEY")
    }

    /// The message keys, separated by blanks.
    #[must_use]
    pub fn keys(&self) -> Option<String> {
        self.property("KEYS")
    }

    /// The tag.
    #[must_use]
    pub fn tags(&self) -> Option<String> {
        self.property("TAGS")
    }

    /// The broker's id of the message: store host, port and log offset in upper-case hexadecimal.
    #[must_use]
    pub fn offset_message_id(&self) -> String {
        let mut id = String::with_capacity(56);
        let mut hex = |bytes: &[u8]| {
            for byte in bytes {
                // Writing to a String cannot fail.
                let _ = write!(id, "{byte:02X}");
            }
        };
        match self.store_host.ip {
            IpAddr::V4(ip) => hex(&ip.octets()),
            IpAddr::V6(ip) => hex(&ip.octets()),
        }
        hex(&self.store_host.port.to_be_bytes());
        hex(&self.physical_offset.to_be_bytes());
        id
    }
}
