//! What can go wrong with a store, for callers that branch on it.

use std::io;
use std::path::{Path, PathBuf};

use crate::hafile::HaFileError;

/// Why work on a store did not happen. Nothing was changed unless the variant says so.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused. A cut that was under way stays pending and can be resumed.
    #[error("{action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A kind of store this package does not understand. It is left alone.
    #[error("work on the store offline: {what}; {remedy}")]
    Unsupported {
        /// What was found, with the path or the key it was found at.
        what: String,
        /// What an operator can do about it.
        remedy: String,
    },
    /// A value of the broker's configuration cannot be used.
    #[error("read broker conf key {key}={value}: {reason}")]
    Conf {
        /// The key.
        key: &'static str,
        /// Its value, empty when it is missing.
        value: String,
        /// Why it cannot be used and what would be accepted.
        reason: String,
    },
    /// The offset lies outside the log.
    #[error("find offset {asked}: the log holds {min}..{end}")]
    OutOfRange {
        /// The offset asked for, in bytes.
        asked: u64,
        /// Start of the oldest file.
        min: u64,
        /// End of the last whole record, or of the last file where only raw bytes matter.
        end: u64,
    },
    /// No record starts or ends at this offset.
    #[error("cut at offset {asked}: it is inside a record; the boundary below is {below}")]
    NotABoundary {
        /// The offset asked for.
        asked: u64,
        /// The last record boundary at or below it.
        below: u64,
    },
    /// A cut was begun and not finished: only resuming it is safe.
    #[error("use the store at {}: a cut to {to} is unfinished; resume it first", path.display())]
    PendingCut {
        /// Where that cut ends.
        to: u64,
        /// Its intent file.
        path: PathBuf,
    },
    /// Somebody else works on this volume.
    #[error("lock {}: another process works on this volume; stop it or wait for it", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The lock handed in belongs to another store.
    #[error("use the lock of {}: it belongs to another store", path.display())]
    WrongLock {
        /// The store's `ha` folder.
        path: PathBuf,
    },
    /// The archive would not fit. Nothing was changed (safety H37: stay out, tell, retry).
    #[error(
        "archive to {}: {needed_bytes} bytes needed, {free_bytes} free; make room and retry",
        path.display()
    )]
    NoSpace {
        /// The archive folder.
        path: PathBuf,
        /// Bytes the archive takes, with a reserve.
        needed_bytes: u64,
        /// Bytes the file system offers.
        free_bytes: u64,
    },
    /// One of our own files under `ha/` is bad.
    #[error(transparent)]
    HaFile(#[from] HaFileError),
}

/// Names the action and the path of a failed system call.
pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io {
            action,
            path: path.to_owned(),
            source: source.into(),
        })
    }
}

/// Shorthand for a store of a kind we leave alone.
pub(crate) fn unsupported(what: impl Into<String>, remedy: impl Into<String>) -> StoreError {
    StoreError::Unsupported {
        what: what.into(),
        remedy: remedy.into(),
    }
}
