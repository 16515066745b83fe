//! Making the changes of a plan. Every one can be made again, so a killed run is finished by another.

use std::fs::OpenOptions;
use std::path::Path;

use super::archive;
use super::log::{LogPlan, Tail};
use super::plan::{Plan, Target};
use super::queues::QueueChange;
use super::timer::{self, TimerPlan};
use crate::durable;
use crate::error::{At, StoreError, unsupported};
use crate::sparse;
use crate::store::Store;

impl Store {
    /// Makes every change that is still missing.
    pub(crate) fn apply(&self, target: Target, archive: Option<&Path>) -> Result<(), StoreError> {
        let plan = Plan::survey(self, target)?;
        self.apply_log(&plan.log, archive)?;
        for change in &plan.queues {
            self.apply_queue(change)?;
        }
        for path in &plan.index {
            self.remove("remove index", path)?;
        }
        if let Some(checkpoint) = &plan.checkpoint {
            let path = self.path("checkpoint");
            self.step("lower checkpoint", &path)?;
            checkpoint.write(&path).at("write", &path)?;
        }
        if let Some(path) = &plan.epochs_backup {
            self.remove("remove epoch backup", path)?;
        }
        if let Some(text) = &plan.epochs {
            let path = self.path("epochFileCheckpoint");
            self.step("trim epochs", &path)?;
            let temp = self.ha.path().join(".epochs.tmp");
            durable::replace(&path, &temp, text.as_bytes()).at("write", &path)?;
        }
        self.apply_timer(&plan.timer)
    }

    fn apply_log(&self, log: &LogPlan, archive: Option<&Path>) -> Result<(), StoreError> {
        if let Some(stub) = &log.stub {
            self.remove("remove empty file", stub)?;
        }
        for later in &log.later {
            let path = &later.segment.path;
            match (later.data_end, archive) {
                (None, _) => self.remove("remove prepared file", path)?,
                (Some(_), Some(dir)) => {
                    archive::take(self.host.as_ref(), path, &archive::raw_dir(dir))?;
                }
                (Some(_), None) => return Err(appeared(path)),
            }
        }
        if let Some(Tail { segment, from, .. }) = &log.tail {
            if archive.is_none() {
                return Err(appeared(&segment.path));
            }
            self.zero("zero tail", &segment.path, from - segment.start)?;
        }
        if self.layout.commitlog.is_dir() {
            durable::sync_dir(&self.layout.commitlog).at("sync", &self.layout.commitlog)?;
        }
        Ok(())
    }

    /// The timer log goes last: while it is there, a resumed cut finds the same work again.
    fn apply_timer(&self, plan: &TimerPlan) -> Result<(), StoreError> {
        if let Some(ms) = plan.read_again_from_ms {
            let path = timer::check_file(self.root());
            self.step("set back timers", &path)?;
            let bytes = ms.to_be_bytes();
            timer::patch(&path, [(0, bytes.as_slice())].into_iter()).at("write", &path)?;
        }
        if !plan.slots.is_empty() {
            let path = timer::wheel_file(self.root());
            self.step("shorten timer slots", &path)?;
            let slots = plan.slots.iter().map(|(at, slot)| (*at, slot.as_slice()));
            timer::patch(&path, slots).at("write", &path)?;
        }
        for path in plan.snapshots.iter().chain(&plan.remove) {
            self.remove("remove timer file", path)?;
        }
        match &plan.zero {
            Some((path, from)) => self.zero("zero timers", path, *from),
            None => Ok(()),
        }
    }

    fn apply_queue(&self, change: &QueueChange) -> Result<(), StoreError> {
        match change {
            QueueChange::Remove(path) => self.remove("remove queue file", path),
            QueueChange::ZeroFrom(path, from) => self.zero("zero queue units", path, *from),
        }
    }

    fn zero(&self, what: &str, path: &Path, from: u64) -> Result<(), StoreError> {
        self.step(what, path)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .at("open", path)?;
        let len = file.metadata().at("read", path)?.len();
        sparse::zero(&file, from, len).at("zero", path)?;
        file.sync_all().at("sync", path)
    }

    fn remove(&self, what: &str, path: &Path) -> Result<(), StoreError> {
        self.step(what, path)?;
        durable::remove(path).at("remove", path)
    }
}

/// Log bytes that are in no archive: somebody wrote to the log in the middle of a cut.
fn appeared(path: &Path) -> StoreError {
    unsupported(
        format!("{} got new bytes while a cut was under way", path.display()),
        "stop whatever writes to this volume and resume",
    )
}
