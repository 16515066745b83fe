//! Cuts of synthetic stores: what they remove, what they keep, and that they survive being killed anywhere.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod lab;

use std::fs;
use std::sync::atomic::Ordering;

use store::testing::file_name;
use store::{CutJob, CutReport, Store, StoreError};

use self::lab::{FILE, Fake, Lab, units};

#[test]
fn a_cut_leaves_exactly_the_prefix() {
    for index in [59, 55, 41, 40, 20, 1, 0] {
        let lab = Lab::new();
        let to = lab.records[index];
        let before = lab.tree();
        let report = lab.cut(to);
        let extent = lab.store().extent().unwrap();
        assert_eq!((extent.end, extent.garbage_bytes), (to, 0));
        assert_eq!(units(&lab.layout), lab.records[..index]);
        assert_eq!(report.job, CutJob::Cut);
        assert_eq!((report.to, report.end_before), (to, lab.end));
        assert_eq!(report.messages, u64::try_from(60 - index).unwrap());
        assert_eq!(report.stray_messages, 1);
        let kept = index.div_ceil(4);
        assert_eq!(report.timers, u64::try_from(15 - kept).unwrap());
        assert_eq!(
            report.index_files,
            [5, 55].iter().filter(|last| **last >= index).count() as u64
        );
        assert_eq!(lab.store().pending_cut().unwrap(), None);
        let after = lab.tree();
        for (path, bytes) in &before {
            // Files of the log either are as they were up to the cut and zero behind, or are gone.
            let Some(start) = path.to_str().unwrap().strip_prefix("commitlog/") else {
                continue;
            };
            let start: u64 = start.parse().unwrap();
            let keep = usize::try_from(to.saturating_sub(start).min(FILE)).unwrap();
            match after.get(path) {
                None => assert!(start > to),
                Some(now) => {
                    assert_eq!(now[..keep], bytes[..keep]);
                    assert!(now[keep..].iter().all(|b| *b == 0));
                }
            }
        }
    }
}

#[test]
fn what_is_removed_is_in_the_archive_byte_for_byte() {
    let lab = Lab::new();
    let before = {
        let none = lab.layout.root.join("none");
        fs::create_dir_all(none.join("commitlog")).unwrap();
        lab.log_with_archive(&none)
    };
    let report = lab.cut(lab.records[10]);
    let archive = report.archive.clone().unwrap();
    assert_eq!(
        archive,
        lab.store()
            .lost_and_found()
            .join(format!("9-{}", lab.records[10]))
    );
    assert!(before == lab.log_with_archive(&archive));

    let lines = fs::read_to_string(archive.join("messages.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let messages: Vec<_> = lines
        .iter()
        .filter(|line| line["topic"].is_string())
        .collect();
    assert_eq!(messages.len(), 51);
    for (line, index) in messages.iter().zip(10..60) {
        assert_eq!(line["offset"], lab.records[index]);
        assert_eq!(line["topic"], ["orders", "stock"][index % 2]);
        assert_eq!(line["queue"], index % 3);
        assert_eq!(line["queue_offset"], index / 6);
        assert_eq!(line["message_id"], format!("ID{index}"));
        assert_eq!(line["keys"], format!("key{index}"));
        assert_eq!(line["tags"], "red");
        assert_eq!(line["body_bytes"], 100 + index);
        assert_eq!(
            line["store_time_ms"],
            1_700_000_000_000_u64 + u64::try_from(index).unwrap()
        );
        assert!(line.get("stray").is_none());
    }
    let stray = messages.last().unwrap();
    assert_eq!(
        (&stray["topic"], &stray["stray"]),
        (&"stray".into(), &true.into())
    );
    let garbage = lines
        .iter()
        .find(|line| line["garbage_bytes"].is_u64())
        .unwrap();
    assert_eq!(garbage["offset"], lab.end);

    let told: CutReport =
        serde_json::from_slice(&fs::read(archive.join("cut.json")).unwrap()).unwrap();
    assert_eq!((told.to, told.bytes), (report.to, report.bytes));
}

#[test]
fn derived_files_follow_the_cut() {
    let lab = Lab::new();
    let to = lab.records[30];
    lab.cut(to);
    let numbers = |name: &str| -> Vec<u64> {
        let bytes = fs::read(lab.layout.root.join(name)).unwrap();
        assert_eq!(bytes.len(), 4096);
        bytes.as_chunks::<8>().0[..5]
            .iter()
            .map(|b| u64::from_be_bytes(*b))
            .collect()
    };
    // Record 29 is the last that stays; masterFlushedOffset stays as it is.
    let ms = 1_700_000_000_029;
    assert_eq!(numbers("checkpoint"), [ms, ms, ms, 77, to]);
    let epochs = fs::read_to_string(lab.layout.root.join("epochFileCheckpoint")).unwrap();
    assert!(epochs.starts_with("2\n") && epochs.ends_with(&format!("1-0\n2-{}\n", FILE + 7)));
    for gone in ["epochFileCheckpoint.bak", "index/20260101000000001"] {
        assert!(!lab.layout.root.join(gone).exists(), "{gone}");
    }
    assert!(lab.layout.root.join("index/20260101000000000").exists());
    // Every fourth message is a timer: 8 stay, the second chain's last one is the unit at 7 × 52.
    let wheel = fs::read(lab.layout.root.join("timerwheel")).unwrap();
    let last_of_second_chain = i64::from_be_bytes(*wheel[96 + 16..].first_chunk().unwrap());
    assert_eq!(last_of_second_chain, 7 * 52);
    let timers = fs::read(lab.layout.root.join("timerlog").join(file_name(0))).unwrap();
    assert_eq!(timers.iter().rposition(|b| *b != 0), Some(8 * 52 - 1));
    // Timers are read again from the second of the earliest one whose delivered copy went, or else from that of the last
    // message that stays.
    let read_from = |lab: &Lab| {
        let check = fs::read(lab.layout.root.join("config/timercheck")).unwrap();
        i64::from_be_bytes(*check.first_chunk().unwrap())
    };
    assert_eq!(read_from(&lab), 1_699_999_997_000);
    let later = Lab::new();
    later.cut(later.records[50]);
    assert_eq!(read_from(&later), 1_700_000_000_000);
}

#[test]
fn a_cut_at_a_file_start_keeps_that_file_zeroed() {
    let lab = Lab::new();
    let to = 3 * FILE;
    assert!(lab.records.contains(&to));
    lab.cut(to);
    assert_eq!(lab.store().extent().unwrap().end, to);
    let kept = fs::read(lab.layout.commitlog.join(file_name(to))).unwrap();
    assert!(kept.len() == 4096 && kept.iter().all(|b| *b == 0));
    assert!(!lab.layout.commitlog.join(file_name(to + FILE)).exists());
    let last = lab.records.iter().position(|at| *at == to).unwrap() - 1;
    let bytes = fs::read(lab.layout.root.join("checkpoint")).unwrap();
    let ms = u64::from_be_bytes(*bytes.first_chunk().unwrap());
    assert_eq!(ms, 1_700_000_000_000 + u64::try_from(last).unwrap());
}

#[test]
fn only_boundaries_inside_the_log_are_cut_at() {
    let lab = Lab::new();
    let store = lab.store();
    let lock = store.lock().unwrap();
    let before = lab.sums();
    let refuse = |to| store.cut(&lock, &lab.order(to)).unwrap_err();
    let below = lab.records[7];
    assert!(matches!(refuse(below + 1), StoreError::NotABoundary { below: b, .. } if b == below));
    assert!(matches!(refuse(lab.end + 1), StoreError::OutOfRange { end, .. } if end == lab.end));
    assert!(matches!(
        refuse(FILE - 1),
        StoreError::OutOfRange { min: FILE, .. }
    ));
    let other = Lab::new();
    let foreign = other.store().lock().unwrap();
    assert!(matches!(
        store.cut(&foreign, &lab.order(below)),
        Err(StoreError::WrongLock { .. })
    ));
    assert_eq!(lab.sums(), before);
}

#[test]
fn no_room_changes_nothing() {
    let lab = Lab::new();
    let host = Fake::new();
    let store = lab.on(&host);
    let lock = store.lock().unwrap();
    let before = lab.sums();
    host.free.store(16 << 20, Ordering::Relaxed);
    let error = store.cut(&lock, &lab.order(lab.records[3])).unwrap_err();
    assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
    assert_eq!(lab.sums(), before);
    assert_eq!(host.steps(), Vec::<String>::new());
    // Later files are renamed, not copied: a little more is enough.
    host.free.store((16 << 20) + 40_000, Ordering::Relaxed);
    store.cut(&lock, &lab.order(lab.records[3])).unwrap();
}

#[test]
fn repairs_take_only_what_lies_beyond() {
    let lab = Lab::new();
    let store = lab.store();
    let lock = store.lock().unwrap();
    let report = store.repair_tail(&lock, 4, None).unwrap();
    assert_eq!(report.job, CutJob::Repair);
    assert_eq!(
        (report.to, report.messages, report.stray_messages),
        (lab.end, 0, 1)
    );
    assert!(report.bytes > 100 && report.timers == 0 && report.queue_files == 0);
    assert_eq!(units(&lab.layout), lab.records);
    let extent = store.extent().unwrap();
    assert_eq!((extent.end, extent.garbage_bytes), (lab.end, 0));

    let before = lab.sums();
    let again = store.repair_tail(&lock, 5, extent.last).unwrap();
    assert!(!again.removed_bytes() && again.archive.is_none());
    assert_eq!(lab.sums(), before, "nothing beyond: nothing to do");
}

#[test]
fn an_unclean_end_also_loses_queue_units_that_point_beyond() {
    let lab = Lab::new();
    fs::write(lab.layout.root.join("abort"), "").unwrap();
    fs::remove_file(lab.layout.root.join("checkpoint")).unwrap();
    let hole = lab.records[50];
    let path = lab.layout.commitlog.join(file_name(hole - hole % FILE));
    let mut bytes = fs::read(&path).unwrap();
    let at = usize::try_from(hole % FILE).unwrap();
    bytes[at..at + 20].fill(0);
    fs::write(&path, bytes).unwrap();
    let store = lab.store();
    let report = store.repair_tail(&store.lock().unwrap(), 4, None).unwrap();
    assert_eq!(report.to, hole);
    // The messages behind the hole are in nobody's log any more, but in the archive.
    assert_eq!((report.messages, report.stray_messages), (0, 10));
    assert_eq!(units(&lab.layout), lab.records[..50]);
    assert!(lab.layout.root.join("abort").exists());
}

#[test]
fn archives_of_the_same_name_do_not_meet() {
    let lab = Lab::new();
    let to = lab.records[20];
    let first = lab.cut(to).archive.unwrap();
    let path = lab.layout.commitlog.join(file_name(to - to % FILE));
    let mut bytes = fs::read(&path).unwrap();
    bytes[usize::try_from(to % FILE).unwrap()] = 1;
    fs::write(&path, bytes).unwrap();
    let second = lab.cut(to).archive.unwrap();
    assert_eq!(second, first.with_file_name(format!("9-{to}-2")));
}

#[test]
fn a_cut_killed_before_any_step_is_finished_to_the_same_tree() {
    // To a place inside a file, and to the start of one.
    for to in [Lab::new().records[8], 3 * FILE] {
        killed_everywhere(&|store, lab| {
            let lock = store.lock().unwrap();
            store.cut(&lock, &lab.order(to))
        });
    }
}

#[test]
fn a_repair_killed_before_any_step_is_finished_to_the_same_tree() {
    killed_everywhere(&|store, _| store.repair_tail(&store.lock().unwrap(), 9, None));
}

fn killed_everywhere(work: &dyn Fn(&Store, &Lab) -> Result<CutReport, StoreError>) {
    let whole = Lab::new();
    let host = Fake::new();
    let wanted = work(&whole.on(&host), &whole).unwrap();
    let tree = whole.sums();
    let steps = host.steps();
    assert!(steps.len() >= 8, "{steps:?}");
    let in_root = |lab: &Lab, report: &CutReport| {
        let mut report = report.clone();
        report.archive = report
            .archive
            .map(|dir| dir.strip_prefix(&lab.layout.root).unwrap().to_owned());
        report
    };
    for (dies_before, step) in steps.iter().enumerate() {
        let lab = Lab::new();
        let untouched = lab.sums();
        let host = Fake::new();
        host.dies_before.store(dies_before, Ordering::Relaxed);
        work(&lab.on(&host), &lab).unwrap_err();
        // Nobody may use the store until the cut is finished, except where it was never begun.
        let store = lab.store();
        let report = if dies_before == 0 {
            assert_eq!(store.pending_cut().unwrap(), None);
            assert_eq!(lab.sums(), untouched);
            work(&store, &lab).unwrap()
        } else {
            let pending = store.pending_cut().unwrap().unwrap();
            assert_eq!(pending.to, wanted.to, "{step}");
            assert!(matches!(store.extent(), Err(StoreError::PendingCut { .. })));
            assert!(matches!(
                work(&store, &lab),
                Err(StoreError::PendingCut { .. })
            ));
            // A second crash, one step further on, is survived as well.
            host.dies_before.store(dies_before + 1, Ordering::Relaxed);
            let store = lab.on(&host);
            let resumed = store.resume_cut(&store.lock().unwrap());
            match resumed {
                Ok(report) => report.unwrap(),
                Err(_) => {
                    let store = lab.store();
                    store.resume_cut(&store.lock().unwrap()).unwrap().unwrap()
                }
            }
        };
        assert_eq!(in_root(&lab, &report), in_root(&whole, &wanted), "{step}");
        let now = lab.sums();
        let differs: Vec<_> = tree
            .keys()
            .chain(now.keys())
            .filter(|path| tree.get(*path) != now.get(*path))
            .collect();
        assert!(differs.is_empty(), "killed before {step}: {differs:?}");
        let store = lab.store();
        assert_eq!(store.resume_cut(&store.lock().unwrap()).unwrap(), None);
    }
}
