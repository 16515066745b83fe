//! What the way through our replication relay costs, beside RocketMQ's own direct connection.
//!
//! One master and one slave, both under brokerStart, no agents. Round by round the slave is started anew, once with its
//! HA client pointed straight at the master's HA port, once at its own launcher's relay (slave's relay → master's relay
//! → HA port: both hops, as an agent orders them). Everything else is the same, the master's process included. The
//! order is direct, relayed, relayed, direct and so on, so that a drift of the machine weighs on both alike.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::case::{self, Case};
use e2e::group::LIMIT;
use e2e::raw;
use launcher::protocol::{RelayOrders, Role};
use playground::clock::{Deadline, now};
use playground::ground::CLUSTER;
use playground::logs::{Log, compare};
use playground::rocketmq::Generation;
use playground::wait::until;
use playground::{AccessArgs, GroupSpec, NameServer, Version, nameserver};
use relay::{Attach, Instance, MasterOrders, Peer, Session, SlaveOrders};
use remoting::calls::{SendMessage, SendStatus, SetHaMaster};
use remoting::{Client, LogOffset};

use crate::figures::{Figures, median};
use crate::launched::{Launched, TERM};

const GROUP: &str = "bench";
const TOPIC: &str = "bench";

/// One file holds everything: RocketMQ's own HA would give an empty slave only the last file (facts §2), and direct and
/// relayed have to carry the same bytes.
const COMMIT_LOG_FILE_BYTES: u64 = 1536 << 20;

/// Bodies of the synchronous sends.
const SYNC_BODY: usize = 1024;
/// Sends before the measured ones of a round: the slave's JVM is new and its code is not compiled yet.
const WARM_UP: usize = 4_000;
const SENDS: usize = 4_000;
/// More than these turned down in a round, and it measures something else.
const MOST_REFUSED: usize = 100;

/// Bodies of the log to catch up with.
const BULK_BODY: usize = 16 * 1024;
const BULK_SENDERS: usize = 4;

/// Between two looks at the slave's log during a catch-up of seconds.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Direct,
    Relayed,
}

impl Way {
    fn word(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Relayed => "relayed",
        }
    }

    /// The two in the order of a round.
    fn in_round(round: u32) -> [Self; 2] {
        if round.is_multiple_of(2) {
            [Self::Direct, Self::Relayed]
        } else {
            [Self::Relayed, Self::Direct]
        }
    }
}

pub(crate) fn measure(version: Version, rounds: u32, mib: u32) {
    case::play_for("bench", version, LONGEST, async |case| {
        story(case, version, rounds, mib.min(1_400)).await
    });
}

/// A round takes some 25 s in all.
const LONGEST: Duration = Duration::from_secs(3_600);

async fn story(case: &Case, version: Version, rounds: u32, mib: u32) -> Result<()> {
    let mut pair = Pair::start(case, version).await?;
    // The master's code is not compiled yet: once for nothing.
    for way in Way::in_round(0) {
        let (mut figures, mut sides) = (Figures::default(), Sides::default());
        pair.synchronous(way, &mut figures, &mut sides).await?;
    }
    let (mut figures, mut sides) = (Figures::default(), Sides::default());
    for round in 0..rounds {
        for way in Way::in_round(round) {
            pair.synchronous(way, &mut figures, &mut sides).await?;
        }
    }
    figures.print(&format!(
        "synchronous send, RocketMQ {version}: SYNC_MASTER, one sender, {SYNC_BODY} byte bodies, µs"
    ));
    sides.tell("median µs");

    pair.fill(u64::from(mib) << 20).await?;
    let (mut figures, mut sides) = (Figures::default(), Sides::default());
    for round in 0..rounds {
        for way in Way::in_round(round) {
            pair.catch_up(way, &mut figures, &mut sides).await?;
        }
    }
    figures.print(&format!(
        "catch-up of an empty slave, RocketMQ {version}: {mib} MiB of records with {BULK_BODY} byte bodies, MB/s"
    ));
    sides.tell("MB/s");
    Ok(())
}

/// One figure of each round, both ways.
#[derive(Debug, Default)]
struct Sides {
    direct: Vec<f64>,
    relayed: Vec<f64>,
}

impl Sides {
    fn add(&mut self, way: Way, figure: f64) {
        match way {
            Way::Direct => self.direct.push(figure),
            Way::Relayed => self.relayed.push(figure),
        }
    }

    /// The medians of all rounds, and the differences inside each round.
    fn tell(&self, unit: &str) {
        let (direct, relayed) = (median(&self.direct), median(&self.relayed));
        let pairs = self.direct.iter().zip(&self.relayed);
        let differences: Vec<f64> = pairs.map(|(direct, relayed)| relayed - direct).collect();
        println!(
            "{unit}: direct {direct:.1}, relayed {relayed:.1}: ratio {:.3}, difference {:+.1}; round by round {:+.1} ({:+.1} to {:+.1})",
            relayed / direct,
            relayed - direct,
            median(&differences),
            differences.iter().copied().fold(f64::INFINITY, f64::min),
            differences
                .iter()
                .copied()
                .fold(f64::NEG_INFINITY, f64::max),
        );
    }
}

/// The two brokers.
struct Pair {
    // Before what it needs: dropped in this order.
    master: Launched,
    slave: Launched,
    server: NameServer,
    version: Version,
}

impl Pair {
    async fn start(case: &Case, version: Version) -> Result<Self> {
        let ground = case.ground();
        let programs = ground.programs().await?;
        let mut server = ground.name_server("ns")?;
        let spec = GroupSpec {
            name: GROUP.to_owned(),
            members: vec!["m".to_owned(), "s".to_owned()],
            name_servers: vec![server.address()],
            name_server_site: None,
            // Only agents read it.
            kube: AccessArgs::default(),
            namespace: CLUSTER.to_owned(),
            key_file: ground.group_key(GROUP)?,
            agent_flags: Vec::new(),
            settings: [(
                "mappedFileSizeCommitLog".to_owned(),
                COMMIT_LOG_FILE_BYTES.to_string(),
            )]
            .into(),
        };
        let master = Launched::new(ground.member("m", &spec, &programs)?).await?;
        let slave = Launched::new(ground.member("s", &spec, &programs)?).await?;
        server.ready(nameserver::READY_LIMIT).await?;
        let mut pair = Self {
            master,
            slave,
            server,
            version,
        };
        pair.start_master().await?;
        Ok(pair)
    }

    async fn start_master(&mut self) -> Result<()> {
        let owned = self.owned("SYNC_MASTER", 0);
        self.master.start(Role::Master, &owned).await?;
        let commitlog_dir = self.master.member.commit_log();
        let orders = MasterOrders {
            member: relay::Member::new(self.master.member.name()),
            instance: Instance::new(&self.master.instance),
            term: TERM,
            start: 0,
            admit: vec![Peer {
                member: relay::Member::new(self.slave.member.name()),
                session: session(),
            }],
            k: 0,
            ha: self.master.member.contact().ha_address,
            commitlog_dir,
            local_ack: relay::LocalAck::Off,
        };
        self.master.relay(RelayOrders {
            master: Some(orders),
            slave: SlaveOrders::Park,
        })
    }

    fn owned(&self, role: &str, id: u32) -> Vec<(&'static str, String)> {
        vec![
            ("brokerRole", role.to_owned()),
            ("brokerId", id.to_string()),
            // 4.9 waits for any one slave, 5.x for this many copies, the master's own among them.
            ("inSyncReplicas", "2".to_owned()),
            ("namesrvAddr", self.server.address().to_string()),
            ("brokerIP1", "127.0.0.1".to_owned()),
            ("brokerIP2", "255.255.255.255".to_owned()),
        ]
    }

    /// A new slave process whose log comes this way. Its log is the one it had.
    async fn start_slave(&mut self, way: Way) -> Result<()> {
        self.master.prolong()?;
        let (ha, orders) = match way {
            Way::Direct => (self.master.member.contact().ha_address, SlaveOrders::Park),
            Way::Relayed => (
                self.slave.member.relay_local(),
                SlaveOrders::Attach(Box::new(self.attach())),
            ),
        };
        self.slave.relay(RelayOrders {
            master: None,
            slave: orders,
        })?;
        let mut owned = self.owned("SLAVE", 1);
        owned.push(("haMasterAddress", ha.to_string()));
        self.slave.start(Role::Slave, &owned).await?;
        if self.version.generation() == Generation::Five {
            // The conf key alone only keeps the name server's addresses out.
            let told = SetHaMaster {
                ha_address: ha.to_string(),
                address: self.master.member.contact().address.to_string(),
                flush_offset: LogOffset::new(0),
            };
            self.slave.member.contact().ask(&told).await?;
        }
        Ok(())
    }

    fn attach(&self) -> Attach {
        Attach {
            upstream: self.master.member.relay(),
            term: TERM,
            holder_member: relay::Member::new(self.master.member.name()),
            holder_instance: Instance::new(&self.master.instance),
            member: relay::Member::new(self.slave.member.name()),
            session: session(),
            instance: Instance::new(&self.slave.instance),
            commitlog_dir: self.slave.member.commit_log(),
            commitlog_file_size: COMMIT_LOG_FILE_BYTES,
            end_hint: None,
        }
    }

    async fn end(&self) -> Result<u64> {
        let runtime = self.master.member.contact().runtime().await?;
        Ok(runtime.commit_log_max.get())
    }

    async fn synchronous(
        &mut self,
        way: Way,
        figures: &mut Figures,
        sides: &mut Sides,
    ) -> Result<()> {
        self.start_slave(way).await?;
        let client = self.master.member.contact().client().await?;
        let message = SendMessage::new(TOPIC, 0, vec![b'x'; SYNC_BODY]);
        until("a replicated message", LIMIT, async || {
            send(&client, &message).await
        })
        .await?;
        let mut refused = 0;
        for _ in 0..WARM_UP {
            refused += usize::from(send(&client, &message).await.is_err());
        }
        let mut took = Vec::with_capacity(SENDS);
        let begin = now();
        while took.len() < SENDS {
            let sent = now();
            match send(&client, &message).await {
                Ok(()) => took.push(sent.elapsed().as_secs_f64() * 1e6),
                // A machine that is busy otherwise makes a broker turn down a message now and then.
                Err(error) => {
                    refused += 1;
                    ensure!(refused < MOST_REFUSED, error);
                }
            }
        }
        let whole = begin.elapsed().as_secs_f64();
        took.sort_by(f64::total_cmp);
        let middle = median(&took);
        let p99 = took.get(took.len() * 99 / 100).copied().unwrap_or(f64::NAN);
        let word = way.word();
        figures.add(&format!("{word}: median"), middle);
        figures.add(&format!("{word}: p99"), p99);
        if refused > 0 {
            let refused = f64::from(u32::try_from(refused)?);
            figures.add(&format!("{word}: turned down, not measured"), refused);
        }
        figures.add(
            &format!("{word}: sends/s"),
            f64::from(u32::try_from(SENDS)?) / whole,
        );
        sides.add(way, middle);
        self.slave.kill().await
    }

    /// Makes the master's log at least this long. There is no slave meanwhile.
    async fn fill(&mut self, goal: u64) -> Result<()> {
        self.master.prolong()?;
        let contact = self.master.member.contact();
        let missing = goal.saturating_sub(self.end().await?);
        let each = missing / u64::try_from(BULK_BODY * BULK_SENDERS)? + 1;
        let mut senders = Vec::new();
        for _ in 0..BULK_SENDERS {
            let client = contact.client().await?;
            senders.push(tokio::spawn(async move {
                let message = SendMessage::new(TOPIC, 0, vec![b'x'; BULK_BODY]);
                let message = message.without_waiting();
                for _ in 0..each {
                    send_in_the_end(&client, &message).await?;
                }
                anyhow::Ok(())
            }));
        }
        for sender in senders {
            sender.await.context("fill the log")??;
        }
        Ok(())
    }

    async fn catch_up(&mut self, way: Way, figures: &mut Figures, sides: &mut Sides) -> Result<()> {
        let store = self.slave.member.store();
        std::fs::remove_dir_all(&store).with_context(|| format!("remove {}", store.display()))?;
        let goal = self.end().await?;
        self.start_slave(way).await?;
        let folder = self.slave.member.commit_log();
        // Looking at the file costs the slave nothing; asking its broker would.
        let written = async |from: u64, to: u64| loop {
            if raw::bytes(&folder, from, to).is_ok_and(|bytes| bytes.iter().any(|byte| *byte != 0))
            {
                return now();
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        let limit = tokio::time::timeout(LIMIT, async {
            let first = written(0, 8).await;
            written(goal - 1, goal).await - first
        });
        let took = limit.await.context("wait for the slave to catch up")?;
        let megabytes = f64::from(u32::try_from(goal / 1000)?) / 1000.0;
        let rate = megabytes / took.as_secs_f64();
        figures.add(way.word(), rate);
        sides.add(way, rate);
        let found = compare(
            &Log::open(&self.master.member.commit_log(), goal)?,
            &Log::open(&folder, goal)?,
        )?;
        ensure!(
            found.is_equal() && found.from == 0,
            "the slave's log is not the master's: {found:?}"
        );
        self.slave.kill().await
    }
}

/// A broker under this load turns down a message now and then.
async fn send_in_the_end(client: &Client, message: &SendMessage) -> Result<()> {
    let deadline = Deadline::after(LIMIT);
    while let Err(error) = send(client, message).await {
        ensure!(!deadline.is_over(), error);
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

fn session() -> Session {
    Session::new("bench")
}

async fn send(client: &Client, message: &SendMessage) -> Result<()> {
    let sent = client.ask(message).await?;
    ensure!(sent.status == SendStatus::Ok, "answered {:?}", sent.status);
    Ok(())
}
