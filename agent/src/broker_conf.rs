//! The operator's broker.conf (the base), and the file the broker is really started with.
//!
//! The base is read only and belongs to the operator. [`BaseConf::parse`] refuses what the broker would silently take for
//! something else, [`render`] adds the keys that the agent owns ([`OWNED`]), [`write_atomically`] puts the result where
//! the launcher starts the broker from. The rendered file is made anew before every start and read back only to tell whether it is out of date: the broker
//! may write over it (facts §3.2). [`diff`] tells what a changed base means for a running broker.

mod change;
mod error;
mod file;
mod key;
mod reader;
mod render;
mod report;

pub use change::{Change, ChangeKind, diff};
pub use error::{ConfError, Problem};
pub use file::{WriteError, write_atomically};
pub use render::{
    Gate, Generation, NAME_SERVER_PERIOD_MS, OWNED, Owned, Replication, Role, SHUT_GATE_MS,
    UNREACHABLE_HA_ADDRESS, is_made_from, render,
};
pub use report::{Note, Oddity, Overridden};

use crate::properties::Properties;
use reader::Reader;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// What the broker flushes before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushDiskType {
    /// Answers from the page cache; flushes every 500 ms. The default.
    Async,
    /// Answers after the flush.
    Sync,
}

/// How a broker gets its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerMode {
    /// From its conf: the mode that the agent drives by restarts.
    Classic,
    /// From a Raft group of its own (`enableDLegerCommitLog`).
    DLedger,
    /// From a controller (`enableControllerMode`, 5.x).
    Controller,
}

/// A base that is safe to start a broker with.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseConf {
    path: PathBuf,
    properties: Properties,
    cluster: String,
    broker_name: String,
    listen_port: u16,
    ha_listen_port: Option<u16>,
    commit_log_file_bytes: u32,
    consume_queue_file_bytes: u32,
    flush_disk_type: FlushDiskType,
    mode: BrokerMode,
    overridden: Vec<Overridden>,
    notes: Vec<Note>,
}

impl BaseConf {
    /// Reads the bytes of a base; the path is for messages only.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ConfError> {
        let properties = Properties::parse(bytes).map_err(|error| syntax(path, &error))?;
        let reader = Reader {
            path,
            properties: &properties,
        };
        let notes = reader.check_lines()?;
        reader.refuse_what_works_against_us()?;
        let listen_port = reader.port(
            "listenPort",
            3..=65534,
            "3 to 65534 (the broker takes listenPort-2 and listenPort+1 too)",
        )?;
        let ha_listen_port = reader.ha_listen_port(listen_port.unwrap_or(DEFAULT_LISTEN_PORT))?;
        let mut conf = Self {
            path: path.to_owned(),
            cluster: reader.required("brokerClusterName")?,
            broker_name: reader.required("brokerName")?,
            listen_port: listen_port.unwrap_or(DEFAULT_LISTEN_PORT),
            ha_listen_port,
            commit_log_file_bytes: reader.size("mappedFileSizeCommitLog", 1 << 30)?,
            consume_queue_file_bytes: reader
                .size("mappedFileSizeConsumeQueue", 300_000 * CONSUME_QUEUE_UNIT)?,
            flush_disk_type: reader.flush_disk_type()?,
            mode: reader.mode()?,
            overridden: reader.overridden(),
            notes,
            properties,
        };
        conf.note_ports();
        Ok(conf)
    }

    /// The file it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The value of any key of the base, as the broker would see it if the agent did not own it.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.properties.get(key).map(|entry| entry.value.as_str())
    }

    /// `brokerClusterName`.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// `brokerName`: the name of the group.
    pub fn broker_name(&self) -> &str {
        &self.broker_name
    }

    /// `listenPort`, 3 to 65534.
    pub fn listen_port(&self) -> u16 {
        self.listen_port
    }

    /// The port on which the broker offers its log: `haListenPort` or listenPort+1, on 4.9 always the latter.
    pub fn ha_port(&self, generation: Generation) -> u16 {
        match generation {
            Generation::V4 => self.listen_port + 1,
            Generation::V5 => self.ha_listen_port.unwrap_or(self.listen_port + 1),
        }
    }

    /// `storePathRootDir`, else `store` in the home of the broker's user (the JVM's `user.home`).
    pub fn store_root(&self, home: &Path) -> PathBuf {
        self.get("storePathRootDir")
            .map_or_else(|| home.join("store"), PathBuf::from)
    }

    /// `storePathCommitLog`, else `commitlog` in the store's root. One folder: see [`Self::check_managed`].
    pub fn commit_log_dir(&self, home: &Path) -> PathBuf {
        self.get("storePathCommitLog")
            .map_or_else(|| self.store_root(home).join("commitlog"), PathBuf::from)
    }

    /// The length of each file of the commit log, in bytes; default 1 GiB.
    pub fn commit_log_file_bytes(&self) -> u64 {
        self.commit_log_file_bytes.into()
    }

    /// The length of each file of a consume queue, in bytes: whole units of 20 bytes, rounded up as the broker does.
    pub fn consume_queue_file_bytes(&self) -> u64 {
        u64::from(self.consume_queue_file_bytes).next_multiple_of(CONSUME_QUEUE_UNIT.into())
    }

    /// `flushDiskType`.
    pub fn flush_disk_type(&self) -> FlushDiskType {
        self.flush_disk_type
    }

    /// How this broker gets its role.
    pub fn mode(&self) -> BrokerMode {
        self.mode
    }

    /// `brokerPermission`, default 6 (read and write): what to send again to force a registration (facts §3.2).
    pub fn broker_permission(&self) -> &str {
        self.get("brokerPermission").unwrap_or("6")
    }

    /// The base's own `namesrvAddr`, which counts only where the agent has no other source.
    pub fn name_servers(&self) -> Option<&str> {
        self.get("namesrvAddr")
            .filter(|list| !list.trim().is_empty())
    }

    /// The keys that the agent owns and the base sets too.
    pub fn overridden(&self) -> &[Overridden] {
        &self.overridden
    }

    /// Oddities to log.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Whether the agent may change this broker's role and cut its log: a classic broker whose store is one commit log
    /// and plain consume queues. The error names the line that says otherwise.
    pub fn check_managed(&self) -> Result<(), ConfError> {
        let reader = Reader {
            path: &self.path,
            properties: &self.properties,
        };
        reader.unmanaged().map_or(Ok(()), Err)
    }

    /// Whether the promise of a QoS (0 to 2) can be kept with this base (safety H10).
    pub fn check_qos(&self, qos: u8) -> Result<(), ConfError> {
        let reader = Reader {
            path: &self.path,
            properties: &self.properties,
        };
        match reader.enabled("transientStorePoolEnable") {
            Some(entry) if qos > 0 => Err(reader.wrong(entry, Problem::TransientPool { qos })),
            _ => Ok(()),
        }
    }

    fn note_ports(&mut self) {
        let line_of = |key| self.properties.get(key).map_or(1, |entry| entry.line);
        let (listen, ha) = (self.listen_port, self.ha_port(Generation::V5));
        let mut found = Vec::new();
        for (port, line) in [
            (listen, line_of("listenPort")),
            (ha, line_of("haListenPort")),
        ] {
            if EPHEMERAL.contains(&port) {
                found.push(Note {
                    line,
                    oddity: Oddity::Ephemeral { port },
                });
            }
        }
        if let Some(port) = self.ha_listen_port.filter(|&port| port != listen + 1) {
            found.push(Note {
                line: line_of("haListenPort"),
                oddity: Oddity::HaPortIgnoredBy49 { port },
            });
        }
        self.notes.append(&mut found);
    }
}

/// The values are left out: some are credentials.
impl fmt::Debug for BaseConf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BaseConf")
            .field("path", &self.path)
            .field("cluster", &self.cluster)
            .field("broker_name", &self.broker_name)
            .finish_non_exhaustive()
    }
}

const DEFAULT_LISTEN_PORT: u16 = 10911;

/// One unit of a consume queue, in bytes (facts §5.1).
const CONSUME_QUEUE_UNIT: u32 = 20;

/// The range from which Linux takes ports for outgoing connections.
const EPHEMERAL: RangeInclusive<u16> = 32768..=60999;

fn syntax(path: &Path, error: &crate::properties::PropertiesError) -> ConfError {
    let (path, problem) = (path.to_owned(), Problem::Syntax(error.to_string()));
    ConfError::File { path, problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LEAST: &str = "brokerClusterName=c\nbrokerName=b\n";

    fn parse(lines: &str) -> Result<BaseConf, ConfError> {
        BaseConf::parse(
            Path::new("/etc/broker.conf"),
            format!("{LEAST}{lines}\n").as_bytes(),
        )
    }

    /// The message about a base whose third line is wrong.
    fn refusal(line: &str) -> String {
        let message = parse(line).unwrap_err().to_string();
        message
            .strip_prefix("/etc/broker.conf:3: ")
            .unwrap_or_else(|| panic!("{message}"))
            .to_owned()
    }

    #[test]
    fn the_least_base_has_the_defaults_of_the_broker() {
        let base = parse("").unwrap();
        assert_eq!(
            (base.cluster(), base.broker_name(), base.listen_port()),
            ("c", "b", 10911)
        );
        assert_eq!(
            (base.ha_port(Generation::V4), base.ha_port(Generation::V5)),
            (10912, 10912)
        );
        assert_eq!(
            base.store_root(Path::new("/home/r")),
            Path::new("/home/r/store")
        );
        assert_eq!(
            base.commit_log_dir(Path::new("/home/r")),
            Path::new("/home/r/store/commitlog")
        );
        assert_eq!(
            (
                base.commit_log_file_bytes(),
                base.consume_queue_file_bytes()
            ),
            (1 << 30, 6_000_000)
        );
        assert_eq!(
            (base.flush_disk_type(), base.mode()),
            (FlushDiskType::Async, BrokerMode::Classic)
        );
        assert_eq!((base.broker_permission(), base.name_servers()), ("6", None));
        assert!(base.notes().is_empty() && base.overridden().is_empty());
        base.check_managed().unwrap();
    }

    #[test]
    fn reads_what_is_set() {
        let base = parse(
            "listenPort=20911\nhaListenPort=21000\nstorePathRootDir=/d\nmappedFileSizeCommitLog=1048576\n\
             mappedFileSizeConsumeQueue=99\nflushDiskType=SYNC_FLUSH\nbrokerPermission=4",
        )
        .unwrap();
        assert_eq!(
            (base.ha_port(Generation::V4), base.ha_port(Generation::V5)),
            (20912, 21000)
        );
        assert_eq!(
            base.commit_log_dir(Path::new("/")),
            Path::new("/d/commitlog")
        );
        assert_eq!(
            (
                base.commit_log_file_bytes(),
                base.consume_queue_file_bytes()
            ),
            (1_048_576, 100)
        );
        assert_eq!(
            (base.flush_disk_type(), base.broker_permission()),
            (FlushDiskType::Sync, "4")
        );
        assert_eq!(
            base.notes().len(),
            1,
            "4.9 ignores haListenPort: {:?}",
            base.notes()
        );
        assert_eq!(
            parse("storePathCommitLog=/e")
                .unwrap()
                .commit_log_dir(Path::new("/")),
            Path::new("/e")
        );
    }

    #[test]
    fn a_missing_or_empty_name_is_refused() {
        let parse = |text: &str| {
            BaseConf::parse(Path::new("f"), text.as_bytes())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            parse("brokerName=b"),
            "f: brokerClusterName is missing; add brokerClusterName=<name>"
        );
        assert_eq!(
            parse("brokerClusterName=c\nbrokerName="),
            "f:2: brokerName is empty; give it a value"
        );
        assert_eq!(
            parse("a=\\u1"),
            "f: line 1: \\u needs four hexadecimal digits; for a backslash write \\\\"
        );
    }

    #[test]
    fn what_the_broker_would_silently_ignore_is_refused_with_its_line() {
        for (line, said) in [
            ("listenPort=10921 ", "delete the blanks after \"10921\""),
            (
                "enableControllerMode=true ",
                "delete the blanks after \"true\"",
            ),
            ("storePathRootDir=/d\\t", "delete the blanks after \"/d\""),
            ("listenPort=1O921", "write a whole number"),
            ("slaveReadEnable=yes", "write true or false"),
            ("commitIntervalCommitLog=", "write a whole number"),
            (
                "brokerRole=ASYNC_MASTR",
                "write ASYNC_MASTER, SYNC_MASTER or SLAVE",
            ),
            ("brokerRole=SLAVE ", "delete the blanks after \"SLAVE\""),
            (
                "flushDiskType=sync_flush",
                "write ASYNC_FLUSH or SYNC_FLUSH",
            ),
        ] {
            let message = refusal(line);
            assert!(message.contains(said), "{line}: {message}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_line() {
        for (line, said) in [
            ("listenPort=0", "use 3 to 65534"),
            ("listenPort=65535", "use 3 to 65534"),
            ("haListenPort=10911", "listenPort-2"),
            ("haListenPort=10909", "listenPort-2"),
            ("haListenPort=70000", "1 to 65535"),
            ("mappedFileSizeCommitLog=0", "1 to 2147483647"),
            (
                "storePathCommitLog=store/commitlog",
                "write an absolute path",
            ),
            ("duplicationEnable=true", "no replication service"),
            ("enableSlaveActingMaster=true", "slaves would take over"),
            (
                "configBlackList=configBlackList;brokerPermission",
                "NO_PERMISSION",
            ),
            (
                "enableControllerMode=true\nenableDLegerCommitLog=true",
                "no broker starts",
            ),
        ] {
            let message = refusal(line);
            assert!(message.contains(said), "{line}: {message}");
        }
        assert_eq!(
            parse("haListenPort=0").unwrap().ha_port(Generation::V5),
            10912
        );
    }

    #[test]
    fn brokers_of_another_kind_are_recognised_and_left_alone() {
        for (line, mode) in [
            ("enableDLegerCommitLog=true", BrokerMode::DLedger),
            ("enableControllerMode=true", BrokerMode::Controller),
            ("storeType=defaultRocksDB", BrokerMode::Classic),
            ("rocksdbCQDoubleWriteEnable=true", BrokerMode::Classic),
            ("storePathCommitLog=/a,/b", BrokerMode::Classic),
            ("readOnlyCommitLogStorePaths=/a", BrokerMode::Classic),
            (
                "messageStorePlugIn=org.apache.rocketmq.tieredstore.TieredMessageStore",
                BrokerMode::Classic,
            ),
        ] {
            let base = parse(line).unwrap();
            assert_eq!(base.mode(), mode, "{line}");
            let message = base.check_managed().unwrap_err().to_string();
            assert!(
                message.starts_with("/etc/broker.conf:3: ")
                    && message.contains("leaves such a broker alone"),
                "{message}"
            );
        }
        parse("storeType=default\nenableDLegerCommitLog=false")
            .unwrap()
            .check_managed()
            .unwrap();
    }

    #[test]
    fn a_transient_pool_is_for_qos_0_only() {
        let base = parse("transientStorePoolEnable=TRUE").unwrap();
        base.check_qos(0).unwrap();
        for qos in [1, 2] {
            let message = base.check_qos(qos).unwrap_err().to_string();
            assert!(
                message.starts_with("/etc/broker.conf:3: transientStorePoolEnable"),
                "{message}"
            );
        }
        parse("").unwrap().check_qos(2).unwrap();
    }

    #[test]
    fn owned_keys_are_reported_whatever_their_values() {
        let base = parse("brokerId=0 \nnamesrvAddr=ns:9876\nbrokerRole=SLAVE\nbrokerIP1=").unwrap();
        let found: Vec<_> = base
            .overridden()
            .iter()
            .map(|o| (o.key, o.line, o.value.as_str()))
            .collect();
        let expected = [
            ("brokerId", 3, "0 "),
            ("namesrvAddr", 4, "ns:9876"),
            ("brokerRole", 5, "SLAVE"),
            ("brokerIP1", 6, ""),
        ];
        assert_eq!(found, expected);
        assert_eq!(base.name_servers(), Some("ns:9876"));
    }

    #[test]
    fn oddities_are_noted() {
        let base = parse(
            "brokerRol=SLAVE\nslaveTimeout=1\nslaveTimeout=2\nregionId=a \nmsgTraceTopicName=\u{e9}\nlistenPort=40000",
        )
        .unwrap();
        let notes: Vec<_> = base.notes().iter().map(ToString::to_string).collect();
        for (note, said) in [
            (0, "line 3: no broker up to 5.5.0 knows brokerRol"),
            (1, "line 4: slaveTimeout stands again"),
            (2, "line 6: regionId ends with a blank"),
            (3, "line 7: msgTraceTopicName is UTF-8"),
            (4, "line 8: port 40000"),
        ] {
            assert!(notes[note].starts_with(said), "{notes:?}");
        }
        assert_eq!(base.get("slaveTimeout"), Some("2"));
        assert!(parse("regionId=\\u00e9\\u4E2D").unwrap().notes().is_empty());
    }

    #[test]
    fn values_do_not_show_in_debug_output() {
        let base = parse("initAuthenticationUser={\"password\":\"secret\"}").unwrap();
        assert!(!format!("{base:?}").contains("secret"));
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_base_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = BaseConf::parse(Path::new("f"), &bytes);
        }

        #[test]
        fn any_value_of_any_key_gives_a_base_or_an_error(key in prop::sample::select(vec![
            "listenPort", "haListenPort", "mappedFileSizeCommitLog", "mappedFileSizeConsumeQueue", "flushDiskType",
        ]), value in "[-+0-9]{0,12}") {
            if let Ok(base) = parse(&format!("{key}={value}")) {
                prop_assert!(base.ha_port(Generation::V5) != base.listen_port());
                prop_assert!(base.consume_queue_file_bytes() >= 20);
            }
        }
    }
}
