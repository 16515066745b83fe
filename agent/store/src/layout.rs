//! Where a broker keeps its files and how long they are; which kinds of store are left alone.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{At, StoreError, unsupported};

const QUEUE_UNIT: u64 = 20;
const BATCH_QUEUE_UNIT: u64 = 46;
/// Defaults of RocketMQ's `MessageStoreConfig` (facts §5.1).
const COMMITLOG_FILE: u64 = 1 << 30;
const QUEUE_FILE: u64 = 300_000 * QUEUE_UNIT;
const BATCH_QUEUE_FILE: u64 = 300_000 * BATCH_QUEUE_UNIT;

/// Paths and file lengths of one store, as in the broker's configuration.
///
/// The lengths must be those the files were written with: a file of another length stops the broker (facts §5.1), and
/// makes this package refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// `storePathRootDir`.
    pub root: PathBuf,
    /// `storePathCommitLog`: one folder.
    pub commitlog: PathBuf,
    /// `mappedFileSizeCommitLog` in bytes.
    pub commitlog_file_size: u64,
    /// `mappedFileSizeConsumeQueue` in bytes, rounded up to whole units of 20 bytes as the broker does.
    pub consumequeue_file_size: u64,
    /// `mapperFileSizeBatchConsumeQueue` in bytes, rounded up to whole units of 46 bytes.
    pub batch_consumequeue_file_size: u64,
}

impl Layout {
    /// The layout below `root` with these two file lengths in bytes and RocketMQ's defaults for the rest.
    #[must_use]
    pub fn new(root: &Path, commitlog_file_size: u64, consumequeue_file_size: u64) -> Self {
        Self {
            root: root.to_owned(),
            commitlog: root.join("commitlog"),
            commitlog_file_size,
            consumequeue_file_size: round_up(consumequeue_file_size, QUEUE_UNIT),
            batch_consumequeue_file_size: BATCH_QUEUE_FILE,
        }
    }

    /// Reads the layout out of a broker configuration. Keys left out take RocketMQ's defaults, except
    /// `storePathRootDir`: its default hangs on the home folder of the broker's user, which is not ours to guess.
    ///
    /// # Errors
    /// [`StoreError::Conf`] for a value the broker would not take, [`StoreError::Unsupported`] for a kind of store that
    /// this package leaves alone.
    pub fn from_conf(conf: &BTreeMap<String, String>) -> Result<Self, StoreError> {
        refuse_unknown_kinds(conf)?;
        let root = PathBuf::from(
            conf.get("storePathRootDir")
                .ok_or_else(|| StoreError::Conf {
                    key: "storePathRootDir",
                    value: String::new(),
                    reason: "it is missing; set it to the store's folder".to_owned(),
                })?,
        );
        let commitlog = conf
            .get("storePathCommitLog")
            .map_or_else(|| root.join("commitlog"), PathBuf::from);
        let queue = file_size(conf, "mappedFileSizeConsumeQueue", QUEUE_FILE)?;
        let batch = file_size(conf, "mapperFileSizeBatchConsumeQueue", BATCH_QUEUE_FILE)?;
        Ok(Self {
            root,
            commitlog,
            commitlog_file_size: file_size(conf, "mappedFileSizeCommitLog", COMMITLOG_FILE)?,
            consumequeue_file_size: round_up(queue, QUEUE_UNIT),
            batch_consumequeue_file_size: round_up(batch, BATCH_QUEUE_UNIT),
        })
    }

    /// Looks for signs of a kind of store this package does not understand.
    pub(crate) fn check_kind(&self) -> Result<(), StoreError> {
        for entry in entries(&self.root)? {
            let name = entry.file_name();
            if name.to_string_lossy().starts_with("dledger-") {
                return Err(unsupported(
                    format!("{} is a DLedger commit log", entry.path().display()),
                    "DLedger brokers elect their own leader; run them in observe mode",
                ));
            }
        }
        for dir in ["consumequeue", "consumequeue_rocksdb"] {
            let dir = self.root.join(dir);
            if let Some(file) = entries(&dir)?.iter().find(|entry| entry.path().is_file()) {
                return Err(unsupported(
                    format!(
                        "{} belongs to RocksDB consume queues",
                        file.path().display()
                    ),
                    "set storeType=default and remove the folder so that the broker rebuilds it",
                ));
            }
        }
        let compaction = self.root.join("compaction");
        for entry in entries(&compaction)? {
            if !entries(&entry.path())?.is_empty() {
                return Err(unsupported(
                    format!("{} holds a compacted topic", entry.path().display()),
                    "set enableCompaction=false and move compaction/ away: a cut cannot undo compaction",
                ));
            }
        }
        Ok(())
    }
}

/// The entries of a folder; an absent folder, or a file in its place, has none.
pub(crate) fn entries(dir: &Path) -> Result<Vec<fs::DirEntry>, StoreError> {
    match fs::read_dir(dir) {
        Ok(list) => list.collect::<io::Result<_>>().at("list", dir),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(Vec::new())
        }
        Err(error) => Err(error).at("list", dir),
    }
}

fn refuse_unknown_kinds(conf: &BTreeMap<String, String>) -> Result<(), StoreError> {
    const ON: [(&str, &str); 6] = [
        (
            "enableDLegerCommitLog",
            "run DLedger brokers in observe mode",
        ),
        ("rocksdbCQDoubleWriteEnable", "set it to false"),
        ("combineCQUseRocksdbForLmq", "set it to false"),
        ("timerRocksDBEnable", "set it to false"),
        ("transRocksDBEnable", "set it to false"),
        ("indexRocksDBEnable", "set it to false"),
    ];
    let value = |key: &str| conf.get(key).map_or("", String::as_str);
    for (key, remedy) in ON {
        // Java's Boolean.parseBoolean: anything but "true" in any case is false.
        if value(key).eq_ignore_ascii_case("true") {
            return Err(unsupported(format!("broker conf has {key}=true"), remedy));
        }
    }
    let kind = value("storeType");
    if !kind.is_empty() && kind != "default" {
        return Err(unsupported(
            format!("broker conf has storeType={kind}"),
            "set storeType=default",
        ));
    }
    let several = value("storePathCommitLog").contains(',');
    if several || !value("readOnlyCommitLogStorePaths").is_empty() {
        return Err(unsupported(
            "broker conf has several commit-log paths",
            "set storePathCommitLog to one folder and drop readOnlyCommitLogStorePaths",
        ));
    }
    let plug_in = value("messageStorePlugIn");
    if !plug_in.is_empty() {
        return Err(unsupported(
            format!("broker conf has messageStorePlugIn={plug_in} (tiered or foreign storage)"),
            "drop messageStorePlugIn",
        ));
    }
    Ok(())
}

fn file_size(
    conf: &BTreeMap<String, String>,
    key: &'static str,
    default: u64,
) -> Result<u64, StoreError> {
    let Some(text) = conf.get(key) else {
        return Ok(default);
    };
    // The broker takes a Java int and silently keeps its default for anything else; a wrong length here would be
    // found only at the files.
    match text.parse::<i32>().ok().and_then(|n| u64::try_from(n).ok()) {
        Some(bytes) if bytes > 0 => Ok(bytes),
        _ => Err(StoreError::Conf {
            key,
            value: text.clone(),
            reason: "a file length is a number of bytes from 1 to 2147483647".to_owned(),
        }),
    }
}

fn round_up(bytes: u64, unit: u64) -> u64 {
    bytes.div_ceil(unit).saturating_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn defaults_are_rocketmqs() {
        let layout = Layout::from_conf(&conf(&[("storePathRootDir", "/s")])).unwrap();
        assert_eq!(layout.commitlog, Path::new("/s/commitlog"));
        assert_eq!(layout.commitlog_file_size, 1 << 30);
        assert_eq!(layout.consumequeue_file_size, 6_000_000);
        assert_eq!(layout.batch_consumequeue_file_size, 13_800_000);
    }

    #[test]
    fn queue_files_are_whole_units() {
        let layout = Layout::from_conf(&conf(&[
            ("storePathRootDir", "/s"),
            ("storePathCommitLog", "/log"),
            ("mappedFileSizeCommitLog", "1048576"),
            ("mappedFileSizeConsumeQueue", "2001"),
        ]))
        .unwrap();
        assert_eq!(layout.commitlog, Path::new("/log"));
        assert_eq!(layout.commitlog_file_size, 1_048_576);
        assert_eq!(layout.consumequeue_file_size, 2020);
    }

    #[test]
    fn bad_numbers_and_a_missing_root_are_named() {
        let error = Layout::from_conf(&conf(&[])).unwrap_err().to_string();
        assert!(error.contains("storePathRootDir"), "{error}");
        for bad in ["", "1G", "-1", "0", "4294967296", "7 "] {
            let error = Layout::from_conf(&conf(&[
                ("storePathRootDir", "/s"),
                ("mappedFileSizeCommitLog", bad),
            ]))
            .unwrap_err()
            .to_string();
            assert!(error.contains("mappedFileSizeCommitLog="), "{error}");
        }
    }

    #[test]
    fn kinds_we_do_not_understand_are_left_alone() {
        for (key, value) in [
            ("storeType", "defaultRocksDB"),
            ("enableDLegerCommitLog", "True"),
            ("storePathCommitLog", "/a,/b"),
            ("readOnlyCommitLogStorePaths", "/c"),
            (
                "messageStorePlugIn",
                "org.apache.rocketmq.tieredstore.TieredMessageStore",
            ),
            ("rocksdbCQDoubleWriteEnable", "true"),
            ("timerRocksDBEnable", "true"),
        ] {
            let error =
                Layout::from_conf(&conf(&[("storePathRootDir", "/s"), (key, value)])).unwrap_err();
            assert!(
                matches!(error, StoreError::Unsupported { .. }),
                "{key}: {error}"
            );
        }
    }
}
