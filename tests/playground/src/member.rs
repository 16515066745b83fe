//! A member as it is in production: an agent, a launcher, and the broker's JVM under it.
//!
//! The launcher is our child, the JVM is the launcher's; the agent finds the launcher by its socket. What a
//! pod would give (base conf, volume, addresses) is a folder and ports here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube_access::AccessArgs;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::broker::{name_server_list, small_store};
use crate::clock::{Deadline, LOOK_AGAIN};
use crate::contact::Contact;
use crate::ground::CLUSTER;
use crate::http;
use crate::java::{Jvm, Program};
use crate::kube;
use crate::network::Host;
use crate::ports::PortBlock;
use crate::process::{Process, ProcessSpec, Spawner};
use crate::programs::Programs;

/// What the members of a group have in common.
#[derive(Debug, Clone)]
pub struct GroupSpec {
    /// `brokerName`.
    pub name: String,
    /// All members' names.
    pub members: Vec<String>,
    /// Name servers.
    pub name_servers: Vec<SocketAddr>,
    /// Where the agents ask for the name servers; without it they are given the list.
    pub name_server_site: Option<String>,
    /// How the agents reach their API server.
    pub kube: AccessArgs,
    /// Where the group's Leases are.
    pub namespace: String,
    /// The file with the key that the members share.
    pub key_file: PathBuf,
    /// Further flags of every agent (`--take-wait=6s`).
    pub agent_flags: Vec<String>,
    /// Settings of the base broker.conf beside a small store's.
    pub settings: BTreeMap<String, String>,
}

/// Ports inside a member's block. RocketMQ also takes listenPort−2, and on 4.9 the HA port must be
/// listenPort+1.
const LISTEN: u16 = 2;
const HA: u16 = 3;
const RELAY: u16 = 4;
const RELAY_LOCAL: u16 = 5;
const ADMIN: u16 = 6;

/// Until a SIGKILLed JVM is gone.
const JVM_END_LIMIT: Duration = Duration::from_secs(20);

/// One member. Dropped, all of it is killed.
#[derive(Debug)]
pub struct Member {
    name: String,
    group: GroupSpec,
    home: PathBuf,
    ports: PortBlock,
    host: Option<Arc<Host>>,
    advertised: Option<SocketAddr>,
    variables: Vec<(String, String)>,
    stand_in: Option<Vec<OsString>>,
    jvm: Jvm,
    programs: Programs,
    spawner: Spawner,
    launcher: Option<Process>,
    agent: Option<Process>,
}

impl Member {
    pub(crate) fn new(
        name: &str,
        group: &GroupSpec,
        home: PathBuf,
        ports: PortBlock,
        (jvm, programs, spawner): (Jvm, Programs, Spawner),
    ) -> Result<Self> {
        let member = Self {
            name: name.to_owned(),
            group: group.clone(),
            home,
            ports,
            host: None,
            advertised: None,
            variables: Vec::new(),
            stand_in: None,
            jvm,
            programs,
            spawner,
            launcher: None,
            agent: None,
        };
        let base = member.base_conf();
        std::fs::write(&base, member.base_conf_text())
            .with_context(|| format!("write {}", base.display()))?;
        Ok(member)
    }

    /// Puts it on a host, with that host's address from its next start on.
    ///
    /// # Errors
    /// When something of it runs.
    pub fn move_to(&mut self, host: Arc<Host>) -> Result<()> {
        let mut parts = [&mut self.launcher, &mut self.agent].into_iter().flatten();
        if parts.any(Process::is_running) {
            bail!("move {} to another host: it runs", self.name);
        }
        self.ports.set_ip(host.ip());
        self.host = Some(host);
        Ok(())
    }

    /// Tells the slaves' launchers another address than [`Self::relay`] from its next start on: a proxy in between.
    pub fn advertise_relay(&mut self, address: SocketAddr) {
        self.advertised = Some(address);
    }

    /// Gives it other programs: each from its own next start on.
    pub fn run_by(&mut self, programs: Programs) {
        self.programs = programs;
    }

    /// Sets a variable of its agent from its next start on.
    pub fn agent_variable(&mut self, name: &str, value: impl Into<String>) {
        self.variables.push((name.to_owned(), value.into()));
    }

    /// Has its launcher start this instead of the JVM, from its next start on. It must take `-c CONF`.
    pub fn broker_program(&mut self, program: &Path, arguments: &[&str]) {
        let words = arguments.iter().map(OsString::from);
        self.stand_in = Some([program.into()].into_iter().chain(words).collect());
    }

    /// The host it is on, if it has one of its own.
    #[must_use]
    pub fn host(&self) -> Option<&Host> {
        self.host.as_deref()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its folder.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// `storePathRootDir`: its volume.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.home.join("store")
    }

    /// `storePathCommitLog`.
    #[must_use]
    pub fn commit_log(&self) -> PathBuf {
        self.store().join("commitlog")
    }

    /// How its broker is asked things.
    #[must_use]
    pub fn contact(&self) -> Contact {
        Contact {
            member: self.name.clone(),
            address: self.ports.address(LISTEN),
            ha_address: self.ports.address(HA),
        }
    }

    /// The agent's admin port.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.ports.address(ADMIN)
    }

    /// Where the slaves' launchers replicate from this member.
    #[must_use]
    pub fn relay(&self) -> SocketAddr {
        self.ports.address(RELAY)
    }

    /// Where its own broker connects as a slave.
    #[must_use]
    pub fn relay_local(&self) -> SocketAddr {
        // Nobody else may connect there, so it is loopback on a host, too.
        (Ipv4Addr::LOCALHOST, self.ports.port(RELAY_LOCAL)).into()
    }

    /// The launcher's control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.home.join("launcher.sock")
    }

    /// The operator's conf, to which an agent adds what it owns.
    #[must_use]
    pub fn base_conf(&self) -> PathBuf {
        self.home.join("base.conf")
    }

    /// What the agent says about itself: `GET /status`.
    ///
    /// # Errors
    /// When it does not answer, or not with JSON.
    pub async fn status(&self) -> Result<serde_json::Value> {
        let answer = http::get(self.admin(), "/status").await?;
        answer
            .json()
            .with_context(|| format!("get the status of {}", self.name))
    }

    /// Starts launcher and agent, whichever does not run. The broker starts when the agent orders it.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start(&mut self) -> Result<()> {
        self.start_launcher()?;
        self.start_agent()
    }

    /// Starts the launcher, unless it runs.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_launcher(&mut self) -> Result<()> {
        if !self.launcher.as_mut().is_some_and(Process::is_running) {
            let spec = self.on_host(self.launcher_spec()?);
            self.launcher = Some(self.spawner.start(&spec)?);
        }
        Ok(())
    }

    /// Starts the agent, unless it runs.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_agent(&mut self) -> Result<()> {
        if !self.agent.as_mut().is_some_and(Process::is_running) {
            let mut spec = self.agent_spec();
            for (name, value) in &self.variables {
                spec = spec.variable(name, value);
            }
            let spec = self.on_host(spec);
            self.agent = Some(self.spawner.start(&spec)?);
        }
        Ok(())
    }

    fn on_host(&self, spec: ProcessSpec) -> ProcessSpec {
        match &self.host {
            Some(host) => host.enter(spec),
            None => spec,
        }
    }

    /// The launcher's process.
    ///
    /// # Errors
    /// When it was never started.
    pub fn launcher(&mut self) -> Result<&mut Process> {
        let name = &self.name;
        let launcher = self.launcher.as_mut();
        launcher.with_context(|| format!("find the launcher of {name}: never started"))
    }

    /// The agent's process.
    ///
    /// # Errors
    /// When it was never started.
    pub fn agent(&mut self) -> Result<&mut Process> {
        let name = &self.name;
        let agent = self.agent.as_mut();
        agent.with_context(|| format!("find the agent of {name}: never started"))
    }

    /// The pid of its broker's JVM, if one runs.
    #[must_use]
    pub fn jvm_pid(&self) -> Option<i32> {
        let program = self.jvm.java.program.as_os_str().as_encoded_bytes();
        let home = format!("-Drocketmq.home.dir={}", self.home.display());
        // The launcher's own command line holds the JVM's: only the one that *begins* with java is it.
        find_process(|words| words.first() == Some(&program) && words.contains(&home.as_bytes()))
    }

    /// SIGKILL to the JVM alone: a crash of the broker.
    ///
    /// # Errors
    /// When none runs, or it does not go.
    pub async fn kill_broker(&self) -> Result<()> {
        let Some(pid) = self.jvm_pid() else {
            bail!("kill the broker of {}: none runs", self.name);
        };
        signal_jvm(pid, Signal::SIGKILL)?;
        self.wait_for_jvm_end(pid).await
    }

    /// SIGSTOP to the JVM alone.
    ///
    /// # Errors
    /// When none runs.
    pub fn freeze_jvm(&self) -> Result<()> {
        let Some(pid) = self.jvm_pid() else {
            bail!("freeze the JVM of {}: none runs", self.name);
        };
        signal_jvm(pid, Signal::SIGSTOP)
    }

    /// SIGKILL to all of it at once: the machine is lost, the volume is not.
    ///
    /// # Errors
    /// When something of it does not go.
    pub async fn kill(&mut self) -> Result<()> {
        // The agent first: it must not see the others die.
        if let Some(agent) = &mut self.agent {
            agent.kill().await?;
        }
        let jvm = self.jvm_pid();
        if let Some(pid) = jvm {
            signal_jvm(pid, Signal::SIGKILL)?;
        }
        if let Some(launcher) = &mut self.launcher {
            launcher.kill().await?;
        }
        match jvm {
            Some(pid) => self.wait_for_jvm_end(pid).await,
            None => Ok(()),
        }
    }

    /// SIGSTOP to all of it: a machine that stands still.
    ///
    /// # Errors
    /// When something of it has ended.
    pub fn freeze(&mut self) -> Result<()> {
        self.agent()?.freeze()?;
        self.launcher()?.freeze()?;
        self.jvm_pid()
            .map_or(Ok(()), |pid| signal_jvm(pid, Signal::SIGSTOP))
    }

    /// SIGCONT to all of it, the JVM first: the worst order.
    ///
    /// # Errors
    /// When something of it has ended.
    pub fn thaw(&mut self) -> Result<()> {
        if let Some(pid) = self.jvm_pid() {
            signal_jvm(pid, Signal::SIGCONT)?;
        }
        self.launcher()?.thaw()?;
        self.agent()?.thaw()
    }

    /// SIGSTOP to launcher and JVM, not to the agent: replication stands still.
    ///
    /// # Errors
    /// When something of it has ended.
    pub fn freeze_broker(&mut self) -> Result<()> {
        self.launcher()?.freeze()?;
        self.jvm_pid()
            .map_or(Ok(()), |pid| signal_jvm(pid, Signal::SIGSTOP))
    }

    /// SIGCONT to launcher and JVM.
    ///
    /// # Errors
    /// When something of it has ended.
    pub fn thaw_broker(&mut self) -> Result<()> {
        if let Some(pid) = self.jvm_pid() {
            signal_jvm(pid, Signal::SIGCONT)?;
        }
        self.launcher()?.thaw()
    }

    async fn wait_for_jvm_end(&self, pid: i32) -> Result<()> {
        let deadline = Deadline::after(JVM_END_LIMIT);
        while self.jvm_pid() == Some(pid) {
            if deadline.is_over() {
                bail!(
                    "wait for the JVM of {} (pid {pid}) to end: still there",
                    self.name
                );
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }
}

impl Member {
    /// What an operator's ConfigMap would hold: nothing that the agent owns.
    fn base_conf_text(&self) -> String {
        let contact = self.contact();
        let mut settings = small_store();
        let fixed = [
            ("brokerClusterName", CLUSTER.to_owned()),
            ("brokerName", self.group.name.clone()),
            ("listenPort", contact.address.port().to_string()),
            ("haListenPort", contact.ha_address.port().to_string()),
            ("storePathRootDir", self.store().display().to_string()),
            (
                "storePathCommitLog",
                self.commit_log().display().to_string(),
            ),
        ];
        settings.extend(fixed.map(|(key, value)| (key.to_owned(), value)));
        settings.extend(self.group.settings.clone());
        settings
            .iter()
            .map(|(key, value)| format!("{key}={value}\n"))
            .collect()
    }

    fn launcher_spec(&self) -> Result<ProcessSpec> {
        // The launcher puts the conf of the order in the place of this one.
        let line = match &self.stand_in {
            Some(line) => line.clone(),
            None => self
                .jvm
                .command_line(Program::Broker, &self.home, &self.base_conf())?,
        };
        let spec = ProcessSpec::new(
            format!("launcher {}", self.name),
            &self.programs.launcher,
            &self.home,
            self.home.join("launcher.out"),
        );
        Ok(spec
            .arguments([flag("socket", self.socket().display())])
            .arguments([
                flag("relay-listen", self.ports.address(RELAY)),
                flag("relay-local", self.relay_local()),
                flag("group-key-file", self.group.key_file.display()),
                flag("cluster", CLUSTER),
                flag("broker-name", &self.group.name),
                flag("member", &self.name),
                flag("termination-log", self.last_word("launcher").display()),
                "--".to_owned(),
            ])
            .arguments(line))
    }

    fn agent_spec(&self) -> ProcessSpec {
        ProcessSpec::new(
            format!("agent {}", self.name),
            &self.programs.agent,
            &self.home,
            self.home.join("agent.out"),
        )
        .arguments(["run"])
        .arguments([
            flag("base-conf", self.base_conf().display()),
            flag("conf-out", self.home.join("broker.conf").display()),
            flag("member", &self.name),
            flag("members", self.group.members.join(",")),
            flag("namespace", &self.group.namespace),
            flag("launcher-socket", self.socket().display()),
            flag("termination-log", self.last_word("agent").display()),
            flag("broker-ip", self.contact().address.ip()),
            flag("admin-listen", self.admin()),
            flag(
                "relay-address",
                self.advertised.unwrap_or_else(|| self.relay()),
            ),
            flag("relay-local", self.relay_local()),
            flag("group-key-file", self.group.key_file.display()),
            self.name_server_flag(),
        ])
        .arguments(kube::flags(&self.group.kube))
        .arguments(self.group.agent_flags.iter().cloned())
    }

    /// Where a kubelet would read the last word of a container; there is none unless a test plays one.
    fn last_word(&self, container: &str) -> PathBuf {
        self.home.join(format!("termination-log.{container}"))
    }

    fn name_server_flag(&self) -> String {
        match &self.group.name_server_site {
            Some(url) => flag("http-site", url),
            None => flag("name-servers", name_server_list(&self.group.name_servers)),
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // The launcher's guard would end the JVM, too, but later than we are gone.
        let jvm = self.jvm_pid();
        self.agent = None;
        self.launcher = None;
        let Some(pid) = jvm else { return };
        let deadline = Deadline::after(JVM_END_LIMIT);
        while self.jvm_pid() == Some(pid) && !deadline.is_over() {
            let _ = signal_jvm(pid, Signal::SIGKILL);
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

fn signal_jvm(pid: i32, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(pid), signal)
        .with_context(|| format!("send {signal} to the JVM (pid {pid})"))
}

/// The first process whose command line, word by word, is the wanted one. Zombies have none.
fn find_process(wanted: impl Fn(&[&[u8]]) -> bool) -> Option<i32> {
    std::fs::read_dir("/proc")
        .ok()?
        .flatten()
        .find_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            wanted(&words).then_some(pid)
        })
}
