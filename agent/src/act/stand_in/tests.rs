//! A broker and a name server in one, that answer what the stand-in asks.

use std::sync::{Arc, Mutex};

use agent_core::record::TermId;
use agent_core::{Epoch, Nonce};
use remoting::{Command, DEFAULT_FRAME_LIMIT, HeaderKind, decode, encode};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;

const OWN: &str = r#"{"counter":3,"stateVersion":0,"timestamp":1795393886712}"#;
const LIMIT: Duration = Duration::from_secs(20);

/// What both servers know.
#[derive(Debug)]
struct World {
    conf: String,
    /// Who stands under id 0 for another address.
    other: Option<&'static str>,
    /// The version, and the connection it hangs on; none for the broker's own.
    registered: Option<(String, Option<usize>)>,
    /// Requests 103.
    announced: usize,
    /// The connection of the last of them.
    last: Option<usize>,
    /// Connections that are over.
    ended: Vec<usize>,
    /// 21 and 26 are not answered in time.
    is_slow: bool,
}

struct Servers {
    address: SocketAddr,
    world: Arc<Mutex<World>>,
    /// Counted up with every change.
    changed: watch::Sender<usize>,
    task: JoinHandle<()>,
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Servers {
    async fn start(changes: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let world = Arc::new(Mutex::new(World {
            conf: conf(changes),
            other: None,
            registered: None,
            announced: 0,
            last: None,
            ended: Vec::new(),
            is_slow: false,
        }));
        let changed = watch::Sender::new(0);
        let (shared, bell) = (Arc::clone(&world), changed.clone());
        let task = tokio::spawn(async move {
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (world, bell) = (Arc::clone(&shared), bell.clone());
                tokio::spawn(async move {
                    serve(stream, number, &world, &bell).await;
                    let mut world = world.lock().unwrap();
                    world.ended.push(number);
                    let hangs_on = world.registered.as_ref().and_then(|(_, on)| *on);
                    if hangs_on == Some(number) {
                        world.registered = None;
                    }
                    drop(world);
                    bell.send_modify(|count| *count += 1);
                });
            }
        });
        Self {
            address,
            world,
            changed,
            task,
        }
    }

    async fn until(&self, what: &str, is_so: impl Fn(&World) -> bool) {
        let mut changed = self.changed.subscribe();
        let seen = changed.wait_for(|_| is_so(&self.world.lock().unwrap()));
        let seen = timeout(LIMIT, seen).await;
        seen.unwrap_or_else(|_| panic!("{what}: {:?}", self.world.lock().unwrap()))
            .unwrap();
    }

    fn is_marked(world: &World) -> bool {
        let version = world.registered.as_ref().map(|(version, _)| version);
        version.is_some_and(|version| version.contains(r#""timestamp":0"#))
    }

    fn stand_in(&self, status: serde_json::Value) -> StandIn {
        let status = watch::Sender::new(Some((
            Arc::new(serde_json::from_value(status).unwrap()),
            Clock.tick(),
        )));
        let started = life(&status.borrow());
        StandIn {
            server: self.address.to_string().parse().unwrap(),
            life: started.unwrap_or(Life {
                role: Role::Master,
                term: TermId {
                    epoch: Epoch::new(2),
                    nonce: Nonce::new(3),
                },
                started_ms: 1,
            }),
            broker: self.address,
            options: ClientOptions {
                call_timeout: Duration::from_millis(500),
                ..ClientOptions::default()
            },
            cluster: "c".to_owned(),
            broker_name: "b".to_owned(),
            status: status.subscribe(),
            clock: Clock,
        }
    }
}

async fn serve(
    mut stream: TcpStream,
    number: usize,
    world: &Mutex<World>,
    bell: &watch::Sender<usize>,
) {
    let mut read = Vec::new();
    loop {
        while let Some((request, taken)) = decode(&read, DEFAULT_FRAME_LIMIT).unwrap() {
            read.drain(..taken);
            let reply = world.lock().unwrap().answer(&request, number);
            bell.send_modify(|count| *count += 1);
            if let Some(body) = reply {
                let mut reply = Command::request(0).with_body(body);
                (reply.opaque, reply.flag) = (request.opaque, 1);
                let frame = encode(&reply, HeaderKind::Json).unwrap();
                stream.write_all(&frame).await.unwrap();
            }
        }
        if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
            return;
        }
    }
}

impl World {
    fn answer(&mut self, request: &Command, connection: usize) -> Option<String> {
        if self.is_slow && [21, 26].contains(&request.code) {
            return None;
        }
        Some(match request.code {
            21 => format!(
                r#"{{"dataVersion":{OWN},"topicConfigTable":{{"t":{{"topicName":"t","readQueueNums":1,"writeQueueNums":1,"perm":6}}}}}}"#
            ),
            26 => self.conf.clone(),
            103 => {
                let body = String::from_utf8(request.body.clone()).unwrap();
                let version = body.split(r#""dataVersion":"#).nth(1).unwrap();
                let version = version.split_inclusive('}').next().unwrap();
                self.registered = Some((version.to_owned(), Some(connection)));
                self.announced += 1;
                self.last = Some(connection);
                String::new()
            }
            106 => {
                let addresses = match (self.other, &self.registered) {
                    (Some(other), _) => format!(r#"0:"{other}""#),
                    (None, Some(_)) => r#"0:"10.0.0.1:10911""#.to_owned(),
                    (None, None) => String::new(),
                };
                format!(
                    r#"{{"brokerAddrTable":{{"b":{{"cluster":"c","brokerName":"b","brokerAddrs":{{{addresses}}}}}}}}}"#
                )
            }
            322 => match &self.registered {
                Some((version, _)) => version.clone(),
                None => String::new(),
            },
            other => panic!("asked for {other}"),
        })
    }
}

/// A master's, changed.
fn conf(changes: &[(&str, &str)]) -> String {
    let keys = [
        ("brokerClusterName", "c"),
        ("brokerName", "b"),
        ("brokerId", "0"),
        ("brokerRole", "ASYNC_MASTER"),
        ("brokerIP1", "10.0.0.1"),
        ("brokerIP2", "255.255.255.255"),
        ("listenPort", "10911"),
        ("haListenPort", "10912"),
        ("brokerPermission", "6"),
        ("startAcceptSendRequestTimeStamp", "0"),
        ("enableSlaveActingMaster", "false"),
    ];
    let value = |key: &str, usual| {
        let change = changes.iter().find(|(changed, _)| *changed == key);
        change.map_or(usual, |(_, value)| *value)
    };
    keys.iter()
        .map(|(key, usual)| format!("{key}={}\n", value(key, usual)))
        .collect()
}

fn status(state: &str, permit_until_ms: u64) -> serde_json::Value {
    json!({
        "protocol": 1, "version": "0", "launcher_nonce": "0000000000000001", "boot_id": "b", "boottime_ms": 1,
        "guarded": true, "leaving": false, "relay": {"master": null, "slave": null},
        "broker": {
            "state": state, "pid": 1, "role": "master", "term": {"epoch": 2, "nonce": 3}, "instance": "i",
            "permit_until_ms": permit_until_ms, "started_ms": 1, "running_ms": 2, "listen_port": 10911,
            "activity": null, "last_end": null,
        },
    })
}

fn serving() -> serde_json::Value {
    status("running", u64::MAX)
}

#[tokio::test]
async fn lets_go_only_when_the_broker_has_come_itself() {
    let servers = Servers::start(&[]).await;
    let stand_in = tokio::spawn(servers.stand_in(serving()).run(Duration::ZERO));
    servers.until("registered for it", Servers::is_marked).await;
    // A name server that was restarted has forgotten it, whatever became of the connection.
    servers.world.lock().unwrap().registered = None;
    let twice = |world: &World| world.announced == 2 && Servers::is_marked(world);
    servers.until("registered again", twice).await;
    servers.world.lock().unwrap().registered = Some((OWN.to_owned(), None));
    let let_go = |world: &World| world.last.is_some_and(|last| world.ended.contains(&last));
    servers.until("let go", let_go).await;
    let registered = servers.world.lock().unwrap().registered.clone();
    assert_eq!(registered, Some((OWN.to_owned(), None)));
    assert_eq!(servers.world.lock().unwrap().announced, 2);
    stand_in.abort();
}

#[tokio::test]
async fn what_was_announced_ends_with_the_task() {
    let servers = Servers::start(&[]).await;
    let stand_in = tokio::spawn(servers.stand_in(serving()).run(Duration::ZERO));
    servers.until("registered for it", Servers::is_marked).await;
    stand_in.abort();
    let forgotten = |world: &World| world.registered.is_none();
    servers.until("forgotten", forgotten).await;
}

#[tokio::test]
async fn announces_nobody_who_is_not_to_be_announced() {
    let far = "9999999999999";
    for (changes, status, why) in [
        (
            vec![("startAcceptSendRequestTimeStamp", far)],
            serving(),
            "gate",
        ),
        (vec![("brokerRole", "SLAVE")], serving(), "role"),
        (vec![("brokerId", "1")], serving(), "role"),
        (vec![("brokerName", "x")], serving(), "another broker"),
        (
            vec![("enableSlaveActingMaster", "true")],
            serving(),
            "ActingMaster",
        ),
        (
            vec![("brokerIP1", "10.0.0.1")],
            status("running", 1),
            "permit",
        ),
        (vec![], status("stopping", u64::MAX), "permit"),
        (vec![], status("starting", u64::MAX), "permit"),
    ] {
        let servers = Servers::start(&changes).await;
        let stand_in = servers.stand_in(status);
        let look = stand_in.look(&mut None, &mut None).await;
        let Err(error) = look else {
            panic!("announced in spite of {why}");
        };
        assert!(error.to_string().contains(why), "{why}: {error}");
        assert_eq!(servers.world.lock().unwrap().announced, 0, "{why}");
    }
}

#[tokio::test]
async fn nobody_else_is_pushed_aside() {
    let servers = Servers::start(&[]).await;
    servers.world.lock().unwrap().other = Some("10.0.0.2:10911");
    let look = servers.stand_in(serving()).look(&mut None, &mut None).await;
    assert!(matches!(
        look,
        Err(StandInError::Taken { address, id: 0 }) if address == "10.0.0.2:10911"
    ));
    assert_eq!(servers.world.lock().unwrap().announced, 0);
}

#[tokio::test]
async fn a_slow_broker_keeps_its_route() {
    let servers = Servers::start(&[]).await;
    let stand_in = servers.stand_in(serving());
    let mut line = None;
    let known = stand_in.look(&mut line, &mut None).await;
    assert!(matches!(known, Ok(Known::FromUs)));
    servers.world.lock().unwrap().is_slow = true;
    let look = stand_in.look(&mut line, &mut None).await;
    assert!(look.is_err_and(|error| error.leaves_the_line()));
    // What does not depend on the broker's mood goes on over the same connection.
    servers.world.lock().unwrap().is_slow = false;
    assert!(matches!(
        stand_in.look(&mut line, &mut None).await,
        Ok(Known::FromUs)
    ));
    assert_eq!(servers.world.lock().unwrap().announced, 1);
}
