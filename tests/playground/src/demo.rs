//! The story: a group under the care of our agents loses its master, goes on without a human, gets the old
//! master back with messages nobody else has, and hands over in an orderly way.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use playground::archive::Archives;
use playground::broker::name_server_list;
use playground::kube::NAMESPACE;
use playground::lease::GroupLease;
use playground::logs::{self, Log};
use playground::report::{Report, Running};
use playground::traffic::{
    Consumer, NameServers, Prober, Probers, Producer, ProducerSpec, disputes, read_all, reigns,
};
use playground::wait::until;
use playground::{
    Afterwards, ApiKind, ControlPlane, GroupSpec, Member, NameServer, Playground, Role, Timeline,
    nameserver,
};

use crate::Story;

const GROUP: &str = "orders";
const TOPIC: &str = "demo";
const STEADY_MESSAGES: u64 = 500;
/// With bodies of [`BODY_BYTES`] some 14 MiB: far more than the socket buffers between two members hold (4 MiB to
/// send, by Linux's default), so most of it stays on the dead master alone.
const TAIL_MESSAGES: u64 = 900;
const BODY_BYTES: usize = 16 * 1024;
/// Two honest reigns of one member within this time: no group changes its master so fast.
const SHORTEST_REIGN: Duration = Duration::from_millis(500);
/// More than any stage needs on a machine that does other things as well.
const STAGE_LIMIT: Duration = Duration::from_secs(180);

/// Plays it and shows the report. Told to keep everything, it does not return.
pub(crate) async fn play(story: Story, timeline: Timeline) -> Result<Report> {
    let mut report = Report {
        rocketmq: story.options.version.to_string(),
        ..Report::default()
    };
    let ground = Playground::set_up(story.options.clone(), timeline.clone()).await?;
    if story.options.afterwards == Afterwards::Keep {
        timeline.say("files", format!("{} (kept)", ground.path().display()));
    }
    let mut stage = Stage::build(&ground, story.members, story.api).await?;
    stage.play(&mut report).await?;
    story.tell(&mut report, &timeline)?;
    if story.options.afterwards == Afterwards::Keep {
        stage.say_addresses();
        std::future::pending::<()>().await;
    }
    Ok(report)
}

struct Stage<'a> {
    ground: &'a Playground,
    plane: ControlPlane,
    servers: Vec<NameServer>,
    members: Vec<Member>,
    names: NameServers,
}

impl<'a> Stage<'a> {
    async fn build(ground: &'a Playground, members: u8, api: ApiKind) -> Result<Self> {
        let programs = ground.programs().await?;
        let plane = ControlPlane::of_kind(api, ground).await?;
        ground
            .timeline()
            .say("kubernetes", format!("{api} at {}", plane.url()));
        let mut servers = vec![ground.name_server("ns-1")?, ground.name_server("ns-2")?];
        for server in &mut servers {
            server.ready(nameserver::READY_LIMIT).await?;
            ground
                .timeline()
                .say(server.name(), format!("ready at {}", server.address()));
        }
        let names = NameServers {
            addresses: servers.iter().map(NameServer::address).collect(),
            group: GROUP.to_owned(),
        };
        let group = GroupSpec {
            name: GROUP.to_owned(),
            members: (0..members)
                .map(|index| format!("{GROUP}-{index}"))
                .collect(),
            name_servers: names.addresses.clone(),
            name_server_site: None,
            kube: plane.agents().clone(),
            namespace: NAMESPACE.to_owned(),
            key_file: ground.group_key(GROUP)?,
            agent_flags: Vec::new(),
            settings: [].into(),
        };
        let members: Result<Vec<Member>> = group
            .members
            .iter()
            .map(|name| ground.member(name, &group, &programs))
            .collect();
        Ok(Self {
            ground,
            plane,
            servers,
            members: members?,
            names,
        })
    }

    async fn play(&mut self, report: &mut Report) -> Result<()> {
        let forming = Running::start("group formed, to the first acknowledged message");
        for member in &mut self.members {
            member.start()?;
        }
        let mut spec = ProducerSpec::new(self.names.clone(), TOPIC);
        spec.body_bytes = BODY_BYTES;
        let producer = Producer::start(spec)?;
        let consumer = Consumer::start(self.names.clone(), TOPIC, producer.stamp().clone());
        let probers = Probers::start(self.members.iter().map(prober).collect());
        producer
            .accept_more(1, STAGE_LIMIT)
            .await
            .context("form the group")?;
        let took = forming.finish(report);
        let first = self.master().await?;
        self.say(first, format!("is master, first message after {took:.1?}"));

        self.steady(report, &producer).await?;
        let old = self.master().await?;
        let new = self.fail_over(report, &producer, old).await?;
        self.rejoin(report, &producer, old, new).await?;
        self.switch_back(report, &producer, new, old).await?;
        self.settle(report, producer, consumer, old).await?;
        judge_reigns(report, &probers);
        drop(probers);
        self.compare_logs(report, old).await
    }

    async fn steady(&mut self, report: &mut Report, producer: &Producer) -> Result<()> {
        let steady = Running::start("steady: replicated to every slave");
        producer.accept_more(STEADY_MESSAGES, STAGE_LIMIT).await?;
        let master = self.master().await?;
        self.wait_for_replication(master).await?;
        steady.finish(report);
        self.ground.timeline().say(
            "group",
            format!(
                "{} messages acknowledged and replicated",
                producer.accepted()
            ),
        );
        Ok(())
    }

    /// The slaves stand still for a moment, so that the master has messages that nobody else has; then it is lost.
    async fn fail_over(
        &mut self,
        report: &mut Report,
        producer: &Producer,
        old: usize,
    ) -> Result<usize> {
        for slave in self.others(old) {
            self.members[slave].freeze_broker()?;
        }
        self.ground.timeline().say(
            "slaves",
            "stand still: what is sent now is on the master alone",
        );
        producer.accept_more(TAIL_MESSAGES, STAGE_LIMIT).await?;
        let lost = Running::start("fail-over: master lost, to the first acknowledged message");
        self.members[old].kill().await?;
        self.say(old, "lost: JVM, launcher and agent killed with SIGKILL");
        for slave in self.others(old) {
            self.members[slave].thaw_broker()?;
        }
        producer
            .accept_more(1, STAGE_LIMIT)
            .await
            .context("fail over")?;
        let took = lost.finish(report);
        let new = self.master().await?;
        self.say(new, format!("is master, first message after {took:.1?}"));
        ensure!(
            new != old,
            "the lost member {} still counts as master",
            self.members[old].name()
        );
        producer.accept_more(STEADY_MESSAGES, STAGE_LIMIT).await?;
        Ok(new)
    }

    async fn rejoin(
        &mut self,
        report: &mut Report,
        producer: &Producer,
        old: usize,
        new: usize,
    ) -> Result<()> {
        let rejoin = Running::start("rejoin: old master back, to its log equal to the new one's");
        self.members[old].start()?;
        self.say(old, "comes back");
        let contact = self.members[old].contact();
        until(
            "the old master to be a slave",
            STAGE_LIMIT,
            async || match contact.role().await? {
                Role::Slave(_) => Ok(()),
                Role::Master => bail!("it says it is master"),
            },
        )
        .await?;
        self.wait_for_replication(new).await?;
        rejoin.finish(report);
        let archives = Archives::read(&self.members[old].store())?;
        let numbers = archives.numbers(producer.stamp());
        let line = format!(
            "{} messages archived, {} of them the producer's",
            archives.messages,
            numbers.len()
        );
        self.say(old, format!("is slave; {line}"));
        report.note("cut from the old master", line);
        report.promise(
            "the old master's tail is archived",
            (!numbers.is_empty()).into(),
            format!("{} messages", numbers.len()),
        );
        Ok(())
    }

    async fn switch_back(
        &mut self,
        report: &mut Report,
        producer: &Producer,
        from: usize,
        to: usize,
    ) -> Result<()> {
        let since = producer.elapsed();
        let switch = Running::start("planned switchover, asked to first acknowledged message");
        let target = self.members[to].name();
        let mut wishes = 0;
        self.say(from, format!("asked to hand over to {target}"));
        until("the switchover", STAGE_LIMIT, async || {
            let lease = GroupLease::read(&self.plane).await?;
            if lease.term.master == target && lease.term.stage == "serving" {
                return Ok(());
            }
            // A wish that cannot be fulfilled yet is taken off (the target is not ready): then it is made again.
            if lease.term.master != target && lease.switchover.is_none() && lease.holder.is_some() {
                lease.ask_for_switchover(&self.plane, target).await?;
                wishes += 1;
            }
            bail!("{} is {}", lease.term.master, lease.term.stage)
        })
        .await?;
        producer
            .accept_more(1, STAGE_LIMIT)
            .await
            .context("switch over")?;
        switch.finish(report);
        producer.accept_more(STEADY_MESSAGES, STAGE_LIMIT).await?;
        let gap = producer.ledger().largest_gap(since).length();
        self.say(
            to,
            format!("is master again; longest time without an acknowledged message {gap:.1?}"),
        );
        report.note("wishes for the switchover until it was fulfilled", wishes);
        report.note(
            "no message acknowledged during the switchover for",
            format!("{gap:.3?}"),
        );
        Ok(())
    }

    async fn settle(
        &mut self,
        report: &mut Report,
        producer: Producer,
        consumer: Consumer,
        master: usize,
    ) -> Result<()> {
        let stamp = producer.stamp().clone();
        let ledger = producer.stop().await?;
        let found = self.names.master(TOPIC).await?;
        let readable = read_all(found.address, TOPIC, found.queues, &stamp).await?;
        let mut settled = ledger.settle(readable);
        let different = settled.readable;
        until("the consumer to catch up", STAGE_LIMIT, async || {
            let consumed = consumer.consumed().different;
            ensure!(
                consumed >= different,
                "{consumed} of {different} messages seen"
            );
            Ok(())
        })
        .await?;
        settled.consumed = Some(consumer.stop().await?);
        let archived = Archives::read(&self.members[master].store())?.numbers(&stamp);
        let silent = settled
            .lost
            .iter()
            .filter(|number| !archived.contains(number))
            .count();
        report.promise(
            "no acknowledged message lost without a trace",
            (silent == 0).into(),
            format!(
                "{silent} of {}; {} asynchronous ones are in the archive",
                settled.accepted,
                settled.lost.len() - silent
            ),
        );
        report.promise(
            "no message duplicated",
            settled.duplicated.is_empty().into(),
            settled.duplicated.len(),
        );
        report.messages = Some(settled);
        Ok(())
    }

    async fn compare_logs(&self, report: &mut Report, master: usize) -> Result<()> {
        self.wait_for_replication(master).await?;
        let masters = self.log(master).await?;
        for slave in self.others(master) {
            let found = logs::compare(&masters, &self.log(slave).await?)?;
            report.promise(
                "logs equal, byte by byte",
                found.is_equal().into(),
                format!(
                    "{}: bytes {} to {}",
                    self.members[slave].name(),
                    found.from,
                    found.to
                ),
            );
        }
        Ok(())
    }
}

impl Stage<'_> {
    /// Who the Lease says is master and serves.
    async fn master(&self) -> Result<usize> {
        until("a serving master in the Lease", STAGE_LIMIT, async || {
            let term = GroupLease::read(&self.plane).await?.term;
            ensure!(term.stage == "serving", "{} is {}", term.master, term.stage);
            let index = self
                .members
                .iter()
                .position(|member| member.name() == term.master);
            index.with_context(|| format!("{} is none of ours", term.master))
        })
        .await
    }

    fn others(&self, index: usize) -> Vec<usize> {
        (0..self.members.len())
            .filter(|other| *other != index)
            .collect()
    }

    fn say(&self, member: usize, what: impl std::fmt::Display) {
        self.ground
            .timeline()
            .say(self.members[member].name(), what);
    }

    /// All others have what the master has now.
    async fn wait_for_replication(&self, master: usize) -> Result<()> {
        let goal = self.members[master]
            .contact()
            .runtime()
            .await?
            .commit_log_max;
        for slave in self.others(master) {
            let contact = self.members[slave].contact();
            until(
                "a slave to have the master's log",
                STAGE_LIMIT,
                async || {
                    let has = contact.runtime().await?.commit_log_max;
                    ensure!(has >= goal, "{} has {has} of {goal} bytes", contact.member);
                    Ok(())
                },
            )
            .await?;
        }
        Ok(())
    }

    async fn log(&self, index: usize) -> Result<Log> {
        let member = &self.members[index];
        let end = member.contact().runtime().await?.commit_log_max.get();
        Log::open(&member.commit_log(), end)
    }

    fn say_addresses(&self) {
        let timeline = self.ground.timeline();
        timeline.say("kubernetes", self.plane.kubeconfig().display());
        timeline.say("name servers", name_server_list(&self.names.addresses));
        for member in &self.members {
            let line = format!(
                "broker {}, agent http://{}/status",
                member.contact().address,
                member.admin()
            );
            timeline.say(member.name(), line);
        }
        let servers: Vec<&str> = self.servers.iter().map(NameServer::name).collect();
        timeline.say(
            "demo",
            format!(
                "everything runs on until Ctrl-C ({} too)",
                servers.join(", ")
            ),
        );
    }
}

fn judge_reigns(report: &mut Report, probers: &Probers) {
    let seen = probers.acceptances();
    let reigns = reigns(&seen);
    let order: Vec<&str> = reigns.iter().map(|reign| reign.broker.as_str()).collect();
    let disputes = disputes(&seen, SHORTEST_REIGN);
    report.promise(
        "never two masters",
        disputes.is_empty().into(),
        format!(
            "{} probes accepted by {}",
            seen.len(),
            order.join(", then ")
        ),
    );
}

fn prober(member: &Member) -> Prober {
    Prober {
        broker: member.name().to_owned(),
        address: member.contact().address,
    }
}
