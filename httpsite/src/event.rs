//! Kubernetes Events on the operator's ConfigMap. Best effort: the audit line in the log is the record.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::PostParams;
use kube::{Api, Client};
use kube_access::{ApiCounter, Failure, chain};
use tokio::sync::mpsc;
use tracing::debug;

use crate::clock::Clock;
use crate::list_name::ListName;
use crate::source::Object;
use crate::source::configmap::{LIMIT, api};

/// Events waiting to be sent; what comes on top is only logged.
const QUEUE: usize = 64;

/// An Event in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The stable word that alert rules refer to.
    pub reason: &'static str,
    /// The sentence.
    pub message: String,
}

/// Takes Events, or drops them where there is no Kubernetes.
#[derive(Clone, Debug)]
pub struct Announcer {
    queue: Option<mpsc::Sender<(String, Note)>>,
}

impl Announcer {
    /// Announces nothing.
    pub const fn silent() -> Self {
        Self { queue: None }
    }

    /// Sends it on. All replicas see the same version of the ConfigMap, make the same name of it, and only the first
    /// one's Event is created.
    pub fn announce(&self, note: Note, list: &ListName, version: &str) {
        let name = format!("httpsite-{list}-{}-{version}", note.reason);
        let name = name.to_ascii_lowercase().replace('_', "-");
        if let Some(queue) = &self.queue
            && queue.try_send((name, note)).is_err()
        {
            debug!("too many events at once: this one was only logged");
        }
    }
}

/// Starts sending Events on `object`. The returned future runs until it is dropped.
pub fn announce(
    client: Client,
    object: Object,
    clock: Clock,
    counter: ApiCounter,
) -> (Announcer, impl Future<Output = ()> + Send + 'static) {
    let (queue, mut notes) = mpsc::channel::<(String, Note)>(QUEUE);
    let namespace = match object.namespace.as_str() {
        "" => client.default_namespace().to_owned(),
        given => given.to_owned(),
    };
    let events: Api<Event> = api(client, &object);
    let task = async move {
        while let Some((name, note)) = notes.recv().await {
            let event = event(name, note, &namespace, &object.name, clock.wall());
            let params = PostParams::default();
            let request = events.create(&params, &event);
            match counter.call("create", "events", LIMIT, request).await {
                Ok(_) => {}
                Err(error) if error.failure() == Failure::Conflict => {}
                Err(error) => debug!(error = %chain(&error), "an Event could not be sent"),
            }
        }
        // Nobody can announce any more; the process is about to end.
        std::future::pending::<()>().await;
    };
    (Announcer { queue: Some(queue) }, task)
}

fn event(name: String, note: Note, namespace: &str, object: &str, time: Timestamp) -> Event {
    Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("ConfigMap".to_owned()),
            namespace: Some(namespace.to_owned()),
            name: Some(object.to_owned()),
            ..ObjectReference::default()
        },
        type_: Some("Warning".to_owned()),
        reason: Some(note.reason.to_owned()),
        message: Some(note.message),
        source: Some(EventSource {
            component: Some("httpsite".to_owned()),
            ..EventSource::default()
        }),
        count: Some(1),
        first_timestamp: Some(Time(time)),
        last_timestamp: Some(Time(time)),
        ..Event::default()
    }
}
