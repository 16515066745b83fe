//! Cutting a log: the tail goes to the archive, then the whole recipe of facts §5.6 is applied.
//!
//! Nothing is changed before the archive is complete and on the disk (invariant I6). An intent file under `ha/` is
//! written first and removed last, so a cut that was killed anywhere is finished by [`Store::resume_cut`], to the same
//! result: archiving begins again while the log is untouched; after it, every change is found again by looking.
//!
//! Derived files (consume queues, index, timer wheel) are not archived: the archived records hold all they say.

mod apply;
mod archive;
mod epoch_file;
mod index;
mod intent;
mod listing;
mod log;
mod plan;
mod queues;
mod timer;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::intent::PendingCut;
use self::intent::{Intent, Phase};
use self::listing::{ByteCount, Counts};
use self::log::LogPlan;
use self::plan::{Plan, Target};
use crate::boundary;
use crate::durable;
use crate::error::{At, StoreError};
use crate::extent::{self, LastRecord};
use crate::lock::StoreLock;
use crate::segments::Segments;
use crate::store::Store;

/// Where to cut, and under which name to keep what that removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutOrder {
    /// New end of the log: a record boundary ([`Store::boundary_at_or_below`]).
    pub to: u64,
    /// Epoch of the term that asked for it; part of the archive's name.
    pub epoch: u64,
    /// Why, in words for an operator.
    pub why: String,
    /// Folder of archives; usually [`Store::lost_and_found`].
    pub lost_and_found: PathBuf,
}

/// Which work it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CutJob {
    /// History was removed: the log was longer than the group's.
    Cut,
    /// Only bytes beyond the log's own end were removed (safety H27).
    Repair,
}

/// What a cut did. Also in the archive, as `cut.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutReport {
    /// Which work.
    pub job: CutJob,
    /// The log's end afterwards.
    pub to: u64,
    /// The log's end before.
    pub end_before: u64,
    /// Epoch given in the order.
    pub epoch: u64,
    /// Reason given in the order.
    pub why: String,
    /// Log bytes removed: from the cut to the last byte that was not zero.
    pub bytes: u64,
    /// Whole messages removed from the log.
    pub messages: u64,
    /// Whole messages found and removed beyond the log's former end; no broker counted them.
    pub stray_messages: u64,
    /// Where all of it is kept; `None` if no log byte had to go.
    pub archive: Option<PathBuf>,
    /// Consume-queue files shortened or removed.
    pub queue_files: u64,
    /// Index files removed: queries by key for their time find nothing.
    pub index_files: u64,
    /// Timers taken out of the timer wheel: those whose messages were removed.
    pub timers: u64,
}

impl CutReport {
    /// Whether any log byte was removed.
    #[must_use]
    pub fn removed_bytes(&self) -> bool {
        self.bytes > 0
    }
}

impl Store {
    /// Cuts the log at `order.to`, archiving first.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`] or [`StoreError::NotABoundary`] for a place where no cut can be;
    /// [`StoreError::NoSpace`] if the archive would not fit (nothing was changed); [`StoreError::PendingCut`]. After
    /// [`StoreError::Io`] the cut may be pending: resume it.
    pub fn cut(&self, lock: &StoreLock, order: &CutOrder) -> Result<CutReport, StoreError> {
        self.check_lock(lock)?;
        self.refuse_pending()?;
        let segments = Segments::list(&self.layout)?;
        let end = extent::find_end(&segments, self.start_from(None)?)?;
        if order.to < segments.min() || order.to > end.end {
            return Err(StoreError::OutOfRange {
                asked: order.to,
                min: segments.min(),
                end: end.end,
            });
        }
        let boundary = boundary::at_or_below(&segments, order.to, None)?;
        if boundary.offset != order.to {
            return Err(StoreError::NotABoundary {
                asked: order.to,
                below: boundary.offset,
            });
        }
        let target = Target {
            to: order.to,
            log_from: if order.to == end.end {
                end.tail
            } else {
                order.to
            },
            last_ms: boundary.before.map_or(0, |last| last.store_timestamp_ms),
            timers_from_ms: None,
        };
        self.begin(CutJob::Cut, order, target, end.end)
    }

    /// Makes the log end where its last whole record ends: what lies beyond goes to the archive, and derived files
    /// that point beyond are put right. To be run before every start of a broker after an unclean end, on winners
    /// too (safety H27). A no-op where nothing lies beyond.
    ///
    /// `hint` is the last record of an earlier walk of this boot, as in [`Store::extent_after`]: on the way to a
    /// promotion it saves walking the log twice.
    ///
    /// # Errors
    /// As [`Store::cut`].
    pub fn repair_tail(
        &self,
        lock: &StoreLock,
        epoch: u64,
        hint: Option<LastRecord>,
    ) -> Result<CutReport, StoreError> {
        self.check_lock(lock)?;
        self.refuse_pending()?;
        let segments = Segments::list(&self.layout)?;
        let end = extent::find_end(&segments, self.start_from(hint)?)?;
        let order = CutOrder {
            to: end.end,
            epoch,
            why: "bytes beyond the last whole record".to_owned(),
            lost_and_found: self.lost_and_found(),
        };
        let target = Target {
            to: end.end,
            log_from: end.tail,
            last_ms: end.last.map_or(0, |last| last.store_timestamp_ms),
            timers_from_ms: None,
        };
        self.begin(CutJob::Repair, &order, target, end.end)
    }

    /// The cut that was begun and not finished.
    ///
    /// # Errors
    /// The intent file cannot be read or understood.
    pub fn pending_cut(&self) -> Result<Option<PendingCut>, StoreError> {
        Ok(Intent::read(&self.ha)?.map(|intent| intent.pending()))
    }

    /// Finishes the cut that was begun; `None` if there is none.
    ///
    /// # Errors
    /// As [`Store::cut`].
    pub fn resume_cut(&self, lock: &StoreLock) -> Result<Option<CutReport>, StoreError> {
        self.check_lock(lock)?;
        Intent::read(&self.ha)?
            .map(|intent| self.proceed(intent))
            .transpose()
    }

    pub(crate) fn refuse_pending(&self) -> Result<(), StoreError> {
        match Intent::read(&self.ha)? {
            None => Ok(()),
            Some(intent) => Err(StoreError::PendingCut {
                to: intent.pending().to,
                path: Intent::path(&self.ha),
            }),
        }
    }

    fn check_lock(&self, lock: &StoreLock) -> Result<(), StoreError> {
        if lock.covers(self.ha.path()) {
            return Ok(());
        }
        Err(StoreError::WrongLock {
            path: self.ha.path().to_owned(),
        })
    }

    /// Everything that can be refused is refused here, before the first change.
    fn begin(
        &self,
        job: CutJob,
        order: &CutOrder,
        mut target: Target,
        end_before: u64,
    ) -> Result<CutReport, StoreError> {
        let segments = Segments::list(&self.layout)?;
        let log = LogPlan::survey(&segments, target.log_from)?;
        let mut counts = Counts::default();
        let mut archive = None;
        if log.takes_data() {
            let dir = archive::unused_name(&order.lost_and_found, order.epoch, order.to)?;
            let mut listing = ByteCount::default();
            counts = listing::write(&segments, target.log_from, end_before, &mut listing)?;
            let host = self.host.as_ref();
            archive::check_space(host, &self.layout.commitlog, &dir, &log, listing.0)?;
            let first = counts.first_fired_ms.unwrap_or(target.last_ms);
            target.timers_from_ms = Some(first.min(target.last_ms));
            archive = Some(dir);
        }
        let plan = Plan::survey(self, target)?;
        let phase = match archive {
            Some(_) => Phase::Archiving,
            None => Phase::Archived,
        };
        let report = CutReport {
            job,
            to: target.to,
            end_before,
            epoch: order.epoch,
            why: order.why.clone(),
            bytes: log
                .data_end()
                .map_or(0, |end| end.saturating_sub(target.log_from)),
            messages: counts.messages,
            stray_messages: counts.stray_messages,
            archive,
            queue_files: count(&plan.queues),
            index_files: count(&plan.index),
            timers: plan.timer.units,
        };
        if plan.is_empty() {
            return Ok(report);
        }
        let intent = Intent::new(self.root(), report, target, phase);
        self.record(&intent)?;
        self.proceed(intent)
    }

    fn proceed(&self, mut intent: Intent) -> Result<CutReport, StoreError> {
        let target = intent.target();
        let report = intent.report(self.root());
        if let (Phase::Archiving, Some(dir)) = (intent.phase(), &report.archive) {
            self.archive(dir, target, &report)?;
            intent.archived();
            self.record(&intent)?;
        }
        self.apply(target, report.archive.as_deref())?;
        self.step("remove intent", &Intent::path(&self.ha))?;
        Intent::remove(&self.ha)?;
        Ok(report)
    }

    fn record(&self, intent: &Intent) -> Result<(), StoreError> {
        self.step("write intent", &Intent::path(&self.ha))?;
        Ok(intent.write(&self.ha)?)
    }

    fn archive(&self, dir: &Path, target: Target, report: &CutReport) -> Result<(), StoreError> {
        let host = self.host.as_ref();
        let segments = Segments::list(&self.layout)?;
        let log = LogPlan::survey(&segments, target.log_from)?;
        archive::write(
            host,
            dir,
            &segments,
            &log,
            target.log_from,
            report.end_before,
        )?;
        let path = dir.join("cut.json");
        self.step("write report", &path)?;
        let json = serde_json::to_vec_pretty(report)
            .map_err(std::io::Error::from)
            .at("encode", &path)?;
        durable::replace(&path, &dir.join(".cut.json.tmp"), &json).at("write", &path)
    }

    pub(crate) fn step(&self, what: &str, path: &Path) -> Result<(), StoreError> {
        self.host.step(what, path).at("change", path)
    }
}

fn count<T>(list: &[T]) -> u64 {
    u64::try_from(list.len()).unwrap_or(u64::MAX)
}
