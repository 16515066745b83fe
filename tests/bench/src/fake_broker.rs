//! A broker that holds no messages: as much of RocketMQ 4.9 as an agent and its launcher look at, in 3 MiB. A hundred JVMs
//! do not fit on a machine, and what is measured with these is the agents and their API server.
//!
//! It answers for its role and its runtime info (26, 28), takes changes of its configuration (25), registers with the name
//! server when it is told to and every 30 s, and speaks the HA protocol over an empty log. Nothing else.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use relay::ha_stream::{FrameHeader, REPORT_BYTES};
use remoting::calls::{DataVersion, RegisterBroker, Topics};
use remoting::code::request;
use remoting::{Client, ClientOptions, Command, DEFAULT_FRAME_LIMIT, HeaderKind, decode, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// `haSendHeartbeatInterval`, of both sides.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// `registerNameServerPeriod`.
const REGISTER: Duration = Duration::from_secs(30);

/// `SUCCESS` and `REQUEST_CODE_NOT_SUPPORTED`.
const OK: i32 = 0;
const UNKNOWN: i32 = 3;

struct Broker {
    config: Mutex<BTreeMap<String, String>>,
    register: Notify,
}

/// Is a broker with this conf for as long as it is let.
pub(crate) fn run(conf: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(serve(conf))
}

async fn serve(conf: &Path) -> Result<()> {
    let text = std::fs::read_to_string(conf);
    let text = text.with_context(|| format!("read {}", conf.display()))?;
    let broker = Arc::new(Broker {
        config: Mutex::new(pairs(&text).collect()),
        register: Notify::new(),
    });
    let listener = bind(broker.port("listenPort")?).await?;
    if broker.value("brokerRole") == "SLAVE" {
        let master = broker.value("haMasterAddress").parse();
        tokio::spawn(follow(master.context("read haMasterAddress")?));
    }
    let followers = bind(broker.port("haListenPort")?).await?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = followers.accept().await {
            tokio::spawn(lead(stream));
        }
    });
    tokio::spawn(keep_registered(Arc::clone(&broker)));
    loop {
        let (stream, _) = listener.accept().await.context("accept a client")?;
        tokio::spawn(Arc::clone(&broker).converse(stream));
    }
}

async fn bind(port: u16) -> Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    listener.with_context(|| format!("listen on port {port}"))
}

fn pairs(text: &str) -> impl Iterator<Item = (String, String)> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
}

impl Broker {
    fn config(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn value(&self, key: &str) -> String {
        self.config().get(key).cloned().unwrap_or_default()
    }

    fn port(&self, key: &str) -> Result<u16> {
        let port = self.value(key).parse();
        port.with_context(|| format!("read {key}"))
    }

    /// Answers one client until it goes, or talks nonsense.
    async fn converse(self: Arc<Self>, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        while let Ok(Some((asked, length))) = next(&mut stream, &mut bytes).await {
            bytes.drain(..length);
            let reply = encode(&self.answer(&asked), HeaderKind::Json);
            let Ok(reply) = reply else { return };
            if stream.write_all(&reply).await.is_err() {
                return;
            }
        }
    }

    fn answer(&self, asked: &Command) -> Command {
        let done = || Command::reply_to(asked, OK);
        match asked.code {
            request::GET_BROKER_CONFIG => {
                let config = self.config();
                let lines = config.iter().map(|(key, value)| format!("{key}={value}\n"));
                done().with_body(lines.collect::<String>())
            }
            request::UPDATE_BROKER_CONFIG => {
                let changes = String::from_utf8_lossy(&asked.body).into_owned();
                self.config().extend(pairs(&changes));
                if changes.contains("brokerPermission") {
                    self.register.notify_one();
                }
                done()
            }
            request::GET_BROKER_RUNTIME_INFO => {
                let until = self.value("startAcceptSendRequestTimeStamp");
                done().with_body(format!(
                    r#"{{"table":{{"commitLogMaxOffset":"0","commitLogMinOffset":"0","dispatchBehindBytes":"0",
                    "bootTimestamp":"1","brokerVersionDesc":"V4_9_7","commitLogDiskRatio":"0.1",
                    "sendThreadPoolQueueSize":"0","sendThreadPoolQueueHeadWaitTimeMills":"0",
                    "pageCacheLockTimeMills":"0","startAcceptSendRequestTimeStamp":"{until}"}}}}"#
                ))
            }
            _ => Command::reply_to(asked, UNKNOWN),
        }
    }

    async fn register(&self) -> Result<Client> {
        let name_server = self.value("namesrvAddr").parse();
        let name_server: SocketAddr = name_server.context("read namesrvAddr")?;
        let client = Client::connect(name_server, &ClientOptions::default()).await?;
        let ip = self.value("brokerIP1");
        let own = RegisterBroker {
            cluster: self.value("brokerClusterName"),
            broker_name: self.value("brokerName"),
            address: format!("{ip}:{}", self.value("listenPort")),
            broker_id: self.value("brokerId").parse().context("read brokerId")?,
            ha_address: format!("{}:{}", self.value("brokerIP2"), self.value("haListenPort")),
            acting_master: None,
            topics: Topics {
                data_version: DataVersion {
                    timestamp: 1,
                    ..DataVersion::default()
                },
                topics: BTreeMap::new(),
            },
        };
        client.ask(&own).await?;
        Ok(client)
    }
}

/// The next command, and how many bytes at the beginning are its.
async fn next(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Result<Option<(Command, usize)>> {
    loop {
        if let Some(found) = decode(bytes, DEFAULT_FRAME_LIMIT)? {
            return Ok(Some(found));
        }
        if stream.read_buf(bytes).await? == 0 {
            return Ok(None);
        }
    }
}

/// The name server forgets whom it has no connection to: the last one is kept.
async fn keep_registered(broker: Arc<Broker>) {
    let mut kept = None;
    loop {
        if let Ok(client) = broker.register().await {
            drop(kept.replace(client));
        }
        let _told = timeout(REGISTER, broker.register.notified()).await;
    }
}

/// A slave's HA client: reports that it has nothing, and takes heartbeats.
async fn follow(master: SocketAddr) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(master).await {
            let (mut read, mut write) = stream.split();
            let report = async {
                while write.write_all(&[0; REPORT_BYTES]).await.is_ok() {
                    sleep(HEARTBEAT).await;
                }
            };
            tokio::select! {
                () = report => {}
                () = until_end(&mut read) => {}
            }
        }
        sleep(HEARTBEAT).await;
    }
}

/// A master's HA connection: heartbeats.
async fn lead(mut stream: TcpStream) {
    let mut request = [0; REPORT_BYTES];
    if stream.read_exact(&mut request).await.is_err() {
        return;
    }
    let (mut read, mut write) = stream.split();
    let heartbeat = FrameHeader { offset: 0, size: 0 }.encode();
    let beat = async {
        while write.write_all(&heartbeat).await.is_ok() {
            sleep(HEARTBEAT).await;
        }
    };
    tokio::select! {
        () = beat => {}
        () = until_end(&mut read) => {}
    }
}

async fn until_end(read: &mut (impl AsyncReadExt + Unpin)) {
    let mut taken = [0; 4096];
    while matches!(read.read(&mut taken).await, Ok(count) if count > 0) {}
}
