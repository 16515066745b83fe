//! The rules of a base, key by key.
//!
//! Everything here exists because the broker says nothing: a value it cannot parse leaves the default in force, a wrong
//! `brokerRole` makes a master (facts §3.1).

use super::key::{Keys, Kind};
use super::{BrokerMode, ConfError, FlushDiskType, Note, OWNED, Oddity, Overridden, Problem};
use crate::properties::{Entry, Properties};
use std::ops::RangeInclusive;
use std::path::Path;

/// Reads single keys, and says where what is wrong.
pub(super) struct Reader<'a> {
    pub(super) path: &'a Path,
    pub(super) properties: &'a Properties,
}

impl Reader<'_> {
    pub(super) fn wrong(&self, entry: &Entry, problem: Problem) -> ConfError {
        ConfError::Line {
            path: self.path.to_owned(),
            line: entry.line,
            problem,
        }
    }

    /// Checks every line by the type of its key. What the agent overrides may be anything.
    pub(super) fn check_lines(&self) -> Result<Vec<Note>, ConfError> {
        let keys = Keys::known();
        let mut notes = Vec::new();
        for entry in self.properties.entries() {
            let key = entry.key.clone();
            let mut note = |oddity| {
                notes.push(Note {
                    line: entry.line,
                    oddity,
                })
            };
            if self
                .properties
                .get(&key)
                .is_some_and(|last| last.line != entry.line)
            {
                note(Oddity::Repeated { key });
                continue;
            }
            if is_garbled(&key) || is_garbled(&entry.value) {
                note(Oddity::Garbled { key: key.clone() });
            }
            let trailing = entry.value.ends_with(|c: char| c.is_ascii_whitespace());
            match keys.kind(&key) {
                None => note(Oddity::Unknown { key }),
                Some(_) if OWNED.contains(&key.as_str()) && key != "brokerRole" => {}
                Some(Kind::Text) if trailing && !EXACT_TEXTS.contains(&key.as_str()) => {
                    note(Oddity::TrailingBlank { key })
                }
                Some(kind) => self.check_value(entry, kind, trailing)?,
            }
        }
        Ok(notes)
    }

    fn check_value(&self, entry: &Entry, kind: Kind, trailing: bool) -> Result<(), ConfError> {
        let (key, value) = (entry.key.clone(), entry.value.clone());
        if trailing {
            let value = value.trim_end().to_owned();
            return Err(self.wrong(entry, Problem::TrailingBlank { key, value }));
        }
        if !kind.takes(&value) {
            return Err(self.wrong(
                entry,
                Problem::NotTaken {
                    key,
                    value,
                    expected: kind.expected(),
                },
            ));
        }
        Ok(())
    }

    pub(super) fn refuse_what_works_against_us(&self) -> Result<(), ConfError> {
        for (key, reason) in REFUSED_SWITCHES {
            if let Some(entry) = self.enabled(key) {
                return Err(self.refused(entry, reason));
            }
        }
        for key in ["storePathRootDir", "storePathCommitLog"] {
            if let Some(entry) = self
                .properties
                .get(key)
                .filter(|entry| !entry.value.starts_with('/'))
            {
                return Err(self.refused(
                    entry,
                    "it depends on the JVM's working directory; write an absolute path, or",
                ));
            }
        }
        if let Some(entry) = self.properties.get("configBlackList")
            && entry
                .value
                .split(';')
                .any(|key| CHANGED_HOT.contains(&key.trim()))
        {
            return Err(self.refused(
                entry,
                "the agent changes a key on it while the broker runs, and would get NO_PERMISSION",
            ));
        }
        match (
            self.enabled("enableControllerMode"),
            self.enabled("enableDLegerCommitLog"),
        ) {
            (Some(entry), Some(_)) => Err(self.refused(
                entry,
                "no broker starts with it beside enableDLegerCommitLog",
            )),
            _ => Ok(()),
        }
    }

    fn refused(&self, entry: &Entry, reason: &'static str) -> ConfError {
        let (key, value) = (entry.key.clone(), entry.value.clone());
        self.wrong(entry, Problem::Refused { key, value, reason })
    }

    /// The entry of a switch that is on.
    pub(super) fn enabled(&self, key: &str) -> Option<&Entry> {
        self.properties
            .get(key)
            .filter(|entry| entry.value.eq_ignore_ascii_case("true"))
    }

    pub(super) fn required(&self, key: &'static str) -> Result<String, ConfError> {
        match self.properties.get(key) {
            None => Err(ConfError::File {
                path: self.path.to_owned(),
                problem: Problem::Missing(key),
            }),
            Some(entry) if entry.value.is_empty() => Err(self.wrong(entry, Problem::Empty(key))),
            Some(entry) => Ok(entry.value.clone()),
        }
    }

    fn number(&self, key: &str) -> Option<(&Entry, i64)> {
        let entry = self.properties.get(key)?;
        Some((entry, entry.value.parse().ok()?))
    }

    pub(super) fn port(
        &self,
        key: &'static str,
        allowed: RangeInclusive<u16>,
        range: &'static str,
    ) -> Result<Option<u16>, ConfError> {
        let Some((entry, value)) = self.number(key) else {
            return Ok(None);
        };
        match u16::try_from(value) {
            Ok(port) if allowed.contains(&port) => Ok(Some(port)),
            _ => Err(self.wrong(entry, Problem::OutOfRange { key, value, range })),
        }
    }

    /// None if the broker chooses listenPort+1, as it does for 0 and below too.
    pub(super) fn ha_listen_port(&self, listen: u16) -> Result<Option<u16>, ConfError> {
        let Some((entry, value)) = self.number("haListenPort") else {
            return Ok(None);
        };
        if value <= 0 {
            return Ok(None);
        }
        let range = "1 to 65535, or leave it out for listenPort+1";
        let Some(ha) = self.port("haListenPort", 1..=65535, range)? else {
            return Ok(None);
        };
        if ha == listen || ha == listen - 2 {
            return Err(self.wrong(entry, Problem::PortClash { ha, listen }));
        }
        Ok(Some(ha))
    }

    /// A file size in bytes: above 0, since the broker maps whole files.
    pub(super) fn size(&self, key: &'static str, default: u32) -> Result<u32, ConfError> {
        let Some((entry, value)) = self.number(key) else {
            return Ok(default);
        };
        match u32::try_from(value) {
            Ok(size) if size > 0 => Ok(size),
            _ => Err(self.wrong(
                entry,
                Problem::OutOfRange {
                    key,
                    value,
                    range: "1 to 2147483647 bytes",
                },
            )),
        }
    }

    pub(super) fn flush_disk_type(&self) -> Result<FlushDiskType, ConfError> {
        let Some(entry) = self.properties.get("flushDiskType") else {
            return Ok(FlushDiskType::Async);
        };
        match entry.value.as_str() {
            "ASYNC_FLUSH" => Ok(FlushDiskType::Async),
            "SYNC_FLUSH" => Ok(FlushDiskType::Sync),
            _ => Err(self.not_taken(entry, "ASYNC_FLUSH or SYNC_FLUSH")),
        }
    }

    pub(super) fn mode(&self) -> Result<BrokerMode, ConfError> {
        if let Some(entry) = self.properties.get("brokerRole")
            && !matches!(
                entry.value.as_str(),
                "ASYNC_MASTER" | "SYNC_MASTER" | "SLAVE"
            )
        {
            return Err(self.not_taken(
                entry,
                "ASYNC_MASTER, SYNC_MASTER or SLAVE (the agent sets it anyway)",
            ));
        }
        Ok(
            match (
                self.enabled("enableDLegerCommitLog"),
                self.enabled("enableControllerMode"),
            ) {
                (Some(_), _) => BrokerMode::DLedger,
                (None, Some(_)) => BrokerMode::Controller,
                (None, None) => BrokerMode::Classic,
            },
        )
    }

    fn not_taken(&self, entry: &Entry, expected: &'static str) -> ConfError {
        let (key, value) = (entry.key.clone(), entry.value.clone());
        self.wrong(
            entry,
            Problem::NotTaken {
                key,
                value,
                expected,
            },
        )
    }

    pub(super) fn overridden(&self) -> Vec<Overridden> {
        let found = OWNED.iter().filter_map(|&key| {
            let entry = self.properties.get(key)?;
            Some(Overridden {
                key,
                line: entry.line,
                value: entry.value.clone(),
            })
        });
        let mut overridden: Vec<_> = found.collect();
        overridden.sort_by_key(|overridden| overridden.line);
        overridden
    }

    pub(super) fn unmanaged(&self) -> Option<ConfError> {
        let text = |key: &str| {
            self.properties
                .get(key)
                .filter(|entry| !entry.value.is_empty())
        };
        let found = None
            .or_else(|| {
                Some((
                    self.enabled("enableDLegerCommitLog")?,
                    "DLedger elects its master itself",
                ))
            })
            .or_else(|| {
                Some((
                    self.enabled("enableControllerMode")?,
                    "a controller gives this broker its role",
                ))
            })
            .or_else(|| {
                let entry =
                    text("storeType").filter(|entry| !entry.value.eq_ignore_ascii_case("default"));
                Some((entry?, "its queues are not in plain files"))
            })
            .or_else(|| {
                let entry = ROCKSDB_SWITCHES.iter().find_map(|key| self.enabled(key));
                Some((entry?, "its queues are partly in RocksDB"))
            })
            .or_else(|| {
                let entry = text("storePathCommitLog").filter(|entry| entry.value.contains(','));
                Some((
                    entry.or_else(|| text("readOnlyCommitLogStorePaths"))?,
                    "its commit log lies in several folders",
                ))
            })
            .or_else(|| {
                Some((
                    text("messageStorePlugIn")?,
                    "a plug-in keeps messages elsewhere too",
                ))
            });
        let (entry, reason) = found?;
        let (key, value) = (entry.key.clone(), entry.value.clone());
        Some(self.wrong(entry, Problem::Unmanaged { key, value, reason }))
    }
}

/// Texts in which a blank at the end changes what the broker is, or where its store is.
const EXACT_TEXTS: [&str; 10] = [
    "brokerClusterName",
    "brokerName",
    "brokerRole",
    "flushDiskType",
    "messageStorePlugIn",
    "readOnlyCommitLogStorePaths",
    "storePathCommitLog",
    "storePathRootDir",
    "storeType",
    "configBlackList",
];

/// Keys that the agent changes while the broker runs, by code 25.
const CHANGED_HOT: [&str; 5] = [
    "brokerRole",
    "brokerPermission",
    "inSyncReplicas",
    "namesrvAddr",
    "startAcceptSendRequestTimeStamp",
];

/// Switches that work against the fail-over, and why.
const REFUSED_SWITCHES: [(&str, &str); 2] = [
    (
        "duplicationEnable",
        "the broker then has no replication service at all",
    ),
    (
        "enableSlaveActingMaster",
        "slaves would take over on their own, beside the agent's elections",
    ),
];

/// Switches that put a part of the queues into RocksDB, where a cut does not reach (facts §5.7).
const ROCKSDB_SWITCHES: [&str; 5] = [
    "rocksdbCQDoubleWriteEnable",
    "combineCQUseRocksdbForLmq",
    "indexRocksDBEnable",
    "timerRocksDBEnable",
    "transRocksDBEnable",
];

/// Whether the text is UTF-8 that was read as ISO-8859-1.
fn is_garbled(text: &str) -> bool {
    let bytes: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
    !text.is_ascii() && bytes.is_ok_and(|bytes| std::str::from_utf8(&bytes).is_ok())
}
