//! The machine under a cut: free space, and a place where a test can stop it.

use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;

/// What a cut asks of its machine. Production uses [`Machine`]; tests put a small disk or a crash in its place.
pub trait Host: Send + Sync {
    /// Bytes that the file system of `path` offers to this process.
    ///
    /// # Errors
    /// The system refused.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// Called before every step that changes a file, named by verb and object. An error stops the cut right there, as
    /// a crash would: nothing is cleaned up.
    ///
    /// # Errors
    /// Whatever the test wants.
    fn step(&self, what: &str, path: &Path) -> io::Result<()> {
        let _ = (what, path);
        Ok(())
    }
}

/// The real machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine;

impl Host for Machine {
    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = statvfs(path)?;
        Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }
}
