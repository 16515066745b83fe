//! The intent file of a cut, `<root>/ha/cut.json`: written before the first change, removed after the last.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::CutReport;
use super::plan::Target;
use crate::hafile::{HaDir, HaFileError};

const NAME: &str = "cut.json";
/// Raised when the content changes its meaning.
const FORMAT: u32 = 1;

/// How far a cut has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// The log is untouched; the archive may be half written.
    Archiving,
    /// The archive is complete and on the disk; the store may be half cut.
    Archived,
}

/// A cut that was begun and not finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingCut {
    /// Where the log will end.
    pub to: u64,
    /// Epoch of the order.
    pub epoch: u64,
    /// Reason of the order.
    pub why: String,
    /// Whether the archive is complete: from here on the store is half cut and no use to a broker.
    pub archived: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Intent {
    #[serde(deserialize_with = "known_format")]
    format: u32,
    phase: Phase,
    log_from: u64,
    last_store_timestamp_ms: i64,
    timers_from_ms: Option<i64>,
    /// Its archive is relative to the store's root where it lies below it: the volume may be mounted elsewhere when
    /// the cut is resumed.
    report: CutReport,
}

impl Intent {
    pub(crate) fn new(root: &Path, mut report: CutReport, target: Target, phase: Phase) -> Self {
        report.archive = report.archive.map(|dir| relative(root, dir));
        Self {
            format: FORMAT,
            phase,
            log_from: target.log_from,
            last_store_timestamp_ms: target.last_ms,
            timers_from_ms: target.timers_from_ms,
            report,
        }
    }

    pub(crate) fn path(ha: &HaDir) -> PathBuf {
        ha.path().join(NAME)
    }

    pub(crate) fn read(ha: &HaDir) -> Result<Option<Self>, HaFileError> {
        ha.read(NAME)
    }

    pub(crate) fn write(&self, ha: &HaDir) -> Result<(), HaFileError> {
        ha.write(NAME, self)
    }

    pub(crate) fn remove(ha: &HaDir) -> Result<(), HaFileError> {
        ha.remove(NAME)
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn archived(&mut self) {
        self.phase = Phase::Archived;
    }

    pub(crate) fn target(&self) -> Target {
        Target {
            to: self.report.to,
            log_from: self.log_from,
            last_ms: self.last_store_timestamp_ms,
            timers_from_ms: self.timers_from_ms,
        }
    }

    /// The report with the archive's place on this machine.
    pub(crate) fn report(&self, root: &Path) -> CutReport {
        let mut report = self.report.clone();
        // Joining an absolute path gives that path.
        report.archive = report.archive.map(|dir| root.join(dir));
        report
    }

    pub(crate) fn pending(&self) -> PendingCut {
        PendingCut {
            to: self.report.to,
            epoch: self.report.epoch,
            why: self.report.why.clone(),
            archived: self.phase == Phase::Archived,
        }
    }
}

fn relative(root: &Path, dir: PathBuf) -> PathBuf {
    match dir.strip_prefix(root) {
        Ok(below) => below.to_owned(),
        Err(_) => dir,
    }
}

fn known_format<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let format = u32::deserialize(from)?;
    if format == FORMAT {
        return Ok(format);
    }
    Err(serde::de::Error::custom(format!(
        "format {format} is not {FORMAT}: another version began this cut"
    )))
}
