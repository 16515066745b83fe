//! The broker-level write stop, shut and opened over the broker's admin protocol.
//!
//! Shut = `brokerRole=SLAVE`: a complete fence within milliseconds (facts 3.3). Open = the role back first, then sends:
//! a master that was born fenced refuses sends only by `startAcceptSendRequestTimeStamp`. What became of an order is
//! seen by [`crate::observe::broker`], which is told to look again.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent_core::Boot;
use agent_core::record::TermId;
use remoting::calls::{MasterRole, UpdateBrokerConfig};
use remoting::{CallError, Client, ClientOptions};
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use crate::clock::Clock;
use crate::observe::broker::{GateEcho, life};
use crate::observe::launcher::StatusSeen;

/// How long one order may take. Seen: 4 to 210 ms.
const DEADLINE: Duration = Duration::from_secs(1);

/// What the gate shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateOrder {
    /// Refuse every write.
    Shut,
    /// Take writes; not to be sent at or after this time.
    Open {
        /// The permit's end, less the time that a kill takes.
        before: Boot,
    },
}

/// Where the cycle leaves its newest order.
#[derive(Clone, Default)]
pub struct Orders {
    slot: Arc<Mutex<Option<(TermId, GateOrder)>>>,
    wake: Arc<Notify>,
    echo: GateEcho,
}

impl Orders {
    /// Orders whose effect `echo` tells the probe to look for.
    #[must_use]
    pub fn new(echo: GateEcho) -> Self {
        Self {
            echo,
            ..Self::default()
        }
    }

    /// Replaces what was ordered before.
    pub fn give(&self, term: TermId, order: GateOrder) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some((term, order));
        self.echo.stir();
        self.wake.notify_one();
    }

    fn take(&self) -> Option<(TermId, GateOrder)> {
        self.slot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// Carries orders out for ever, one after the other: two on the way at once could arrive in any order.
pub async fn work(
    orders: Orders,
    address: SocketAddr,
    options: ClientOptions,
    launcher: watch::Receiver<StatusSeen>,
    clock: Clock,
) {
    let mut client = None;
    loop {
        let Some((term, order)) = orders.take() else {
            orders.wake.notified().await;
            continue;
        };
        let running = life(&launcher.borrow()).is_some_and(|life| life.term == term);
        if !running {
            continue;
        }
        let done = match order {
            GateOrder::Shut => shut(&mut client, address, &options).await,
            GateOrder::Open { before } => open(&mut client, address, &options, before, clock).await,
        };
        match done {
            Ok(true) => info!(epoch = %term.epoch, ?order, "gate ordered"),
            Ok(false) => warn!(epoch = %term.epoch, "gate not opened: the permit is about to end"),
            Err(error) => {
                client = None;
                warn!(epoch = %term.epoch, ?order, error = %crate::error_chain(&error), "gate order failed");
            }
        }
        orders.echo.stir();
    }
}

async fn shut(
    client: &mut Option<Client>,
    address: SocketAddr,
    options: &ClientOptions,
) -> Result<bool, CallError> {
    let client = connected(client, address, options).await?;
    client
        .ask_within(&UpdateBrokerConfig::refuse_all_writes(), DEADLINE)
        .await?;
    Ok(true)
}

async fn open(
    client: &mut Option<Client>,
    address: SocketAddr,
    options: &ClientOptions,
    before: Boot,
    clock: Clock,
) -> Result<bool, CallError> {
    let client = connected(client, address, options).await?;
    let steps = [
        UpdateBrokerConfig::accept_all_writes(MasterRole::Async),
        UpdateBrokerConfig::accept_sends(),
    ];
    for step in steps {
        if clock.boot() >= before {
            return Ok(false);
        }
        client.ask_within(&step, DEADLINE).await?;
    }
    Ok(true)
}

/// A connection of an earlier process is no use; a closed one shows at the first call and is replaced next time.
async fn connected<'a>(
    client: &'a mut Option<Client>,
    address: SocketAddr,
    options: &ClientOptions,
) -> Result<&'a Client, CallError> {
    let fresh = Client::connect(address, options).await?;
    Ok(client.insert(fresh))
}
