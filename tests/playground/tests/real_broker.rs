//! A name server and a broker of the newest version, and messages through them.

use playground::broker::{self, BrokerSpec};
use playground::logs::Log;
use playground::traffic::{NameServers, Stamp, read_all};
use playground::{Options, Playground, Role, Timeline, Version, nameserver};
use remoting::calls::{CreateTopic, Permission, SendMessage, SendStatus};

const MESSAGES: u64 = 100;
const QUEUES: u32 = 4;
const TOPIC: &str = "hundred";

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_messages_sent_are_a_hundred_messages_read() {
    let timeline = Timeline::new(Box::new(std::io::stderr()));
    let options = Options::for_tests(Version::NEWEST);
    let ground = Playground::set_up(options, timeline).await.unwrap();
    let mut server = ground.name_server("ns").unwrap();
    server.ready(nameserver::READY_LIMIT).await.unwrap();
    let mut broker = ground
        .broker(BrokerSpec {
            member: "a".to_owned(),
            group: "g".to_owned(),
            role: Role::Master,
            name_servers: vec![server.address()],
            settings: [].into(),
        })
        .unwrap();
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
