//! Offline work on a stopped broker's store: where its log ends, where it may be cut, and the cut itself.
//!
//! | file | what it is |
//! |---|---|
//! | [`layout`](Layout) | paths and file lengths out of the broker's configuration; which kinds of store are left alone |
//! | `segments` | the commit log's files, checked |
//! | [`record`] | one record out of bytes: pure, no panic on garbage |
//! | `walk` | one file record by record, stricter than the broker: a record must be where it says it is |
//! | [`extent`](Extent) | where the log begins and ends, and what lies beyond |
//! | [`boundary`](Boundaries), `checksum`, `agreement` | places to cut at; sums; how far two logs agree |
//! | [`cut`](CutOrder) | the tail into the archive, then the recipe: log, queues, index, checkpoint, timer, epochs |
//! | [`hafile`] | crash-safe small files under `<root>/ha/` |
//! | [`lock`](StoreLock) | one worker per volume |
//! | `durable`, `sparse`, [`host`](Host) | fsync and rename; holes and zeros; the machine a test can replace |
//!
//! The caller guarantees that no JVM has the files open: its launcher says that the broker is stopped. No lock can
//! find that out across pods.

mod agreement;
mod boundary;
mod checkpoint;
mod checksum;
mod cut;
mod durable;
mod error;
mod extent;
pub mod hafile;
mod host;
mod layout;
mod lock;
pub mod record;
mod segments;
mod sparse;
mod store;
#[doc(hidden)]
pub mod testing;
mod walk;

pub use boundary::Boundaries;
pub use cut::{CutJob, CutOrder, CutReport, PendingCut};
pub use error::StoreError;
pub use extent::{Extent, LastRecord};
pub use hafile::{HaDir, HaFileError};
pub use host::{Host, Machine};
pub use layout::Layout;
pub use lock::StoreLock;
pub use store::Store;
