//! The story without agents: a group of brokers with fixed roles loses its master, and nothing takes over. It
//! shows what the agents are for.

use std::time::Duration;

use anyhow::{Result, bail};
use playground::broker::{self, Broker, BrokerSpec, name_server_list};
use playground::logs::{self, Log};
use playground::report::{Report, Running};
use playground::traffic::{
    Consumer, NameServers, Prober, Probers, Producer, ProducerSpec, disputes, read_all, reigns,
};
use playground::wait::until;
use playground::{Afterwards, NameServer, Playground, Role, Timeline, nameserver};
use remoting::calls::{CreateTopic, Permission};

use crate::Story;

const GROUP: &str = "g";
const TOPIC: &str = "orders";
const QUEUES: u32 = 4;
const STEADY_MESSAGES: u64 = 500;
/// How long nobody is seen to take over. Every fail-over that is any good would be done by then.
const VACANCY: Duration = Duration::from_secs(10);
/// Two honest reigns of one member within this time: no group changes its master so fast.
const SHORTEST_REIGN: Duration = Duration::from_millis(500);
/// Re-connecting to a master takes a slave up to 20 s, and the next registration up to 30 s (facts §4.2, §6.4).
const SETTLE_LIMIT: Duration = Duration::from_secs(90);

/// Plays it and shows the report. Told to keep everything, it does not return.
pub(crate) async fn play(story: Story, timeline: Timeline) -> Result<Report> {
    let mut report = Report {
        rocketmq: story.options.version.to_string(),
        ..Report::default()
    };
    let setting_up = Running::start("set up");
    let ground = Playground::set_up(story.options.clone(), timeline.clone()).await?;
    let mut stage = Stage::build(&ground, story.members).await?;
    setting_up.finish(&mut report);
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
    servers: Vec<NameServer>,
    brokers: Vec<Broker>,
    names: NameServers,
}

impl<'a> Stage<'a> {
    async fn build(ground: &'a Playground, members: u8) -> Result<Self> {
        let servers = vec![ground.name_server("ns-1")?, ground.name_server("ns-2")?];
        let names = NameServers {
            addresses: servers.iter().map(NameServer::address).collect(),
            group: GROUP.to_owned(),
        };
        let mut stage = Self {
            ground,
            servers,
            brokers: Vec::new(),
            names,
        };
        for server in &mut stage.servers {
            server.ready(nameserver::READY_LIMIT).await?;
            ground
                .timeline()
                .say(server.name(), format!("ready at {}", server.address()));
        }
        for index in 0..members {
            stage.add_broker(index).await?;
        }
        Ok(stage)
    }

    async fn add_broker(&mut self, index: u8) -> Result<()> {
        let role = if index == 0 {
            Role::Master
        } else {
            Role::Slave(index.into())
        };
        let mut broker = self.ground.broker(BrokerSpec {
            member: format!("{GROUP}-{index}"),
            group: GROUP.to_owned(),
            role,
            name_servers: self.names.addresses.clone(),
            settings: [].into(),
        })?;
        // 4.9 takes its master from the conf, 5.x must not (facts §2.4).
        if let (Some(master), false) = (self.brokers.first(), broker.speaks_ha_info()) {
            broker.set("haMasterAddress", master.ha_address());
        }
        broker.start()?;
        broker.ready(broker::READY_LIMIT).await?;
        if let (Some(master), true) = (self.brokers.first(), broker.speaks_ha_info()) {
            broker.contact().attach_to(&master.contact()).await?;
        }
        broker.contact().register_now().await?;
        let line = format!("{role} at {}", broker.address());
        self.ground.timeline().say(broker.member(), line);
        self.brokers.push(broker);
        Ok(())
    }

    async fn play(&mut self, report: &mut Report) -> Result<()> {
        let timeline = self.ground.timeline().clone();
        self.create_topic().await?;
        let probers = Probers::start(self.brokers.iter().map(prober).collect());
        let producer = Producer::start(ProducerSpec::new(self.names.clone(), TOPIC))?;
        let consumer = Consumer::start(self.names.clone(), TOPIC, producer.stamp().clone());

        let steady = Running::start("steady: first messages acknowledged");
        producer.accept_more(STEADY_MESSAGES, SETTLE_LIMIT).await?;
        steady.finish(report);
        timeline.say(
            "producer",
            format!("{} messages acknowledged", producer.accepted()),
        );
        let replicated = Running::start("replicated to every slave");
        self.wait_for_replication().await?;
        replicated.finish(report);
        timeline.say("slaves", "have what the master has");

        self.lose_master(report, &producer).await?;
        self.bring_master_back(report, &producer).await?;
        self.settle(report, producer, consumer).await?;
        judge_reigns(report, &probers);
        drop(probers);
        self.compare_logs(report).await
    }

    async fn create_topic(&self) -> Result<()> {
        let topic = CreateTopic {
            topic: TOPIC.to_owned(),
            queues: QUEUES,
            permission: Permission::READ_WRITE,
        };
        self.brokers[0].contact().ask(&topic).await
    }

    fn say_addresses(&self) {
        let timeline = self.ground.timeline();
        timeline.say("name servers", name_server_list(&self.names.addresses));
        for broker in &self.brokers {
            timeline.say(broker.member(), broker.address());
        }
        timeline.say("demo", "everything runs on until Ctrl-C");
    }

    async fn lose_master(&mut self, report: &mut Report, producer: &Producer) -> Result<()> {
        let timeline = self.ground.timeline();
        let vacancy = Running::start("master dead");
        let before = producer.accepted();
        self.brokers[0].process()?.kill().await?;
        timeline.say(self.brokers[0].member(), "killed with SIGKILL");
        until(
            "the dead master's route to go",
            SETTLE_LIMIT,
            async || match self.names.master(TOPIC).await {
                Ok(master) => bail!("{} is still registered", master.address),
                Err(_) => Ok(()),
            },
        )
        .await?;
        timeline.say("name servers", "know no master any more");
        let taken_over = producer.accept_more(1, VACANCY).await.is_ok();
        vacancy.finish(report);
        let accepted = producer.accepted() - before;
        timeline.say(
            "group",
            format!("{accepted} messages acknowledged in the {VACANCY:?} since: nobody takes over"),
        );
        report.promise(
            "without agents nobody takes over",
            (!taken_over).into(),
            format!("{accepted} acknowledged meanwhile"),
        );
        Ok(())
    }

    async fn bring_master_back(&mut self, report: &mut Report, producer: &Producer) -> Result<()> {
        let timeline = self.ground.timeline();
        let back = Running::start("master started by hand, to the first message");
        let master = &mut self.brokers[0];
        master.start()?;
        master.ready(broker::READY_LIMIT).await?;
        master.contact().register_now().await?;
        producer.accept_more(1, SETTLE_LIMIT).await?;
        let took = back.finish(report);
        timeline.say(
            master.member(),
            format!("started by hand, first message after {took:.1?}"),
        );
        producer.accept_more(STEADY_MESSAGES, SETTLE_LIMIT).await
    }

    async fn settle(
        &mut self,
        report: &mut Report,
        producer: Producer,
        consumer: Consumer,
    ) -> Result<()> {
        let stamp = producer.stamp().clone();
        let ledger = producer.stop().await?;
        let master = self.names.master(TOPIC).await?;
        let readable = read_all(master.address, TOPIC, master.queues, &stamp).await?;
        let mut settled = ledger.settle(readable);
        let different = settled.readable;
        let caught_up = until("the consumer to catch up", SETTLE_LIMIT, async || {
            let consumed = consumer.consumed().different;
            if consumed < different {
                bail!("{consumed} of {different} messages seen");
            }
            Ok(())
        });
        caught_up.await?;
        settled.consumed = Some(consumer.stop().await?);
        let lost = settled.lost.len();
        report.promise(
            "no acknowledged message lost",
            (lost == 0).into(),
            format!("{lost} of {}", settled.accepted),
        );
        report.messages = Some(settled);
        Ok(())
    }

    /// All members have what the master has; nobody may write meanwhile but probers, which never stop the master
    /// from being caught up with for long.
    async fn wait_for_replication(&self) -> Result<()> {
        let goal = self.brokers[0].contact().runtime().await?.commit_log_max;
        for slave in &self.brokers[1..] {
            until(
                "a slave to have the master's log",
                SETTLE_LIMIT,
                async || {
                    let has = slave.contact().runtime().await?.commit_log_max;
                    if has < goal {
                        bail!("{} has {has} of {goal} bytes", slave.member());
                    }
                    Ok(())
                },
            )
            .await?;
        }
        Ok(())
    }

    async fn compare_logs(&self, report: &mut Report) -> Result<()> {
        self.wait_for_replication().await?;
        let master = log(&self.brokers[0]).await?;
        for slave in &self.brokers[1..] {
            let found = logs::compare(&master, &log(slave).await?)?;
            report.promise(
                "logs equal, byte by byte",
                found.is_equal().into(),
                format!("{}: bytes {} to {}", slave.member(), found.from, found.to),
            );
        }
        Ok(())
    }
}

fn judge_reigns(report: &mut Report, probers: &Probers) {
    let seen = probers.acceptances();
    let disputes = disputes(&seen, SHORTEST_REIGN);
    report.promise(
        "never two masters",
        disputes.is_empty().into(),
        format!(
            "{} reigns, {} probes accepted",
            reigns(&seen).len(),
            seen.len()
        ),
    );
}

fn prober(broker: &Broker) -> Prober {
    Prober {
        broker: broker.member().to_owned(),
        address: broker.address(),
    }
}

async fn log(broker: &Broker) -> Result<Log> {
    let end = broker.contact().runtime().await?.commit_log_max.get();
    Log::open(&broker.commit_log(), end)
}
