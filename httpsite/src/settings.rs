//! What an operator sets, by flag or by environment, and what is made of it.
//!
//! [`Args`] is the command line as it stands; [`Settings::new`] is the one place that judges it. Every flag `--x-y` is also
//! the variable `ROCKETMQ_HTTPSITE_X_Y` (those for Kubernetes are the agent's, `ROCKETMQ_HA_KUBE_…`); the flag wins.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use kube_access::{Access, AccessArgs, pods_namespace};

use crate::certificate::Pair;
use crate::change::Rules;
use crate::list_name::ListName;
use crate::name_server::HostNames;
use crate::probe::Pace;
use crate::source::{Object, Source};

/// More DNS servers than anybody waits for.
const MAX_DNS_SERVERS: usize = 8;

/// More lists than anybody has units.
const MAX_LISTS: usize = 64;

/// The name-server list that RocketMQ clients and brokers ask for: GET /rocketmq/<list>.
#[derive(Parser, Clone, Debug)]
#[command(name = "httpsite", version)]
pub struct Args {
    /// A list and one of its sources, such as nsaddr=service:rmq/namesrv:9876; again for more sources and more lists.
    /// Sources: static:IP:PORT;… file:PATH configmap:NS/NAME/KEY service:NS/NAME:PORT endpointslices:NS/LABEL=VALUE:PORT
    /// dns:NAME:PORT srv:NAME. In the variable they are separated by blanks
    #[arg(
        long = "list",
        env = "ROCKETMQ_HTTPSITE_LIST",
        value_name = "LIST=SOURCE",
        value_delimiter = ' ',
        required = true
    )]
    pub lists: Vec<String>,
    /// To which list the clients of another are sent when it is downgraded, such as nsaddr-u1=nsaddr
    #[arg(
        long = "partner",
        env = "ROCKETMQ_HTTPSITE_PARTNER",
        value_name = "LIST=LIST",
        value_delimiter = ' '
    )]
    pub partners: Vec<String>,
    /// Where the operator's overrides and downgrades are: configmap:NS/NAME or file:PATH
    #[arg(long, env = "ROCKETMQ_HTTPSITE_DESK", value_name = "WHERE")]
    pub desk: Option<String>,
    /// A file with the token for the downgrade switch at the admin port
    #[arg(long, env = "ROCKETMQ_HTTPSITE_ADMIN_TOKEN_FILE", value_name = "PATH")]
    pub admin_token_file: Option<PathBuf>,
    /// Where clients are answered
    #[arg(long, env = "ROCKETMQ_HTTPSITE_LISTEN", default_value = "[::]:8080")]
    pub listen: SocketAddr,
    /// The certificate, and those between it and its root, in PEM: clients are then also answered by TLS
    #[arg(
        long,
        env = "ROCKETMQ_HTTPSITE_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM, not encrypted
    #[arg(
        long,
        env = "ROCKETMQ_HTTPSITE_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,
    /// Where clients are answered by TLS, if there is a certificate
    #[arg(
        long,
        env = "ROCKETMQ_HTTPSITE_TLS_LISTEN",
        default_value = "[::]:8443"
    )]
    pub tls_listen: SocketAddr,
    /// Where /live, /ready and /metrics are
    #[arg(
        long,
        env = "ROCKETMQ_HTTPSITE_ADMIN_LISTEN",
        default_value = "[::]:8081"
    )]
    pub admin_listen: SocketAddr,
    /// Take host names into the list; Go clients then refuse it
    #[arg(long, env = "ROCKETMQ_HTTPSITE_ALLOW_HOST_NAMES")]
    pub allow_host_names: bool,
    /// How long an address that left stays listed while it answers
    #[arg(
        long,
        env = "ROCKETMQ_HTTPSITE_OVERLAP_SECONDS",
        value_name = "SECONDS",
        default_value_t = 150
    )]
    pub overlap_seconds: u64,
    /// The same when all, or all but one, left at once
    #[arg(
        long,
        env = "ROCKETMQ_HTTPSITE_HOLD_SECONDS",
        value_name = "SECONDS",
        default_value_t = 600
    )]
    pub hold_seconds: u64,
    /// How long the first list waits for sources that have not answered
    #[arg(
        long,
        env = "ROCKETMQ_HTTPSITE_FIRST_WAIT_MS",
        value_name = "MS",
        default_value_t = 2000
    )]
    pub first_wait_ms: u64,
    /// Time between two probes of one name server; 0: none is probed
    #[arg(
        long,
        env = "ROCKETMQ_HTTPSITE_PROBE_PERIOD_MS",
        value_name = "MS",
        default_value_t = 3000
    )]
    pub probe_period_ms: u64,
    /// How long one probe may take
    #[arg(
        long,
        env = "ROCKETMQ_HTTPSITE_PROBE_DEADLINE_MS",
        value_name = "MS",
        default_value_t = 2000
    )]
    pub probe_deadline_ms: u64,
    /// So many failed probes in a row: dead
    #[arg(
        long,
        env = "ROCKETMQ_HTTPSITE_PROBE_FAILURES",
        value_name = "N",
        default_value_t = 3
    )]
    pub probe_failures: u32,
    /// So many answered probes in a row: alive again
    #[arg(
        long,
        env = "ROCKETMQ_HTTPSITE_PROBE_SUCCESSES",
        value_name = "N",
        default_value_t = 2
    )]
    pub probe_successes: u32,
    /// A DNS server for the dns: and srv: sources, such as 10.0.0.10:53, again for more; without it those of
    /// /etc/resolv.conf
    #[arg(
        long = "dns-server",
        env = "ROCKETMQ_HTTPSITE_DNS_SERVER",
        value_name = "IP:PORT",
        value_delimiter = ','
    )]
    pub dns_servers: Vec<SocketAddr>,
    /// A folder where the last good lists are kept across restarts
    #[arg(long, env = "ROCKETMQ_HTTPSITE_KEEP_DIR", value_name = "PATH")]
    pub keep_dir: Option<PathBuf>,
    /// Namespaces whose groups of brokers the page shows, separated by commas; * for all
    #[arg(
        long,
        env = "ROCKETMQ_HTTPSITE_WATCH_NAMESPACES",
        value_name = "NS,NS",
        value_delimiter = ','
    )]
    pub watch_namespaces: Vec<String>,
    /// How long clients are still answered after readiness is off, so that the Service stops sending new ones
    #[arg(
        long,
        env = "ROCKETMQ_HTTPSITE_DRAIN_DELAY_MS",
        value_name = "MS",
        default_value_t = 3000
    )]
    pub drain_delay_ms: u64,
    /// Connections served at once; more wait
    #[arg(
        long,
        env = "ROCKETMQ_HTTPSITE_MAX_CONNECTIONS",
        value_name = "N",
        default_value_t = 10_000
    )]
    pub max_connections: usize,
    /// Our namespace, for sources that name none; without it the pod's
    #[arg(long, env = "ROCKETMQ_HTTPSITE_NAMESPACE", value_name = "NS")]
    pub namespace: Option<String>,
    /// How the API server is reached, where a pod's own service account is not meant
    #[command(flatten)]
    pub access: AccessArgs,
}

/// One list.
#[derive(Clone, Debug)]
pub struct ListSettings {
    /// Its sources with the words the operator gave them in; at least one.
    pub sources: Vec<(String, Source)>,
    /// To which list it can be downgraded.
    pub partner: Option<ListName>,
}

/// Where the operator's orders are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeskPlace {
    /// Nowhere.
    None,
    /// In a file.
    File(PathBuf),
    /// In a ConfigMap.
    ConfigMap(Object),
}

/// The port behind TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// For clients.
    pub listen: SocketAddr,
    /// Certificate and key.
    pub pair: Pair,
}

/// The API server.
#[derive(Clone, Debug)]
pub struct KubeSettings {
    /// How it is reached.
    pub access: Access,
    /// Where objects are that name no namespace.
    pub namespace: String,
}

/// Everything, judged.
#[derive(Clone, Debug)]
pub struct Settings {
    /// All lists; at least one.
    pub lists: BTreeMap<ListName, ListSettings>,
    /// The operator's orders.
    pub desk: DeskPlace,
    /// The token for the switch.
    pub admin_token_file: Option<PathBuf>,
    /// For clients.
    pub listen: SocketAddr,
    /// For clients that want TLS; none without a certificate.
    pub tls: Option<TlsSettings>,
    /// For probes, metrics and the operator.
    pub admin_listen: SocketAddr,
    /// Whether host names are taken.
    pub names: HostNames,
    /// How long things stay.
    pub rules: Rules,
    /// How name servers are probed; none: not at all.
    pub pace: Option<Pace>,
    /// Who is asked for DNS names; none: those of `/etc/resolv.conf`.
    pub dns_servers: Vec<SocketAddr>,
    /// Where lists are kept.
    pub keep_dir: Option<PathBuf>,
    /// Whose groups are shown.
    pub watch_namespaces: Vec<String>,
    /// From readiness off to the end of listening.
    pub drain_delay: Duration,
    /// Connections at once.
    pub max_connections: usize,
    /// The API server; none where nothing needs it.
    pub kube: Option<KubeSettings>,
}

impl Settings {
    /// Judges the command line.
    ///
    /// # Errors
    /// One line that names the flag, what is wrong with it and what would be right.
    pub fn new(args: Args) -> anyhow::Result<Self> {
        let Args {
            lists,
            partners,
            desk,
            admin_token_file,
            listen,
            tls_cert,
            tls_key,
            tls_listen,
            admin_listen,
            allow_host_names,
            overlap_seconds,
            hold_seconds,
            first_wait_ms,
            probe_period_ms,
            probe_deadline_ms,
            probe_failures,
            probe_successes,
            dns_servers,
            keep_dir,
            watch_namespaces,
            drain_delay_ms,
            max_connections,
            namespace,
            access,
        } = args;
        let names = if allow_host_names {
            HostNames::Allowed
        } else {
            HostNames::Refused
        };
        let mut lists = self::lists(&lists, names)?;
        add_partners(&mut lists, &partners)?;
        let desk = self::desk(desk.as_deref())?;
        ensure!(
            admin_token_file.is_none() || matches!(desk, DeskPlace::ConfigMap(_)),
            "use --admin-token-file: the switch writes into a ConfigMap, so give --desk configmap:NS/NAME too"
        );
        let tls = match (tls_cert, tls_key) {
            (Some(cert), Some(key)) => Some(TlsSettings {
                listen: tls_listen,
                pair: Pair { cert, key },
            }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                bail!("use --tls-cert and --tls-key: give both, or none")
            }
        };
        let day = 86_400;
        ensure!(
            overlap_seconds <= day && hold_seconds <= day && first_wait_ms <= 60_000,
            "use --overlap-seconds and --hold-seconds up to {day}, --first-wait-ms up to 60000"
        );
        ensure!(max_connections > 0, "use --max-connections: at least 1");
        ensure!(
            drain_delay_ms <= 60_000,
            "use --drain-delay-ms: at most 60000"
        );
        let pace = match probe_period_ms {
            0 => None,
            ms => Some(Pace {
                period: Duration::from_millis(ms),
                deadline: Duration::from_millis(probe_deadline_ms),
                failures: probe_failures,
                successes: probe_successes,
            }),
        };
        ensure!(
            pace.is_none_or(|pace| (100..=600_000).contains(&probe_period_ms)
                && (1..=60_000).contains(&probe_deadline_ms)
                && pace.failures > 0
                && pace.successes > 0),
            "use --probe-period-ms from 100 to 600000 (0: none), --probe-deadline-ms from 1 to 60000, --probe-failures and --probe-successes from 1"
        );
        ensure!(
            dns_servers.len() <= MAX_DNS_SERVERS && dns_servers.iter().all(|s| s.port() != 0),
            "use --dns-server at most {MAX_DNS_SERVERS} times, and with a port from 1"
        );
        let needs_kube = matches!(desk, DeskPlace::ConfigMap(_))
            || !watch_namespaces.is_empty()
            || lists
                .values()
                .flat_map(|list| &list.sources)
                .any(|(_, source)| source.needs_kubernetes());
        let kube = if needs_kube {
            let namespace = namespace
                .or_else(pods_namespace)
                .unwrap_or_else(|| "default".to_owned());
            let access = Access::new(access)?;
            Some(KubeSettings { access, namespace })
        } else {
            None
        };
        Ok(Self {
            lists,
            desk,
            admin_token_file,
            listen,
            tls,
            admin_listen,
            names,
            rules: Rules {
                overlap: Duration::from_secs(overlap_seconds),
                hold: Duration::from_secs(hold_seconds),
                first_wait: Duration::from_millis(first_wait_ms),
            },
            pace,
            dns_servers,
            keep_dir,
            watch_namespaces,
            drain_delay: Duration::from_millis(drain_delay_ms),
            max_connections,
            kube,
        })
    }
}

fn lists(texts: &[String], names: HostNames) -> anyhow::Result<BTreeMap<ListName, ListSettings>> {
    let mut lists: BTreeMap<ListName, ListSettings> = BTreeMap::new();
    for text in texts.iter().filter(|text| !text.is_empty()) {
        let Some((name, source)) = text.split_once('=') else {
            bail!("use --list {text}: write it like nsaddr=service:rmq/namesrv:9876");
        };
        let shown = || format!("use --list {text}");
        let name: ListName = name.parse().with_context(shown)?;
        let parsed = Source::parse(source, names).with_context(shown)?;
        let list = lists.entry(name).or_insert_with(|| ListSettings {
            sources: Vec::new(),
            partner: None,
        });
        list.sources.push((source.to_owned(), parsed));
    }
    ensure!(!lists.is_empty(), "give at least one --list");
    ensure!(lists.len() <= MAX_LISTS, "give at most {MAX_LISTS} lists");
    Ok(lists)
}

fn add_partners(
    lists: &mut BTreeMap<ListName, ListSettings>,
    texts: &[String],
) -> anyhow::Result<()> {
    for text in texts.iter().filter(|text| !text.is_empty()) {
        let Some((name, partner)) = text.split_once('=') else {
            bail!("use --partner {text}: write it like nsaddr-u1=nsaddr");
        };
        let known = |name: &str| lists.get_key_value(name).map(|(name, _)| name.clone());
        let (Some(name), Some(partner)) = (known(name), known(partner)) else {
            bail!("use --partner {text}: both must be lists; give each a --list");
        };
        ensure!(
            name != partner,
            "use --partner {text}: a list is not its own partner"
        );
        if let Some(list) = lists.get_mut(&name) {
            list.partner = Some(partner);
        }
    }
    Ok(())
}

fn desk(text: Option<&str>) -> anyhow::Result<DeskPlace> {
    let Some(text) = text else {
        return Ok(DeskPlace::None);
    };
    if let Some(path) = text.strip_prefix("file:").filter(|path| !path.is_empty()) {
        return Ok(DeskPlace::File(PathBuf::from(path)));
    }
    text.strip_prefix("configmap:")
        .and_then(Object::parse)
        .map(DeskPlace::ConfigMap)
        .with_context(|| {
            format!(
                "use --desk {text}: write it like configmap:rmq/httpsite or file:/etc/httpsite/desk"
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn settings(flags: &[&str]) -> anyhow::Result<Settings> {
        let all = ["httpsite"].iter().chain(flags);
        Settings::new(Args::try_parse_from(all)?)
    }

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        Args::command().debug_assert();
    }

    #[test]
    fn sources_add_up_by_list() {
        let settings = settings(&[
            "--list",
            "nsaddr=static:10.0.0.1:9876;10.0.0.2:9876",
            "--list",
            "nsaddr=file:/a",
            "--list",
            "nsaddr-u1=static:10.0.0.3:9876",
            "--partner",
            "nsaddr-u1=nsaddr",
        ])
        .unwrap();
        let sources: Vec<_> = settings
            .lists
            .values()
            .map(|list| list.sources.len())
            .collect();
        assert_eq!(sources, [2, 1]);
        let partner = settings.lists["nsaddr-u1"].partner.as_ref();
        assert_eq!(partner.map(ListName::as_str), Some("nsaddr"));
        assert!(settings.kube.is_none());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_flag() {
        let one = "nsaddr=static:10.0.0.1:9876";
        for (flags, named) in [
            (vec!["--list", "nsaddr"], "--list nsaddr"),
            (vec!["--list", "a/b=file:/a"], "--list a/b"),
            (
                vec!["--list", "nsaddr=static:ns:1"],
                "--list nsaddr=static:ns:1",
            ),
            (vec!["--list", one, "--partner", "nsaddr=x"], "--partner"),
            (
                vec!["--list", one, "--partner", "nsaddr=nsaddr"],
                "--partner",
            ),
            (vec!["--list", one, "--desk", "x"], "--desk x"),
            (
                vec!["--list", one, "--admin-token-file", "/a"],
                "--desk configmap",
            ),
            (
                vec!["--list", one, "--probe-period-ms", "1"],
                "--probe-period-ms",
            ),
            (vec!["--list", one, "--tls-cert", "/a"], "--tls-key"),
            (vec!["--list", one, "--tls-key", "/a"], "--tls-cert"),
            (
                vec!["--list", one, "--overlap-seconds", "999999"],
                "--overlap-seconds",
            ),
            (vec!["--list", "nsaddr=service:a/b:1"], "--kube-url"),
        ] {
            let error = format!("{:#}", settings(&flags).unwrap_err());
            assert!(error.contains(named), "{flags:?}: {error}");
        }
        assert!(settings(&[]).is_err());
    }
}
