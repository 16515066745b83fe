//! A group of members under the care of our agents.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fault_proxy::FaultProxy;
use playground::clock::now;
use playground::kube::{self, BESIDE, NAMESPACE};
use playground::lease::GroupLease;
use playground::logs::{self, Log};
use playground::process::ProcessSpec;
use playground::site::Site;
use playground::traffic::{
    Consumer, Dispute, NameServers, Outcome, Prober, Probers, Producer, ProducerSpec, disputes,
    reigns,
};
use playground::wait::until;
use playground::{
    ApiKind, ControlPlane, GroupSpec, Host, HttpSite, Member, NameServer, Network, Programs, Role,
    nameserver,
};

use crate::case::Case;

/// The annotation that asks for a planned switchover.
pub const SWITCHOVER: &str = "rocketmq-ha.io/switchover";

/// More than any step needs on a machine that does other things as well.
pub const LIMIT: Duration = Duration::from_secs(120);

/// The topic of producer and consumer.
pub const TOPIC: &str = "e2e";

const GROUP: &str = "orders";

/// Two honest reigns of one member within this time: no group changes its master so fast.
const SHORTEST_REIGN: Duration = Duration::from_millis(500);

/// The quickest lease timing that is safe on a busy machine: a successor may start 6 s after the last sign of life.
pub const QUICK: [&str; 4] = [
    "--take-wait=6s",
    "--permit=4s",
    "--renew=800ms",
    "--request-timeout=1s",
];

/// How a group is made.
#[derive(Debug, Clone)]
pub struct Shape {
    /// `brokerName`, and with a number the members' names.
    pub name: String,
    /// Flags of every agent.
    pub flags: Vec<String>,
    /// Settings of the base broker.conf.
    pub settings: BTreeMap<String, String>,
    /// How many.
    pub members: usize,
    /// How the agents learn of the name servers.
    pub lookup: Lookup,
    /// What their Kubernetes is. On [`Place::Hosts`] it is the one in memory.
    pub api: ApiKind,
    /// How the agents get there.
    pub way: Way,
    /// Where the members are.
    pub place: Place,
}

/// How agents get to their API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By themselves.
    Direct,
    /// Through a proxy that breaks what it is told to: [`Group::proxy`].
    Proxied,
}

/// Where members are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// All on loopback.
    Loopback,
    /// Each, and the name server, on a host of its own: [`Group::network`].
    Hosts,
}

/// How the agents learn of the name servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// They are given the list.
    List,
    /// From a page: [`Group::site`].
    Site,
    /// From our own httpsite: [`Group::http_site`].
    HttpSite,
}

impl Default for Shape {
    /// Two members, [`QUICK`].
    fn default() -> Self {
        Self {
            name: GROUP.to_owned(),
            flags: QUICK.map(str::to_owned).into(),
            settings: BTreeMap::new(),
            members: 2,
            lookup: Lookup::List,
            api: ApiKind::Memory,
            way: Way::Direct,
            place: Place::Loopback,
        }
    }
}

impl Shape {
    /// The default with another `brokerName`.
    #[must_use]
    pub fn called(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }
}

/// Members, an API server and a name server.
#[derive(Debug)]
pub struct Group<'a> {
    case: &'a Case,
    // Before what it needs: dropped in this order.
    members: Vec<Member>,
    server: NameServer,
    names: NameServers,
    site: Option<Site>,
    http_site: Option<HttpSite>,
    proxy: Option<FaultProxy>,
    plane: Arc<ControlPlane>,
    namespace: &'static str,
    programs: Programs,
    network: Option<Network>,
    key_file: PathBuf,
}

/// How a command of `rocketmq-ha` ended.
#[derive(Debug)]
pub struct Answer {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it wrote.
    pub text: String,
}

impl<'a> Group<'a> {
    /// Starts everything. Back when there is a master that serves and everybody else follows.
    ///
    /// # Errors
    /// When that does not come about.
    pub async fn form(case: &'a Case, shape: Shape) -> Result<Self> {
        let begin = now();
        let mut group = Self::prepare(case, shape).await?;
        for member in &mut group.members {
            member.start()?;
        }
        group.formed(begin).await?;
        Ok(group)
    }

    /// Waits until a group whose members were started serves, and everybody else follows.
    ///
    /// # Errors
    /// When that does not come about.
    pub async fn formed(&mut self, begin: Instant) -> Result<()> {
        let group = self;
        // It has the time in which nobody may take the Lease yet.
        group.server.ready(nameserver::READY_LIMIT).await?;
        group.serving_after(0).await.context("form the group")?;
        let master = group.master().await?;
        for slave in group.others(master) {
            group.follows(slave).await.context("form the group")?;
        }
        group.case.say(format!("formed in {}", in_ms(begin)));
        Ok(())
    }

    /// A group of which nothing but the API and the name server runs yet.
    ///
    /// # Errors
    /// When something of it cannot be made.
    pub async fn prepare(case: &'a Case, shape: Shape) -> Result<Self> {
        let ground = case.ground();
        let network = match shape.place {
            Place::Loopback => None,
            Place::Hosts => Some(ground.network().await?),
        };
        let plane = match &network {
            None => ControlPlane::of_kind(shape.api, ground).await?,
            Some(network) => ControlPlane::start_on(network.api(), ground.path()).await?,
        };
        Self::prepare_in(case, shape, NAMESPACE, Arc::new(plane), network).await
    }

    /// A group of the same name as this one in another namespace of the same API, as another cluster's would be: with name
    /// servers of its own. Nothing of its members runs yet.
    ///
    /// # Errors
    /// When something of it cannot be made.
    pub async fn beside(&self) -> Result<Self> {
        let (shape, plane) = (Shape::default(), Arc::clone(&self.plane));
        Self::prepare_in(self.case, shape, BESIDE, plane, None).await
    }

    async fn prepare_in(
        case: &'a Case,
        shape: Shape,
        namespace: &'static str,
        plane: Arc<ControlPlane>,
        network: Option<Network>,
    ) -> Result<Self> {
        let ground = case.ground();
        let programs = ground.programs().await?;
        let name = shape.name;
        let of_group = |what: &str| format!("{what}-{namespace}-{name}");
        let server = match &network {
            None => ground.name_server(&of_group("ns"))?,
            Some(network) => {
                let host = Arc::new(network.host("ns").await?);
                ground.name_server_on(&of_group("ns"), host)?
            }
        };
        let names = NameServers {
            addresses: vec![server.address()],
            group: name.clone(),
        };
        let (mut site, mut http_site) = (None, None);
        let url = match shape.lookup {
            Lookup::List => None,
            Lookup::Site => Some(site.insert(Site::start(&names.addresses).await?).url()),
            Lookup::HttpSite => {
                let file = ground.folder("lists-of-group")?.join("nsaddr");
                let started = http_site.insert(ground.http_site("httpsite", &file).await?);
                started.name(&names.addresses)?;
                Some(started.url())
            }
        };
        let mut kube = plane.agents().clone();
        let proxy = match shape.way {
            Way::Direct => None,
            Way::Proxied => Some(FaultProxy::start(&kube).await?),
        };
        if let Some(proxy) = &proxy {
            (kube.kube_url, kube.kube_ca_file) = (Some(proxy.url()), None);
        }
        let indexes = 0..shape.members;
        let spec = GroupSpec {
            name: name.clone(),
            members: indexes.map(|index| format!("{name}-{index}")).collect(),
            name_servers: names.addresses.clone(),
            name_server_site: url,
            kube,
            namespace: namespace.to_owned(),
            key_file: ground.group_key(&of_group("key"))?,
            agent_flags: shape.flags,
            settings: shape.settings,
        };
        let mut members = Vec::new();
        for name in &spec.members {
            let mut member = ground.member(name, &spec, &programs)?;
            if let Some(network) = &network {
                member.move_to(Arc::new(network.host(name).await?))?;
            }
            members.push(member);
        }
        Ok(Self {
            case,
            members,
            server,
            names,
            site,
            http_site,
            proxy,
            plane,
            namespace,
            programs,
            network,
            key_file: spec.key_file,
        })
    }

    /// The story it is in.
    #[must_use]
    pub fn case(&self) -> &'a Case {
        self.case
    }

    /// A member.
    #[must_use]
    pub fn member(&self, index: usize) -> &Member {
        &self.members[index]
    }

    /// A member, to be killed, frozen, started.
    #[must_use]
    pub fn member_mut(&mut self, index: usize) -> &mut Member {
        &mut self.members[index]
    }

    /// All members.
    #[must_use]
    pub fn indexes(&self) -> std::ops::Range<usize> {
        0..self.members.len()
    }

    /// All but one.
    #[must_use]
    pub fn others(&self, index: usize) -> Vec<usize> {
        (0..self.members.len())
            .filter(|other| *other != index)
            .collect()
    }

    /// The other one of two.
    #[must_use]
    pub fn other(&self, index: usize) -> usize {
        1 - index
    }

    /// The name servers as clients use them.
    #[must_use]
    pub fn names(&self) -> &NameServers {
        &self.names
    }

    /// Clients that are made from now on ask this name server, too.
    pub fn also_ask(&mut self, server: SocketAddr) {
        self.names.addresses.push(server);
    }

    /// The page with the name servers, of a group with [`Lookup::Site`].
    ///
    /// # Errors
    /// When there is none.
    pub fn site(&self) -> Result<&Site> {
        let site = self.site.as_ref();
        site.context("find the page with the name servers: this group has none")
    }

    /// The httpsite, of a group with [`Lookup::HttpSite`].
    ///
    /// # Errors
    /// When there is none.
    pub fn http_site(&self) -> Result<&HttpSite> {
        let site = self.http_site.as_ref();
        site.context("find the group's httpsite: it has none")
    }

    /// What stands before the API server of a group with [`Way::Proxied`].
    ///
    /// # Errors
    /// When there is none.
    pub fn proxy(&self) -> Result<&FaultProxy> {
        let proxy = self.proxy.as_ref();
        proxy.context("find the proxy before the API server: this group has none")
    }

    /// The network of a group with [`Place::Hosts`].
    ///
    /// # Errors
    /// When there is none.
    pub fn network(&self) -> Result<&Network> {
        let network = self.network.as_ref();
        network.context("find the network: this group is on loopback")
    }

    /// A member's host in it.
    ///
    /// # Errors
    /// When there is no network.
    pub fn host(&self, index: usize) -> Result<&Host> {
        let host = self.member(index).host();
        host.context("find a member's host: this group is on loopback")
    }

    /// The file with the key that its members share.
    #[must_use]
    pub fn key_file(&self) -> &Path {
        &self.key_file
    }

    /// The namespace of its objects.
    #[must_use]
    pub fn namespace(&self) -> &'static str {
        self.namespace
    }

    /// Its name server, to be killed and started again.
    #[must_use]
    pub fn name_server_mut(&mut self) -> &mut NameServer {
        &mut self.server
    }

    /// Where brokers register.
    #[must_use]
    pub fn name_server(&self) -> &NameServer {
        &self.server
    }

    /// The API server.
    #[must_use]
    pub fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// The API server, to be broken.
    ///
    /// # Errors
    /// When a group beside this one shares it.
    pub fn plane_mut(&mut self) -> Result<&mut ControlPlane> {
        Arc::get_mut(&mut self.plane).context("break an API server that another group uses, too")
    }

    /// What a producer of messages of this size sends, to be adjusted.
    #[must_use]
    pub fn producer_spec(&self, body_bytes: usize) -> ProducerSpec {
        let mut spec = ProducerSpec::new(self.names.clone(), TOPIC);
        spec.body_bytes = body_bytes;
        spec
    }

    /// A producer of messages of this size.
    ///
    /// # Errors
    /// When the machine gives no random bytes.
    pub fn producer(&self, body_bytes: usize) -> Result<Producer> {
        Producer::start(self.producer_spec(body_bytes))
    }

    /// A consumer of that producer's messages.
    #[must_use]
    pub fn consumer(&self, producer: &Producer) -> Consumer {
        Consumer::start(self.names.clone(), TOPIC, producer.stamp().clone())
    }

    /// One prober pinned to each member.
    #[must_use]
    pub fn probers(&self) -> Probers {
        let brokers = self.members.iter().map(|member| Prober {
            broker: member.name().to_owned(),
            address: member.contact().address,
        });
        Probers::start(brokers.collect())
    }
}

impl Group<'_> {
    /// The group's Lease.
    ///
    /// # Errors
    /// When there is none or it says nothing.
    pub async fn lease(&self) -> Result<GroupLease> {
        GroupLease::read_in(self.namespace, &self.plane).await
    }

    /// Who the Lease says is master and serves; waits for one.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn master(&self) -> Result<usize> {
        let lease = self.serving_after(0).await?;
        self.index(&lease.term.master)
    }

    /// Waits for a serving term above this epoch.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn serving_after(&self, epoch: u64) -> Result<GroupLease> {
        until("a serving master in the Lease", LIMIT, async || {
            let lease = self.lease().await?;
            let term = &lease.term;
            ensure!(
                term.stage == "serving" && term.epoch > epoch && lease.holder.is_some(),
                "{} is {} in term {}, holder {:?}",
                term.master,
                term.stage,
                term.epoch,
                lease.holder
            );
            Ok(lease)
        })
        .await
    }

    /// Which member has this name.
    ///
    /// # Errors
    /// When none has.
    pub fn index(&self, name: &str) -> Result<usize> {
        let index = self.members.iter().position(|member| member.name() == name);
        index.with_context(|| format!("{name} is none of ours"))
    }

    /// The word for what a member's agent decided last.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub async fn reason(&self, index: usize) -> Result<String> {
        let status = self.member(index).status().await?;
        let reason = status["reason"].as_str();
        reason.map(str::to_owned).context("read the reason")
    }

    /// Waits until a member's agent says one of these words.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn says(&self, index: usize, words: &[&str]) -> Result<String> {
        let what = format!("{} to say one of {words:?}", self.member(index).name());
        until(&what, LIMIT, async || {
            let reason = self.reason(index).await?;
            ensure!(words.contains(&reason.as_str()), "it says {reason}");
            Ok(reason)
        })
        .await
    }

    /// Waits until a member runs as a slave whose log grows with the master's.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn follows(&self, index: usize) -> Result<()> {
        let contact = self.member(index).contact();
        let what = format!("{} to follow", contact.member);
        until(&what, LIMIT, async || {
            let status = self.member(index).status().await?;
            let launcher = &status["observation"]["launcher"]["known"]["value"];
            let upstream = &launcher["upstream"];
            ensure!(
                status["reason"] == "following" && upstream.get("streaming").is_some(),
                "it says {}, upstream {upstream}",
                status["reason"]
            );
            match contact.role().await? {
                Role::Slave(_) => Ok(()),
                Role::Master => bail!("its broker says it is master"),
            }
        })
        .await
    }

    /// Waits until everybody has what this member has now.
    ///
    /// # Errors
    /// When they do not in time.
    pub async fn replicated(&self, master: usize) -> Result<()> {
        let goal = self.end(master).await?;
        for slave in self.others(master) {
            let contact = self.member(slave).contact();
            let what = format!("{} to have the master's log", contact.member);
            until(&what, LIMIT, async || {
                let has = contact.runtime().await?.commit_log_max.get();
                ensure!(has >= goal, "it has {has} of {goal} bytes");
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Waits until a member has this many bytes less than the master.
    ///
    /// # Errors
    /// When it does not come about.
    pub async fn behind(&self, slave: usize, bytes: u64) -> Result<()> {
        let master = self.master().await?;
        let what = format!("{} to be behind", self.member(slave).name());
        until(&what, LIMIT, async || {
            let (has, goal) = (self.end(slave).await?, self.end(master).await?);
            ensure!(has + bytes <= goal, "it has {has} of {goal} bytes");
            Ok(())
        })
        .await
    }

    /// Waits until a member's broker is dead.
    ///
    /// # Errors
    /// When it lives on.
    pub async fn dead(&self, index: usize) -> Result<()> {
        let what = format!("the broker of {} to be dead", self.member(index).name());
        until(&what, LIMIT, async || {
            let pid = self.member(index).jvm_pid();
            ensure!(pid.is_none(), "pid {pid:?} lives");
            Ok(())
        })
        .await
    }

    /// Waits until everybody has told this member's launcher that they have what it has now.
    ///
    /// # Errors
    /// When they do not in time.
    pub async fn acknowledged(&self, master: usize) -> Result<()> {
        let goal = self.end(master).await?;
        until("the slaves to acknowledge", LIMIT, async || {
            let status = self.member(master).status().await?;
            let replicas = &status["observation"]["launcher"]["known"]["value"]["replicas"];
            for slave in self.others(master) {
                let acked = replicas[self.member(slave).name()].as_u64();
                ensure!(acked >= Some(goal), "{replicas}, the master has {goal}");
            }
            Ok(())
        })
        .await
    }

    /// Where a running member's log ends.
    ///
    /// # Errors
    /// When its broker does not answer.
    pub async fn end(&self, index: usize) -> Result<u64> {
        let runtime = self.member(index).contact().runtime().await?;
        Ok(runtime.commit_log_max.get())
    }

    /// All logs, byte for byte, after everything was replicated.
    ///
    /// # Errors
    /// When they differ.
    pub async fn logs_are_equal(&self, master: usize) -> Result<()> {
        self.logs_are_equal_from(master, 0).await
    }

    /// The same with logs that all begin at `from` (bytes).
    ///
    /// # Errors
    /// When they differ, or one begins elsewhere.
    pub async fn logs_are_equal_from(&self, master: usize, from: u64) -> Result<()> {
        self.replicated(master).await?;
        let masters = self.log(master).await?;
        for slave in self.others(master) {
            let found = logs::compare(&masters, &self.log(slave).await?)?;
            ensure!(
                found.is_equal() && found.from == from,
                "logs differ: {} against the master: {found:?}",
                self.member(slave).name()
            );
        }
        Ok(())
    }

    /// A running member's log as it is now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn log(&self, index: usize) -> Result<Log> {
        Log::open(&self.member(index).commit_log(), self.end(index).await?)
    }

    /// Runs a command of `rocketmq-ha` to its end, as an operator would.
    ///
    /// # Errors
    /// When it cannot be run, or does not end in time.
    pub async fn command(&self, words: &[&str]) -> Result<Answer> {
        let folder = self.case.ground().path();
        let output = folder.join("command.log");
        if output.exists() {
            std::fs::remove_file(&output).context("remove the last command's output")?;
        }
        let name = format!("rocketmq-ha {}", words.join(" "));
        let spec = ProcessSpec::new(name, &self.programs.agent, folder, output.clone())
            .arguments(words)
            .arguments(kube::flags(self.plane.agents()))
            .arguments([format!("--namespace={}", self.namespace)]);
        let mut process = self.case.ground().spawner().start(&spec)?;
        let code = process.wait_for_end(LIMIT).await?.code();
        let text = std::fs::read_to_string(&output).context("read a command's output")?;
        Ok(Answer { code, text })
    }

    /// Has an operator ask for a switchover to this member, and wait for it; as soon as the master knows that the member
    /// may take over.
    ///
    /// # Errors
    /// When it does not come about.
    pub async fn switch_over(&self, target: usize) -> Result<()> {
        let master = self.master().await?;
        let target = self.member(target).name();
        let what = format!("the master to hear that {target} may take over");
        until(&what, LIMIT, async || {
            let status = self.member(master).status().await?;
            let answer = &status["observation"]["peers"][target]["answer"]["known"]["value"];
            let ready = answer["electable"] == "yes" && answer["joined"] == true;
            ensure!(ready && answer["role"] == "slave", "it has heard {answer}");
            Ok(())
        })
        .await?;
        let words = ["switchover", "--to", target, "--wait"];
        let answer = self.command(&words).await?;
        ensure!(answer.code == Some(0), "{words:?} ended with {answer:?}");
        Ok(())
    }

    /// Waits for an Event with this reason whose message holds these words.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn announced(&self, reason: &str, words: &str) -> Result<()> {
        let path = format!("/api/v1/namespaces/{}/events", self.namespace);
        let what = format!("Event {reason} with {words:?}");
        until(&what, LIMIT, async || {
            let list = self.plane.get(&path).await?;
            let events = list["items"].as_array().map_or(&[][..], Vec::as_slice);
            let told: Vec<String> = events
                .iter()
                .filter(|event| event["reason"] == reason)
                .map(|event| event["message"].to_string())
                .collect();
            let found = told.iter().any(|message| message.contains(words));
            ensure!(found, "{} Events, with this reason {told:?}", events.len());
            Ok(())
        })
        .await
    }

    /// Times at which two members acknowledged, beyond doubt.
    #[must_use]
    pub fn disputes(&self, probers: &Probers) -> Vec<Dispute> {
        disputes(&probers.acceptances(), SHORTEST_REIGN)
    }

    /// Who acknowledged, in order.
    #[must_use]
    pub fn reigns(&self, probers: &Probers) -> Vec<String> {
        let reigns = reigns(&probers.acceptances()).into_iter();
        reigns.map(|reign| reign.broker).collect()
    }

    /// Fails when two members acknowledged at one time, or the reigns are not these members' in this order.
    ///
    /// # Errors
    /// In those cases.
    pub fn reigned(&self, probers: &Probers, order: &[usize]) -> Result<()> {
        let disputes = self.disputes(probers);
        ensure!(disputes.is_empty(), "two masters at once: {disputes:?}");
        let reigns = self.reigns(probers);
        let wanted: Vec<&str> = order
            .iter()
            .map(|index| self.member(*index).name())
            .collect();
        ensure!(reigns == wanted, "reigns: {reigns:?}, not {wanted:?}");
        Ok(())
    }
}

/// How many messages had each outcome, in words.
#[must_use]
pub fn counted(producer: &Producer) -> impl Display + use<> {
    let ledger = producer.ledger();
    let count = |outcome| ledger.count(outcome);
    format!(
        "{} acknowledged, {} refused, {} unknown",
        count(Outcome::Accepted),
        count(Outcome::Refused),
        count(Outcome::Unknown)
    )
}

/// Since then, in milliseconds, for people.
#[must_use]
pub fn in_ms(since: Instant) -> String {
    format!("{} ms", since.elapsed().as_millis())
}
