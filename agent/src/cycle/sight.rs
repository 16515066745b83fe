//! Everything that is seen, put together into one [`Observation`].

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;

use agent_core::observation::{
    Hung, Job, LeaseSeen, Me, Observation, Peer, Reading, Stopping, Volume, WriteOutcome,
};
use agent_core::report::{Addresses as Reached, Report};
use agent_core::{Member, Nonce};
use tokio::sync::{Notify, watch};

use crate::observe::broker::{BrokerSeen, Life, life};
use crate::observe::launcher::{RelayMemo, StatusSeen, reading};
use crate::observe::pod::PodView;
use crate::observe::reports::Reports;
use crate::peer::client::{Addresses, Answers};
use crate::settings::Settings;

/// The newest reading of everything. A change of any of them wakes the cycle.
pub struct Sight {
    /// Our settings.
    pub settings: Arc<Settings>,
    /// Where our broker is reached by clients.
    pub broker_address: String,
    /// The group Lease.
    pub lease: watch::Receiver<Reading<LeaseSeen>>,
    /// The launcher.
    pub status: watch::Receiver<StatusSeen>,
    /// What its relay was last ordered.
    pub memo: watch::Receiver<RelayMemo>,
    /// The broker.
    pub broker: watch::Receiver<BrokerSeen>,
    /// Whether it shows a sign of life.
    pub hung: watch::Receiver<Option<(Life, Hung)>>,
    /// The volume.
    pub volume: watch::Receiver<Reading<Volume>>,
    /// The other members by HTTP.
    pub answers: watch::Receiver<Answers>,
    /// The other members' Leases.
    pub reports: watch::Receiver<Reports>,
    /// The pods.
    pub pods: watch::Receiver<PodView>,
    /// Whether we were asked to stop.
    pub stopping: watch::Receiver<Stopping>,
    /// The word that this agent left for the kubelet to show once its container is gone.
    pub epitaph: Option<String>,
    /// Wakes the cycle for anything else.
    pub wake: Arc<Notify>,
}

impl Sight {
    /// Waits until something changed. A sender that is gone changes nothing any more; its task is missed elsewhere.
    pub async fn changed(&mut self) {
        tokio::select! {
            () = moved(&mut self.status) => {}
            () = moved(&mut self.lease) => {}
            () = moved(&mut self.broker) => {}
            () = moved(&mut self.hung) => {}
            () = moved(&mut self.volume) => {}
            () = moved(&mut self.answers) => {}
            () = moved(&mut self.reports) => {}
            () = moved(&mut self.pods) => {}
            () = moved(&mut self.memo) => {}
            () = moved(&mut self.stopping) => {}
            () = self.wake.notified() => {}
        }
    }

    /// The whole, now.
    pub fn observe(&mut self, write: Option<WriteOutcome>, job: Job, nonce: Nonce) -> Observation {
        let status = self.status.borrow_and_update().clone();
        let memo = self.memo.borrow_and_update().clone();
        let pods = self.pods.borrow_and_update().clone();
        let broker = self.broker.borrow_and_update().clone();
        // The word of a process that is gone is nobody's word.
        let peers = self.peers(&pods);
        let life = life(&status);
        let of_this_life = broker.life.is_some() && broker.life == life;
        let hung = *self.hung.borrow_and_update();
        Observation {
            me: self.me(&status),
            lease: self.lease.borrow_and_update().clone(),
            write,
            volume: self.volume.borrow_and_update().clone(),
            launcher: reading(&status, &self.settings.pod_uid, &memo),
            broker: if of_this_life {
                broker.reading
            } else {
                Reading::Unknown
            },
            hung: hung
                .filter(|(of, _)| Some(*of) == life)
                .map(|(_, hung)| hung),
            peers,
            job,
            stopping: *self.stopping.borrow_and_update(),
            nonce,
        }
    }

    /// What the kubelet will show when this launcher's container and ours are gone. One alone proves nothing: the agent
    /// could start another broker, the launcher's broker lives on without its agent (H38).
    fn words(&self, status: &StatusSeen) -> Vec<String> {
        let launcher = status
            .as_ref()
            .filter(|(status, _)| status.epitaph)
            .map(|(status, _)| status.launcher_nonce.clone());
        match (launcher, &self.epitaph) {
            (Some(launcher), Some(agent)) => vec![launcher, agent.clone()],
            _ => Vec::new(),
        }
    }

    fn me(&self, status: &StatusSeen) -> Me {
        let settings = &self.settings;
        Me {
            member: settings.member.clone(),
            zone: settings.zone.clone(),
            priority: settings.priority,
            expected: settings.expected.clone(),
            no_failover: settings.no_failover,
            containers: self.words(status),
            addresses: Reached {
                broker: self.broker_address.clone(),
                relay: settings.relay_address.to_string(),
                agent: settings.advertise_agent.to_string(),
            },
            version: crate::VERSION.to_owned(),
        }
    }

    fn peers(&mut self, pods: &PodView) -> BTreeMap<Member, Peer> {
        let answers = self.answers.borrow_and_update().clone();
        let reports = self.reports.borrow_and_update().clone();
        let known: BTreeSet<&Member> = self
            .settings
            .expected
            .iter()
            .chain(answers.keys())
            .chain(reports.keys())
            .chain(pods.others.keys())
            .filter(|member| **member != self.settings.member)
            .collect();
        known
            .into_iter()
            .map(|member| {
                let peer = Peer {
                    answer: answers.get(member).cloned().unwrap_or_default(),
                    published: reports.get(member).cloned().unwrap_or_default(),
                    pod: pods.others.get(member).cloned().unwrap_or_default(),
                };
                (member.clone(), peer)
            })
            .collect()
    }
}

async fn moved<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        pending().await
    }
}

/// Where the members' agents are, by their own newest word.
#[must_use]
pub fn agents(seen: &Observation) -> Addresses {
    seen.peers
        .iter()
        .filter_map(|(member, peer)| {
            let address: SocketAddr = word(peer)?.addresses.agent.parse().ok()?;
            Some((member.clone(), address))
        })
        .collect()
}

/// A member's newest word: what it published may be newer than what it answered, if it moved.
#[must_use]
pub fn word(peer: &Peer) -> Option<&Report> {
    match (&peer.answer, &peer.published) {
        (
            Reading::Known { value: a, at },
            Reading::Known {
                value: p,
                at: published,
            },
        ) => Some(if published > at { p } else { a }),
        (Reading::Known { value, .. }, Reading::Unknown)
        | (Reading::Unknown, Reading::Known { value, .. }) => Some(value),
        (Reading::Unknown, Reading::Unknown) => None,
    }
}
