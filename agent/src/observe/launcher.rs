//! The launcher's word: what runs, until when, and how the relay does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use agent_core::observation::{EndCause, Launcher, Process, Reading, Upstream};
use agent_core::record::{MemberSession, TermId};
use agent_core::{Boot, Instance, Member, Offset, Tick};
use launcher::protocol::{BrokerState, EndReason, Op, Status};
use relay::{ConnectionState, SlaveState};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::launcher_link::{Link, LinkError, from_launcher, role_from_launcher};

/// The pause before the launcher is tried again; it doubles up to the cap.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause: a launcher that comes back is noticed within it.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The newest status and when it was received; nothing while the launcher cannot be reached.
pub type StatusSeen = Option<(Arc<Status>, Tick)>;

/// What our last accepted orders to the relay were. The relay's status does not repeat them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayMemo {
    /// Of which launcher's life.
    pub nonce: String,
    /// Whom it admits.
    pub admitted: Option<(TermId, BTreeSet<MemberSession>)>,
    /// Under which term it attaches.
    pub attached: Option<TermId>,
}

/// Keeps `seen` up to date for ever.
pub async fn watch_launcher(link: Link, seen: watch::Sender<StatusSeen>) {
    let mut pause = FIRST_PAUSE;
    let mut told = false;
    loop {
        let error = follow(&link, &seen, &mut told).await;
        // One try at once after a connection that worked; only then is the launcher called lost.
        let again = follow(&link, &seen, &mut told).await;
        seen.send_replace(None);
        if !std::mem::replace(&mut told, true) {
            warn!(error = %crate::error_chain(&error), again = %crate::error_chain(&again), "launcher lost; trying again");
            pause = FIRST_PAUSE;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Follows one connection to its end.
async fn follow(link: &Link, seen: &watch::Sender<StatusSeen>, told: &mut bool) -> LinkError {
    let mut connection = match link.open().await {
        Ok(connection) => connection,
        Err(error) => return error,
    };
    let mut status = connection.call("watch", Op::Watch).await;
    let mut first = true;
    loop {
        let known = match status {
            Ok(known) => known,
            Err(error) => return error,
        };
        if std::mem::take(&mut first) {
            *told = false;
            greet(&known);
        }
        publish(seen, known, link);
        status = connection.pushed().await;
    }
}

fn greet(status: &Status) {
    info!(
        launcher_version = status.version,
        nonce = status.launcher_nonce,
        "launcher found"
    );
    if !status.guarded {
        warn!(
            "the launcher is neither process 1 nor guarded: its broker could outlive it; run it with its guard"
        );
    }
}

/// Shows a status, unless a newer one of the same launcher is already there: orders are answered on another connection.
pub fn publish(seen: &watch::Sender<StatusSeen>, status: Status, link: &Link) {
    let at = link.clock.tick();
    seen.send_if_modified(|held| {
        let older = held.as_ref().is_some_and(|(held, _)| {
            held.launcher_nonce == status.launcher_nonce && held.boottime_ms > status.boottime_ms
        });
        if !older {
            *held = Some((Arc::new(status), at));
        }
        !older
    });
}

/// The instance of a launcher's life in our pod (safety H1).
#[must_use]
pub fn instance(pod_uid: &str, status: &Status) -> Instance {
    Instance::new(format!("{pod_uid}.{}", status.launcher_nonce))
}

/// The status in the core's words.
#[must_use]
pub fn reading(seen: &StatusSeen, pod_uid: &str, memo: &RelayMemo) -> Reading<Launcher> {
    let Some((status, at)) = seen else {
        return Reading::Unknown;
    };
    let Some(process) = process(status) else {
        return Reading::Unknown;
    };
    let fresh = RelayMemo::default();
    let memo = if memo.nonce == status.launcher_nonce {
        memo
    } else {
        &fresh
    };
    let launcher = Launcher {
        instance: instance(pod_uid, status),
        process,
        replicas: replicas(status),
        admitted: admitted(status, memo),
        upstream: upstream(status, memo),
    };
    Reading::known(launcher, *at)
}

/// `None` for a status that contradicts itself.
fn process(status: &Status) -> Option<Process> {
    let broker = &status.broker;
    match broker.state {
        BrokerState::Waiting => Some(Process::Idle),
        BrokerState::Starting | BrokerState::Running | BrokerState::Stopping => {
            Some(Process::Live {
                role: role_from_launcher(broker.role?),
                term: from_launcher(broker.term?),
                instance: Instance::new(broker.instance.clone()?),
                permit: Boot::from_millis(broker.permit_until_ms?),
            })
        }
        BrokerState::Ended => {
            let end = broker.last_end.as_ref()?;
            Some(Process::Ended {
                role: role_from_launcher(end.role),
                term: from_launcher(end.term),
                why: cause(end.why),
            })
        }
    }
}

fn cause(why: EndReason) -> EndCause {
    match why {
        EndReason::Exited => EndCause::Crashed,
        EndReason::Stopped | EndReason::StopForced | EndReason::Killed => EndCause::Ordered,
        EndReason::PermitEnded | EndReason::AgentGone => EndCause::Fenced,
    }
}

fn replicas(status: &Status) -> BTreeMap<Member, Offset> {
    let Some(master) = &status.relay.master else {
        return BTreeMap::new();
    };
    master
        .connections
        .iter()
        .filter(|connection| connection.state == ConnectionState::Streaming)
        .filter_map(|connection| {
            let member = Member::new(connection.member.as_str());
            Some((member, Offset::new(connection.acked?)))
        })
        .collect()
}

fn admitted(status: &Status, memo: &RelayMemo) -> Option<(TermId, BTreeSet<MemberSession>)> {
    let (term, members) = memo.admitted.clone()?;
    let ordered = status.relay.master.as_ref()?.term?;
    (from_launcher(ordered) == term).then_some((term, members))
}

/// A stream whose order we do not remember (the agent was restarted) is neither parked nor under a known term: the core
/// then orders again, which changes nothing where the order is the same.
fn upstream(status: &Status, memo: &RelayMemo) -> Upstream {
    let term = memo.attached.unwrap_or_default();
    let Some(slave) = &status.relay.slave else {
        return Upstream::Parked;
    };
    match &slave.state {
        SlaveState::Parked => Upstream::Parked,
        SlaveState::Connecting
        | SlaveState::Handshake
        | SlaveState::Proving
        | SlaveState::Refused { .. } => Upstream::Connecting { term },
        SlaveState::Streaming => Upstream::Streaming { term },
        SlaveState::Diverged { at } => Upstream::Diverged {
            term,
            at: Offset::new(*at),
        },
    }
}
