//! A stopped broker's store.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::boundary::{self, Boundaries};
use crate::checkpoint::Checkpoint;
use crate::checksum;
use crate::error::StoreError;
use crate::extent::{self, Extent, LastRecord, WalkFrom};
use crate::hafile::HaDir;
use crate::host::{Host, Machine};
use crate::layout::Layout;
use crate::lock::StoreLock;
use crate::segments::Segments;

/// The files of a stopped broker. Everything here blocks on the disk.
///
/// The caller guarantees that no JVM has the files open (its launcher said *stopped*): readings of a running
/// broker's files are only snapshots, and a cut under a running broker destroys data.
#[derive(Clone)]
pub struct Store {
    pub(crate) layout: Layout,
    pub(crate) ha: HaDir,
    pub(crate) host: Arc<dyn Host>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens a store. An absent or empty root is a valid empty store; nothing is written.
    ///
    /// # Errors
    /// [`StoreError::Unsupported`] for a store this package does not understand: DLedger, RocksDB consume queues,
    /// compacted topics, wrong file lengths, gaps, foreign files in `commitlog/`. Or a folder cannot be read.
    pub fn open(layout: Layout) -> Result<Self, StoreError> {
        Self::open_on(layout, Arc::new(Machine))
    }

    /// Opens the store that a broker configuration describes: see [`Layout::from_conf`].
    ///
    /// # Errors
    /// As [`Layout::from_conf`] and [`Store::open`].
    pub fn from_conf(conf: &BTreeMap<String, String>) -> Result<Self, StoreError> {
        Self::open(Layout::from_conf(conf)?)
    }

    /// Opens a store on a machine of the caller's choice: tests.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_on(layout: Layout, host: Arc<dyn Host>) -> Result<Self, StoreError> {
        layout.check_kind()?;
        Segments::list(&layout)?;
        let ha = HaDir::of(&layout.root);
        Ok(Self { layout, ha, host })
    }

    /// Where the store is and how long its files are.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Our own files of this store.
    #[must_use]
    pub fn ha(&self) -> &HaDir {
        &self.ha
    }

    /// Takes the volume for one worker.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process holds it.
    pub fn lock(&self) -> Result<StoreLock, StoreError> {
        StoreLock::take(&self.ha)
    }

    /// Whether the last broker on these files ended without a clean stop: its `abort` file is still there.
    #[must_use]
    pub fn unclean(&self) -> bool {
        self.path("abort").exists()
    }

    /// Offset of the oldest file's first byte; 0 without files. A member whose `min` is above the master's lacks
    /// history the master still holds: it is hollow (facts §4.4).
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn min(&self) -> Result<u64, StoreError> {
        Ok(Segments::list(&self.layout)?.min())
    }

    /// Walks to the end of the log: about one second per gigabyte walked.
    ///
    /// After a clean stop the walk starts at the newest file that holds data; after an unclean one ([`Store::unclean`])
    /// as early as the broker's own recovery, since a power loss may have left holes.
    ///
    /// # Errors
    /// [`StoreError::PendingCut`] until a begun cut is resumed; else as [`Store::open`].
    pub fn extent(&self) -> Result<Extent, StoreError> {
        self.extent_from(self.start_from(None)?)
    }

    /// As [`Store::extent`], but walks only from a record that an earlier walk of this boot saw. If that record no
    /// longer stands there, the walk is a full one.
    ///
    /// # Errors
    /// As [`Store::extent`].
    pub fn extent_after(&self, hint: LastRecord) -> Result<Extent, StoreError> {
        self.extent_from(self.start_from(Some(hint))?)
    }

    /// The last record boundary at or below `x`: what a log may be cut to. Walks the file that holds `x`.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`] below the log's start; else as [`Store::extent`].
    pub fn boundary_at_or_below(&self, x: u64) -> Result<u64, StoreError> {
        self.refuse_pending()?;
        let segments = Segments::list(&self.layout)?;
        Ok(boundary::at_or_below(&segments, x, None)?.offset)
    }

    /// As [`Store::boundary_at_or_below`], walking only from `known`, a boundary at or below `x` in the same file (in
    /// another file it is not used): for the steps of a binary search.
    ///
    /// # Errors
    /// As [`Store::boundary_at_or_below`].
    pub fn boundary_between(&self, known: u64, x: u64) -> Result<u64, StoreError> {
        self.refuse_pending()?;
        let segments = Segments::list(&self.layout)?;
        Ok(boundary::at_or_below(&segments, x, Some(known))?.offset)
    }

    /// The record boundaries in `from..=to`, ascending; `from` must be one. Behind the last record of a file come
    /// both that place and the next file's start. Ends early where no record begins.
    ///
    /// # Errors
    /// As [`Store::extent`].
    pub fn boundaries(&self, from: u64, to: u64) -> Result<Boundaries, StoreError> {
        self.refuse_pending()?;
        Boundaries::new(Segments::list(&self.layout)?, from, to)
    }

    /// CRC-32 (IEEE, as in zlib) of the raw bytes in `from..to`, read in bounded blocks. Equal ranges with equal
    /// sums prove two logs equal there; an empty range is 0.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`] outside the files; else as [`Store::extent`].
    pub fn crc_of(&self, from: u64, to: u64) -> Result<u32, StoreError> {
        self.refuse_pending()?;
        checksum::of_range(&Segments::list(&self.layout)?, from, to)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.layout.root.join(name)
    }

    /// Where a walk starts: at the hint if that record still stands there, else as early as it has to.
    pub(crate) fn start_from(&self, hint: Option<LastRecord>) -> Result<WalkFrom, StoreError> {
        if let Some(hint) = hint
            && extent::is_there(&Segments::list(&self.layout)?, hint)?
        {
            return Ok(WalkFrom::Last(hint));
        }
        if !self.unclean() {
            return Ok(WalkFrom::NewestData);
        }
        let checkpoint = Checkpoint::read(&self.path("checkpoint"))?.unwrap_or_default();
        Ok(WalkFrom::SafeUntil {
            safe_until_ms: checkpoint.safe_until_ms(),
        })
    }

    fn extent_from(&self, from: WalkFrom) -> Result<Extent, StoreError> {
        self.refuse_pending()?;
        let segments = Segments::list(&self.layout)?;
        let end = extent::find_end(&segments, from)?;
        Ok(Extent {
            min: segments.min(),
            end: end.end,
            garbage_bytes: extent::garbage(&segments, end.tail)?,
            last: end.last,
        })
    }

    /// The folder for archives: `<root>/ha/lost+found`.
    #[must_use]
    pub fn lost_and_found(&self) -> PathBuf {
        self.ha.path().join("lost+found")
    }

    pub(crate) fn root(&self) -> &Path {
        &self.layout.root
    }
}
