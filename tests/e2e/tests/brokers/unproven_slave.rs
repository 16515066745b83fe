//! Who was not admitted, and whose log is not the group's, gets no byte of the master's log and acknowledges nothing.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::books::{Books, accepted};
use e2e::group::{LIMIT, counted};
use e2e::holds::holds;
use e2e::leases::STATE;
use e2e::{Case, Group, Shape, on_each_version, raw};
use playground::broker::{BrokerSpec, COMMIT_LOG_FILE_BYTES, READY_LIMIT};
use playground::ground::CLUSTER;
use playground::logs::Log;
use playground::wait::until;
use playground::{Member, Role};
use relay::{
    Attach, GroupKey, GroupName, Instance, Refusal, Session, SlaveOrders, SlaveRelay, SlaveState,
    Term,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

on_each_version!(it_gets_no_byte_and_acknowledges_nothing);

/// Longer than a broker needs to connect and ask again (5 s).
const WATCHED: Duration = Duration::from_secs(7);

async fn it_gets_no_byte_and_acknowledges_nothing(case: &Case) -> Result<()> {
    let mut group = Group::form(case, Shape::default()).await?;
    let producer = group.producer(1000)?;
    let consumer = group.consumer(&producer);
    producer.accept_more(200, LIMIT).await?;
    let master = group.master().await?;
    let slave = group.other(master);
    group.replicated(master).await?;
    let master_relay = Master::read(&group, master).await?;

    plain_client(&master_relay).await?;
    stock_slave(&group, master, slave).await?;
    let word = stranger(&group, &master_relay, "stranger", Key::Other).await?;
    ensure!(matches!(word, Refusal::BadKey), "refused as {word:?}");
    let word = stranger(&group, &master_relay, "stranger", Key::Ours).await?;
    ensure!(matches!(word, Refusal::NotAdmitted), "refused as {word:?}");
    case.say("plain client, stock slave, wrong key, not admitted: no byte");
    only_replica(&group, master, slave).await?;

    // The admitted member itself, with a log that differs in one byte.
    group.member_mut(slave).kill().await?;
    let store = group.member(slave).store();
    let commit_log = store.join("commitlog");
    let end = Log::of_stopped(&store)?.end();
    let at = end - 1000;
    raw::falsify(&commit_log, at)?;
    let found = diverged(&group, &master_relay, slave, end).await?;
    case.say(format!(
        "a byte at {at} differs: diverged at {found}, no byte"
    ));
    let kept = accepted(&producer);
    group.member_mut(slave).start()?;
    group.follows(slave).await?;
    group.replicated(master).await?;
    only_replica(&group, master, slave).await?;
    case.say(counted(&producer));
    let books = Books::close(&group, producer, consumer).await?;
    books.nothing_lost()?;
    books.keeps(&kept)?;
    group.logs_are_equal(master).await
}

/// What a relay must know of the serving master to ask it.
struct Master {
    relay: std::net::SocketAddr,
    member: String,
    instance: String,
    term: Term,
    /// The admitted slave's.
    session: String,
}

impl Master {
    async fn read(group: &Group<'_>, master: usize) -> Result<Self> {
        let status = group.member(master).status().await?;
        let relay = status["decision"]["report"]["addresses"]["relay"].as_str();
        let lease = group.lease_object().await?;
        let state = lease["metadata"]["annotations"][STATE].as_str();
        let state: Value = serde_json::from_str(state.context("find the group's state")?)?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("read the state");
        let number = |value: &Value| value.as_u64().context("read the state");
        Ok(Self {
            relay: relay.context("read the relay's address")?.parse()?,
            member: text(&state["term"]["master"])?,
            instance: text(&state["holder"])?,
            term: Term {
                epoch: number(&state["term"]["epoch"])?,
                nonce: number(&state["term"]["nonce"])?,
            },
            session: text(&state["replication"]["members"][0]["session"])?,
        })
    }
}

/// RocketMQ's own HA protocol: eight bytes with the log's end, and bytes come back. Not here.
async fn plain_client(master: &Master) -> Result<()> {
    for end in [0_i64, 1, i64::MAX] {
        let mut stream = TcpStream::connect(master.relay).await?;
        stream.write_all(&end.to_be_bytes()).await?;
        let mut got = Vec::new();
        let reading = stream.read_to_end(&mut got);
        // It hangs up, or says no in its own words; a reset is fine, too.
        let _ended = tokio::time::timeout(WATCHED, reading).await;
        ensure!(
            got.len() < 200 && !holds_record(&got),
            "{} bytes for a plain client",
            got.len()
        );
    }
    Ok(())
}

/// The magic of a record is in every piece of log that is worth something.
fn holds_record(bytes: &[u8]) -> bool {
    bytes
        .windows(4)
        .any(|word| word == [0xDA, 0xA3, 0x20, 0xA7])
}

/// A broker with nobody to look after it, that asks the name server for its master.
async fn stock_slave(group: &Group<'_>, master: usize, slave: usize) -> Result<()> {
    let mut broker = group.case().ground().broker(BrokerSpec {
        member: "stock".to_owned(),
        group: group.names().group.clone(),
        role: Role::Slave(7),
        name_servers: group.names().addresses.clone(),
        settings: [].into(),
    })?;
    broker.start()?;
    broker.ready(READY_LIMIT).await?;
    let contact = broker.contact();
    contact.register_now().await?;
    holds("a stock slave gets no byte", WATCHED, async || {
        let end = contact.runtime().await?.commit_log_max.get();
        ensure!(end == 0, "it has {end} bytes");
        only_replica(group, master, slave).await
    })
    .await?;
    broker.process()?.kill().await
}

#[derive(Clone, Copy)]
enum Key {
    Ours,
    Other,
}

fn relay_of(group: &Group<'_>, key: Key) -> Result<SlaveRelay> {
    let name = GroupName {
        cluster: CLUSTER.to_owned(),
        broker: "orders".to_owned(),
    };
    let key = match key {
        Key::Ours => GroupKey::from_file(group.key_file())?,
        Key::Other => GroupKey::from_bytes(b"a key that is long enough, but not theirs")?,
    };
    Ok(SlaveRelay::bind("127.0.0.1:0".parse()?, name, key)?)
}

fn attach(master: &Master, member: &str, commitlog_dir: PathBuf, end: u64) -> SlaveOrders {
    SlaveOrders::Attach(Box::new(Attach {
        upstream: master.relay,
        term: master.term,
        holder_member: relay::Member::new(&master.member),
        holder_instance: Instance::new(&master.instance),
        member: relay::Member::new(member),
        session: Session::new(&master.session),
        instance: Instance::new("nobody.1"),
        commitlog_dir,
        commitlog_file_size: COMMIT_LOG_FILE_BYTES,
        end_hint: Some(end),
    }))
}

/// A relay of our own make, with an empty log, under a name that was never admitted.
async fn stranger(group: &Group<'_>, master: &Master, name: &str, key: Key) -> Result<Refusal> {
    let relay = relay_of(group, key)?;
    let folder = group.case().ground().folder(name)?;
    relay.order(attach(master, name, folder, 0));
    let mut jvm = Jvm::connect(&relay, 0).await?;
    let refused = until("the stranger to be refused", LIMIT, async || {
        match relay.status().state {
            SlaveState::Refused { why } => Ok(why),
            other => bail!("it is {other:?}"),
        }
    })
    .await?;
    jvm.got_nothing().await?;
    let bytes = relay.status().bytes_total;
    ensure!(bytes == 0, "{bytes} bytes for a stranger");
    Ok(refused)
}

/// The slave's own name and life, and its log, but for one byte.
async fn diverged(group: &Group<'_>, master: &Master, slave: usize, end: u64) -> Result<u64> {
    let member: &Member = group.member(slave);
    let relay = relay_of(group, Key::Ours)?;
    relay.order(attach(master, member.name(), member.commit_log(), end));
    let mut jvm = Jvm::connect(&relay, end).await?;
    let at = until(
        "the falsified log to be found out",
        LIMIT,
        async || match relay.status().state {
            SlaveState::Diverged { at } => Ok(at),
            other => bail!("it is {other:?}: {:?}", relay.status().last_error),
        },
    )
    .await?;
    jvm.got_nothing().await?;
    let bytes = relay.status().bytes_total;
    ensure!(bytes == 0, "{bytes} bytes for a diverged slave");
    Ok(at)
}

/// The connection of a slave's JVM to its relay, without the JVM.
struct Jvm(TcpStream);

impl Jvm {
    async fn connect(relay: &SlaveRelay, end: u64) -> Result<Self> {
        let mut stream = TcpStream::connect(relay.local()).await?;
        stream.write_all(&i64::try_from(end)?.to_be_bytes()).await?;
        Ok(Self(stream))
    }

    /// Heartbeats (an offset and length 0) and nothing else.
    async fn got_nothing(&mut self) -> Result<()> {
        let mut frame = [0; 12];
        let second = Duration::from_secs(1);
        while let Ok(read) = tokio::time::timeout(second, self.0.read_exact(&mut frame)).await {
            if read.is_err() {
                break;
            }
            ensure!(frame[8..] == [0; 4], "a frame with a body: {frame:?}");
        }
        Ok(())
    }
}

/// The master's launcher streams to the admitted slave at most.
async fn only_replica(group: &Group<'_>, master: usize, slave: usize) -> Result<()> {
    let status = group.member(master).status().await?;
    let replicas = &status["observation"]["launcher"]["known"]["value"]["replicas"];
    let replicas = replicas.as_object().context("read the replicas")?;
    let name = group.member(slave).name();
    ensure!(replicas.keys().all(|known| known == name), "{replicas:?}");
    Ok(())
}
