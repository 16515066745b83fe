//! A store with everything in it that a cut touches, and a machine that dies on order.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use store::testing::{Message, Writer};
use store::{CutOrder, CutReport, Host, Layout, Store};

pub(crate) const FILE: u64 = 4096;

/// A machine with a disk of any size that dies before a given step.
pub(crate) struct Fake {
    pub(crate) free: AtomicU64,
    pub(crate) dies_before: AtomicUsize,
    pub(crate) steps: Mutex<Vec<String>>,
}

impl Fake {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            free: AtomicU64::new(u64::MAX),
            dies_before: AtomicUsize::new(usize::MAX),
            steps: Mutex::new(Vec::new()),
        })
    }

    pub(crate) fn steps(&self) -> Vec<String> {
        self.steps.lock().unwrap().clone()
    }
}

impl Host for Fake {
    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.free.load(Ordering::Relaxed))
    }

    fn step(&self, what: &str, path: &Path) -> io::Result<()> {
        let mut steps = self.steps.lock().unwrap();
        if steps.len() >= self.dies_before.load(Ordering::Relaxed) {
            return Err(io::Error::other("power lost"));
        }
        steps.push(format!("{what} {}", path.display()));
        Ok(())
    }
}

/// A store with everything a cut touches: several files, several queues, stale bytes, index, timers, epochs.
pub(crate) struct Lab {
    _dir: tempfile::TempDir,
    pub(crate) layout: Layout,
    pub(crate) records: Vec<u64>,
    pub(crate) end: u64,
}

impl Lab {
    pub(crate) fn new() -> Self {
        // Thousands of syncs: in memory they take a second, on a busy disk a minute.
        let dir = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let layout = Layout::new(&dir.path().join("store"), FILE, 200);
        let mut writer = Writer::create(&layout, FILE).unwrap();
        for index in 0..60_u32 {
            let len = 100 + usize::try_from(index).unwrap() % 300;
            let topic = ["orders", "stock"][usize::try_from(index % 2).unwrap()];
            let mut message = Message::new(topic, index % 3, len)
                .with("KEYS", &format!("key{index}"))
                .with("TAGS", "red")
                .with("UNIQ_KEY", &format!("ID{index}"));
            message.store_timestamp_ms += i64::from(index);
            if index == 45 {
                // The delivered copy of a timer.
                message = message
                    .with("TIMER_DEQUEUE_MS", "1699999999000")
                    .with("TIMER_OUT_MS", "1699999997500");
            }
            writer.append(&message).unwrap();
        }
        let end = writer.end();
        writer
            .write(end, &Message::new("torn", 0, 300).encode(end, 0)[..50])
            .unwrap();
        writer
            .write(
                end + 100,
                &Message::new("stray", 0, 20).encode(end + 100, 0),
            )
            .unwrap();
        writer.preallocate(end - end % FILE + FILE).unwrap();
        writer.checkpoint(1_700_000_000_050, 77, end).unwrap();
        writer
            .index("20260101000000000", FILE, writer.records()[5])
            .unwrap();
        writer
            .index("20260101000000001", FILE, writer.records()[55])
            .unwrap();
        let timers: Vec<u64> = writer.records().iter().step_by(4).copied().collect();
        writer.timer(&timers).unwrap();
        let epochs = format!("3\n0\n1-0\n2-{}\n3-{}\n", FILE + 7, writer.records()[50]);
        fs::write(layout.root.join("epochFileCheckpoint"), &epochs).unwrap();
        fs::write(layout.root.join("epochFileCheckpoint.bak"), &epochs).unwrap();
        Self {
            _dir: dir,
            records: writer.records().to_vec(),
            layout,
            end,
        }
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(self.layout.clone()).unwrap()
    }

    pub(crate) fn on(&self, host: &Arc<Fake>) -> Store {
        Store::open_on(self.layout.clone(), Arc::clone(host) as Arc<dyn Host>).unwrap()
    }

    pub(crate) fn order(&self, to: u64) -> CutOrder {
        CutOrder {
            to,
            epoch: 9,
            why: "longer than the group's log".to_owned(),
            lost_and_found: self.store().lost_and_found(),
        }
    }

    pub(crate) fn cut(&self, to: u64) -> CutReport {
        let store = self.store();
        let lock = store.lock().unwrap();
        store.cut(&lock, &self.order(to)).unwrap()
    }

    /// Every file with its length and checksum, so that a difference can be read.
    pub(crate) fn sums(&self) -> BTreeMap<PathBuf, (usize, u32)> {
        let sum = |bytes: Vec<u8>| (bytes.len(), crc32fast::hash(&bytes));
        let tree = self.tree().into_iter();
        tree.map(|(path, bytes)| (path, sum(bytes))).collect()
    }

    /// Every file but the lock with its content.
    pub(crate) fn tree(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut tree = BTreeMap::new();
        let mut folders = vec![self.layout.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.ends_with("ha/lock") {
                    continue;
                }
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(&self.layout.root).unwrap();
                    let text = fs::read(&path).unwrap();
                    // Reports name the temporary folder of this test.
                    let text = match String::from_utf8(text) {
                        Ok(text) => text
                            .replace(self.layout.root.to_str().unwrap(), "ROOT")
                            .into_bytes(),
                        Err(bytes) => bytes.into_bytes(),
                    };
                    tree.insert(name.to_owned(), text);
                }
            }
        }
        tree
    }

    /// The log's bytes, archived ones put back in their places.
    pub(crate) fn log_with_archive(&self, archive: &Path) -> Vec<u8> {
        let mut log = vec![0; usize::try_from(8 * FILE).unwrap()];
        let mut put = |path: &Path| {
            let at: usize = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
            for (place, byte) in log[at..].iter_mut().zip(fs::read(path).unwrap()) {
                if byte != 0 {
                    *place = byte;
                }
            }
        };
        for dir in [self.layout.commitlog.clone(), archive.join("commitlog")] {
            for entry in fs::read_dir(dir).unwrap() {
                put(&entry.unwrap().path());
            }
        }
        log
    }
}

/// Log offsets of all units in the consume queues.
pub(crate) fn units(layout: &Layout) -> Vec<u64> {
    let mut units = Vec::new();
    for topic in fs::read_dir(layout.root.join("consumequeue")).unwrap() {
        for queue in fs::read_dir(topic.unwrap().path()).unwrap() {
            for file in fs::read_dir(queue.unwrap().path()).unwrap() {
                let bytes = fs::read(file.unwrap().path()).unwrap();
                assert_eq!(bytes.len(), 200);
                for unit in bytes.as_chunks::<20>().0 {
                    if unit.iter().any(|b| *b != 0) {
                        units.push(u64::from_be_bytes(*unit.first_chunk().unwrap()));
                    }
                }
            }
        }
    }
    units.sort_unstable();
    units
}
