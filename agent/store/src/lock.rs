//! One worker per volume.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::durable;
use crate::error::{At, StoreError};
use crate::hafile::HaDir;

/// An exclusive lock (`flock`) on `<root>/ha/lock`, held while the value lives; the kernel drops it with the process.
///
/// It keeps two of our processes off one volume on one machine. It says nothing about a JVM: RocketMQ takes its own
/// `lock` only after recovery, and no lock reaches a broker in another pod through every kind of volume. The caller
/// must know that the broker is stopped: its launcher said so.
#[derive(Debug)]
pub struct StoreLock {
    /// Held open for the lock's life.
    _file: File,
    ha: PathBuf,
}

impl StoreLock {
    pub(crate) fn take(ha: &HaDir) -> Result<Self, StoreError> {
        durable::create_dirs(ha.path()).at("create", ha.path())?;
        let path = ha.path().join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .at("open", &path)?;
        match file.try_lock() {
            Ok(()) => Ok(Self {
                _file: file,
                ha: ha.path().to_owned(),
            }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path }),
            Err(TryLockError::Error(error)) => Err(error).at("lock", &path),
        }
    }

    /// Whether this is the lock of the store with that `ha` folder.
    pub(crate) fn covers(&self, ha: &Path) -> bool {
        self.ha == ha
    }
}
