//! The broker's own word, asked over its admin protocol while the launcher says that it lives.
//!
//! Nothing here fails loudly: what cannot be read leaves the reading as it is, and it grows old (I7).

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agent_core::observation::{Broker, Gate, Reading};
use agent_core::record::TermId;
use agent_core::report::Role;
use agent_core::{Offset, Tick};
use launcher::protocol::BrokerState;
use remoting::calls::{
    BrokerConfig, BrokerRole, GetBrokerConfig, GetHaInfo, GetRuntimeInfo, ViewMessage,
};
use remoting::{CallError, Client, ClientOptions, LogOffset};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, error};

use super::launcher::StatusSeen;
use crate::act::volume::Keeper;
use crate::clock::Clock;
use crate::launcher_link::{from_launcher, role_from_launcher};

/// Between two readings in calm times.
const CALM: Duration = Duration::from_secs(1);
/// Between two readings while something waits for the broker: a start, a gate, a drain.
const HURRY: Duration = Duration::from_millis(25);
/// How long one reading may take. Cold JVMs need up to 1.5 s for their first answer (RESULTS Step 0).
const DEADLINE: Duration = Duration::from_secs(2);
/// The role is read again at the latest after this time; our own orders make it read at once.
const ROLE_AGE: Duration = Duration::from_secs(5);

/// One life of a broker process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// What it was started as.
    pub role: Role,
    /// Under which term.
    pub term: TermId,
    /// When, by the launcher.
    pub started_ms: u64,
}

/// A reading and the process that it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerSeen {
    /// Of which process.
    pub life: Option<Life>,
    /// What it said.
    pub reading: Reading<Broker>,
    /// Its version, like `V5_5_0`.
    pub version: Option<String>,
}

/// How urgently readings are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// Once a second.
    #[default]
    Calm,
    /// As fast as it is of use.
    Hurry,
}

/// Tells the probe that an order to the gate is under way: what was read before says nothing any more.
#[derive(Clone, Debug, Default)]
pub struct GateEcho {
    orders: Arc<AtomicU64>,
    wake: Arc<Notify>,
}

impl GateEcho {
    /// An order was given, or carried out.
    pub fn stir(&self) {
        self.orders.fetch_add(1, Ordering::SeqCst);
        self.wake.notify_one();
    }

    fn orders(&self) -> u64 {
        self.orders.load(Ordering::SeqCst)
    }
}

/// What the probe needs to know.
#[derive(Clone)]
pub struct Probe {
    /// Where the broker listens, seen from this pod.
    pub address: SocketAddr,
    /// `brokerClusterName`.
    pub cluster: String,
    /// `brokerName`.
    pub broker_name: String,
    /// Its volume, which we share.
    pub keeper: Arc<Keeper>,
    /// Deadlines and credentials.
    pub options: ClientOptions,
    /// Our clocks.
    pub clock: Clock,
    /// Orders to the gate.
    pub echo: GateEcho,
}

/// The process that may be asked: alive, and not on its way out.
#[must_use]
pub fn life(seen: &StatusSeen) -> Option<Life> {
    let (status, _) = seen.as_ref()?;
    let broker = &status.broker;
    let alive = matches!(broker.state, BrokerState::Starting | BrokerState::Running);
    if !alive {
        return None;
    }
    Some(Life {
        role: role_from_launcher(broker.role?),
        term: from_launcher(broker.term?),
        started_ms: broker.started_ms?,
    })
}

/// What is kept between two readings of one process.
struct Session {
    life: Life,
    client: Option<Client>,
    config: Option<Known>,
    recovered: Recovered,
}

#[derive(Clone, Copy)]
struct Known {
    role: BrokerRole,
    /// `startAcceptSendRequestTimeStamp`; 0 where it is not set.
    refused_until_ms: u64,
    at: Tick,
    orders: u64,
}

enum Recovered {
    NotAsked,
    Told(Option<Offset>),
}

#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error(transparent)]
    Call(Box<CallError>),
    #[error("read the broker's configuration: no role in it")]
    NoRole,
    #[error("{0}")]
    Stranger(String),
    #[error("an order to the gate came in between")]
    Overtaken,
}

impl From<CallError> for ProbeError {
    fn from(error: CallError) -> Self {
        Self::Call(Box::new(error))
    }
}

/// Keeps `seen` up to date for ever.
pub async fn watch_broker(
    probe: Probe,
    mut launcher: watch::Receiver<StatusSeen>,
    mut pace: watch::Receiver<Pace>,
    seen: watch::Sender<BrokerSeen>,
) {
    let mut session: Option<Session> = None;
    let mut told_stranger = false;
    loop {
        let now = life(&launcher.borrow_and_update());
        let pause = if *pace.borrow_and_update() == Pace::Hurry {
            HURRY
        } else {
            CALM
        };
        match now {
            None => {
                session = None;
                forget(&seen, None);
            }
            Some(life) => {
                let session = continued(&mut session, life);
                forget(&seen, Some(life));
                match timeout(DEADLINE, probe.read(session)).await {
                    Ok(Ok((broker, at, version))) => {
                        told_stranger = false;
                        seen.send_modify(|seen| {
                            seen.reading = Reading::known(broker, at);
                            seen.version = version.or_else(|| seen.version.take());
                        });
                    }
                    Ok(Err(problem)) => probe.failed(session, &problem, &seen, &mut told_stranger),
                    Err(_) => session.client = None,
                }
            }
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = probe.echo.wake.notified() => {}
            changed = changed_life(&mut launcher, now) => if changed.is_err() { return },
            changed = pace.changed() => if changed.is_err() { return },
        }
    }
}

/// Waits until another process lives, or the same one opened its port.
async fn changed_life(
    launcher: &mut watch::Receiver<StatusSeen>,
    before: Option<Life>,
) -> Result<(), watch::error::RecvError> {
    let running = |seen: &StatusSeen| {
        seen.as_ref()
            .is_some_and(|(status, _)| status.broker.state == BrokerState::Running)
    };
    let was = running(&launcher.borrow());
    launcher
        .wait_for(|seen| life(seen) != before || running(seen) != was)
        .await
        .map(|_| ())
}

fn continued(session: &mut Option<Session>, life: Life) -> &mut Session {
    if session.as_ref().is_some_and(|session| session.life != life) {
        *session = None;
    }
    session.get_or_insert(Session {
        life,
        client: None,
        config: None,
        recovered: Recovered::NotAsked,
    })
}

/// Drops the word of a process that is not this one.
fn forget(seen: &watch::Sender<BrokerSeen>, life: Option<Life>) {
    seen.send_if_modified(|seen| {
        if seen.life == life {
            return false;
        }
        *seen = BrokerSeen {
            life,
            ..BrokerSeen::default()
        };
        true
    });
}

impl Probe {
    fn failed(
        &self,
        session: &mut Session,
        problem: &ProbeError,
        seen: &watch::Sender<BrokerSeen>,
        told_stranger: &mut bool,
    ) {
        match problem {
            ProbeError::Stranger(_) => {
                session.client = None;
                seen.send_modify(|seen| seen.reading = Reading::Unknown);
                if !std::mem::replace(told_stranger, true) {
                    error!("{problem}");
                }
            }
            ProbeError::Call(call) => {
                // A broker that answered has a sound connection.
                if !matches!(**call, CallError::Answer { .. }) {
                    session.client = None;
                }
                debug!(error = %crate::error_chain(problem), "broker not read");
            }
            ProbeError::Overtaken | ProbeError::NoRole => {
                debug!(error = %crate::error_chain(problem), "broker not read");
            }
        }
    }

    /// One reading; its time is from before the first question.
    async fn read(
        &self,
        session: &mut Session,
    ) -> Result<(Broker, Tick, Option<String>), ProbeError> {
        let at = self.clock.tick();
        let orders = self.echo.orders();
        let client = match &session.client {
            Some(client) => client.clone(),
            None => {
                let client = Client::connect(self.address, &self.options).await?;
                session.client.insert(client).clone()
            }
        };
        let known = self.known(&client, session, at, orders).await?;
        if let (Recovered::NotAsked, Role::Master) = (&session.recovered, session.life.role) {
            session.recovered = Recovered::Told(recovered(&client).await?);
        }
        let info = match client.ask(&GetRuntimeInfo).await {
            Ok(info) => info,
            Err(error) if error.is_not_ready() => {
                return match self.just_recovered(&client, session).await? {
                    Some((end, recovered)) => self.young(known, at, end, recovered, error),
                    None => Err(error.into()),
                };
            }
            Err(error) => return Err(error.into()),
        };
        if self.echo.orders() != orders {
            return Err(ProbeError::Overtaken);
        }
        let min = info.commit_log_min.map_or(0, LogOffset::get);
        let broker = Broker {
            min: Offset::new(min),
            end: Offset::new(info.commit_log_max.get()),
            recovered: match session.recovered {
                Recovered::NotAsked => None,
                Recovered::Told(offset) => offset,
            },
            gate: self.gate(
                known.role,
                info.sends_refused_until_ms
                    .unwrap_or(known.refused_until_ms),
            ),
        };
        Ok((broker, at, Some(info.version)))
    }

    /// Where the log of a broker ends that is too young to say it, if it can be told otherwise. For most of its first
    /// second a broker serves everything but its runtime info (facts §2.3), and a promotion need not wait for that.
    ///
    /// 5.x says where it recovered to, and nothing was written since. 4.9 has no such word, but reads single records: it
    /// has the last one that the walk before its start found, and behind it nothing, or what it has written itself (H28).
    async fn just_recovered(
        &self,
        client: &Client,
        session: &Session,
    ) -> Result<Option<(Offset, Option<Offset>)>, ProbeError> {
        match session.recovered {
            Recovered::Told(Some(end)) => return Ok(Some((end, Some(end)))),
            Recovered::Told(None) => {}
            Recovered::NotAsked => return Ok(None),
        }
        let Some((end, last)) = self.keeper.last_record() else {
            return Ok(None);
        };
        let view = |offset: Offset| ViewMessage {
            offset: LogOffset::new(offset.get()),
        };
        if let Some(last) = last
            && client.ask(&view(last)).await?.is_none()
        {
            return Ok(None);
        }
        let behind = client.ask(&view(end)).await?;
        let written = behind.map_or(0, |message| u64::from(message.record_bytes));
        let end = end.get().saturating_add(written);
        Ok(Some((Offset::new(end), None)))
    }

    fn young(
        &self,
        known: Known,
        at: Tick,
        end: Offset,
        recovered: Option<Offset>,
        error: CallError,
    ) -> Result<(Broker, Tick, Option<String>), ProbeError> {
        let Some(min) = first_offset(&self.keeper.layout().commitlog) else {
            return Err(error.into());
        };
        let broker = Broker {
            min,
            end,
            recovered,
            gate: self.gate(known.role, known.refused_until_ms),
        };
        Ok((broker, at, None))
    }

    /// The broker's role and gate: from memory while no order of ours could have changed it.
    async fn known(
        &self,
        client: &Client,
        session: &mut Session,
        at: Tick,
        orders: u64,
    ) -> Result<Known, ProbeError> {
        if let Some(known) = session.config
            && known.orders == orders
            && at.since(known.at) < ROLE_AGE
        {
            return Ok(known);
        }
        let config = client.ask(&GetBrokerConfig).await?;
        self.is_ours(&config)?;
        let role = config.role().ok_or(ProbeError::NoRole)?;
        let until = config.get("startAcceptSendRequestTimeStamp");
        let known = Known {
            role,
            refused_until_ms: until
                .and_then(|until| until.trim().parse().ok())
                .unwrap_or(0),
            at,
            orders,
        };
        session.config = Some(known);
        Ok(known)
    }

    fn is_ours(&self, config: &BrokerConfig) -> Result<(), ProbeError> {
        let cluster = config.get("brokerClusterName").unwrap_or_default();
        let name = config.get("brokerName").unwrap_or_default();
        if cluster == self.cluster && name == self.broker_name {
            return Ok(());
        }
        Err(ProbeError::Stranger(format!(
            "the broker at {} is {cluster}/{name}, this member belongs to {}/{}: another process listens on our port; \
             give this broker its own listenPort",
            self.address, self.cluster, self.broker_name
        )))
    }

    /// The broker compares with its own wall clock, which is this machine's too.
    fn gate(&self, role: BrokerRole, refused_until_ms: u64) -> Gate {
        let now = u64::try_from(self.clock.wall().as_millisecond()).unwrap_or(0);
        match role {
            BrokerRole::Slave => Gate::Shut,
            BrokerRole::AsyncMaster | BrokerRole::SyncMaster if refused_until_ms > now => {
                Gate::Shut
            }
            BrokerRole::AsyncMaster | BrokerRole::SyncMaster => Gate::Open,
        }
    }
}

/// The first offset that a commit log holds: the name of its first file.
fn first_offset(commitlog: &Path) -> Option<Offset> {
    let names = std::fs::read_dir(commitlog).ok()?.flatten();
    let starts = names.filter_map(|file| file.file_name().to_str()?.parse().ok());
    starts.min().map(Offset::new)
}

/// Where the log ended right after the recovery; `None` where the version does not tell (4.9).
async fn recovered(client: &Client) -> Result<Option<Offset>, ProbeError> {
    match client.ask(&GetHaInfo).await {
        Ok(info) => Ok(info
            .and_then(|info| info.started_at)
            .map(|offset| Offset::new(offset.get()))),
        Err(error) if error.is_unsupported() => Ok(None),
        Err(error) => Err(error.into()),
    }
}
