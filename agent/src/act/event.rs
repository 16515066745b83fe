//! Kubernetes Events for people. Best effort: a lost Event costs nothing but a line in a list.

use std::time::Duration;

use agent_core::Member;
use agent_core::action::Event;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event as KubeEvent, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::PostParams;
use kube::{Api, Client};
use kube_access::chain;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::clock::Clock;
use crate::kubernetes::ApiCounter;
use crate::names::GroupNames;

/// Events waiting to be sent; what comes on top is only logged.
const QUEUE: usize = 64;

/// Takes events.
#[derive(Clone)]
pub struct Announcer {
    queue: mpsc::Sender<Item>,
    clock: Clock,
}

/// What goes through the queue, in turn.
enum Item {
    /// To be sent.
    Note(Note, Timestamp),
    /// Everything before was sent, or given up.
    Mark(oneshot::Sender<()>),
}

/// An event in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The stable word that alert rules refer to.
    pub reason: &'static str,
    /// Whether a person should look.
    pub warning: bool,
    /// The sentence.
    pub message: String,
}

impl Announcer {
    /// Logs the event and sends it on. Never waits.
    pub fn announce(&self, event: &Event) {
        self.say(note(event));
    }

    /// Logs it and sends it on. Never waits.
    pub fn say(&self, note: Note) {
        if note.warning {
            warn!(event = note.reason, "{}", note.message);
        } else {
            info!(event = note.reason, "{}", note.message);
        }
        if self
            .queue
            .try_send(Item::Note(note, self.clock.wall()))
            .is_err()
        {
            debug!("too many events at once: this one was only logged");
        }
    }

    /// Waits until what was said so far is sent or given up, for at most `limit`: a process that ends takes the rest along.
    pub async fn said(&self, limit: Duration) {
        let (mark, reached) = oneshot::channel();
        let wait = async {
            if self.queue.send(Item::Mark(mark)).await.is_ok() {
                // An error means that nobody sends any more: nothing to wait for.
                let _ = reached.await;
            }
        };
        if timeout(limit, wait).await.is_err() {
            warn!("the last Events were not sent in time: they are in this log only");
        }
    }
}

/// The words for an event (promises §3 has the list of reasons).
pub fn note(event: &Event) -> Note {
    let (reason, warning, message) = match event {
        Event::LeaderElected { term, start } => (
            "LeaderElected",
            false,
            format!("master of term {term}, from commit-log offset {start}"),
        ),
        Event::FailOver { term, from } => (
            "FailOver",
            true,
            format!("took over from {from} in term {term}"),
        ),
        Event::FailOverFailed { term, why } => (
            "FailOverFailed",
            true,
            format!("promotion in term {term} failed: {}", why.sentence()),
        ),
        Event::SwitchOver { target } => ("SwitchOver", false, format!("handed over to {target}")),
        Event::SwitchOverFailed { why } => (
            "SwitchOverFailed",
            true,
            format!(
                "switchover given up, the master goes on: {}",
                why.sentence()
            ),
        ),
        Event::Fenced { term } => (
            "Fenced",
            true,
            format!(
                "the Lease of term {term} could not be renewed in time: the broker was stopped"
            ),
        ),
        Event::Diverged { keep, end } => (
            "DivergenceTruncated",
            true,
            format!(
                "{} bytes from offset {keep} on are not part of the group's history: archived and cut",
                end.since(*keep)
            ),
        ),
        Event::BrokerRestarted { why } => ("BrokerRestarted", true, why.sentence().to_owned()),
        Event::DataLossPossible { bytes } => (
            "DataLossPossible",
            true,
            format!("the last master is known to have had {bytes} bytes more"),
        ),
        Event::SlaveHollow { until } => (
            "SlaveHollow",
            false,
            format!(
                "this log is being copied from the master up to offset {until}; not electable before"
            ),
        ),
    };
    Note {
        reason,
        warning,
        message,
    }
}

/// Starts sending. The returned future runs until it is dropped.
pub fn announce(
    client: Client,
    namespace: &str,
    group: GroupNames,
    member: Member,
    clock: Clock,
    counter: ApiCounter,
    limit: Duration,
) -> (Announcer, impl Future<Output = ()> + Send + 'static) {
    let (queue, mut notes) = mpsc::channel::<Item>(QUEUE);
    let api: Api<KubeEvent> = Api::namespaced(client, namespace);
    let namespace = namespace.to_owned();
    let task = async move {
        while let Some(item) = notes.recv().await {
            let (note, time) = match item {
                Item::Note(note, time) => (note, time),
                Item::Mark(mark) => {
                    // Nobody may wait any more.
                    let _ = mark.send(());
                    continue;
                }
            };
            let event = event(&note, &namespace, &group, &member, time);
            let params = PostParams::default();
            let request = api.create(&params, &event);
            if let Err(error) = counter.call("create", "events", limit, request).await {
                debug!(error = %chain(&error), event = note.reason, "an Event could not be sent");
            }
        }
    };
    (Announcer { queue, clock }, task)
}

fn event(
    note: &Note,
    namespace: &str,
    group: &GroupNames,
    member: &Member,
    time: Timestamp,
) -> KubeEvent {
    let now = Time(time);
    let mut event = KubeEvent {
        involved_object: ObjectReference {
            api_version: Some("coordination.k8s.io/v1".to_owned()),
            kind: Some("Lease".to_owned()),
            name: Some(group.lease.clone()),
            namespace: Some(namespace.to_owned()),
            ..ObjectReference::default()
        },
        reason: Some(note.reason.to_owned()),
        message: Some(format!("{member}: {}", note.message)),
        type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
        source: Some(EventSource {
            component: Some("rocketmq-ha".to_owned()),
            host: Some(member.to_string()),
        }),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now),
        count: Some(1),
        ..KubeEvent::default()
    };
    event.metadata.generate_name = Some(format!("{}.", group.lease));
    event.metadata.namespace = Some(namespace.to_owned());
    event
}
