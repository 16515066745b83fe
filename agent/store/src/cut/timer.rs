//! The timer wheel of 5.x: what points beyond the cut (facts §5.6 step 6, and where this differs).
//!
//! The wheel has a slot per second, each with the first and last position of a chain in the timer log, whose units point
//! at messages in the commit log. Removing wheel and log altogether makes a master deliver every timer again that its
//! topic still holds (seen on 5.5.0: 30 of 30 twice). So only what points beyond the cut goes, and the broker's
//! own recovery finds the rest in order.
//!
//! A timer that fired beyond the cut lost its delivered copy; with the read time left ahead it would never fire
//! again (seen: 30 of 30 lost). So the read time goes back to the earliest of them, and to the last message that stays
//! since bytes may be gone that no listing can name. At worst the timers of that second fire twice.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::plan::Target;
use crate::error::{At, StoreError};
use crate::layout::entries;
use crate::segments::numbered_files;
use crate::sparse;

/// Length of a timer-log unit in bytes, also its first field.
const UNIT: usize = 52;
/// Where a unit holds the position of the one before it in its chain.
const PREVIOUS_AT: usize = 4;
/// Where a unit holds the log offset of its message.
const OFFSET_AT: usize = 28;
/// Length of a wheel slot: time in seconds, first and last position, number of timers, magic.
const SLOT: usize = 32;
/// Precision of the wheel's time.
const SECOND_MS: i64 = 1000;

/// What has to change in the timer's files, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TimerPlan {
    /// New read time in ms for `config/timercheck`.
    pub(crate) read_again_from_ms: Option<i64>,
    /// New slots, each with its place in the wheel file.
    pub(crate) slots: Vec<(u64, [u8; SLOT])>,
    /// Snapshots of the wheel: without them the broker builds it from the timer log.
    pub(crate) snapshots: Vec<PathBuf>,
    /// Timer-log files that go, newest first.
    pub(crate) remove: Vec<PathBuf>,
    /// The timer-log file that keeps what is before this byte.
    pub(crate) zero: Option<(PathBuf, u64)>,
    /// Units that go.
    pub(crate) units: u64,
}

impl TimerPlan {
    pub(crate) fn survey(root: &Path, target: Target) -> Result<Self, StoreError> {
        let log = TimerLog::open(&root.join("timerlog"))?;
        let mut plan = Self {
            read_again_from_ms: read_again(&check_file(root), target)?,
            ..Self::default()
        };
        let Some(cut) = plan.cut_log(&log, target.to)? else {
            return Ok(plan);
        };
        plan.slots = slots_beyond(&wheel_file(root), &log, cut)?;
        for entry in entries(root)? {
            if entry
                .file_name()
                .to_string_lossy()
                .starts_with("timerwheel.")
            {
                plan.snapshots.push(entry.path());
            }
        }
        plan.snapshots.sort();
        Ok(plan)
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Units are appended in the order of the log, so from the newest file back. Returns the position of the first
    /// unit that goes.
    fn cut_log(&mut self, log: &TimerLog, end: u64) -> Result<Option<u64>, StoreError> {
        let mut cut = None;
        for (index, file) in log.files.iter().enumerate().rev() {
            let found = Beyond::find(file, end)?;
            let Some(at) = found.first else {
                if found.kept {
                    break;
                }
                // Nothing written in this file.
                continue;
            };
            self.units += found.units;
            cut = Some(file.start + at);
            // The oldest file stays even if all of it goes: its name is what positions count from.
            if !found.kept && index > 0 {
                self.remove.push(file.path.clone());
                continue;
            }
            self.zero = Some((file.path.clone(), at));
            break;
        }
        Ok(cut)
    }
}

/// Where the wheel is.
pub(crate) fn wheel_file(root: &Path) -> PathBuf {
    root.join("timerwheel")
}

/// Where the timer's own checkpoint is; its first eight bytes are the read time in ms.
pub(crate) fn check_file(root: &Path) -> PathBuf {
    root.join("config").join("timercheck")
}

/// Overwrites parts of a file in place and syncs; writing the same again is harmless.
pub(crate) fn patch<'a>(
    path: &Path,
    parts: impl Iterator<Item = (u64, &'a [u8])>,
) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    for (at, bytes) in parts {
        file.write_all_at(bytes, at)?;
    }
    file.sync_all()
}

/// The read time to go back to, if it is ahead of timers that may have lost their copies.
fn read_again(path: &Path, target: Target) -> Result<Option<i64>, StoreError> {
    let Some(from) = target.timers_from_ms else {
        return Ok(None);
    };
    let mut bytes = [0; 8];
    if !read(path, &mut bytes, 0)? {
        return Ok(None);
    }
    let from = from - from.rem_euclid(SECOND_MS);
    Ok((i64::from_be_bytes(bytes) > from).then_some(from))
}

/// What of one timer-log file points beyond the cut.
#[derive(Default)]
struct Beyond {
    /// Whether a unit before the first of them stays.
    kept: bool,
    /// Place of the first of them in the file.
    first: Option<u64>,
    units: u64,
}

impl Beyond {
    fn find(file: &LogFile, end: u64) -> Result<Self, StoreError> {
        let mut found = Self::default();
        sparse::for_each_unit(&file.file, UNIT, |at, unit| {
            match (field(unit, OFFSET_AT), is_unit(unit)) {
                (Some(offset), true) if found.first.is_some() || offset >= end => {
                    found.first.get_or_insert(at);
                    found.units += 1;
                }
                (Some(_), true) => found.kept = true,
                // Zeros, or the filler at the file's end.
                _ => {}
            }
            true
        })
        .at("read", &file.path)?;
        Ok(found)
    }
}

/// The slots whose chains reach the cut, as they have to be without what lies beyond.
fn slots_beyond(
    wheel: &Path,
    log: &TimerLog,
    cut: u64,
) -> Result<Vec<(u64, [u8; SLOT])>, StoreError> {
    let file = match File::open(wheel) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).at("open", wheel),
    };
    let mut reaching = Vec::new();
    sparse::for_each_unit(&file, SLOT, |at, bytes| {
        if let Some(slot) = bytes.first_chunk::<SLOT>()
            && field(slot, 0).is_some_and(|time| time > 0)
            && field(slot, 16).is_some_and(|last| last >= cut)
        {
            reaching.push((at, *slot));
        }
        true
    })
    .at("read", wheel)?;
    for (_, slot) in &mut reaching {
        *slot = shortened(slot, log, cut)?;
    }
    Ok(reaching)
}

fn shortened(slot: &[u8; SLOT], log: &TimerLog, cut: u64) -> Result<[u8; SLOT], StoreError> {
    let empty = [0; SLOT];
    let (Some(first), Some(mut last)) = (field(slot, 8), field(slot, 16)) else {
        return Ok(empty);
    };
    if first >= cut {
        return Ok(empty);
    }
    let mut dropped = 0_i32;
    while last >= cut {
        dropped = dropped.saturating_add(1);
        // A chain only leads back; where it is broken, its first unit is what surely belongs to it.
        last = log
            .previous(last)?
            .filter(|before| *before < last)
            .unwrap_or(first);
    }
    let [head @ .., n0, n1, n2, n3, m0, m1, m2, m3] = *slot;
    let count = i32::from_be_bytes([n0, n1, n2, n3])
        .saturating_sub(dropped)
        .max(0);
    let mut short = Vec::with_capacity(SLOT);
    short.extend(head.iter().take(16));
    short.extend(last.to_be_bytes());
    short.extend(count.to_be_bytes());
    short.extend([m0, m1, m2, m3]);
    Ok(short.first_chunk().copied().unwrap_or(empty))
}

/// The timer log's files, oldest first.
struct TimerLog {
    files: Vec<LogFile>,
}

struct LogFile {
    start: u64,
    len: u64,
    path: PathBuf,
    file: File,
}

impl TimerLog {
    fn open(dir: &Path) -> Result<Self, StoreError> {
        let files = numbered_files(dir)?.into_iter().map(|(start, path, len)| {
            let file = File::open(&path).at("open", &path)?;
            Ok(LogFile {
                start,
                len,
                path,
                file,
            })
        });
        Ok(Self {
            files: files.collect::<Result<_, StoreError>>()?,
        })
    }

    /// The unit before the one at `position` in its chain; `None` if there is none, or no unit there.
    fn previous(&self, position: u64) -> Result<Option<u64>, StoreError> {
        let Some(file) = self
            .files
            .iter()
            .find(|file| position >= file.start && position - file.start < file.len)
        else {
            return Ok(None);
        };
        let mut unit = [0; UNIT];
        match file.file.read_exact_at(&mut unit, position - file.start) {
            Ok(()) => Ok(field(&unit, PREVIOUS_AT).filter(|_| is_unit(&unit))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error).at("read", &file.path),
        }
    }
}

fn is_unit(bytes: &[u8]) -> bool {
    let size = bytes.first_chunk::<4>().copied().map(u32::from_be_bytes);
    size.and_then(|size| usize::try_from(size).ok()) == Some(UNIT)
}

/// Eight bytes as an offset or position; negative ones mean *none*.
fn field(bytes: &[u8], at: usize) -> Option<u64> {
    let eight = bytes.get(at..)?.first_chunk::<8>()?;
    u64::try_from(i64::from_be_bytes(*eight)).ok()
}

/// Fills `into` from a place of a file; `false` if the file is absent or too short.
fn read(path: &Path, into: &mut [u8], at: u64) -> Result<bool, StoreError> {
    match File::open(path).and_then(|file| file.read_exact_at(into, at)) {
        Ok(()) => Ok(true),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error).at("read", path),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::layout::Layout;
    use crate::testing::Writer;

    /// Timers at log offsets 0, 100, 200 …; two chains (even and odd seconds) through files of ten units.
    fn lab(count: u64) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path(), 4096, 100);
        let offsets: Vec<u64> = (0..count).map(|i| i * 100).collect();
        Writer::create(&layout, 0).unwrap().timer(&offsets).unwrap();
        dir
    }

    fn plan(dir: &Path, to: u64, timers_from_ms: Option<i64>) -> TimerPlan {
        let target = Target {
            to,
            log_from: to,
            last_ms: 0,
            timers_from_ms,
        };
        TimerPlan::survey(dir, target).unwrap()
    }

    fn slot(time: u64, first: u64, last: u64, count: u32) -> [u8; SLOT] {
        let mut bytes = [time, first, last].map(u64::to_be_bytes).concat();
        bytes.extend(count.to_be_bytes());
        bytes.extend([0; 4]);
        *bytes.first_chunk().unwrap()
    }

    #[test]
    fn nothing_beyond_is_nothing_to_do() {
        assert!(plan(tempfile::tempdir().unwrap().path(), 0, Some(5432)).is_empty());
        assert!(plan(lab(25).path(), 2401, None).is_empty());
        assert_eq!(
            plan(lab(25).path(), 2401, Some(5432)).read_again_from_ms,
            Some(5000)
        );
    }

    #[test]
    fn chains_end_before_the_cut() {
        let dir = lab(25);
        // Units 13 … 24 go: the second file keeps three units, the third goes.
        let plan = plan(dir.path(), 1300, None);
        let log = dir.path().join("timerlog");
        assert_eq!(plan.units, 12);
        assert_eq!(plan.remove, [log.join(format!("{:020}", 1040))]);
        let second = log.join(format!("{:020}", 520));
        assert_eq!(plan.zero, Some((second, 3 * 52)));
        let at = |unit: u64| unit * 52;
        // Unit 12 is the last even one that stays, 11 the last odd one.
        assert_eq!(
            plan.slots,
            [(64, slot(2, 0, at(12), 7)), (96, slot(3, 52, at(11), 6))]
        );
    }

    #[test]
    fn a_chain_that_lies_beyond_goes_and_the_oldest_file_keeps_its_place() {
        let dir = lab(25);
        let plan = plan(dir.path(), 0, None);
        assert_eq!((plan.units, plan.remove.len()), (25, 2));
        let first = dir.path().join("timerlog").join(format!("{:020}", 0));
        assert_eq!(plan.zero, Some((first, 0)));
        assert_eq!(plan.slots, [(64, [0; SLOT]), (96, [0; SLOT])]);
    }

    #[test]
    fn a_broken_chain_keeps_its_first_unit() {
        let dir = lab(25);
        let third = dir.path().join("timerlog").join(format!("{:020}", 1040));
        let mut bytes = fs::read(&third).unwrap();
        // Unit 24 claims that the one before it is itself.
        let own = (24_u64 * 52).to_be_bytes();
        bytes[4 * 52 + 4..4 * 52 + 12].copy_from_slice(&own);
        fs::write(&third, bytes).unwrap();
        let plan = plan(dir.path(), 1300, None);
        assert_eq!(plan.slots[0].1[..24], slot(2, 0, 0, 0)[..24]);
    }
}
