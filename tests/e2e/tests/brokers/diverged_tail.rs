//! An old master returns with messages that nobody else has.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::books::{Books, accepted};
use e2e::group::{LIMIT, counted, in_ms};
use e2e::leases::term_start;
use e2e::{Case, Group, Shape, on_each_version, on_every_version, raw};
use playground::archive::Archives;
use playground::broker::{Broker, BrokerSpec, READY_LIMIT};
use playground::clock::now;
use playground::logs::{Log, compare};
use playground::traffic::{Number, Stamp};
use playground::wait::until;
use playground::{Role, nameserver};
use remoting::calls::{SendMessage, SendStatus};

on_each_version!(without_agents_two_histories_look_like_one);

// The core of it all in one story: form, lose a member, fail over, cut and rejoin.
on_every_version!(with_agents_the_tail_is_archived_and_cut);

const TOPIC: &str = "control";

/// The control: the same story by hand, with RocketMQ alone. Both brokers end up with the same offset and a live
/// replication, and their logs differ. This is what the other story would show without our repair.
async fn without_agents_two_histories_look_like_one(case: &Case) -> Result<()> {
    let ground = case.ground();
    let mut server = ground.name_server("ns")?;
    server.ready(nameserver::READY_LIMIT).await?;
    let broker = |member: &str, role| {
        ground.broker(BrokerSpec {
            member: member.to_owned(),
            group: "control".to_owned(),
            role,
            name_servers: vec![server.address()],
            settings: [].into(),
        })
    };
    let (mut a, mut b) = (broker("a", Role::Master)?, broker("b", Role::Slave(1))?);
    let stamp = Stamp::random()?;
    start(&mut a).await?;
    follow(&mut b, &a).await?;
    send(&a, &stamp, 0..50).await?;
    grown(&b, end(&a).await?).await?;

    b.process()?.kill().await?;
    send(&a, &stamp, 50..90).await?;
    let tail_end = end(&a).await?;
    a.process()?.kill().await?;
    b.set_role(Role::Master);
    b.set("haMasterAddress", "");
    start(&mut b).await?;
    let fork = end(&b).await?;
    send(&b, &stamp, 90..100).await?;
    ensure!(fork < tail_end, "there is no tail: {fork}, {tail_end}");
    ensure!(end(&b).await? < tail_end, "the tail is not longer");

    a.set_role(Role::Slave(1));
    follow(&mut a, &b).await?;
    send(&b, &stamp, 100..190).await?;
    let goal = end(&b).await?;
    grown(&a, goal).await?;
    let found = compare(
        &Log::open(&a.commit_log(), goal)?,
        &Log::open(&b.commit_log(), goal)?,
    )?;
    let first = found.first_difference;
    let first = first.with_context(|| format!("the logs are equal: {found:?}"))?;
    case.say(format!(
        "both say their log ends at {goal}; they differ from {first} on, {} bytes of the old master's own",
        tail_end - fork
    ));
    ensure!(first >= fork && first < tail_end, "{found:?}, fork {fork}");
    Ok(())
}

async fn start(broker: &mut Broker) -> Result<()> {
    broker.start()?;
    broker.ready(READY_LIMIT).await
}

/// As an operator attaches a slave by hand: by its configuration on 4.9, by the request 906 on 5.x (facts §2.4).
async fn follow(slave: &mut Broker, master: &Broker) -> Result<()> {
    if !slave.speaks_ha_info() {
        slave.set("haMasterAddress", master.ha_address());
        return start(slave).await;
    }
    start(slave).await?;
    slave.contact().attach_to(&master.contact()).await
}

async fn send(broker: &Broker, stamp: &Stamp, numbers: std::ops::Range<u64>) -> Result<()> {
    let client = broker.contact().client().await?;
    for number in numbers {
        let body = stamp.body(number.into(), 1000);
        let what = format!("send message {number}");
        // A broker that was just started may still refuse.
        until(&what, LIMIT, async || {
            let sent = client
                .ask(&SendMessage::new(TOPIC, 0, body.clone()))
                .await?;
            ensure!(sent.status == SendStatus::Ok, "{:?}", sent.status);
            Ok(())
        })
        .await?;
    }
    Ok(())
}

async fn end(broker: &Broker) -> Result<u64> {
    Ok(broker.contact().runtime().await?.commit_log_max.get())
}

async fn grown(broker: &Broker, goal: u64) -> Result<()> {
    let what = format!("{} to have {goal} bytes", broker.member());
    until(&what, LIMIT, async || {
        let end = end(broker).await?;
        ensure!(end >= goal, "it has {end}");
        Ok(())
    })
    .await
}

/// With bodies of [`BODY_BYTES`] some 13 MiB: more than the socket buffers between two members hold, so most of it
/// stays on the old master alone.
const TAIL_MESSAGES: u64 = 800;
const BODY_BYTES: usize = 16 * 1024;

async fn with_agents_the_tail_is_archived_and_cut(case: &Case) -> Result<()> {
    let mut group = Group::form(case, Shape::default()).await?;
    let mut producer = group.producer_spec(BODY_BYTES);
    producer.pause = Duration::from_millis(1);
    let producer = playground::traffic::Producer::start(producer)?;
    let consumer = group.consumer(&producer);
    producer.accept_more(100, LIMIT).await?;
    let (old, before) = (group.master().await?, group.lease().await?);
    let new = group.other(old);
    let replicated = accepted(&producer);
    group.replicated(old).await?;

    group.member_mut(new).freeze_broker()?;
    producer.accept_more(TAIL_MESSAGES, LIMIT).await?;
    group.member_mut(old).kill().await?;
    group.member_mut(new).thaw_broker()?;
    producer.accept_more(100, LIMIT).await?;
    let after = group.serving_after(before.term.epoch).await?;
    ensure!(group.index(&after.term.master)? == new, "{:?}", after.term);

    // What the old master has beyond the new term's start is what nobody else has.
    let store = group.member(old).store();
    let (fork, end) = (
        term_start(&group.lease_object().await?)?,
        Log::of_stopped(&store)?.end(),
    );
    ensure!(fork < end, "there is no tail: {fork}, {end}");
    let tail = raw::bytes(&store.join("commitlog"), fork, end)?;
    let in_tail: BTreeSet<Number> = raw::numbers(&tail, producer.stamp())?.into_iter().collect();
    ensure!(!in_tail.is_empty(), "the tail has no message of ours");

    let back = now();
    group.member_mut(old).start()?;
    group.follows(old).await?;
    group.replicated(new).await?;
    case.say(format!(
        "{} bytes with {} messages cut from the old master, equal again {} after its return",
        tail.len(),
        in_tail.len(),
        in_ms(back)
    ));
    let archives = Archives::read(&store)?;
    let folder = archive_at(&archives, fork)?;
    let archived = raw::bytes(&folder.join("commitlog"), fork, end)?;
    ensure!(archived == tail, "the archived bytes are not the tail's");
    let listed: BTreeSet<Number> = archives.numbers(producer.stamp()).into_iter().collect();
    ensure!(
        listed == in_tail,
        "listed and not in the tail {:?}, in the tail and not listed {:?}",
        listed.difference(&in_tail).collect::<Vec<_>>(),
        in_tail.difference(&listed).collect::<Vec<_>>()
    );
    case.say(counted(&producer));
    let books = Books::close(&group, producer, consumer).await?;
    books.keeps(&replicated)?;
    books.lost_is_archived(&archives)?;
    let both: Vec<_> = listed.intersection(&books.readable).collect();
    ensure!(both.is_empty(), "archived and readable: {both:?}");
    group.logs_are_equal(new).await
}

/// `<epoch>-<offset>`
fn archive_at(archives: &Archives, offset: u64) -> Result<PathBuf> {
    let suffix = format!("-{offset}");
    let mut folders = archives.folders.iter();
    let folder = folders.find(|folder| folder.to_string_lossy().ends_with(&suffix));
    folder
        .cloned()
        .with_context(|| format!("find the archive from {offset} on: {:?}", archives.folders))
}
