//! Makes every typed call against a real broker and name server, prints what it understood, and keeps the replies'
//! bytes for the tests. It creates a topic and stores a few messages, so point it at a broker made for the purpose.
//!
//! The third argument is the header encoding of the requests. 4.9 answers in the same; 5.x answers in its own, which
//! is JSON unless it runs with `ROCKETMQ_SERIALIZE_TYPE=ROCKETMQ` in its environment.
//!
//! ```text
//! cargo run -p remoting --example capture -- 127.0.0.1:10911 127.0.0.1:9876 json some/folder
//! ```
#![allow(clippy::print_stdout)] // its output is its purpose

use std::error::Error;
use std::fmt::Debug;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use remoting::calls::{
    BrokerRole, CreateTopic, GetBrokerConfig, GetClusterInfo, GetConsumerOffset, GetHaInfo,
    GetHaStatus, GetMaxOffset, GetMetadata, GetMinOffset, GetRoute, GetRuntimeInfo, MetadataTable,
    Permission, ProbeNameServer, PullMessages, PullStatus, SendMessage, SetConsumerOffset,
    UnregisterBroker, UpdateBrokerConfig,
};
use remoting::{Call, Command, DEFAULT_FRAME_LIMIT, HeaderKind, QueueOffset, decode, encode};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const TIMEOUT: Duration = Duration::from_secs(10);
const TOPIC: &str = "capture";
const GROUP: &str = "capture-group";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &'static str| arguments.next().ok_or(what);
    let broker = next("first argument: the broker's ip:port")?.parse()?;
    let name_server = next("second argument: the name server's ip:port")?.parse()?;
    let kind = match next("third argument: json or binary")?.as_str() {
        "json" => HeaderKind::Json,
        "binary" => HeaderKind::Binary,
        _ => return Err("third argument: json or binary".into()),
    };
    let folder = PathBuf::from(next("fourth argument: the folder for the replies")?);
    fs::create_dir_all(&folder)?;
    let mut broker = Peer::connect(broker, kind, folder.clone())?;
    let mut name_server = Peer::connect(name_server, kind, folder)?;
    if about_the_broker(&mut broker)? == Some(BrokerRole::Slave) {
        return Ok(());
    }
    about_messages(&mut broker)?;
    about_the_name_server(&mut name_server)
}

/// The broker's role: a slave takes no messages and creates no topics.
fn about_the_broker(broker: &mut Peer) -> Result<Option<BrokerRole>> {
    broker.ask("runtime-info", &GetRuntimeInfo)?;
    let config = broker.ask("broker-config", &GetBrokerConfig)?;
    broker.ask(
        "update-broker-config",
        &UpdateBrokerConfig::force_registration("6"),
    )?;
    broker.ask("ha-status", &GetHaStatus)?;
    broker.ask("ha-info", &GetHaInfo)?;
    Ok(config.and_then(|config| config.role()))
}

fn about_messages(broker: &mut Peer) -> Result<()> {
    let (topic, group) = (TOPIC.to_owned(), GROUP.to_owned());
    let permission = Permission::READ_WRITE;
    broker.ask(
        "create-topic",
        &CreateTopic {
            topic: topic.clone(),
            queues: 1,
            permission,
        },
    )?;
    let message = SendMessage::new(TOPIC, 0, "a body")
        .born_at(1_700_000_000_000)
        .property("KEYS", "key-1")?
        .property("UNIQ_KEY", "7F0000010001")?;
    broker.ask("send", &message)?;
    let mut pull = PullMessages {
        topic: topic.clone(),
        queue_id: 0,
        from: QueueOffset::new(0),
        at_most: 1,
        group: group.clone(),
    };
    // A message is readable once it is in the consume queue, a moment after it was stored.
    let mut tries = 0;
    while broker
        .ask("pull-found", &pull)?
        .is_none_or(|pulled| pulled.status != PullStatus::Found)
    {
        tries += 1;
        if tries == 1000 {
            return Err(
                format!("pull: the message sent is not readable after {tries} tries").into(),
            );
        }
    }
    pull.from = QueueOffset::new(1_000_000);
    broker.ask("pull-moved", &pull)?;
    let queue_id = 0;
    broker.ask(
        "max-offset",
        &GetMaxOffset {
            topic: topic.clone(),
            queue_id,
        },
    )?;
    broker.ask(
        "min-offset",
        &GetMinOffset {
            topic: topic.clone(),
            queue_id,
        },
    )?;
    let position = GetConsumerOffset {
        group: group.clone(),
        topic: topic.clone(),
        queue_id: 7,
    };
    broker.ask("consumer-offset-none", &position)?;
    let offset = QueueOffset::new(1);
    broker.ask(
        "set-consumer-offset",
        &SetConsumerOffset {
            group,
            topic,
            queue_id,
            offset,
        },
    )?;
    broker.ask(
        "consumer-offset",
        &GetConsumerOffset {
            queue_id,
            ..position
        },
    )?;
    broker.ask(
        "send-refused",
        &SendMessage::new("no such topic / at all", 0, "x"),
    )?;
    for table in MetadataTable::ALL {
        broker.ask(
            &format!("metadata-{}", table.file_name()),
            &GetMetadata(table),
        )?;
    }
    Ok(())
}

fn about_the_name_server(name_server: &mut Peer) -> Result<()> {
    name_server.ask("probe-name-server", &ProbeNameServer)?;
    name_server.ask("cluster-info", &GetClusterInfo)?;
    name_server.ask(
        "route",
        &GetRoute {
            topic: TOPIC.to_owned(),
        },
    )?;
    name_server.ask(
        "route-none",
        &GetRoute {
            topic: "no-such-topic".to_owned(),
        },
    )?;
    // Of a group that does not exist, so that the broker stays registered.
    let nobody = UnregisterBroker {
        cluster: "no-such-cluster".to_owned(),
        broker_name: "no-such-group".to_owned(),
        address: "192.0.2.1:10911".to_owned(),
        broker_id: 0,
    };
    name_server.ask("unregister", &nobody)?;
    Ok(())
}

/// A connection that keeps the bytes of what it receives. Our clients do not show them.
struct Peer {
    stream: TcpStream,
    kind: HeaderKind,
    folder: PathBuf,
    opaque: i32,
}

impl Peer {
    fn connect(addr: SocketAddr, kind: HeaderKind, folder: PathBuf) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, TIMEOUT)
            .map_err(|error| format!("connect to {addr}: {error}"))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self {
            stream,
            kind,
            folder,
            opaque: 0,
        })
    }

    /// The answer, or `None` when the server refused.
    fn ask<C: Call>(&mut self, name: &str, call: &C) -> Result<Option<C::Answer>>
    where
        C::Answer: Debug,
    {
        self.opaque += 1;
        let mut request = call.request();
        request.opaque = self.opaque;
        self.stream.write_all(&encode(&request, self.kind)?)?;
        let (reply, bytes) = self
            .read()
            .map_err(|error| format!("read the reply to {name}: {error}"))?;
        fs::write(self.folder.join(format!("{name}.frame")), &bytes)?;
        match call.answer(&reply) {
            Ok(answer) => {
                println!("{name}: {answer:?}\n");
                Ok(Some(answer))
            }
            Err(error) => {
                println!("{name}: {error}\n");
                Ok(None)
            }
        }
    }

    fn read(&mut self) -> Result<(Command, Vec<u8>)> {
        let mut bytes = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            if let Some((command, used)) = decode(&bytes, DEFAULT_FRAME_LIMIT)? {
                let whole: Vec<u8> = bytes.drain(..used).collect();
                if command.is_reply() && command.opaque == self.opaque {
                    return Ok((command, whole));
                }
                continue;
            }
            match self.stream.read(&mut chunk)? {
                0 => return Err("the server closed the connection".into()),
                count => bytes.extend_from_slice(&chunk[..count]),
            }
        }
    }
}
