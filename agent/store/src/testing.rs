//! Writes small synthetic stores, for tests of this and other packages. Not part of the product.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::layout::Layout;
use crate::record::{MAGIC_BLANK, MAGIC_V1, MAGIC_V2};

/// One message to append.
#[derive(Clone, Debug)]
pub struct Message {
    /// Topic; above 127 bytes makes a version-2 record.
    pub topic: String,
    /// Queue number.
    pub queue_id: u32,
    /// Body bytes.
    pub body: Vec<u8>,
    /// Property pairs.
    pub properties: Vec<(String, String)>,
    /// Store timestamp in ms.
    pub store_timestamp_ms: i64,
    /// Store host; born host is the same.
    pub host: IpAddr,
}

impl Message {
    /// A message with a body of `body_len` bytes.
    #[must_use]
    pub fn new(topic: &str, queue_id: u32, body_len: usize) -> Self {
        let body = (0_u8..=250).cycle().take(body_len).collect();
        Self {
            topic: topic.to_owned(),
            queue_id,
            body,
            properties: Vec::new(),
            store_timestamp_ms: 1_700_000_000_000,
            host: IpAddr::from([127, 0, 0, 1]),
        }
    }

    /// With a property.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.properties.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The record a broker would store at these offsets.
    #[must_use]
    pub fn encode(&self, physical_offset: u64, queue_offset: u64) -> Vec<u8> {
        let long = self.topic.len() > 127;
        let mut host = match self.host {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        host.extend_from_slice(&10_911_u32.to_be_bytes());
        let sys_flag: u32 = if self.host.is_ipv6() { 0b11_0000 } else { 0 };
        let mut properties = Vec::new();
        for (key, value) in &self.properties {
            properties.extend_from_slice(key.as_bytes());
            properties.push(1);
            properties.extend_from_slice(value.as_bytes());
            properties.push(2);
        }
        let mut out = vec![0; 4];
        out.extend(if long { MAGIC_V2 } else { MAGIC_V1 }.to_be_bytes());
        out.extend((crc32fast::hash(&self.body) & 0x7FFF_FFFF).to_be_bytes());
        out.extend(self.queue_id.to_be_bytes());
        out.extend([0; 4]);
        out.extend(queue_offset.to_be_bytes());
        out.extend(physical_offset.to_be_bytes());
        out.extend(sys_flag.to_be_bytes());
        out.extend(self.store_timestamp_ms.to_be_bytes());
        out.extend(&host);
        out.extend(self.store_timestamp_ms.to_be_bytes());
        out.extend(&host);
        out.extend([0; 12]);
        out.extend(u32_of(self.body.len()).to_be_bytes());
        out.extend(&self.body);
        let topic_len = u32_of(self.topic.len()).to_be_bytes();
        out.extend(
            topic_len
                .get(if long { 2.. } else { 3.. })
                .unwrap_or_default(),
        );
        out.extend(self.topic.as_bytes());
        out.extend(
            u32_of(properties.len())
                .to_be_bytes()
                .get(2..)
                .unwrap_or_default(),
        );
        out.extend(properties);
        let total = u32_of(out.len()).to_be_bytes();
        for (place, byte) in out.iter_mut().zip(total) {
            *place = byte;
        }
        out
    }
}

/// Appends messages to a store as a broker would: preallocated files, blanks, consume-queue units.
#[derive(Debug)]
pub struct Writer {
    layout: Layout,
    end: u64,
    records: Vec<u64>,
    queues: Vec<(PathBuf, u64)>,
}

impl Writer {
    /// An empty store whose first file starts at `start`, a multiple of the commit-log file length.
    ///
    /// # Errors
    /// The file system refused.
    pub fn create(layout: &Layout, start: u64) -> io::Result<Self> {
        fs::create_dir_all(&layout.commitlog)?;
        fs::create_dir_all(layout.root.join("config"))?;
        let writer = Self {
            layout: layout.clone(),
            end: start,
            records: Vec::new(),
            queues: Vec::new(),
        };
        writer.file_at(start)?;
        Ok(writer)
    }

    /// Appends a message; returns its offset.
    ///
    /// # Errors
    /// The file system refused.
    pub fn append(&mut self, message: &Message) -> io::Result<u64> {
        let size = self.layout.commitlog_file_size;
        let length = u64_of(message.encode(0, 0).len());
        let left = size - self.end % size;
        if length + 8 > left {
            let mut blank = u32::try_from(left)
                .unwrap_or(u32::MAX)
                .to_be_bytes()
                .to_vec();
            blank.extend(MAGIC_BLANK.to_be_bytes());
            self.write(self.end, &blank)?;
            self.end += left;
        }
        let at = self.end;
        let (queue, units) = self.queue(&message.topic, message.queue_id);
        self.write(at, &message.encode(at, units))?;
        self.unit(&queue, units, at, length)?;
        self.end += length;
        self.records.push(at);
        Ok(at)
    }

    /// End of the last record.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Offsets of all records.
    #[must_use]
    pub fn records(&self) -> &[u64] {
        &self.records
    }

    /// Writes raw bytes at a log offset; the file is created at full length.
    ///
    /// # Errors
    /// The file system refused.
    pub fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let size = self.layout.commitlog_file_size;
        self.file_at(at - at % size)?.write_all_at(bytes, at % size)
    }

    /// Creates the file that starts at `start`, as the broker does ahead of need.
    ///
    /// # Errors
    /// The file system refused.
    pub fn preallocate(&self, start: u64) -> io::Result<()> {
        self.file_at(start).map(|_| ())
    }

    /// Writes the broker's checkpoint file.
    ///
    /// # Errors
    /// The file system refused.
    pub fn checkpoint(
        &self,
        timestamp_ms: i64,
        master_flushed: u64,
        confirmed: u64,
    ) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(4096);
        for _ in 0..3 {
            bytes.extend(timestamp_ms.to_be_bytes());
        }
        bytes.extend(master_flushed.to_be_bytes());
        bytes.extend(confirmed.to_be_bytes());
        bytes.resize(4096, 0);
        fs::write(self.layout.root.join("checkpoint"), bytes)
    }

    /// Writes an index file whose header says that it covers `begin..=end` of the log.
    ///
    /// # Errors
    /// The file system refused.
    pub fn index(&self, name: &str, begin: u64, end: u64) -> io::Result<()> {
        let dir = self.layout.root.join("index");
        fs::create_dir_all(&dir)?;
        let mut bytes = vec![0; 16];
        bytes.extend(begin.to_be_bytes());
        bytes.extend(end.to_be_bytes());
        bytes.extend([0, 0, 0, 1, 0, 0, 0, 2]);
        bytes.resize(400, 7);
        fs::write(dir.join(name), bytes)
    }

    /// Writes timer files: one unit per log offset, in files of ten, on two chains for the seconds 2 and 3; and a
    /// checkpoint that has read everything.
    ///
    /// # Errors
    /// The file system refused.
    pub fn timer(&self, offsets: &[u64]) -> io::Result<()> {
        let root = &self.layout.root;
        let log = root.join("timerlog");
        fs::create_dir_all(&log)?;
        let mut slots = [(0, -1_i64, -1_i64); 2];
        for (index, offset) in offsets.iter().enumerate() {
            let position = u64_of(index) * 52;
            let file = sized(&log.join(file_name(position - position % 520)), 520)?;
            let at = i64::try_from(position).unwrap_or(i64::MAX);
            let [even, odd] = &mut slots;
            let (count, first, last) = if index % 2 == 0 { even } else { odd };
            let mut unit = 52_u32.to_be_bytes().to_vec();
            unit.extend(last.to_be_bytes());
            unit.resize(28, 1);
            unit.extend(offset.to_be_bytes());
            unit.resize(52, 1);
            file.write_all_at(&unit, position % 520)?;
            *count += 1;
            *last = at;
            if *first < 0 {
                *first = at;
            }
        }
        let mut wheel = vec![0; 64];
        for (second, (count, first, last)) in (2_i64..).zip(slots) {
            wheel.extend([second, first, last].map(i64::to_be_bytes).concat());
            wheel.extend(i32::to_be_bytes(count));
            wheel.extend([0; 4]);
        }
        wheel.resize(320, 0);
        fs::write(root.join("timerwheel"), wheel)?;
        let mut check = i64::MAX.to_be_bytes().to_vec();
        check.resize(4096, 0);
        fs::create_dir_all(root.join("config"))?;
        fs::write(root.join("config").join("timercheck"), check)
    }

    fn queue(&mut self, topic: &str, queue_id: u32) -> (PathBuf, u64) {
        let dir = self
            .layout
            .root
            .join("consumequeue")
            .join(topic)
            .join(queue_id.to_string());
        for (known, units) in &mut self.queues {
            if *known == dir {
                let before = *units;
                *units += 1;
                return (dir, before);
            }
        }
        self.queues.push((dir.clone(), 1));
        (dir, 0)
    }

    fn unit(&self, queue: &Path, index: u64, offset: u64, size: u64) -> io::Result<()> {
        let file_size = self.layout.consumequeue_file_size;
        let at = index * 20;
        fs::create_dir_all(queue)?;
        let file = sized(&queue.join(file_name(at - at % file_size)), file_size)?;
        let mut unit = offset.to_be_bytes().to_vec();
        unit.extend(u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes());
        unit.extend([9; 8]);
        file.write_all_at(&unit, at % file_size)
    }

    fn file_at(&self, start: u64) -> io::Result<File> {
        let path = self.layout.commitlog.join(file_name(start));
        sized(&path, self.layout.commitlog_file_size)
    }
}

/// The 20-digit name of the file that starts at `start`.
#[must_use]
pub fn file_name(start: u64) -> String {
    format!("{start:020}")
}

fn sized(path: &Path, len: u64) -> io::Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)?;
    file.set_len(len)?;
    Ok(file)
}

fn u32_of(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn u64_of(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
