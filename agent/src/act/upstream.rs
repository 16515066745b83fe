//! Tells a slave's broker that its master is our own relay.
//!
//! On 4.9 the conf key `haMasterAddress` is enough. On 5.x the key only keeps the name server's addresses out; one 906
//! after the port is open sets ours, and it stays for the life of the process (RELAY, Set-up). Level-triggered, so that
//! a slave adopted after an agent's restart is told as well: telling it again changes nothing.

use std::net::SocketAddr;
use std::time::Duration;

use launcher::protocol::BrokerState;
use remoting::calls::SetHaMaster;
use remoting::{CallError, Client, ClientOptions, LogOffset};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::debug;

use agent_core::report::Role;

use crate::observe::broker::{Life, life};
use crate::observe::launcher::StatusSeen;

/// Between two tries on a broker that has just opened its port.
const RETRY: Duration = Duration::from_millis(100);

/// Tells every slave once, for ever.
pub async fn keep_told(
    broker: SocketAddr,
    relay_local: SocketAddr,
    options: ClientOptions,
    mut launcher: watch::Receiver<StatusSeen>,
) {
    let mut told: Option<Life> = None;
    loop {
        let slave = running_slave(&launcher.borrow_and_update());
        match slave {
            Some(slave) if told != Some(slave) => match tell(broker, relay_local, &options).await {
                Ok(()) => told = Some(slave),
                Err(error) => {
                    debug!(error = %crate::error_chain(&error), "slave not told of its relay yet");
                    sleep(RETRY).await;
                    continue;
                }
            },
            Some(_) | None => {}
        }
        let changed = launcher
            .wait_for(|seen| running_slave(seen) != slave)
            .await
            .is_err();
        if changed {
            return;
        }
    }
}

fn running_slave(seen: &StatusSeen) -> Option<Life> {
    let (status, _) = seen.as_ref()?;
    let running = status.broker.state == BrokerState::Running;
    life(seen).filter(|life| running && life.role == Role::Slave)
}

async fn tell(
    broker: SocketAddr,
    relay_local: SocketAddr,
    options: &ClientOptions,
) -> Result<(), CallError> {
    let client = Client::connect(broker, options).await?;
    let call = SetHaMaster {
        ha_address: relay_local.to_string(),
        address: relay_local.to_string(),
        flush_offset: LogOffset::new(0),
    };
    match client.ask(&call).await {
        // 4.9 does not know 906 and needs none.
        Err(error) if error.is_unsupported() => Ok(()),
        other => other,
    }
}
