//! Where synthetic logs end, and where they may be cut.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::net::IpAddr;

use proptest::prelude::*;
use store::testing::{Message, Writer, file_name};
use store::{Extent, Layout, Store, StoreError};

const FILE: u64 = 4096;

struct Lab {
    _dir: tempfile::TempDir,
    layout: Layout,
    writer: Writer,
}

impl Lab {
    fn new(start: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path(), FILE, 200);
        let writer = Writer::create(&layout, start).unwrap();
        Self {
            _dir: dir,
            layout,
            writer,
        }
    }

    /// Messages until the log is at least `len` bytes long.
    fn fill(&mut self, len: u64) {
        let start = self.writer.end();
        while self.writer.end() < start + len {
            let index = self.writer.records().len();
            let mut message = Message::new("topic", 0, 100 + index % 300);
            message.store_timestamp_ms += i64::try_from(index).unwrap();
            self.writer.append(&message).unwrap();
        }
    }

    fn store(&self) -> Store {
        Store::open(self.layout.clone()).unwrap()
    }

    fn extent(&self) -> Extent {
        self.store().extent().unwrap()
    }
}

#[test]
fn an_absent_and_an_empty_store_are_empty() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Layout::new(&dir.path().join("none"), FILE, 200)).unwrap();
    let extent = store.extent().unwrap();
    assert!(extent.is_empty() && extent.min == 0 && extent.end == 0);
    assert_eq!(store.boundary_at_or_below(77).unwrap(), 0);
    assert_eq!(store.boundaries(0, 0).unwrap().count(), 1);
    assert_eq!(store.crc_of(0, 0).unwrap(), 0);

    let lab = Lab::new(2 * FILE);
    let extent = lab.extent();
    assert!(extent.is_empty() && extent.min == 2 * FILE && extent.end == 2 * FILE);
    assert!(!extent.is_torn());
}

#[test]
fn both_versions_and_ipv6_hosts_are_walked() {
    let mut lab = Lab::new(0);
    let mut ipv6 = Message::new("t", 1, 5);
    ipv6.host = IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]);
    lab.writer.append(&Message::new("t", 1, 0)).unwrap();
    lab.writer
        .append(&Message::new(&"l".repeat(200), 1, 9))
        .unwrap();
    let last = lab.writer.append(&ipv6).unwrap();
    let extent = lab.extent();
    assert_eq!(extent.end, lab.writer.end());
    assert_eq!(extent.last.unwrap().offset, last);
}

#[test]
fn the_end_at_a_file_boundary_depends_on_the_next_file() {
    // One record that leaves exactly a blank's eight bytes.
    let mut lab = Lab::new(0);
    let overhead = Message::new("t", 0, 0).encode(0, 0).len();
    let body = usize::try_from(FILE).unwrap() - overhead - 8;
    lab.writer.append(&Message::new("t", 0, body)).unwrap();
    assert_eq!(lab.extent().end, FILE - 8);
    let mut blank = 8_u32.to_be_bytes().to_vec();
    blank.extend([0xCB, 0xD4, 0x31, 0x94]);
    lab.writer.write(FILE - 8, &blank).unwrap();
    let extent = lab.extent();
    assert_eq!(extent.end, FILE - 8);
    assert!(!extent.is_torn(), "a proper blank is not garbage");
    lab.writer.preallocate(FILE).unwrap();
    assert_eq!(lab.extent().end, FILE);
    assert_eq!(lab.store().boundary_at_or_below(FILE).unwrap(), FILE);
    assert_eq!(
        lab.store().boundary_at_or_below(FILE - 1).unwrap(),
        FILE - 8
    );
    assert_eq!(lab.store().boundary_at_or_below(5 * FILE).unwrap(), FILE);
}

#[test]
fn a_blank_of_another_length_does_not_end_a_file() {
    let mut lab = Lab::new(0);
    lab.fill(1000);
    lab.writer.preallocate(FILE).unwrap();
    let end = lab.writer.end();
    let mut blank = 100_u32.to_be_bytes().to_vec();
    blank.extend([0xCB, 0xD4, 0x31, 0x94]);
    lab.writer.write(end, &blank).unwrap();
    let extent = lab.extent();
    assert_eq!((extent.end, extent.garbage_bytes), (end, 8));
}

#[test]
fn a_torn_record_and_stale_bytes_are_beyond_the_end() {
    let mut lab = Lab::new(0);
    lab.fill(6000);
    let end = lab.writer.end();
    let half = Message::new("t", 0, 300).encode(end, 0);
    lab.writer.write(end, &half[..200]).unwrap();
    let extent = lab.extent();
    assert_eq!((extent.end, extent.garbage_bytes), (end, 200));

    // A whole record of another place is not one of this log.
    lab.writer
        .write(end, &Message::new("t", 0, 300).encode(end + 1, 0))
        .unwrap();
    assert_eq!(lab.extent().end, end);
    // Nor is one whose body was changed.
    let mut bad = Message::new("t", 0, 300).encode(end, 0);
    bad[200] ^= 1;
    lab.writer.write(end, &bad).unwrap();
    assert_eq!(lab.extent().end, end);
    lab.writer
        .write(end, &Message::new("t", 0, 300).encode(end, 0))
        .unwrap();
    assert!(lab.extent().end > end);
}

#[test]
fn after_an_unclean_end_a_hole_in_an_older_file_ends_the_log() {
    let mut lab = Lab::new(0);
    lab.fill(4 * FILE);
    let end = lab.writer.end();
    let hole = *lab
        .writer
        .records()
        .iter()
        .find(|at| **at > FILE + 500)
        .unwrap();
    lab.writer.write(hole, &[0; 90]).unwrap();
    // A clean stop wrote everything: the newest file is enough.
    assert_eq!(lab.extent().end, end);
    fs::write(lab.layout.root.join("abort"), "").unwrap();
    assert!(lab.store().unclean());
    let extent = lab.extent();
    assert_eq!(extent.end, hole);
    assert!(extent.is_torn());
    // The checkpoint vouches for what is older than three seconds before its time.
    lab.writer.checkpoint(1_700_000_009_999, 0, 0).unwrap();
    assert_eq!(lab.extent().end, end);
    lab.writer.checkpoint(1_700_000_003_000, 0, 0).unwrap();
    assert_eq!(lab.extent().end, hole);
}

#[test]
fn a_hint_shortens_the_walk_and_a_wrong_one_is_not_believed() {
    let mut lab = Lab::new(0);
    lab.fill(3 * FILE);
    let hint = lab.extent().last.unwrap();
    assert_eq!(lab.store().extent_after(hint).unwrap(), lab.extent());
    lab.fill(2 * FILE);
    let extent = lab.store().extent_after(hint).unwrap();
    assert_eq!(extent.end, lab.writer.end());
    for delta in [1, FILE * 100] {
        let mut wrong = hint;
        wrong.offset += delta;
        assert_eq!(lab.store().extent_after(wrong).unwrap(), extent);
    }
    let mut other = hint;
    other.store_timestamp_ms += 1;
    assert_eq!(lab.store().extent_after(other).unwrap(), extent);
}

#[test]
fn boundaries_are_the_records_and_the_file_starts() {
    let mut lab = Lab::new(FILE);
    lab.fill(3 * FILE);
    let store = lab.store();
    let end = lab.writer.end();
    let found: Vec<u64> = store
        .boundaries(FILE, end)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut wanted = lab.writer.records().to_vec();
    // Behind the last record of each of the three full files is a boundary, too.
    assert_eq!(found.len(), wanted.len() + 3 + 1);
    wanted.push(end);
    for offset in wanted {
        assert!(found.contains(&offset));
    }
    let near = |at: &u64| [at.saturating_sub(1).max(FILE), *at, (*at + 1).min(end)];
    for x in found.iter().flat_map(near) {
        let below = *found.iter().rev().find(|at| **at <= x).unwrap();
        assert_eq!(store.boundary_at_or_below(x).unwrap(), below, "at {x}");
        assert_eq!(store.boundary_between(below, x).unwrap(), below);
    }
    assert_eq!(store.boundary_at_or_below(u64::MAX).unwrap(), end);
    assert!(matches!(
        store.boundary_at_or_below(FILE - 1),
        Err(StoreError::OutOfRange { min: FILE, .. })
    ));
}

#[test]
fn sums_of_ranges_are_zlibs() {
    let mut lab = Lab::new(0);
    lab.fill(2 * FILE);
    let mut bytes = Vec::new();
    for start in [0, FILE, 2 * FILE] {
        bytes.extend(fs::read(lab.layout.commitlog.join(file_name(start))).unwrap());
    }
    let store = lab.store();
    for (from, to) in [
        (0, 0),
        (0, 3 * FILE),
        (17, 5000),
        (4095, 4097),
        (FILE, FILE),
    ] {
        let part = &bytes[usize::try_from(from).unwrap()..usize::try_from(to).unwrap()];
        assert_eq!(store.crc_of(from, to).unwrap(), crc32fast::hash(part));
    }
    assert!(matches!(
        store.crc_of(0, 3 * FILE + 1),
        Err(StoreError::OutOfRange { .. })
    ));
}

#[test]
fn two_logs_agree_up_to_their_first_different_record() {
    let mut lab = Lab::new(0);
    lab.fill(3 * FILE);
    let (store, end) = (lab.store(), lab.writer.end());
    let mut boundaries: Vec<u64> = store
        .boundaries(0, end)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    boundaries.dedup();
    let mut ours = Vec::new();
    for start in (0..end).step_by(4096) {
        ours.extend(fs::read(lab.layout.commitlog.join(file_name(start))).unwrap());
    }
    for (place, at) in boundaries.iter().enumerate() {
        let mut theirs = ours.clone();
        theirs[usize::try_from(*at).unwrap()] ^= 1;
        let mut asked = 0;
        let found = store.last_equal_boundary(0, end, |from, to, crc| {
            asked += 1;
            let range = usize::try_from(from).unwrap()..usize::try_from(to).unwrap();
            Ok::<_, StoreError>(crc32fast::hash(&theirs[range]) == crc)
        });
        assert_eq!(found.unwrap(), *at, "boundary {place}");
        assert!(
            asked <= 16,
            "{asked} questions for {} records",
            boundaries.len()
        );
    }
    let all = store.last_equal_boundary(0, end, |_, _, _| Ok::<_, StoreError>(true));
    assert_eq!(all.unwrap(), end);
}

#[test]
fn stores_of_other_kinds_are_left_alone() {
    type Spoil = fn(&Layout);
    let spoils: [(&str, Spoil); 6] = [
        ("foreign file", |l| {
            fs::write(l.commitlog.join("notes"), "").unwrap()
        }),
        ("bytes long", |l| {
            fs::write(l.commitlog.join(file_name(FILE)), "short").unwrap();
        }),
        ("does not follow", |l| {
            let file = fs::File::create(l.commitlog.join(file_name(9 * FILE))).unwrap();
            file.set_len(FILE).unwrap();
        }),
        ("DLedger", |l| {
            fs::create_dir(l.root.join("dledger-n0")).unwrap()
        }),
        ("RocksDB", |l| {
            fs::create_dir(l.root.join("consumequeue")).unwrap();
            fs::write(l.root.join("consumequeue/CURRENT"), "").unwrap();
        }),
        ("compacted topic", |l| {
            fs::create_dir_all(l.root.join("compaction/compactionLog/t")).unwrap();
        }),
    ];
    for (what, spoil) in spoils {
        let lab = Lab::new(0);
        spoil(&lab.layout);
        let error = Store::open(lab.layout.clone()).unwrap_err();
        let StoreError::Unsupported { what: told, remedy } = &error else {
            panic!("{what}: {error}");
        };
        assert!(told.contains(what), "{told}");
        assert!(!remedy.is_empty());
    }
}

#[test]
fn a_stub_file_and_folders_in_the_log_are_no_trouble() {
    let mut lab = Lab::new(0);
    lab.fill(1000);
    fs::write(lab.layout.commitlog.join(file_name(FILE)), "").unwrap();
    fs::create_dir(lab.layout.commitlog.join("lost+found")).unwrap();
    assert_eq!(lab.extent().end, lab.writer.end());
}

#[test]
fn a_volume_has_one_worker() {
    let lab = Lab::new(0);
    let store = lab.store();
    let lock = store.lock().unwrap();
    assert!(matches!(store.lock(), Err(StoreError::Locked { .. })));
    drop(lock);
    store.lock().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever bytes stand in the files, a walk ends with an answer, and its end is a boundary.
    #[test]
    fn any_damage_leaves_a_walkable_log(
        at in 0_u64..9000,
        bytes in proptest::collection::vec(any::<u8>(), 1..300),
        unclean in any::<bool>(),
    ) {
        let mut lab = Lab::new(0);
        lab.fill(9000);
        lab.writer.write(at, &bytes[..bytes.len().min(usize::try_from(FILE - at % FILE).unwrap())]).unwrap();
        if unclean {
            fs::write(lab.layout.root.join("abort"), "").unwrap();
        }
        let extent = lab.extent();
        prop_assert!(extent.end <= lab.writer.end());
        let below = lab.store().boundary_at_or_below(extent.end).unwrap();
        prop_assert_eq!(below, extent.end);
    }
}
