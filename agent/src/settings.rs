//! What an operator sets, by flag or by environment, and what is made of it.
//!
//! [`RunArgs`] is the command line as it stands; [`Settings::new`] is the one place that judges it. Every flag `--x-y` is
//! also the variable `ROCKETMQ_HA_X_Y`; the flag wins. Cluster and broker name are not set here: they come from the base
//! broker.conf, so that they cannot contradict it.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_core::record::Qos;
use agent_core::{Member, Policy, PolicyError, Timing, Zone};
use clap::Args;
use kube_access::{Access, AccessArgs, AccessError};
use relay::{GroupKey, KeyError};
use remoting::Credentials;

use crate::nameservers::{FetchError, HostPortError, Source};

/// The longest access or secret key that is read, in bytes.
const MAX_SECRET_BYTES: u64 = 4096;

/// The flags of `rocketmq-ha run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// The operator's own broker.conf; read only
    #[arg(long, env = "ROCKETMQ_HA_BASE_CONF", value_name = "PATH")]
    pub base_conf: PathBuf,
    /// The broker.conf that the broker is started with; written by us, read by the broker's container
    #[arg(long, env = "ROCKETMQ_HA_CONF_OUT", value_name = "PATH")]
    pub conf_out: PathBuf,
    /// This member's name: the pod's name, or an annotation that outlives it
    #[arg(long, env = "ROCKETMQ_HA_MEMBER", value_name = "NAME")]
    pub member: String,
    /// All members of the group, separated by commas; at least this one
    #[arg(
        long,
        env = "ROCKETMQ_HA_MEMBERS",
        value_name = "A,B",
        value_delimiter = ','
    )]
    pub members: Vec<String>,
    /// This member's failure zone
    #[arg(
        long,
        env = "ROCKETMQ_HA_ZONE",
        value_name = "ZONE",
        default_value = ""
    )]
    pub zone: String,
    /// Preferred among members with equal logs; higher wins
    #[arg(
        long,
        env = "ROCKETMQ_HA_PRIORITY",
        default_value_t = 0,
        allow_hyphen_values = true
    )]
    pub priority: i32,
    /// Never elect this member
    #[arg(long, env = "ROCKETMQ_HA_NO_FAILOVER")]
    pub no_failover: bool,
    /// The pod's uid; without Kubernetes the member's name
    #[arg(long, env = "ROCKETMQ_HA_POD_UID", value_name = "UID")]
    pub pod_uid: Option<String>,
    /// The namespace of the group's Leases
    #[arg(
        long,
        env = "ROCKETMQ_HA_NAMESPACE",
        value_name = "NS",
        default_value = "default"
    )]
    pub namespace: String,
    /// How the API server is reached.
    #[command(flatten)]
    pub access: AccessArgs,
    /// Where the kubelet reads this container's last word; used only if it is there
    #[arg(
        long,
        env = "ROCKETMQ_HA_TERMINATION_LOG",
        value_name = "PATH",
        default_value = launcher::epitaph::DEFAULT_PATH
    )]
    pub termination_log: PathBuf,
    /// The launcher's Unix socket
    #[arg(long, env = "ROCKETMQ_HA_LAUNCHER_SOCKET", value_name = "PATH")]
    pub launcher_socket: PathBuf,
    /// The address at which clients reach this member's broker (brokerIP1)
    #[arg(long, env = "ROCKETMQ_HA_BROKER_IP", value_name = "IP")]
    pub broker_ip: IpAddr,
    /// Where we listen: /live /ready /metrics /status, and the other members' questions
    #[arg(
        long,
        env = "ROCKETMQ_HA_ADMIN_LISTEN",
        value_name = "IP:PORT",
        default_value = "0.0.0.0:8088"
    )]
    pub admin_listen: SocketAddr,
    /// How the other members reach --admin-listen; default: the broker's address with its port
    #[arg(long, env = "ROCKETMQ_HA_ADVERTISE_AGENT", value_name = "IP:PORT")]
    pub advertise_agent: Option<SocketAddr>,
    /// How the other members reach our launcher's relay
    #[arg(long, env = "ROCKETMQ_HA_RELAY_ADDRESS", value_name = "IP:PORT")]
    pub relay_address: SocketAddr,
    /// Where our own broker, as a slave, reaches our launcher's relay: a loopback address
    #[arg(long, env = "ROCKETMQ_HA_RELAY_LOCAL", value_name = "IP:PORT")]
    pub relay_local: SocketAddr,
    /// A file with the secret that the group's members share
    #[arg(long, env = "ROCKETMQ_HA_GROUP_KEY_FILE", value_name = "PATH")]
    pub group_key_file: PathBuf,
    /// The name servers: a:9876;b:9876
    #[arg(
        long,
        env = "ROCKETMQ_HA_NAME_SERVERS",
        value_name = "LIST",
        conflicts_with = "http_site",
        required_unless_present = "http_site"
    )]
    pub name_servers: Option<String>,
    /// A URL that answers the list of name servers, as RocketMQ's own clients read it
    #[arg(long, env = "ROCKETMQ_HA_HTTP_SITE", value_name = "URL")]
    pub http_site: Option<String>,
    /// A JVM option for the broker, repeatable; in the environment separated by blanks.
    /// Default: -Dtls.server.mode=disabled where the base conf does not speak of TLS
    #[arg(
        long,
        env = "ROCKETMQ_HA_JVM_OPTION",
        value_name = "OPTION",
        value_delimiter = ' ',
        allow_hyphen_values = true
    )]
    pub jvm_option: Vec<String>,
    /// 0: asynchronous, best effort; 1: asynchronous with a bounded lag
    #[arg(long, env = "ROCKETMQ_HA_QOS", default_value_t = 0)]
    pub qos: u8,
    /// A file with the access key for admin calls to a broker with ACL
    #[arg(
        long,
        env = "ROCKETMQ_HA_ACCESS_KEY_FILE",
        value_name = "PATH",
        requires = "secret_key_file"
    )]
    pub access_key_file: Option<PathBuf>,
    /// A file with the secret key for admin calls to a broker with ACL
    #[arg(
        long,
        env = "ROCKETMQ_HA_SECRET_KEY_FILE",
        value_name = "PATH",
        requires = "access_key_file"
    )]
    pub secret_key_file: Option<PathBuf>,
    /// The durations of the protocol
    #[command(flatten)]
    pub timing: TimingArgs,
}

/// The durations of the protocol, all of them checked against each other (safety 1.1).
#[derive(Args, Clone, Debug)]
pub struct TimingArgs {
    /// How long the Lease must stay silent before another member may take it
    #[arg(long, env = "ROCKETMQ_HA_TAKE_WAIT", value_name = "DURATION", value_parser = duration)]
    pub take_wait: Option<Duration>,
    /// How long a master may serve after its last renewal was sent
    #[arg(long, env = "ROCKETMQ_HA_PERMIT", value_name = "DURATION", value_parser = duration)]
    pub permit: Option<Duration>,
    /// How often the holder renews
    #[arg(long, env = "ROCKETMQ_HA_RENEW", value_name = "DURATION", value_parser = duration)]
    pub renew: Option<Duration>,
    /// How long one request to the API server may take
    #[arg(long, env = "ROCKETMQ_HA_REQUEST_TIMEOUT", value_name = "DURATION", value_parser = duration)]
    pub request_timeout: Option<Duration>,
    /// The worst time from a permit's end until the broker answers nothing more
    #[arg(long, env = "ROCKETMQ_HA_KILL_TIME", value_name = "DURATION", value_parser = duration)]
    pub kill_time: Option<Duration>,
    /// How long before the permit's end the gate is shut
    #[arg(long, env = "ROCKETMQ_HA_GATE_LEAD", value_name = "DURATION", value_parser = duration)]
    pub gate_lead: Option<Duration>,
    /// How long before the permit's end the watchdog orders the kill
    #[arg(long, env = "ROCKETMQ_HA_KILL_LEAD", value_name = "DURATION", value_parser = duration)]
    pub kill_lead: Option<Duration>,
    /// How long a promotion may take from the won Lease to serving
    #[arg(long, env = "ROCKETMQ_HA_OPENING_LIMIT", value_name = "DURATION", value_parser = duration)]
    pub opening_limit: Option<Duration>,
    /// How long an election waits for the answers of all members
    #[arg(long, env = "ROCKETMQ_HA_COLLECT", value_name = "DURATION", value_parser = duration)]
    pub collect: Option<Duration>,
    /// How long a group without Lease but with data waits for members that do not answer
    #[arg(long, env = "ROCKETMQ_HA_ABSENT_WAIT", value_name = "DURATION", value_parser = duration)]
    pub absent_wait: Option<Duration>,
    /// How long a broker may be found without any sign of life before it is killed
    #[arg(long, env = "ROCKETMQ_HA_HUNG_WAIT", value_name = "DURATION", value_parser = duration)]
    pub hung_wait: Option<Duration>,
    /// How many crashes are answered by a restart in place before another member shall try
    #[arg(long, env = "ROCKETMQ_HA_CRASHES_IN_PLACE", value_name = "COUNT")]
    pub crashes_in_place: Option<u32>,
}

/// How the API server is reached.
#[derive(Clone, Debug)]
pub struct KubeSettings {
    /// Where it is, and what proves who we are.
    pub access: Access,
    /// The namespace of the group's objects.
    pub namespace: String,
    /// X: how long one request may take.
    pub request: Duration,
}

/// Settings that were judged and found sound.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The operator's own broker.conf.
    pub base_conf: PathBuf,
    /// The rendered one.
    pub conf_out: PathBuf,
    /// Who we are.
    pub member: Member,
    /// All members of the group, ourselves among them.
    pub expected: BTreeSet<Member>,
    /// Our failure zone.
    pub zone: Zone,
    /// Higher wins among equal logs.
    pub priority: i32,
    /// Never elect us.
    pub no_failover: bool,
    /// The pod's uid.
    pub pod_uid: String,
    /// The API server.
    pub kube: KubeSettings,
    /// Where the kubelet reads this container's last word.
    pub termination_log: PathBuf,
    /// The launcher's socket.
    pub launcher_socket: PathBuf,
    /// brokerIP1.
    pub broker_ip: IpAddr,
    /// The admin port.
    pub admin_listen: SocketAddr,
    /// The admin port as the other members see it.
    pub advertise_agent: SocketAddr,
    /// Our launcher's relay as the other members see it.
    pub relay_address: SocketAddr,
    /// Our launcher's relay as our own slave sees it.
    pub relay_local: SocketAddr,
    /// What the group's members share.
    pub group_key: GroupKey,
    /// Name servers.
    pub name_servers: Source,
    /// JVM options as the operator gave them.
    pub jvm_options: Vec<String>,
    /// Who we are to a broker with ACL.
    pub credentials: Option<Credentials>,
    /// The protocol's durations and the wished QoS.
    pub policy: Policy,
}

/// A setting that cannot be used: what, why, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A value that means nothing.
    #[error("use --{flag} {value:?}: {reason}")]
    Value {
        /// Which flag.
        flag: &'static str,
        /// Its value.
        value: String,
        /// Why not, and what would be.
        reason: &'static str,
    },
    /// A file that cannot be read.
    #[error("read --{flag} {}", path.display())]
    File {
        /// Which flag.
        flag: &'static str,
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// No list of name servers.
    #[error("use --name-servers")]
    NameServers(#[from] HostPortError),
    /// No URL.
    #[error("use --http-site")]
    HttpSite(#[from] FetchError),
    /// No usable group key.
    #[error("read --group-key-file")]
    Key(#[from] KeyError),
    /// No way to the API server.
    #[error("reach the API server")]
    Access(#[from] AccessError),
    /// Durations that contradict each other.
    #[error("use the lease timing")]
    Timing(#[from] PolicyError),
}

impl Settings {
    /// Judges the command line and reads the small files it names.
    ///
    /// # Errors
    /// [`SettingsError`]: the first value that cannot be used.
    pub fn new(args: RunArgs) -> Result<Self, SettingsError> {
        let RunArgs {
            base_conf,
            conf_out,
            member,
            members,
            zone,
            priority,
            no_failover,
            pod_uid,
            namespace,
            access,
            termination_log,
            launcher_socket,
            broker_ip,
            admin_listen,
            advertise_agent,
            relay_address,
            relay_local,
            group_key_file,
            name_servers,
            http_site,
            jvm_option,
            qos,
            access_key_file,
            secret_key_file,
            timing,
        } = args;
        let member = member_name("member", &member)?;
        let expected = expected_members(&member, &members)?;
        let policy = policy(&timing, qos)?;
        Ok(Self {
            base_conf,
            conf_out: absolute(conf_out)?,
            pod_uid: uid(pod_uid.as_deref().unwrap_or(member.as_str()))?,
            member,
            expected,
            zone: Zone::new(zone),
            priority,
            no_failover,
            kube: KubeSettings {
                access: Access::new(access)?,
                namespace: named("namespace", namespace)?,
                request: policy.timing().request,
            },
            termination_log,
            launcher_socket,
            broker_ip: reachable(broker_ip)?,
            admin_listen,
            advertise_agent: advertised(advertise_agent, broker_ip, admin_listen)?,
            relay_address: peers_address("relay-address", relay_address)?,
            relay_local: loopback(relay_local)?,
            group_key: GroupKey::from_file(&group_key_file)?,
            name_servers: source(name_servers, http_site)?,
            jvm_options: jvm_options(jvm_option)?,
            credentials: credentials(access_key_file.as_deref(), secret_key_file.as_deref())?,
            policy,
        })
    }

    /// The JVM options for the broker: the operator's, and TLS off where nobody speaks of it. The broker's TLS set-up
    /// takes 1.4 to 1.9 s of every start, and its default mode only *permits* TLS (design §6, RESULTS).
    #[must_use]
    pub fn jvm_options(&self, base_speaks_of_tls: bool) -> Vec<String> {
        let mut options = self.jvm_options.clone();
        let set = options.iter().any(|option| option.starts_with("-Dtls."));
        if !set && !base_speaks_of_tls {
            options.push("-Dtls.server.mode=disabled".to_owned());
        }
        options
    }
}

fn refuse(flag: &'static str, value: impl Display, reason: &'static str) -> SettingsError {
    SettingsError::Value {
        flag,
        value: value.to_string(),
        reason,
    }
}

fn member_name(flag: &'static str, name: &str) -> Result<Member, SettingsError> {
    const REASON: &str = "a member's name has 1 to 63 of a-z 0-9 . - and begins and ends with a letter or digit, as a pod's name does";
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let inside = name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.'));
    if name.len() <= 63 && inside && edge(name.chars().next()) && edge(name.chars().last()) {
        return Ok(Member::new(name));
    }
    Err(refuse(flag, name, REASON))
}

fn expected_members(me: &Member, names: &[String]) -> Result<BTreeSet<Member>, SettingsError> {
    let mut expected = BTreeSet::new();
    for name in names.iter().filter(|name| !name.is_empty()) {
        if !expected.insert(member_name("members", name)?) {
            return Err(refuse("members", name, "it is named twice"));
        }
    }
    if expected.is_empty() {
        expected.insert(me.clone());
    }
    if !expected.contains(me) {
        let list = names.join(",");
        return Err(refuse(
            "members",
            list,
            "this member (--member) is not among them",
        ));
    }
    Ok(expected)
}

fn named(flag: &'static str, value: String) -> Result<String, SettingsError> {
    if value.is_empty() {
        return Err(refuse(flag, value, "it must not be empty"));
    }
    Ok(value)
}

/// The first part of an instance (safety H1), so it may hold no dot.
fn uid(value: &str) -> Result<String, SettingsError> {
    let value = value.replace('.', "-");
    let ok = !value.is_empty()
        && value.len() <= 128
        && value.chars().all(|c| c.is_ascii_graphic() && c != '"');
    if ok {
        Ok(value)
    } else {
        Err(refuse(
            "pod-uid",
            value,
            "a uid has 1 to 128 printable characters",
        ))
    }
}

/// The launcher may run in another working directory.
fn absolute(path: PathBuf) -> Result<PathBuf, SettingsError> {
    std::path::absolute(&path).map_err(|source| SettingsError::File {
        flag: "conf-out",
        path,
        source,
    })
}

fn reachable(ip: IpAddr) -> Result<IpAddr, SettingsError> {
    if ip.is_unspecified() || ip.is_multicast() {
        return Err(refuse(
            "broker-ip",
            ip,
            "clients cannot connect to it; give the pod's address",
        ));
    }
    Ok(ip)
}

fn peers_address(flag: &'static str, address: SocketAddr) -> Result<SocketAddr, SettingsError> {
    if address.ip().is_unspecified() || address.port() == 0 {
        return Err(refuse(
            flag,
            address,
            "the other members cannot connect to it; give the pod's address and the port",
        ));
    }
    Ok(address)
}

fn advertised(
    given: Option<SocketAddr>,
    ip: IpAddr,
    listen: SocketAddr,
) -> Result<SocketAddr, SettingsError> {
    let own = if listen.ip().is_unspecified() {
        SocketAddr::new(ip, listen.port())
    } else {
        listen
    };
    peers_address("advertise-agent", given.unwrap_or(own))
}

fn loopback(address: SocketAddr) -> Result<SocketAddr, SettingsError> {
    if !address.ip().is_loopback() || address.port() == 0 {
        return Err(refuse(
            "relay-local",
            address,
            "it must be a loopback address with a port: our own broker and nobody else connects there",
        ));
    }
    Ok(address)
}

fn source(list: Option<String>, site: Option<String>) -> Result<Source, SettingsError> {
    match (list, site) {
        (Some(list), None) => Ok(Source::list(&list)?),
        (None, Some(url)) => Ok(Source::http_site(&url)?),
        (None, None) => Err(refuse("name-servers", "", "give it, or --http-site")),
        (Some(list), Some(_)) => Err(refuse(
            "name-servers",
            list,
            "--http-site is given too; leave one of them out",
        )),
    }
}

fn jvm_options(options: Vec<String>) -> Result<Vec<String>, SettingsError> {
    let options: Vec<_> = options.into_iter().filter(|o| !o.is_empty()).collect();
    if options.len() >= launcher::protocol::MAX_JVM_OPTIONS {
        return Err(refuse(
            "jvm-option",
            options.len(),
            "at most 63 can be passed on",
        ));
    }
    match options.iter().find(|option| !option.starts_with('-')) {
        Some(option) => Err(refuse(
            "jvm-option",
            option,
            "a JVM option begins with a dash and has no blanks",
        )),
        None => Ok(options),
    }
}

fn credentials(
    access: Option<&Path>,
    secret: Option<&Path>,
) -> Result<Option<Credentials>, SettingsError> {
    let (Some(access), Some(secret)) = (access, secret) else {
        return Ok(None);
    };
    let access = secret_text("access-key-file", access)?;
    let secret = secret_text("secret-key-file", secret)?;
    Ok(Some(Credentials::new(access, secret)))
}

fn secret_text(flag: &'static str, path: &Path) -> Result<String, SettingsError> {
    let mut text = String::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_SECRET_BYTES).read_to_string(&mut text))
        .map_err(|source| SettingsError::File {
            flag,
            path: path.to_owned(),
            source,
        })?;
    let text = text.trim();
    if text.is_empty() {
        return Err(refuse(flag, path.display(), "the file is empty"));
    }
    Ok(text.to_owned())
}

fn policy(args: &TimingArgs, qos: u8) -> Result<Policy, SettingsError> {
    let qos = match qos {
        0 => Qos::Async,
        1 => Qos::BoundedLag,
        2 => {
            return Err(refuse(
                "qos",
                qos,
                "synchronous replication is not part of this version yet; use 0 or 1",
            ));
        }
        3.. => return Err(refuse("qos", qos, "it is 0 or 1")),
    };
    let standard = Timing::default();
    let timing = Timing {
        take_wait: args.take_wait.unwrap_or(standard.take_wait),
        permit: args.permit.unwrap_or(standard.permit),
        renew: args.renew.unwrap_or(standard.renew),
        request: args.request_timeout.unwrap_or(standard.request),
        kill: args.kill_time.unwrap_or(standard.kill),
        drift_permille: standard.drift_permille,
        gate_lead: args.gate_lead.unwrap_or(standard.gate_lead),
        kill_lead: args.kill_lead.unwrap_or(standard.kill_lead),
    };
    let mut policy = Policy::new(timing, qos)?;
    policy.opening_limit = args.opening_limit.unwrap_or(policy.opening_limit);
    policy.collect = args.collect.unwrap_or(policy.collect);
    policy.hung_wait = args.hung_wait.unwrap_or(policy.hung_wait);
    policy.absent_wait = args.absent_wait.unwrap_or(policy.absent_wait);
    policy.crashes_in_place = args.crashes_in_place.unwrap_or(policy.crashes_in_place);
    Ok(policy)
}

/// `250ms`, `10s`, `2m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err("write a whole number and its unit, such as 500ms, 10s or 2m".to_owned()),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "write a whole number before the unit, such as 10s".to_owned())?;
    number
        .checked_mul(scale_ms)
        .map(Duration::from_millis)
        .ok_or_else(|| "longer than anyone waits".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    #[command(args_override_self = true)]
    struct Line {
        #[command(flatten)]
        run: RunArgs,
    }

    fn settings(extra: &[&str]) -> Result<Settings, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        fs::write(&key, "0123456789abcdef").unwrap();
        let key = key.to_str().unwrap();
        let mut line = vec![
            "run",
            "--base-conf",
            "base",
            "--conf-out",
            "out",
            "--member",
            "a-0",
            "--launcher-socket",
            "sock",
            "--broker-ip",
            "127.0.0.1",
            "--relay-address",
            "127.0.0.1:7000",
            "--relay-local",
            "127.0.0.1:7001",
            "--group-key-file",
            key,
            "--name-servers",
            "127.0.0.1:9876",
            "--kube-url",
            "http://127.0.0.1:8001",
        ];
        line.extend(extra);
        Settings::new(Line::try_parse_from(line).unwrap().run)
    }

    fn refused(extra: &[&str]) -> String {
        settings(extra).unwrap_err().to_string()
    }

    #[test]
    fn a_small_command_line_is_enough() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.expected, BTreeSet::from([Member::from("a-0")]));
        assert_eq!(settings.pod_uid, "a-0");
        assert_eq!(settings.advertise_agent.to_string(), "127.0.0.1:8088");
        assert_eq!(settings.jvm_options(false), ["-Dtls.server.mode=disabled"]);
        assert!(settings.jvm_options(true).is_empty());
        assert!(settings.conf_out.is_absolute());
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_remedy() {
        assert!(refused(&["--members", "b-0,b-1"]).contains("--member"));
        assert!(refused(&["--members", "a-0,a-0"]).contains("twice"));
        assert!(refused(&["--members", "a-0,A_1"]).contains("A_1"));
        assert!(refused(&["--qos", "2"]).contains("not part of this version"));
        assert!(refused(&["--relay-local", "10.0.0.1:7001"]).contains("loopback"));
        assert!(refused(&["--jvm-option=Xmx1g"]).contains("dash"));
        let error = settings(&["--permit", "9s"]).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("unsafe lease timing"), "{source}");
    }

    #[test]
    fn the_operators_word_on_tls_wins() {
        let settings = settings(&["--jvm-option=-Dtls.server.mode=permissive"]).unwrap();
        assert_eq!(
            settings.jvm_options(false),
            ["-Dtls.server.mode=permissive"]
        );
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "5", "s", "-1s", "1.5s", "99999999999999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
