//! What a changed base means for the broker that runs with the old one.

use super::{BaseConf, OWNED};
use std::collections::BTreeSet;

/// One key whose value is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key. Its values are left out: some are credentials.
    pub key: String,
    /// What to do about it.
    pub kind: ChangeKind,
}

/// What to do about a changed key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// A running broker takes the new value by code 25 (facts §3.3).
    Hot,
    /// Counts from the next start on. Code 25 would do nothing, or break puts (`flushDiskType`).
    Restart,
    /// The agent sets this key; the base's value never counts.
    Owned,
    /// Another group, or another store than the one that holds the data: neither hot nor by a restart without a person.
    Harmful,
}

/// Read at every use by 4.9 and 5.x, and harmless to change (facts §3.3).
const HOT: [&str; 14] = [
    "allAckInSyncStateSet",
    "brokerPermission",
    "deleteWhen",
    "diskMaxUsedSpaceRatio",
    "enableAutoInSyncReplicas",
    "fileReservedTime",
    "forceRegister",
    "haMaxGapNotInSync",
    "haSlaveFallbehindMax",
    "maxMessageSize",
    "minInSyncReplicas",
    "slaveReadEnable",
    "slaveTimeout",
    "syncFlushTimeout",
];

/// Change which group the data belongs to, where it lies, or how it is laid out.
const HARMFUL: [&str; 11] = [
    "brokerClusterName",
    "brokerName",
    "enableControllerMode",
    "enableDLegerCommitLog",
    "mappedFileSizeCommitLog",
    "mappedFileSizeConsumeQueue",
    "messageStorePlugIn",
    "readOnlyCommitLogStorePaths",
    "storePathCommitLog",
    "storePathRootDir",
    "storeType",
];

/// The keys that differ, in the order of their names.
pub fn diff(old: &BaseConf, new: &BaseConf) -> Vec<Change> {
    let entries = old
        .properties
        .entries()
        .iter()
        .chain(new.properties.entries());
    let keys: BTreeSet<&str> = entries.map(|entry| entry.key.as_str()).collect();
    let changed = keys.into_iter().filter(|key| old.get(key) != new.get(key));
    changed
        .map(|key| Change {
            key: key.to_owned(),
            kind: kind_of(key, new),
        })
        .collect()
}

fn kind_of(key: &str, new: &BaseConf) -> ChangeKind {
    if OWNED.contains(&key) {
        return ChangeKind::Owned;
    }
    if HARMFUL.contains(&key) {
        return ChangeKind::Harmful;
    }
    // A removed line means the default of this broker's version, which only the broker knows.
    if HOT.contains(&key) && new.get(key).is_some() {
        ChangeKind::Hot
    } else {
        ChangeKind::Restart
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn changes(old: &str, new: &str) -> Vec<(String, ChangeKind)> {
        let parse = |lines: &str| {
            let text = format!("brokerClusterName=c\nbrokerName=b\n{lines}");
            BaseConf::parse(Path::new("base"), text.as_bytes()).unwrap()
        };
        diff(&parse(old), &parse(new))
            .into_iter()
            .map(|change| (change.key, change.kind))
            .collect()
    }

    #[test]
    fn each_changed_key_is_of_one_kind() {
        let old = "slaveTimeout=1\nflushDiskType=ASYNC_FLUSH\nbrokerId=1\nmaxMessageSize=9";
        let new = "slaveTimeout=2\nflushDiskType=SYNC_FLUSH\nbrokerId=2\nstorePathRootDir=/x\nmaxMessageSize=9";
        let expected = [
            ("brokerId", ChangeKind::Owned),
            ("flushDiskType", ChangeKind::Restart),
            ("slaveTimeout", ChangeKind::Hot),
            ("storePathRootDir", ChangeKind::Harmful),
        ];
        assert_eq!(
            changes(old, new),
            expected.map(|(key, kind)| (key.to_owned(), kind))
        );
    }

    #[test]
    fn a_removed_line_waits_for_a_restart() {
        assert_eq!(
            changes("slaveTimeout=1", ""),
            [("slaveTimeout".to_owned(), ChangeKind::Restart)]
        );
    }

    #[test]
    fn comments_order_and_repetition_change_nothing() {
        assert_eq!(
            changes(
                "slaveTimeout=1\nslaveTimeout=2\nunknown=1",
                "# x\nunknown=1\nslaveTimeout = 2"
            ),
            []
        );
    }

    #[test]
    fn the_lists_name_known_keys_once() {
        let keys = crate::broker_conf::key::Keys::known();
        for key in HOT.iter().chain(&HARMFUL).chain(&OWNED) {
            assert!(keys.kind(key).is_some(), "{key}");
            let lists = [
                HOT.contains(key),
                HARMFUL.contains(key),
                OWNED.contains(key),
            ];
            assert_eq!(
                lists.into_iter().filter(|&listed| listed).count(),
                1,
                "{key}"
            );
        }
    }
}
