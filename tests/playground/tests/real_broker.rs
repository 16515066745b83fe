//! Real name servers and brokers of the newest version, and messages through them.

#![allow(clippy::unwrap_used, reason = "a test's own tools may end the test")]

use std::net::SocketAddr;
use std::time::Duration;

use playground::broker::{self, Broker, BrokerSpec};
use playground::logs::{Log, compare};
use playground::traffic::{NameServers, Prober, Probers, Stamp, disputes, read_all};
use playground::{Options, Playground, Role, Timeline, Version, nameserver};
use remoting::calls::{CreateTopic, Permission, SendMessage, SendStatus};

const MESSAGES: u64 = 100;
const QUEUES: u32 = 4;
const TOPIC: &str = "hundred";

fn master(ground: &Playground, member: &str, name_server: SocketAddr) -> Broker {
    let spec = BrokerSpec {
        member: member.to_owned(),
        group: "g".to_owned(),
        role: Role::Master,
        name_servers: vec![name_server],
        settings: [].into(),
    };
    ground.broker(spec).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_messages_sent_are_a_hundred_messages_read() {
    let timeline = Timeline::new(Box::new(std::io::stderr()));
    let options = Options::for_tests(Version::NEWEST);
    let ground = Playground::set_up(options, timeline).await.unwrap();
    let mut server = ground.name_server("ns").unwrap();
    server.ready(nameserver::READY_LIMIT).await.unwrap();
    let mut broker = master(&ground, "a", server.address());
    let contact = broker.contact();
    broker.start().unwrap();
    broker.ready(broker::READY_LIMIT).await.unwrap();
    assert_eq!(contact.role().await.unwrap(), Role::Master);

    let topic = CreateTopic {
        topic: TOPIC.to_owned(),
        queues: QUEUES,
        permission: Permission::READ_WRITE,
    };
    contact.ask(&topic).await.unwrap();
    let stamp = Stamp::random().unwrap();
    let client = contact.client().await.unwrap();
    for count in 0..MESSAGES {
        let body = stamp.body(count.into(), 100);
        let queue = u32::try_from(count).unwrap() % QUEUES;
        let sent = client
            .ask(&SendMessage::new(TOPIC, queue, body))
            .await
            .unwrap();
        assert_eq!(sent.status, SendStatus::Ok);
    }

    let mut read = read_all(broker.address(), TOPIC, QUEUES, &stamp)
        .await
        .unwrap();
    read.sort_unstable();
    let all: Vec<_> = (0..MESSAGES).map(Into::into).collect();
    assert_eq!(read, all);

    contact.register_now().await.unwrap();
    let names = NameServers {
        addresses: vec![server.address()],
        group: "g".to_owned(),
    };
    let master = playground::wait::until("the route", nameserver::READY_LIMIT, async || {
        names.master(TOPIC).await
    });
    assert_eq!(master.await.unwrap().address, broker.address());

    // A kill -9 loses nothing: the page cache outlives the process.
    let end = contact.runtime().await.unwrap().commit_log_max;
    broker.process().unwrap().kill().await.unwrap();
    let log = Log::of_stopped(&broker.store()).unwrap();
    assert_eq!(log.end(), end.get());
    broker.start().unwrap();
    broker.ready(broker::READY_LIMIT).await.unwrap();
    assert_eq!(contact.runtime().await.unwrap().commit_log_max, end);
}

/// What every fail-over test relies on: two masters and two histories would be seen.
#[tokio::test(flavor = "multi_thread")]
async fn two_masters_of_a_group_are_a_dispute_and_their_logs_differ() {
    let options = Options::for_tests(Version::NEWEST);
    let ground = Playground::set_up(options, Timeline::silent())
        .await
        .unwrap();
    let mut server = ground.name_server("ns").unwrap();
    server.ready(nameserver::READY_LIMIT).await.unwrap();
    let mut brokers = ["a", "b"].map(|member| master(&ground, member, server.address()));
    for broker in &mut brokers {
        broker.start().unwrap();
    }
    for broker in &mut brokers {
        broker.ready(broker::READY_LIMIT).await.unwrap();
    }
    let targets = brokers.each_ref().map(|broker| Prober {
        broker: broker.member().to_owned(),
        address: broker.address(),
    });
    let probers = Probers::start(targets.into());
    playground::wait::until("the dispute to show", Duration::from_secs(60), async || {
        let seen = probers.acceptances();
        let found = disputes(&seen, Duration::from_millis(500));
        anyhow::ensure!(!found.is_empty(), "{} acceptances, no dispute", seen.len());
        Ok(())
    })
    .await
    .unwrap();
    drop(probers);
    for broker in &mut brokers {
        broker.process().unwrap().kill().await.unwrap();
    }
    let [a, b] = brokers
        .each_ref()
        .map(|broker| Log::of_stopped(&broker.store()).unwrap());
    let found = compare(&a, &b).unwrap();
    assert!(found.first_difference.is_some(), "{found:?}");
}
