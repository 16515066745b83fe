//! The base plus the keys that the agent owns: what the broker is started with.

use super::{BaseConf, ConfError, Problem};
use crate::nameservers::HostPort;
use crate::properties::write_entry;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroU64};
use std::path::Path;

/// The keys that only the agent sets; what the base says about them does not count.
///
/// | key | rendered as |
/// |---|---|
/// | `brokerRole`, `brokerId`, `inSyncReplicas` | from the elected role; every one of them is read by a start |
/// | `startAcceptSendRequestTimeStamp` | the gate: [`SHUT_GATE_MS`] or 0 |
/// | `brokerIP1` | the address at which clients and agents reach this member |
/// | `brokerIP2` | [`UNREACHABLE_HA_ADDRESS`]: nobody replicates but through the relay |
/// | `haMasterAddress` | a slave's own relay; absent on a master |
/// | `namesrvAddr` | the list the agent has; it must be there at the start, or the broker never looks again |
/// | `updateNameServerAddrPeriod` | [`NAME_SERVER_PERIOD_MS`], all brokers: those before 5.3.1 ignore it |
/// | `fetchNamesrvAddrByAddressServer`, `fetchNameSrvAddrByDnsLookup` | `false`: with them `namesrvAddr` means something else |
/// | `brokerConfigPath` | 5.x: where the broker may write its own copy after a hot change, not over this file |
/// | `syncMasterFlushOffsetWhenStartup` | `false`: 906 without a flush offset is an NPE otherwise (facts §2.4) |
///
/// `haListenPort` stays the base's choice, and is written in any case, so that it does not depend on a default.
pub const OWNED: [&str; 13] = [
    "brokerRole",
    "brokerId",
    "inSyncReplicas",
    "startAcceptSendRequestTimeStamp",
    "brokerIP1",
    "brokerIP2",
    "haMasterAddress",
    "namesrvAddr",
    "updateNameServerAddrPeriod",
    "fetchNamesrvAddrByAddressServer",
    "fetchNameSrvAddrByDnsLookup",
    "brokerConfigPath",
    "syncMasterFlushOffsetWhenStartup",
];

/// A time that does not come (November 2286, ms since 1970): until then the broker refuses sends. Seen to work as a gate
/// on 4.9.7, 5.1.4, 5.3.3 and 5.5.0, opened hot by setting 0.
pub const SHUT_GATE_MS: i64 = 9_999_999_999_999;

/// The `brokerIP2` of every broker: name servers hand it on, and a connect to it fails at once inside the kernel, so no
/// broker finds another one's HA port by itself (seen on all four versions).
pub const UNREACHABLE_HA_ADDRESS: &str = "255.255.255.255";

/// How often a broker looks at its own `namesrvAddr` again, in ms; its default is 120 s, and 5.0.0 to 5.3.0 and 4.9 know
/// no other (they ignore the key: seen on 4.9.7 and 5.1.4). With a plain list a look costs the comparison of a few texts;
/// the HTTP look-up, where it would cost a request, has its own period and is switched off. The base does not decide: a
/// long one would leave name servers without this broker, and 0 or less would keep the broker from starting.
pub const NAME_SERVER_PERIOD_MS: u32 = 1_000;

/// Which family of brokers will read the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// 4.9: the HA port is always listenPort+1.
    V4,
    /// 5.0 and later.
    V5,
}

/// The elected role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes writes.
    Master(Replication),
    /// Follows a master through its own relay.
    Slave {
        /// From 1; a slave with 0 does not start.
        broker_id: NonZeroU64,
        /// Where its relay listens; on loopback.
        relay: SocketAddr,
    },
}

/// What a master waits for before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replication {
    /// For nobody.
    Async,
    /// For `in_sync_replicas` copies, its own included. 4.9 knows no number and waits for any one slave.
    Sync {
        /// At least 2 to mean anything on 5.x (facts §3.4).
        in_sync_replicas: NonZeroU32,
    },
}

/// Whether the broker takes sends as soon as it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Born fenced: sends are refused until the agent opens the gate.
    Shut,
    /// Sends are taken at once.
    Open,
}

/// The values of the owned keys for one start.
#[derive(Clone, Copy, Debug)]
pub struct Owned<'a> {
    /// The elected role.
    pub role: Role,
    /// Whether it is born fenced.
    pub gate: Gate,
    /// The address at which clients and agents reach this member.
    pub advertised: IpAddr,
    /// At least one.
    pub name_servers: &'a [HostPort],
    /// Which brokers read it.
    pub generation: Generation,
    /// A file that a 5.x broker may write and nobody reads, on the volume shared with it.
    pub scratch: &'a Path,
}

/// Makes the text of the file to start the broker with. Refuses a broker whose role is not ours to change.
pub fn render(base: &BaseConf, owned: &Owned<'_>) -> Result<Vec<u8>, ConfError> {
    base.check_managed()?;
    if owned.name_servers.is_empty() {
        return Err(ConfError::File {
            path: base.path.clone(),
            problem: Problem::NoNameServer,
        });
    }
    let mut text = operators_part(base);
    write_owned(&mut text, base, owned);
    Ok(text.into_bytes())
}

/// Whether `rendered` was made from what `base` says now. What the agent itself writes does not count.
#[must_use]
pub fn is_made_from(rendered: &[u8], base: &BaseConf) -> bool {
    rendered.starts_with(operators_part(base).as_bytes())
}

fn operators_part(base: &BaseConf) -> String {
    let mut text =
        String::from("# Rendered by rocketmq-ha before every start: edit the base file instead.\n");
    for entry in base.properties.entries() {
        let last = base
            .properties
            .get(&entry.key)
            .is_some_and(|last| last.line == entry.line);
        if last && entry.key != HA_LISTEN_PORT && !OWNED.contains(&entry.key.as_str()) {
            write_entry(&mut text, &entry.key, &entry.value);
        }
    }
    text.push_str("# Owned by rocketmq-ha:\n");
    text
}

const HA_LISTEN_PORT: &str = "haListenPort";

fn write_owned(text: &mut String, base: &BaseConf, owned: &Owned<'_>) {
    let mut set = |key: &str, value: &str| write_entry(text, key, value);
    match owned.role {
        Role::Master(replication) => {
            set("brokerId", "0");
            match replication {
                Replication::Async => set("brokerRole", "ASYNC_MASTER"),
                Replication::Sync { .. } => set("brokerRole", "SYNC_MASTER"),
            }
        }
        Role::Slave { broker_id, relay } => {
            set("brokerId", &broker_id.to_string());
            set("brokerRole", "SLAVE");
            set("haMasterAddress", &relay.to_string());
        }
    }
    let gate = match owned.gate {
        Gate::Shut => SHUT_GATE_MS,
        Gate::Open => 0,
    };
    set("startAcceptSendRequestTimeStamp", &gate.to_string());
    set("brokerIP1", &owned.advertised.to_string());
    set("brokerIP2", UNREACHABLE_HA_ADDRESS);
    set(HA_LISTEN_PORT, &base.ha_port(owned.generation).to_string());
    let servers: Vec<_> = owned.name_servers.iter().map(ToString::to_string).collect();
    set("namesrvAddr", &servers.join(";"));
    set(
        "updateNameServerAddrPeriod",
        &NAME_SERVER_PERIOD_MS.to_string(),
    );
    set("fetchNamesrvAddrByAddressServer", "false");
    if owned.generation == Generation::V5 {
        set("inSyncReplicas", &in_sync_replicas(owned.role).to_string());
        set("fetchNameSrvAddrByDnsLookup", "false");
        set("brokerConfigPath", &owned.scratch.to_string_lossy());
        set("syncMasterFlushOffsetWhenStartup", "false");
    }
}

/// 1, the broker's default, unless more is asked for.
fn in_sync_replicas(role: Role) -> NonZeroU32 {
    match role {
        Role::Master(Replication::Sync { in_sync_replicas }) => in_sync_replicas,
        Role::Master(Replication::Async) | Role::Slave { .. } => NonZeroU32::MIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nameservers::parse_list;
    use crate::properties::Properties;
    use std::collections::BTreeMap;

    const BASE: &str = "# theirs\nbrokerClusterName=c\nbrokerName=b\nbrokerRole=SLAVE\nhaMasterAddress=10.0.0.9:1\n\
                        slaveTimeout=1\nslaveTimeout=2\nmessageDelayLevel=1s 5s\nnamesrvAddr=old:1\nupdateNameServerAddrPeriod=0\nmsgTraceTopicName=\\u4E2D\n";
    const MASTER: Role = Role::Master(Replication::Async);

    fn slave() -> Role {
        Role::Slave {
            broker_id: NonZeroU64::MIN,
            relay: "127.0.0.1:7000".parse().unwrap(),
        }
    }

    fn rendered(role: Role, gate: Gate, generation: Generation) -> BTreeMap<String, String> {
        let base = BaseConf::parse(Path::new("base"), BASE.as_bytes()).unwrap();
        let owned = Owned {
            role,
            gate,
            advertised: "10.0.0.1".parse().unwrap(),
            name_servers: &parse_list("ns-0:9876;[fe80::1]:9876").unwrap(),
            generation,
            scratch: Path::new("/shared/scratch.conf"),
        };
        let read = Properties::parse(&render(&base, &owned).unwrap()).unwrap();
        let map: BTreeMap<_, _> = read
            .entries()
            .iter()
            .map(|e| (e.key.clone(), e.value.clone()))
            .collect();
        assert_eq!(map.len(), read.entries().len(), "a key stands twice");
        map
    }

    fn value<'a>(conf: &'a BTreeMap<String, String>, key: &str) -> Option<&'a str> {
        conf.get(key).map(String::as_str)
    }

    #[test]
    fn keeps_the_base_but_for_the_owned_keys() {
        let conf = rendered(MASTER, Gate::Shut, Generation::V5);
        for (key, expected) in [
            ("brokerName", "b"),
            ("slaveTimeout", "2"),
            ("messageDelayLevel", "1s 5s"),
            ("msgTraceTopicName", "中"),
        ] {
            assert_eq!(value(&conf, key), Some(expected), "{key}");
        }
        assert_eq!(
            value(&conf, "namesrvAddr"),
            Some("ns-0:9876;[fe80::1]:9876")
        );
        assert_eq!(
            (value(&conf, "brokerIP1"), value(&conf, "brokerIP2")),
            (Some("10.0.0.1"), Some("255.255.255.255"))
        );
        assert_eq!(
            value(&conf, "brokerConfigPath"),
            Some("/shared/scratch.conf")
        );
        assert_eq!(value(&conf, "haListenPort"), Some("10912"));
        // A broker with 0 here does not start.
        assert_eq!(value(&conf, "updateNameServerAddrPeriod"), Some("1000"));
    }

    #[test]
    fn only_the_operators_part_makes_a_rendered_conf_out_of_date() {
        let parse = |text: &str| BaseConf::parse(Path::new("base"), text.as_bytes()).unwrap();
        let render = |base: &BaseConf, role| {
            let owned = Owned {
                role,
                gate: Gate::Open,
                advertised: "10.0.0.1".parse().unwrap(),
                name_servers: &parse_list("ns-0:9876").unwrap(),
                generation: Generation::V5,
                scratch: Path::new("/shared/scratch.conf"),
            };
            render(base, &owned).unwrap()
        };
        let base = parse(BASE);
        for role in [MASTER, slave()] {
            let text = render(&base, role);
            assert!(is_made_from(&text, &base));
            assert!(is_made_from(
                &text,
                &parse(&format!("{BASE}brokerId=7\n# a remark\n"))
            ));
            assert!(!is_made_from(
                &text,
                &parse(&format!("{BASE}flushDiskType=SYNC_FLUSH\n"))
            ));
            assert!(!is_made_from(
                &text,
                &parse(&BASE.replace("slaveTimeout=2", "slaveTimeout=3"))
            ));
        }
    }

    #[test]
    fn a_master_has_no_upstream_and_a_slave_has_its_relay() {
        let conf = rendered(MASTER, Gate::Open, Generation::V5);
        assert_eq!(
            (value(&conf, "brokerRole"), value(&conf, "brokerId")),
            (Some("ASYNC_MASTER"), Some("0"))
        );
        assert_eq!(
            (
                value(&conf, "haMasterAddress"),
                value(&conf, "inSyncReplicas")
            ),
            (None, Some("1"))
        );
        let conf = rendered(slave(), Gate::Open, Generation::V4);
        assert_eq!(
            (value(&conf, "brokerRole"), value(&conf, "brokerId")),
            (Some("SLAVE"), Some("1"))
        );
        assert_eq!(value(&conf, "haMasterAddress"), Some("127.0.0.1:7000"));
    }

    #[test]
    fn a_synchronous_master_names_its_copies_where_the_broker_counts_them() {
        let role = Role::Master(Replication::Sync {
            in_sync_replicas: NonZeroU32::new(2).unwrap(),
        });
        let conf = rendered(role, Gate::Shut, Generation::V5);
        assert_eq!(
            (value(&conf, "brokerRole"), value(&conf, "inSyncReplicas")),
            (Some("SYNC_MASTER"), Some("2"))
        );
        let conf = rendered(role, Gate::Shut, Generation::V4);
        assert_eq!(
            (value(&conf, "brokerRole"), value(&conf, "inSyncReplicas")),
            (Some("SYNC_MASTER"), None)
        );
    }

    #[test]
    fn the_gate_is_in_the_file() {
        let gate = |gate| {
            value(
                &rendered(MASTER, gate, Generation::V5),
                "startAcceptSendRequestTimeStamp",
            )
            .map(str::to_owned)
        };
        assert_eq!(gate(Gate::Shut).as_deref(), Some("9999999999999"));
        assert_eq!(gate(Gate::Open).as_deref(), Some("0"));
    }

    #[test]
    fn renders_only_what_the_agent_may_drive_and_can_register() {
        let refusal = |text: &str, servers: &[HostPort]| {
            let base = BaseConf::parse(Path::new("base"), text.as_bytes()).unwrap();
            let owned = Owned {
                role: MASTER,
                gate: Gate::Shut,
                advertised: "10.0.0.1".parse().unwrap(),
                name_servers: servers,
                generation: Generation::V5,
                scratch: Path::new("/s"),
            };
            render(&base, &owned).unwrap_err().to_string()
        };
        assert!(refusal(BASE, &[]).contains("no name server is known"));
        let servers = parse_list("a:1").unwrap();
        assert!(
            refusal(&format!("{BASE}enableDLegerCommitLog=true"), &servers)
                .contains("leaves such a broker alone")
        );
    }

    #[test]
    fn what_is_owned_and_rendered_is_the_same_list() {
        let mut seen = rendered(MASTER, Gate::Shut, Generation::V5);
        seen.append(&mut rendered(slave(), Gate::Shut, Generation::V5));
        for key in OWNED {
            assert!(seen.contains_key(key), "{key} is owned and not rendered");
        }
    }
}
