//! Registers the broker with a name server in its place, until the broker has done so itself.
//!
//! A running broker that is told of another name server looks at its list every 120 s (every second from 5.3.1 on, because
//! of `updateNameServerAddrPeriod`) and registers every 30 s. No request hastens either; so the agent sends what the
//! broker itself would send (103). Three things make that safe, all seen on 4.9.7, 5.1.4 and 5.5.0:
//!
//! * A name server ties a broker to the connection it was registered on, and forgets it at once when that ends. The
//!   connection is therefore kept until the broker has registered on its own, and dropped with the broker's life; dropped
//!   later it takes nothing along.
//! * Our registration is marked by a topic version that no broker has ([`DataVersion::on_behalf`]). So it can be told
//!   from the broker's (322), and the broker's always counts as a change and replaces ours, with `forceRegister=false` too.
//! * It is made only for a process that the launcher says runs, in the role it was started in, with its gate open, and as a
//!   master only within its permit; and never over another address that stands under the same id there.
//!
//! Which interleavings were thought of:
//! * *The broker dies or is killed by its permit:* the launcher's status ends this task, and the name server forgets the
//!   broker within milliseconds, as it does for a broker's own connection. The process started next registers anew.
//! * *The agent dies:* the same, though the broker lives. It is then missing on the name servers that were added in the last
//!   150 s, as it would have been without us; the next agent stands in again after [`PATIENCE`].
//! * *The agent is frozen between its look and its request, and a new master takes over meanwhile:* the permit is looked at
//!   last of all, on the clock that goes on. What remains is a freeze inside one write: then the old address may
//!   stand under id 0 until this task ends, milliseconds after the thaw, and the new master comes back with its next
//!   registration (30 s at most). A broker that thaws can do the same; what it does not get is writes (safety §2, H54).
//! * *A frozen agent and a dead broker:* our connection stays open and the address stays until the name server's 120 s are
//!   over, or until the next master evicts it. Clients try it in vain and turn elsewhere.
//! * *A gated master* (planned switchover): nothing new is announced. What was announced stays, as the broker's own
//!   registrations do.

use std::net::SocketAddr;
use std::time::Duration;

use agent_core::report::Role;
use launcher::protocol::BrokerState;
use remoting::calls::{
    BrokerConfig, BrokerRole, DataVersion, GetBrokerConfig, GetClusterInfo, GetRegisteredVersion,
    GetTopics, Permission, RegisterBroker,
};
use remoting::{CallError, Client, ClientOptions};
use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::clock::Clock;
use crate::nameservers::HostPort;
use crate::observe::broker::{Life, life};
use crate::observe::launcher::StatusSeen;

/// How long a broker that was started with a list, or whose agent is new, may take to register by itself: its 30 s and
/// the 10 s that a 5.x broker sometimes takes more.
pub const PATIENCE: Duration = Duration::from_secs(40);
/// Between two looks while we stand in, or try to.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two looks once the broker has registered itself.
const CALM: Duration = Duration::from_secs(5);
/// How many calm looks in a row end the task: after 150 s the broker has taken over the list it was told and has
/// registered by it, so nothing that stands there now is left over from an older list.
const ENOUGH: u32 = 30;
/// How many looks while we stand in until the topics are read again. What is created meanwhile is announced then.
const TOPICS_EVERY: u32 = 10;
/// How many looks while we stand in until somebody is told: 120 s and two registrations of the broker are over by then.
const SUSPICIOUS: u32 = 200;
/// How long one look may take, a registration with all topics included.
const ONE: Duration = Duration::from_secs(10);
/// How long one call with all topics may take.
const TOPICS: Duration = Duration::from_secs(4);

/// Whom it stands in for, and where.
#[derive(Clone)]
pub struct StandIn {
    /// The name server.
    pub server: HostPort,
    /// The process that it is about.
    pub life: Life,
    /// The broker's own port.
    pub broker: SocketAddr,
    /// Deadlines and credentials.
    pub options: ClientOptions,
    /// `brokerClusterName`.
    pub cluster: String,
    /// `brokerName`.
    pub broker_name: String,
    /// What runs, and until when.
    pub status: watch::Receiver<StatusSeen>,
    /// Our clocks.
    pub clock: Clock,
}

#[derive(Debug, thiserror::Error)]
enum StandInError {
    #[error("ask the broker")]
    Broker(#[source] Box<CallError>),
    #[error("ask the name server")]
    Server(#[source] Box<CallError>),
    #[error("no address is known for {0}")]
    Unresolved(HostPort),
    #[error("the broker's configuration does not say {0}")]
    Unsaid(&'static str),
    #[error("the broker is not to be announced: {0}")]
    NotNow(&'static str),
    #[error("{address} stands there under id {id}")]
    Taken { address: String, id: u64 },
    #[error("no answer in time")]
    TimedOut,
}

impl StandInError {
    fn broker(error: CallError) -> Self {
        Self::Broker(Box::new(error))
    }

    fn server(error: CallError) -> Self {
        Self::Server(Box::new(error))
    }

    /// Whether what was announced may still hang on our connection, and is right. A broker that is slow or gated for the
    /// moment is no reason to take its route away: its process lives, or this task would have ended.
    fn leaves_the_line(&self) -> bool {
        match self {
            Self::Broker(_) | Self::Unsaid(_) | Self::NotNow(_) => true,
            Self::Server(_) | Self::Unresolved(_) | Self::Taken { .. } | Self::TimedOut => false,
        }
    }
}

/// One connection to the name server, and what hangs on it.
struct Line {
    client: Client,
    announced: Option<Announced>,
}

struct Announced {
    version: DataVersion,
    permission: Permission,
    looks: u32,
}

/// What the name server knows of this broker.
enum Known {
    /// By its own registration.
    FromItself,
    /// By ours.
    FromUs,
}

/// What a broker says of itself when it registers.
struct Face {
    address: String,
    id: u64,
    ha_address: String,
    acting_master: Option<bool>,
    permission: Permission,
}

impl StandIn {
    /// Stands in, from `patience` on, until the broker's own registration has come to stay. Dropping the future takes
    /// our registration back.
    pub async fn run(self, patience: Duration) {
        sleep(patience).await;
        let (mut line, mut face) = (None, None);
        let (mut calm, mut standing, mut failing) = (0, 0_u32, false);
        while calm < ENOUGH {
            let look = timeout(ONE, self.look(&mut line, &mut face)).await;
            let pause = match look.unwrap_or(Err(StandInError::TimedOut)) {
                Ok(Known::FromItself) => {
                    if std::mem::take(&mut standing) > 0 {
                        info!(name_server = %self.server, "the broker has registered itself");
                        // Not needed any more. The next look is made on another one, and shows that nothing went with it.
                        line = None;
                    }
                    (calm, failing) = (calm + 1, false);
                    CALM
                }
                Ok(Known::FromUs) => {
                    if standing == 0 {
                        info!(name_server = %self.server, "registered in the broker's place until it does so itself");
                    }
                    (calm, failing) = (0, false);
                    standing = standing.saturating_add(1);
                    if standing == SUSPICIOUS {
                        warn!(name_server = %self.server, "the broker still does not register here itself: can it reach this name server?");
                    }
                    PAUSE
                }
                Err(error) => {
                    if !error.leaves_the_line() {
                        line = None;
                    }
                    let error = crate::error_chain(&error);
                    // Said once: it is tried for as long as this broker runs and this name server is listed.
                    if std::mem::replace(&mut failing, true) {
                        debug!(name_server = %self.server, error, "not registered in the broker's place");
                    } else {
                        info!(name_server = %self.server, error, "not registered in the broker's place");
                    }
                    (face, calm) = (None, 0);
                    PAUSE
                }
            };
            sleep(pause).await;
        }
    }

    /// Looks who registered the broker there last, and does it where nobody did.
    async fn look(
        &self,
        line: &mut Option<Line>,
        face: &mut Option<Face>,
    ) -> Result<Known, StandInError> {
        // Read again before every announcement; for a look its address will do.
        let face = match face {
            Some(face) => face,
            None => face.insert(self.face().await?),
        };
        let line = match line {
            Some(line) => line,
            None => line.insert(self.connect().await?),
        };
        let ours = line.announced.as_ref().map(|announced| announced.version);
        let registered = GetRegisteredVersion {
            cluster: self.cluster.clone(),
            broker_name: self.broker_name.clone(),
            address: face.address.clone(),
            broker_id: face.id,
            guess: ours.unwrap_or_default(),
        };
        match line
            .client
            .ask(&registered)
            .await
            .map_err(StandInError::server)?
        {
            Some(version) if !version.is_on_behalf() => Ok(Known::FromItself),
            Some(_) if ours.is_some() => self.stand(line, face).await,
            // Nobody, or an agent before us whose connection is about to end.
            None | Some(_) => self.announce(line, face).await,
        }
    }

    /// Repeats the announcement when the broker's topics have changed.
    async fn stand(&self, line: &mut Line, face: &mut Face) -> Result<Known, StandInError> {
        if let Some(announced) = &mut line.announced {
            announced.looks += 1;
            if announced.looks % TOPICS_EVERY != 0 {
                return Ok(Known::FromUs);
            }
        }
        self.announce(line, face).await
    }

    async fn announce(&self, line: &mut Line, face: &mut Face) -> Result<Known, StandInError> {
        *face = self.face().await?;
        let broker = self.broker().await?;
        let topics = broker.ask_within(&GetTopics, TOPICS).await;
        let mut topics = topics.map_err(StandInError::broker)?;
        topics.restrict(face.permission);
        topics.data_version = topics.data_version.on_behalf();
        let version = topics.data_version;
        let same = |old: &Announced| (old.version, old.permission) == (version, face.permission);
        let known = line.client.ask(&GetClusterInfo).await;
        let known = known.map_err(StandInError::server)?;
        let group = known.groups.get(&self.broker_name);
        let there = group.and_then(|group| group.addresses.get(&face.id));
        match there {
            Some(address) if *address != face.address => {
                return Err(StandInError::Taken {
                    address: address.clone(),
                    id: face.id,
                });
            }
            Some(_) if line.announced.as_ref().is_some_and(same) => return Ok(Known::FromUs),
            Some(_) | None => {}
        }
        let register = RegisterBroker {
            cluster: self.cluster.clone(),
            broker_name: self.broker_name.clone(),
            address: face.address.clone(),
            broker_id: face.id,
            ha_address: face.ha_address.clone(),
            acting_master: face.acting_master,
            topics,
        };
        // The last thing that is done before the request goes out.
        if !self.is_permitted() {
            return Err(StandInError::NotNow("it has no permit any more"));
        }
        let registered = line.client.ask_within(&register, TOPICS).await;
        registered.map_err(StandInError::server)?;
        line.announced = Some(Announced {
            version,
            permission: face.permission,
            looks: 0,
        });
        Ok(Known::FromUs)
    }

    /// Whether this very process runs, and as a master within its permit.
    fn is_permitted(&self) -> bool {
        let seen = self.status.borrow();
        let Some((status, _)) = seen
            .as_ref()
            .filter(|_| life(&seen).as_ref() == Some(&self.life))
        else {
            return false;
        };
        let until = status.broker.permit_until_ms.unwrap_or(0);
        let running = status.broker.state == BrokerState::Running;
        match self.life.role {
            Role::Master => running && self.clock.boot().as_millis() < until,
            Role::Slave => running,
        }
    }

    /// What the broker registers as, from its own mouth.
    async fn face(&self) -> Result<Face, StandInError> {
        let config = self.broker().await?.ask(&GetBrokerConfig).await;
        let config = config.map_err(StandInError::broker)?;
        let face = Face::of(&config)?;
        let ours = config.get("brokerClusterName") == Some(&*self.cluster)
            && config.get("brokerName") == Some(&*self.broker_name);
        let reason = if !ours {
            "another broker listens on our port"
        } else if !is_role(&config, face.id, self.life.role) {
            "it has not the role it was started in"
        } else if config.get("startAcceptSendRequestTimeStamp") != Some("0") {
            "its gate is shut"
        } else if face.acting_master == Some(true) {
            // Its name server expects a heartbeat of it, which is not ours to send.
            "it has enableSlaveActingMaster"
        } else {
            return Ok(face);
        };
        Err(StandInError::NotNow(reason))
    }

    async fn broker(&self) -> Result<Client, StandInError> {
        let connected = Client::connect(self.broker, &self.options).await;
        connected.map_err(StandInError::broker)
    }

    async fn connect(&self) -> Result<Line, StandInError> {
        let server = (self.server.host(), self.server.port());
        let mut addresses = lookup_host(server).await.ok().into_iter().flatten();
        let address = addresses.next();
        let address = address.ok_or_else(|| StandInError::Unresolved(self.server.clone()))?;
        let connected = Client::connect(address, &self.options).await;
        Ok(Line {
            client: connected.map_err(StandInError::server)?,
            announced: None,
        })
    }
}

impl Face {
    /// As `BrokerController#registerBrokerAll` puts it together, on all versions.
    fn of(config: &BrokerConfig) -> Result<Self, StandInError> {
        let text = |key| config.get(key).ok_or(StandInError::Unsaid(key));
        let number = |key| text(key)?.parse().map_err(|_| StandInError::Unsaid(key));
        Ok(Self {
            address: format!("{}:{}", text("brokerIP1")?, text("listenPort")?),
            id: config.broker_id().ok_or(StandInError::Unsaid("brokerId"))?,
            ha_address: format!("{}:{}", text("brokerIP2")?, text("haListenPort")?),
            acting_master: config
                .get("enableSlaveActingMaster")
                .map(|value| value == "true"),
            permission: Permission::new(number("brokerPermission")?),
        })
    }
}

fn is_role(config: &BrokerConfig, id: u64, role: Role) -> bool {
    let slave = config.role() == Some(BrokerRole::Slave);
    match role {
        Role::Master => !slave && id == 0,
        Role::Slave => slave && id != 0,
    }
}

#[cfg(test)]
mod tests;
