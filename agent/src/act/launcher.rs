//! Orders to the launcher: start, permit, kill, stop, and what its relay is to do.
//!
//! The cycle leaves orders in [`Orders`], the newest of each kind; one worker carries them out over its own connection,
//! deaths first. Nothing queues up: an order that is still wanted is given again by the next decision.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent_core::record::{MemberSession, TermId};
use agent_core::report::Role;
use agent_core::{Boot, Instance};
use launcher::protocol::{ErrorKind, Op, Permit, RelayOrders, StartOrder};
use relay::{Attach, MasterOrders, SlaveOrders};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::volume::{Keeper, VolumeError};
use crate::base_conf;
use crate::broker_conf::{
    self, BaseConf, ConfError, Gate, Generation, Owned, Replication, WriteError, render,
    write_atomically,
};
use crate::launcher_link::{Connection, Link, LinkError, role_to_launcher, to_launcher};
use crate::nameservers::NameServers;
use crate::observe::launcher::{RelayMemo, StatusSeen, publish};
use crate::settings::Settings;

/// After a start that failed no other is tried for this long; it doubles up to the cap.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long an orderly stop of a slave may take before it is killed (facts 6.3: 13 to 17 s on 5.x).
const GRACE_MS: u64 = 25_000;

/// A broker id above 0 is enough for a slave; only one slave of a group registers under each.
const FIRST_SLAVE_ID: u64 = 1;

/// How a broker is to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// As what.
    pub role: Role,
    /// In which term.
    pub term: TermId,
    /// Under which instance.
    pub instance: Instance,
    /// Until when it may run.
    pub permit: Boot,
}

/// What the relay is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relay {
    /// Serve slaves of this master.
    Admit {
        /// The orders.
        orders: MasterOrders,
        /// The same as the core knows it.
        admitted: (TermId, BTreeSet<MemberSession>),
    },
    /// Replicate from a master.
    Attach {
        /// The orders.
        orders: Box<Attach>,
        /// Under which term.
        term: TermId,
    },
}

/// Where the cycle leaves its orders.
#[derive(Clone, Default)]
pub struct Orders {
    slots: Arc<Mutex<Slots>>,
    wake: Arc<Notify>,
}

#[derive(Default)]
struct Slots {
    kill: bool,
    stop: bool,
    permit: Option<Permit>,
    start: Option<Start>,
    relay: Option<Relay>,
    /// A start was ordered and its outcome is not known yet, or it failed a moment ago.
    starting: bool,
}

enum Order {
    Kill,
    Stop,
    Permit(Permit),
    Start(Start),
    Relay(Relay),
}

impl Orders {
    /// SIGKILL. A start that was ordered and not yet carried out is dropped.
    pub fn kill(&self) {
        self.leave(|slots| {
            slots.kill = true;
            if slots.start.take().is_some() {
                slots.starting = false;
            }
        });
    }

    /// An orderly stop.
    pub fn stop(&self) {
        self.leave(|slots| slots.stop = true);
    }

    /// A longer permit.
    pub fn permit(&self, term: TermId, instance: &Instance, until: Boot) {
        self.leave(|slots| {
            slots.permit = Some(Permit {
                term: to_launcher(term),
                instance: instance.as_str().to_owned(),
                until_ms: until.as_millis(),
            });
        });
    }

    /// A start. [`Orders::starting`] is true from here until its outcome can be seen.
    pub fn start(&self, start: Start) {
        self.leave(|slots| {
            if !slots.starting {
                slots.start = Some(start);
                slots.starting = true;
            }
        });
    }

    /// Whether a start is under way: nothing may touch the volume.
    #[must_use]
    pub fn starting(&self) -> bool {
        self.slots().starting
    }

    /// Orders for the relay.
    pub fn relay(&self, relay: Relay) {
        self.leave(|slots| slots.relay = Some(relay));
    }

    fn leave(&self, change: impl FnOnce(&mut Slots)) {
        change(&mut self.slots());
        self.wake.notify_one();
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Order> {
        let mut slots = self.slots();
        if std::mem::take(&mut slots.kill) {
            return Some(Order::Kill);
        }
        if std::mem::take(&mut slots.stop) {
            return Some(Order::Stop);
        }
        let order = slots.permit.take().map(Order::Permit);
        order
            .or_else(|| slots.start.take().map(Order::Start))
            .or_else(|| slots.relay.take().map(Order::Relay))
    }
}

/// What a start is made of.
pub struct Starter {
    /// Our settings.
    pub settings: Arc<Settings>,
    /// The operator's conf.
    pub base: watch::Receiver<base_conf::Reading>,
    /// The name servers.
    pub name_servers: watch::Receiver<NameServers>,
    /// The volume.
    pub keeper: Arc<Keeper>,
}

#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("render broker.conf: the base was never sound")]
    NoConf,
    #[error("render broker.conf")]
    Conf(#[from] ConfError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("prepare the volume for a start")]
    Volume(#[from] VolumeError),
    #[error("prepare a start: the worker ended")]
    Worker,
    #[error(transparent)]
    Link(#[from] LinkError),
}

impl Starter {
    /// Everything that must be on the disk before the launcher is asked. Blocks.
    fn prepare(&self, start: &Start) -> Result<Vec<String>, StartError> {
        let base = self.base.borrow().last_good().cloned();
        let base = base.ok_or(StartError::NoConf)?;
        let name_servers = Arc::clone(&self.name_servers.borrow().servers);
        let text = render(
            &base,
            &Owned {
                role: self.role(start.role),
                gate: match start.role {
                    Role::Master => Gate::Shut,
                    Role::Slave => Gate::Open,
                },
                advertised: self.settings.broker_ip,
                name_servers: &name_servers,
                generation: Generation::V5,
                scratch: &scratch(&self.settings.conf_out),
            },
        )?;
        self.keeper.before_start(&start.instance)?;
        write_atomically(&self.settings.conf_out, &text)?;
        Ok(self.settings.jvm_options(speaks_of_tls(&base)))
    }

    fn role(&self, role: Role) -> broker_conf::Role {
        match role {
            Role::Master => broker_conf::Role::Master(Replication::Async),
            Role::Slave => broker_conf::Role::Slave {
                broker_id: self.slave_id(),
                relay: self.settings.relay_local,
            },
        }
    }

    /// Two slaves under one id would push each other off the name server: by place among the expected members.
    fn slave_id(&self) -> NonZeroU64 {
        let place = self
            .settings
            .expected
            .iter()
            .position(|member| *member == self.settings.member)
            .and_then(|place| u64::try_from(place).ok())
            .unwrap_or(0);
        NonZeroU64::new(FIRST_SLAVE_ID + place).unwrap_or(NonZeroU64::MIN)
    }
}

fn scratch(conf_out: &Path) -> std::path::PathBuf {
    let mut name = conf_out.as_os_str().to_owned();
    name.push(".broker-writes-here");
    name.into()
}

fn speaks_of_tls(base: &BaseConf) -> bool {
    ["tlsServerMode", "tls.server.mode", "tlsTestModeEnable"]
        .iter()
        .any(|key| base.get(key).is_some())
}

/// Carries orders out for ever.
pub struct Worker {
    /// Where the launcher is.
    pub link: Link,
    /// What to carry out.
    pub orders: Orders,
    /// How to start.
    pub starter: Arc<Starter>,
    /// Where the answers' statuses are shown, for those who cannot wait for the watch.
    pub seen: watch::Sender<StatusSeen>,
    /// What the relay was last ordered.
    pub memo: watch::Sender<RelayMemo>,
    /// Wakes the cycle when a start's outcome is known.
    pub wake: Arc<Notify>,
}

impl Worker {
    /// Never returns.
    pub async fn run(self) {
        let mut connection = None;
        let mut relay = RelayOrders {
            master: None,
            slave: SlaveOrders::Park,
        };
        let mut failures = 0_u32;
        let mut trouble = String::new();
        loop {
            let Some(order) = self.orders.take() else {
                self.orders.wake.notified().await;
                continue;
            };
            let done = match order {
                Order::Kill => self.call(&mut connection, "kill", Op::Kill).await,
                Order::Stop => {
                    let op = Op::Stop { grace_ms: GRACE_MS };
                    self.call(&mut connection, "stop", op).await
                }
                Order::Permit(permit) => {
                    self.call(&mut connection, "permit", Op::Permit(permit))
                        .await
                }
                Order::Start(start) => {
                    let done = self.start(&mut connection, start).await;
                    self.end_of_start(done.is_ok(), &mut failures);
                    done
                }
                Order::Relay(order) => self.relay(&mut connection, &mut relay, order).await,
            };
            match done {
                Ok(()) => trouble.clear(),
                Err(error) => tell(&error, &mut trouble),
            }
        }
    }

    async fn call(
        &self,
        connection: &mut Option<Connection>,
        what: &'static str,
        op: Op,
    ) -> Result<(), StartError> {
        // A connection that broke meanwhile is replaced once; an order given twice changes nothing.
        for last in [false, true] {
            let open = match connection.take() {
                Some(open) => Ok(open),
                None => self.link.open().await,
            };
            let answer = match open {
                Ok(mut open) => {
                    let answer = open.call(what, op.clone()).await;
                    if matches!(answer, Ok(_) | Err(LinkError::Refused { .. })) {
                        *connection = Some(open);
                    }
                    answer
                }
                Err(error) => Err(error),
            };
            match answer {
                Ok(status) => {
                    publish(&self.seen, status, &self.link);
                    return Ok(());
                }
                Err(error @ LinkError::Refused { .. }) => return Err(error.into()),
                Err(error) if last => return Err(error.into()),
                Err(_) => {}
            }
        }
        Ok(())
    }

    async fn start(
        &self,
        connection: &mut Option<Connection>,
        start: Start,
    ) -> Result<(), StartError> {
        let starter = Arc::clone(&self.starter);
        let wanted = start.clone();
        let options = tokio::task::spawn_blocking(move || starter.prepare(&wanted))
            .await
            .map_err(|_| StartError::Worker)??;
        let order = StartOrder {
            role: role_to_launcher(start.role),
            term: to_launcher(start.term),
            instance: start.instance.as_str().to_owned(),
            conf: self.starter.settings.conf_out.clone(),
            permit_until_ms: start.permit.as_millis(),
            jvm_options: options,
        };
        self.call(connection, "start", Op::Start(order)).await?;
        info!(role = start.role.as_str(), epoch = %start.term.epoch, "broker started");
        Ok(())
    }

    /// The volume rests until the outcome can be seen; after a failure a little longer, so that nothing spins.
    fn end_of_start(&self, done: bool, failures: &mut u32) {
        *failures = if done { 0 } else { failures.saturating_add(1) };
        let pause = match *failures {
            0 => Duration::ZERO,
            n => FIRST_PAUSE
                .saturating_mul(1 << n.min(8).saturating_sub(1))
                .min(LONGEST_PAUSE),
        };
        let orders = self.orders.clone();
        let wake = Arc::clone(&self.wake);
        if pause.is_zero() {
            orders.slots().starting = false;
            wake.notify_one();
            return;
        }
        tokio::spawn(async move {
            sleep(pause).await;
            orders.slots().starting = false;
            wake.notify_one();
        });
    }

    async fn relay(
        &self,
        connection: &mut Option<Connection>,
        held: &mut RelayOrders,
        order: Relay,
    ) -> Result<(), StartError> {
        let (wanted, admitted, attached) = match order {
            Relay::Admit { orders, admitted } => {
                let wanted = RelayOrders {
                    master: Some(orders),
                    slave: SlaveOrders::Park,
                };
                (wanted, Some(admitted), None)
            }
            Relay::Attach { orders, term } => {
                let wanted = RelayOrders {
                    master: None,
                    slave: SlaveOrders::Attach(orders),
                };
                (wanted, None, Some(term))
            }
        };
        self.call(connection, "relay", Op::Relay(wanted.clone()))
            .await?;
        *held = wanted;
        let nonce = self
            .seen
            .borrow()
            .as_ref()
            .map(|(status, _)| status.launcher_nonce.clone())
            .unwrap_or_default();
        self.memo.send_replace(RelayMemo {
            nonce,
            admitted,
            attached,
        });
        Ok(())
    }
}

/// One line per change of the trouble: a level is ordered again and again.
fn tell(error: &StartError, before: &mut String) {
    let text = crate::error_chain(error);
    if text == *before {
        return;
    }
    match error {
        // Overtaken by what the watch is about to show.
        StartError::Link(LinkError::Refused { error, .. })
            if matches!(
                error.kind,
                ErrorKind::NoBroker | ErrorKind::Term | ErrorKind::Permit | ErrorKind::Alive
            ) =>
        {
            debug!(error = text, "launcher order overtaken");
        }
        _ => warn!(error = text, "launcher order not carried out"),
    }
    *before = text;
}
