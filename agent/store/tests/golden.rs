//! Files of real brokers (`tests/fixtures/store/<version>`), held against what those brokers answered their clients.
//!
//! Each was made by one broker with 1 MiB commit-log files and 2000-byte consume-queue files: six messages on two topics,
//! one of them delayed. Trailing zeros were cut off; `told.json` has the broker's own end of log and send replies.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use serde_json::Value;
use store::{CutOrder, Layout, Store};

const VERSIONS: [&str; 2] = ["4.9.7", "5.5.0"];
const FILE: u64 = 1 << 20;
const QUEUE_FILE: u64 = 2000;

struct Golden {
    dir: tempfile::TempDir,
    from: PathBuf,
    told: Value,
}

impl Golden {
    fn new(version: &str) -> Self {
        let from = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/fixtures/store")
            .join(version);
        let told = serde_json::from_slice(&fs::read(from.join("told.json")).unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let golden = Self { dir, from, told };
        let first = "00000000000000000000";
        golden.put("commitlog.bin", &format!("commitlog/{first}"), FILE);
        let queue = format!("consumequeue/orders/0/{first}");
        golden.put("consumequeue-orders-0.bin", &queue, QUEUE_FILE);
        golden.put("checkpoint.bin", "checkpoint", 4096);
        golden.put("index-header.bin", "index/20260101000000000", 4096);
        if golden.from.join("timerlog.bin").exists() {
            golden.put("timerlog.bin", &format!("timerlog/{first}"), FILE);
        }
        golden
    }

    fn put(&self, from: &str, to: &str, len: u64) {
        let to = self.dir.path().join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(self.from.join(from), &to).unwrap();
        let file = OpenOptions::new().write(true).open(to).unwrap();
        file.set_len(len).unwrap();
    }

    fn store(&self) -> Store {
        Store::open(Layout::new(self.dir.path(), FILE, QUEUE_FILE)).unwrap()
    }

    fn sent(&self) -> &[Value] {
        self.told["sent"].as_array().unwrap()
    }

    /// Offset at which the broker stored a message: the last 16 digits of its id.
    fn offset(message: &Value) -> u64 {
        let id = message["offset_message_id"].as_str().unwrap();
        u64::from_str_radix(&id[16..], 16).unwrap()
    }

    fn cut(&self, to: u64) -> store::CutReport {
        let store = self.store();
        let order = CutOrder {
            to,
            epoch: 1,
            why: "golden".to_owned(),
            lost_and_found: store.lost_and_found(),
        };
        store.cut(&store.lock().unwrap(), &order).unwrap()
    }
}

#[test]
fn the_walk_ends_where_the_broker_says() {
    for version in VERSIONS {
        let golden = Golden::new(version);
        let extent = golden.store().extent().unwrap();
        assert_eq!(extent.end, golden.told["end"], "{version}");
        assert_eq!(extent.garbage_bytes, 0);
        for message in golden.sent() {
            let at = Golden::offset(message);
            assert_eq!(golden.store().boundary_at_or_below(at).unwrap(), at);
        }
    }
}

#[test]
fn the_listing_names_every_message_as_the_broker_did() {
    for version in VERSIONS {
        let golden = Golden::new(version);
        let archive = golden.cut(0).archive.unwrap();
        let text = fs::read_to_string(archive.join("messages.jsonl")).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        for message in golden.sent() {
            let at = Golden::offset(message);
            let line = lines.iter().find(|line| line["offset"] == at).unwrap();
            for key in [
                "offset_message_id",
                "message_id",
                "keys",
                "tags",
                "body_bytes",
            ] {
                assert_eq!(line[key], message[key], "{version} {key}");
            }
            // A delayed message lies on a topic of the broker's until its time comes.
            if message["delayed"] == true {
                assert_eq!(line["real_topic"], message["topic"]);
                assert_eq!(line["real_queue"], message["queue"].to_string());
            } else {
                for key in ["topic", "queue", "queue_offset"] {
                    assert_eq!(line[key], message[key], "{version} {key}");
                }
            }
        }
    }
}

#[test]
fn derived_files_of_real_brokers_are_understood() {
    for version in VERSIONS {
        let golden = Golden::new(version);
        let store = golden.store();
        let nothing = store.repair_tail(&store.lock().unwrap(), 1, None).unwrap();
        assert_eq!(
            (nothing.queue_files, nothing.index_files),
            (0, 0),
            "{version}"
        );
        assert!(nothing.timers == 0 && !nothing.removed_bytes());

        // The fifth message goes: the delayed one before it stays, and so does the timer that points at it.
        let report = golden.cut(Golden::offset(&golden.sent()[4]));
        assert_eq!(
            (report.queue_files, report.index_files),
            (1, 1),
            "{version}"
        );
        assert_eq!(report.timers, 0);
        let queue = golden
            .dir
            .path()
            .join("consumequeue/orders/0/00000000000000000000");
        let kept = fs::read(queue)
            .unwrap()
            .iter()
            .rposition(|b| *b != 0)
            .unwrap();
        assert!((20..40).contains(&kept), "two units of three stay: {kept}");

        let report = golden.cut(Golden::offset(&golden.sent()[3]));
        let timers = u64::from(golden.from.join("timerlog.bin").exists());
        assert_eq!(report.timers, timers);
    }
}

#[test]
fn the_checkpoint_of_a_real_broker_is_lowered_to_the_last_message() {
    for version in VERSIONS {
        let golden = Golden::new(version);
        let path = golden.dir.path().join("checkpoint");
        let first = |path: &Path| {
            let bytes = fs::read(path).unwrap();
            i64::from_be_bytes(*bytes.first_chunk().unwrap())
        };
        let before = first(&path);
        golden.cut(Golden::offset(&golden.sent()[2]));
        let last = golden.store().extent().unwrap().last.unwrap();
        assert_eq!(first(&path), last.store_timestamp_ms);
        assert!(last.store_timestamp_ms < before, "{version}");
        assert_eq!(File::open(&path).unwrap().metadata().unwrap().len(), 4096);
    }
}
