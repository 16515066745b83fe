//! Everything one cut changes, found by looking: the same for a first and a resumed run.

use std::path::PathBuf;

use super::log::LogPlan;
use super::queues::QueueChange;
use super::timer::TimerPlan;
use super::{epoch_file, index, queues};
use crate::checkpoint::Checkpoint;
use crate::error::StoreError;
use crate::segments::Segments;
use crate::store::Store;

/// Where the log is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Derived files keep what points below this offset.
    pub(crate) to: u64,
    /// Log bytes from here on go. Above `to` only behind a blank that ends the log.
    pub(crate) log_from: u64,
    /// Store timestamp of the last record that stays, in ms; 0 if none does.
    pub(crate) last_ms: i64,
    /// Due time in ms from which timers may have lost their delivered copies; `None` if no log byte goes.
    pub(crate) timers_from_ms: Option<i64>,
}

/// What is not yet as it has to be. Empty: nothing to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) log: LogPlan,
    pub(crate) queues: Vec<QueueChange>,
    pub(crate) index: Vec<PathBuf>,
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) timer: TimerPlan,
    /// New content of the epoch file.
    pub(crate) epochs: Option<String>,
    /// A backup of the epoch file that would bring dropped epochs back.
    pub(crate) epochs_backup: Option<PathBuf>,
}

impl Plan {
    pub(crate) fn survey(store: &Store, target: Target) -> Result<Self, StoreError> {
        let segments = Segments::list(&store.layout)?;
        let root = store.root();
        let checkpoint = Checkpoint::read(&store.path("checkpoint"))?;
        let backup = store.path("epochFileCheckpoint.bak");
        Ok(Self {
            log: LogPlan::survey(&segments, target.log_from)?,
            queues: queues::survey(&store.layout, target.to)?,
            index: index::survey(root, target.to)?,
            checkpoint: checkpoint
                .map(|now| (now, now.lowered(target.to, target.last_ms)))
                .filter(|(now, lowered)| now != lowered)
                .map(|(_, lowered)| lowered),
            timer: TimerPlan::survey(root, target)?,
            epochs: epoch_file::trimmed(&store.path("epochFileCheckpoint"), target.to)?,
            epochs_backup: epoch_file::has_stale_backup(&backup, target.to).then_some(backup),
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        let Self {
            log,
            queues,
            index,
            checkpoint,
            timer,
            epochs,
            epochs_backup,
        } = self;
        log.is_empty()
            && queues.is_empty()
            && index.is_empty()
            && checkpoint.is_none()
            && timer.is_empty()
            && epochs.is_none()
            && epochs_backup.is_none()
    }
}
