//! The groups of brokers, from what their agents wrote into their Leases; also when every agent of a group is dead.
//! How they are shown is in [`view`].
//!
//! For people only: nothing is decided by it, so a record's digest is not checked here.

pub(crate) mod masters;
pub mod view;

use std::collections::BTreeMap;
use std::time::Duration;

use agent_core::{GroupRecord, Report, Tick};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, ResourceExt as _};
use kube_access::{ApiCounter, IDLE, Objects, Sight};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};

use crate::clock::Clock;
use crate::source::configmap::{LIMIT, Outage};

/// The annotation with the group's record.
pub const STATE: &str = "rocketmq-ha.io/state";
/// The annotation with a member's report.
pub const REPORT: &str = "rocketmq-ha.io/report";
/// The annotation with the true cluster name.
pub const CLUSTER: &str = "rocketmq-ha.io/cluster";
/// The annotation with the true broker name.
pub const BROKER: &str = "rocketmq-ha.io/broker";
/// The annotation that stops elections, switchovers and cuts.
pub const PAUSED: &str = "rocketmq-ha.io/paused";
/// The label with the name of the group's Lease.
pub const GROUP_LABEL: &str = "rocketmq-ha.io/group";
/// The label that tells a group's Lease from its members': `group` or `member`.
pub const KIND_LABEL: &str = "rocketmq-ha.io/kind";

/// The longest annotation that is read, bytes.
const MAX_ANNOTATION: usize = 200 * 1024;
/// The longest reason why an annotation cannot be read that is shown, characters.
const MAX_WHY: usize = 200;

/// Everything seen of groups.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    /// By namespace and name of the Lease.
    leases: BTreeMap<(String, String), Seen>,
    /// Why they cannot be read.
    pub fault: Option<String>,
}

#[derive(Clone, Debug)]
struct Seen {
    /// The group Lease's name.
    group: String,
    cluster: String,
    broker: String,
    what: What,
    /// When we saw it change.
    at: Tick,
    /// How old it was when we first saw it, by its writer's clock and ours; none once we saw it change.
    old: Option<Duration>,
    version: Option<String>,
}

/// What an annotation says, or why it cannot be read; none if there is none.
type Written<T> = Option<Result<Box<T>, String>>;

#[derive(Clone, Debug)]
enum What {
    Group {
        record: Written<GroupRecord>,
        holder: Option<String>,
        paused: bool,
    },
    Member {
        /// As the Lease is named, where the report does not tell.
        name: String,
        report: Written<Report>,
    },
}

/// Starts watching the Leases of `namespaces`; `*` stands for all. The returned futures run until they are dropped.
pub fn observe(
    client: &Client,
    namespaces: &[String],
    clock: Clock,
    counter: &ApiCounter,
) -> (
    watch::Receiver<Groups>,
    Vec<impl Future<Output = ()> + Send + use<>>,
) {
    let groups = watch::Sender::new(Groups::default());
    let receiver = groups.subscribe();
    let everywhere = namespaces.iter().any(|namespace| namespace == "*");
    let places: Vec<Option<String>> = if everywhere {
        vec![None]
    } else {
        namespaces.iter().cloned().map(Some).collect()
    };
    let tasks = places
        .into_iter()
        .map(|place| {
            follow(
                client.clone(),
                place,
                clock,
                counter.clone(),
                groups.clone(),
            )
        })
        .collect();
    (receiver, tasks)
}

async fn follow(
    client: Client,
    place: Option<String>,
    clock: Clock,
    counter: ApiCounter,
    groups: watch::Sender<Groups>,
) {
    let api: Api<Lease> = match &place {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let objects = Objects {
        api,
        resource: "leases",
        labels: Some(GROUP_LABEL.to_owned()),
        fields: None,
        limit: LIMIT,
        idle: IDLE,
        counter,
    };
    let never = Notify::new();
    let mut outage = Outage::default();
    objects
        .follow(&never, |sight| {
            let fault = outage.after(&sight);
            groups.send_modify(|groups| match (fault, sight) {
                (Some(fault), _) => groups.fault = Some(fault),
                (None, Sight::All(items)) => {
                    groups.fault = None;
                    groups.replace(place.as_deref(), &items, clock);
                }
                (None, Sight::Changed(lease)) => groups.take(&lease, clock),
                (None, Sight::Gone(lease)) => {
                    groups.leases.remove(&key(&lease));
                }
                (None, Sight::Asking | Sight::Current) => {}
            });
        })
        .await;
}

fn key(lease: &Lease) -> (String, String) {
    (lease.namespace().unwrap_or_default(), lease.name_any())
}

impl Groups {
    fn replace(&mut self, place: Option<&str>, items: &[Lease], clock: Clock) {
        let listed: Vec<_> = items.iter().map(key).collect();
        self.leases.retain(|known, _| {
            place.is_some_and(|place| known.0 != place) || listed.contains(known)
        });
        for lease in items {
            self.take(lease, clock);
        }
    }

    fn take(&mut self, lease: &Lease, clock: Clock) {
        let key = key(lease);
        let version = lease.metadata.resource_version.clone();
        let known = self.leases.get(&key);
        // Listed again, it is as old as it was.
        if known.is_some_and(|seen| seen.version.is_some() && seen.version == version) {
            return;
        }
        let is_new = known.is_none();
        match read(lease, version, clock.tick()) {
            Some(mut seen) => {
                seen.old = is_new.then(|| age(lease, clock.wall())).flatten();
                self.leases.insert(key, seen)
            }
            None => self.leases.remove(&key),
        };
    }
}

/// By two machines' clocks: only a hint for people, until we see it change.
fn age(lease: &Lease, now: Timestamp) -> Option<Duration> {
    let written = lease.spec.as_ref()?.renew_time.as_ref()?.0;
    let age = now.duration_since(written).max(SignedDuration::ZERO);
    Duration::try_from(age).ok()
}

fn read(lease: &Lease, version: Option<String>, now: Tick) -> Option<Seen> {
    let (annotations, labels) = (lease.annotations(), lease.labels());
    let text = |key: &str| {
        let text = annotations.get(key)?;
        Some(text.as_str()).filter(|text| text.len() <= MAX_ANNOTATION)
    };
    let what = match labels.get(KIND_LABEL)?.as_str() {
        "group" => {
            let spec = lease.spec.as_ref();
            let holder = spec.and_then(|spec| spec.holder_identity.clone());
            // As the agents take it: what is not plainly "no" is "yes".
            let paused = annotations.get(PAUSED).map(String::as_str);
            What::Group {
                record: written(annotations.get(STATE)),
                holder: holder.filter(|holder| !holder.is_empty()),
                paused: !matches!(paused, None | Some("" | "false")),
            }
        }
        "member" => What::Member {
            name: lease.name_any(),
            report: written(annotations.get(REPORT)),
        },
        _ => return None,
    };
    let word = |key: &str| text(key).unwrap_or_default().to_owned();
    Some(Seen {
        group: labels.get(GROUP_LABEL)?.clone(),
        cluster: word(CLUSTER),
        broker: word(BROKER),
        what,
        at: now,
        old: None,
        version,
    })
}

fn written<T: DeserializeOwned>(text: Option<&String>) -> Written<T> {
    let text = text.filter(|text| !text.is_empty())?;
    if text.len() > MAX_ANNOTATION {
        return Some(Err(format!("it has more than {MAX_ANNOTATION} bytes")));
    }
    Some(serde_json::from_str(text).map_err(|error| {
        let why = error.to_string();
        why.chars().take(MAX_WHY).collect()
    }))
}
