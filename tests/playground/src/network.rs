//! Machines of their own for members: network namespaces around a router, where links can be cut without a word.
//!
//! On loopback a connection to a dead process is reset at once, and nothing can be cut between two living ones. Here each
//! [`Host`] has its own network and address, all of them meet in one router, and we ourselves (clients, the API in this
//! process, name servers that are not put on a host) are one more neighbour of it. A cut is a routing rule of the router
//! that swallows packets: no reset, no refusal.
//!
//! Needs root, `ip` of iproute2, `unshare` and `nsenter` of util-linux. Each namespace is held open by one sleeping process
//! under the guard, so that nothing is left of it when we end, however we end. Addresses are of 198.18.0.0/15, which is
//! reserved for tests of networks (RFC 2544); nothing routes them beyond the namespaces.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::guard::program_in_path;
use crate::ports::random_below;
use crate::process::{Process, ProcessSpec, Spawner};
use crate::wait::until;

/// The router's own address in each network.
const ROUTER: u8 = 254;
/// Where our clients come from.
const CLIENTS: u8 = 1;
/// Where the API of this process listens, so that it can be cut off by itself.
const API: u8 = 2;
/// The first host.
const FIRST: u8 = 10;

/// Networks that there can be at once on a machine.
const NETWORKS: u16 = 512;
/// Names tried before we give up.
const TRIES: u16 = 20;

/// A namespace is there after a few milliseconds.
const NAMESPACE_LIMIT: Duration = Duration::from_secs(10);

/// A router and its neighbours. Dropped, all of it is gone.
#[derive(Debug)]
pub struct Network {
    prefix: [u8; 3],
    router: Namespace,
    spawner: Spawner,
    folder: PathBuf,
    next: AtomicU8,
}

/// A neighbour of the router.
#[derive(Debug)]
pub struct Host {
    ip: Ipv4Addr,
    namespace: Namespace,
}

/// Two addresses that do not hear each other; with a port, only connections to that port of `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// One side.
    pub from: Ipv4Addr,
    /// The other side.
    pub to: Ipv4Addr,
    /// The port on `to`; all when there is none.
    pub port: Option<u16>,
    /// Only what `from` sends is lost.
    pub one_way: bool,
}

impl Cut {
    /// Neither hears the other.
    #[must_use]
    pub const fn between(from: Ipv4Addr, to: Ipv4Addr) -> Self {
        Self {
            from,
            to,
            port: None,
            one_way: false,
        }
    }

    /// Only what concerns this port of `to`.
    #[must_use]
    pub const fn at(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Only what `from` sends is lost.
    #[must_use]
    pub const fn one_way(mut self) -> Self {
        self.one_way = true;
        self
    }

    fn rules(self) -> Vec<Vec<String>> {
        let port = |word: &str| match self.port {
            Some(port) => format!("ipproto tcp {word} {port}"),
            None => String::new(),
        };
        let rule = |from: Ipv4Addr, to: Ipv4Addr, word: &str| -> Vec<String> {
            let text = format!("from {from} to {to} {} blackhole", port(word));
            text.split_whitespace().map(str::to_owned).collect()
        };
        let mut rules = vec![rule(self.from, self.to, "dport")];
        if !self.one_way {
            rules.push(rule(self.to, self.from, "sport"));
        }
        rules
    }
}

/// Why there can be no network here; nothing if there can.
#[must_use]
pub fn lacking() -> Option<String> {
    for tool in ["ip", "unshare", "nsenter"] {
        if tool_path(tool).is_none() {
            return Some(format!("{tool} is not installed"));
        }
    }
    let tried = Command::new("unshare").args(["--net", "true"]).output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Some(format!("no network namespace: {}", said.trim()))
        }
        Err(error) => Some(format!("run unshare: {error}")),
    }
}

impl Network {
    /// A router that knows nobody but us; `folder` takes what the namespaces' holders might write.
    ///
    /// # Errors
    /// When namespaces or links cannot be made: see [`lacking`].
    pub async fn new(spawner: &Spawner, folder: PathBuf) -> Result<Self> {
        let router = Namespace::start("router", spawner, &folder).await?;
        let prefix = lead_to(&router)?;
        let [a, b, c] = prefix;
        router.run(&format!(
            "ip link set lo up; ip addr add {a}.{b}.{c}.{ROUTER}/32 dev lo; \
             echo 1 > /proc/sys/net/ipv4/ip_forward; ip link set us up; \
             ip route add {a}.{b}.{c}.{CLIENTS} dev us; ip route add {a}.{b}.{c}.{API} dev us"
        ))?;
        Ok(Self {
            prefix,
            router,
            spawner: spawner.clone(),
            folder,
            next: AtomicU8::new(FIRST),
        })
    }

    /// Where our clients come from.
    #[must_use]
    pub fn clients(&self) -> Ipv4Addr {
        self.ip(CLIENTS)
    }

    /// An address of ours of its own, for the API.
    #[must_use]
    pub fn api(&self) -> Ipv4Addr {
        self.ip(API)
    }

    /// A new host.
    ///
    /// # Errors
    /// When its namespace cannot be made, or there are too many.
    pub async fn host(&self, name: &str) -> Result<Host> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        ensure!(number < ROUTER, "make host {name}: the network is full");
        let ip = self.ip(number);
        let [a, b, c] = self.prefix;
        let namespace = Namespace::start(name, &self.spawner, &self.folder).await?;
        let link = link(ip);
        self.router.run(&format!(
            "ip link add {link} type veth peer name eth0 netns {pid}; ip link set {link} up; ip route add {ip} dev {link}",
            pid = namespace.holder.pid(),
        ))?;
        namespace.run(&format!(
            "ip link set lo up; ip addr add {ip}/32 dev eth0; ip link set eth0 up; \
             ip route add {a}.{b}.{c}.{ROUTER} dev eth0; \
             ip route add {a}.{b}.{c}.0/24 via {a}.{b}.{c}.{ROUTER} src {ip}"
        ))?;
        Ok(Host { ip, namespace })
    }

    /// Cuts, without a word to either side.
    ///
    /// # Errors
    /// When the router refuses the rule.
    pub fn cut(&self, cut: Cut) -> Result<()> {
        self.rules("add", cut)
    }

    /// Takes a cut back.
    ///
    /// # Errors
    /// When it is not there.
    pub fn mend(&self, cut: Cut) -> Result<()> {
        self.rules("del", cut)
    }

    /// Pulls a host's cable.
    ///
    /// # Errors
    /// When the router refuses.
    pub fn unplug(&self, host: &Host) -> Result<()> {
        let link = link(host.ip);
        self.router.run(&format!("ip link set {link} down"))
    }

    /// Puts it in again.
    ///
    /// # Errors
    /// When the router refuses.
    pub fn plug(&self, host: &Host) -> Result<()> {
        let (link, ip) = (link(host.ip), host.ip);
        // A link that goes down takes its routes with it.
        let words = format!("ip link set {link} up; ip route replace {ip} dev {link}");
        self.router.run(&words)
    }

    fn rules(&self, verb: &str, cut: Cut) -> Result<()> {
        cut.rules().into_iter().try_for_each(|rule| {
            let words = format!("ip rule {verb} {}", rule.join(" "));
            self.router.run(&words)
        })
    }

    fn ip(&self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.prefix;
        Ipv4Addr::new(a, b, c, last)
    }
}

impl Host {
    /// Its address.
    #[must_use]
    pub const fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// The same process, on this host. Pid and output stay what they would be.
    #[must_use]
    pub fn enter(&self, mut spec: ProcessSpec) -> ProcessSpec {
        let mut arguments = vec![self.namespace.flag().into(), "--".into()];
        arguments.push(spec.program.into());
        arguments.append(&mut spec.arguments);
        spec.program = tool_path("nsenter").unwrap_or_else(|| "nsenter".into());
        spec.arguments = arguments;
        spec
    }
}

/// A network namespace, and the process that holds it open.
#[derive(Debug)]
struct Namespace {
    name: String,
    holder: Process,
}

impl Namespace {
    async fn start(name: &str, spawner: &Spawner, folder: &Path) -> Result<Self> {
        let program = tool_path("unshare").context("make a network namespace: no unshare")?;
        let spec = ProcessSpec::new(format!("host {name}"), &program, folder, folder.join("out"));
        let mut holder = spawner.start(&spec.arguments(["--net", "--", "sleep", "infinity"]))?;
        let ours = std::fs::read_link("/proc/self/ns/net").context("read our namespace")?;
        let theirs = format!("/proc/{}/ns/net", holder.pid());
        until("a network namespace", NAMESPACE_LIMIT, async || {
            ensure!(holder.is_running(), "{}", holder.describe_end());
            ensure!(std::fs::read_link(&theirs)? != ours, "still in ours");
            Ok(())
        })
        .await?;
        Ok(Self {
            name: name.to_owned(),
            holder,
        })
    }

    fn flag(&self) -> String {
        format!("--net=/proc/{}/ns/net", self.holder.pid())
    }

    /// Runs shell commands inside; all must succeed.
    fn run(&self, commands: &str) -> Result<()> {
        let mut command = Command::new("nsenter");
        command.arg(self.flag()).args(["--", "sh", "-ec", commands]);
        done(&mut command).with_context(|| format!("on host {}", self.name))
    }
}

/// Joins us to the router by a link whose name no other run has.
fn lead_to(router: &Namespace) -> Result<[u8; 3]> {
    let mut last = None;
    for _ in 0..TRIES {
        let number = random_below(NETWORKS)?;
        let [high, low] = number.to_be_bytes();
        let [a, b, c] = [198, 18 + high, low];
        let (us, pid) = (format!("rha{number}"), router.holder.pid());
        let add = format!("ip link add {us} type veth peer name us netns {pid}");
        match done(Command::new("sh").args(["-ec", &add])) {
            Ok(()) => {}
            Err(taken) => {
                last = Some(taken);
                continue;
            }
        }
        // The link goes away with the router, and the addresses and routes with the link.
        let set_up = format!(
            "ip addr add {a}.{b}.{c}.{CLIENTS}/32 dev {us}; ip addr add {a}.{b}.{c}.{API}/32 dev {us}; \
             ip link set {us} up; ip route add {a}.{b}.{c}.{ROUTER} dev {us}; \
             ip route add {a}.{b}.{c}.0/24 via {a}.{b}.{c}.{ROUTER} dev {us} src {a}.{b}.{c}.{CLIENTS}"
        );
        done(Command::new("sh").args(["-ec", &set_up]))?;
        return Ok([a, b, c]);
    }
    let last = last.unwrap_or_else(|| anyhow::anyhow!("no try was made"));
    Err(last.context("find a free network name"))
}

fn link(ip: Ipv4Addr) -> String {
    let [.., last] = ip.octets();
    format!("host{last}")
}

fn done(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("run {command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}", said.trim());
    }
    Ok(())
}

/// `ip` is in sbin on Debian, which is not in everybody's `PATH`.
fn tool_path(name: &str) -> Option<PathBuf> {
    program_in_path(name).or_else(|| {
        let file = Path::new("/usr/sbin").join(name);
        file.is_file().then_some(file)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_two_rules_and_a_one_way_cut_one() {
        let (a, b) = (Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 18, 0, 10));
        let cut = Cut::between(a, b).at(8080);
        let rules: Vec<String> = cut.rules().iter().map(|rule| rule.join(" ")).collect();
        assert_eq!(
            rules,
            [
                "from 198.18.0.1 to 198.18.0.10 ipproto tcp dport 8080 blackhole",
                "from 198.18.0.10 to 198.18.0.1 ipproto tcp sport 8080 blackhole"
            ]
        );
        assert_eq!(cut.one_way().rules().len(), 1);
    }
}
