//! The broker's `checkpoint` file: how far what was on the disk when (facts §5.2).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::{At, StoreError};

/// Five big-endian numbers of eight bytes each.
const LEN: usize = 40;
/// The broker calls its data safe up to this long before the older of the two timestamps.
const MARGIN_MS: i64 = 3000;

/// Content of the file; all zero where it is missing, as the broker reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    physic_ms: i64,
    logics_ms: i64,
    index_ms: i64,
    master_flushed: i64,
    confirmed: i64,
}

impl Checkpoint {
    /// Reads the file; `None` when it is missing or too short to hold anything.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, StoreError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).at("open", path),
        };
        let mut bytes = [0; LEN];
        match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error).at("read", path),
        }
        let mut numbers = bytes
            .as_chunks::<8>()
            .0
            .iter()
            .map(|eight| i64::from_be_bytes(*eight));
        let mut next = || numbers.next().unwrap_or_default();
        Ok(Some(Self {
            physic_ms: next(),
            logics_ms: next(),
            index_ms: next(),
            master_flushed: next(),
            confirmed: next(),
        }))
    }

    /// The store timestamp up to which log and queues are surely on the disk, in ms.
    pub(crate) fn safe_until_ms(&self) -> i64 {
        self.physic_ms
            .min(self.logics_ms)
            .saturating_sub(MARGIN_MS)
            .max(0)
    }

    /// What it must say once the log ends at `end` with a record stored at `last_ms`. `masterFlushedOffset` stays.
    pub(crate) fn lowered(self, end: u64, last_ms: i64) -> Self {
        let end = i64::try_from(end).unwrap_or(i64::MAX);
        Self {
            physic_ms: self.physic_ms.min(last_ms),
            logics_ms: self.logics_ms.min(last_ms),
            index_ms: self.index_ms.min(last_ms),
            master_flushed: self.master_flushed,
            confirmed: self.confirmed.min(end),
        }
    }

    /// Writes the numbers in place and syncs. All 40 bytes share a sector, and a cut writes the same ones again when
    /// it is resumed.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(LEN);
        for number in [
            self.physic_ms,
            self.logics_ms,
            self.index_ms,
            self.master_flushed,
            self.confirmed,
        ] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        let file = OpenOptions::new().write(true).open(path)?;
        file.write_all_at(&bytes, 0)?;
        file.sync_all()
    }
}
