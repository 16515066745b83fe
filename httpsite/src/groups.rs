//! The groups of brokers, from what their agents wrote into their Leases; also when every agent of a group is dead.
//!
//! For people only: nothing is decided by it, so a record's digest is not checked here.

use std::collections::BTreeMap;

use agent_core::{GroupRecord, Report, Tick};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, ResourceExt as _};
use kube_access::{ApiCounter, IDLE, Objects, Sight};
use serde::Serialize;
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
/// The label with the name of the group's Lease.
pub const GROUP_LABEL: &str = "rocketmq-ha.io/group";
/// The label that tells a group's Lease from its members': `group` or `member`.
pub const KIND_LABEL: &str = "rocketmq-ha.io/kind";

/// The longest annotation that is read, bytes.
const MAX_ANNOTATION: usize = 200 * 1024;
/// A member whose report is older than this is taken for gone: agents write at least every minute.
const SILENT_SECONDS: u64 = 150;

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
    /// When we saw it change; two machines' clocks are never compared.
    at: Tick,
    version: Option<String>,
}

#[derive(Clone, Debug)]
enum What {
    Group {
        record: Option<Box<GroupRecord>>,
        holder: Option<String>,
    },
    Member(Option<Box<Report>>),
}

/// A group as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct GroupView {
    /// Where.
    pub namespace: String,
    /// `brokerClusterName`.
    pub cluster: String,
    /// `brokerName`.
    pub broker: String,
    /// Who holds the Lease.
    pub holder: Option<String>,
    /// The number of its term.
    pub epoch: Option<u64>,
    /// How it replicates.
    pub phase: Option<&'static str>,
    /// Whether the holder lately reported as master.
    pub master_present: bool,
    /// Whether no agent of the group was heard of lately.
    pub silent: bool,
    /// Since the record last changed before our eyes, seconds.
    pub age_seconds: u64,
    /// Its members.
    pub members: Vec<MemberView>,
}

/// A member as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct MemberView {
    /// Its name.
    pub member: String,
    /// What runs.
    pub role: Option<&'static str>,
    /// The last term that wrote into its log.
    pub last_epoch: Option<u64>,
    /// First offset of its log, bytes.
    pub min_offset: Option<u64>,
    /// End of its log, bytes.
    pub max_offset: Option<u64>,
    /// How far it is behind the longest log of the group, bytes.
    pub lag: Option<u64>,
    /// Whether it may be elected, or why not.
    pub electable: Option<&'static str>,
    /// Its failure zone.
    pub zone: Option<String>,
    /// Where its broker is.
    pub address: Option<String>,
    /// Since its report last changed before our eyes, seconds; none if there is no report.
    pub age_seconds: Option<u64>,
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
                    groups.replace(place.as_deref(), &items, clock.tick());
                }
                (None, Sight::Changed(lease)) => groups.take(&lease, clock.tick()),
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
    fn replace(&mut self, place: Option<&str>, items: &[Lease], now: Tick) {
        let listed: Vec<_> = items.iter().map(key).collect();
        self.leases.retain(|known, _| {
            place.is_some_and(|place| known.0 != place) || listed.contains(known)
        });
        for lease in items {
            self.take(lease, now);
        }
    }

    fn take(&mut self, lease: &Lease, now: Tick) {
        let key = key(lease);
        let version = lease.metadata.resource_version.clone();
        let known = self.leases.get(&key);
        // Listed again, it is as old as it was.
        if known.is_some_and(|seen| seen.version.is_some() && seen.version == version) {
            return;
        }
        match read(lease, version, now) {
            Some(seen) => self.leases.insert(key, seen),
            None => self.leases.remove(&key),
        };
    }

    /// All groups, with what is known of their members.
    pub fn views(&self, now: Tick) -> Vec<GroupView> {
        let groups = self.leases.iter().filter_map(|((namespace, name), seen)| {
            let What::Group { record, holder } = &seen.what else {
                return None;
            };
            Some(self.view(
                namespace,
                name,
                seen,
                record.as_deref(),
                holder.as_deref(),
                now,
            ))
        });
        groups.collect()
    }

    fn view(
        &self,
        namespace: &str,
        name: &str,
        seen: &Seen,
        record: Option<&GroupRecord>,
        holder: Option<&str>,
        now: Tick,
    ) -> GroupView {
        let mut members: BTreeMap<String, MemberView> = record
            .iter()
            .flat_map(|record| record.members.keys())
            .map(|member| (member.to_string(), MemberView::unknown(member.to_string())))
            .collect();
        let reports = self
            .leases
            .iter()
            .filter(|((place, _), seen)| place == namespace && seen.group == name);
        for (_, seen) in reports {
            if let What::Member(Some(report)) = &seen.what {
                let view = MemberView::of(report, now.since(seen.at).as_secs());
                members.insert(view.member.clone(), view);
            }
        }
        let longest = members
            .values()
            .filter_map(|member| member.max_offset)
            .max();
        for member in members.values_mut() {
            member.lag = longest
                .zip(member.max_offset)
                .map(|(longest, end)| longest.saturating_sub(end));
        }
        let lately =
            |member: &MemberView| member.age_seconds.is_some_and(|age| age < SILENT_SECONDS);
        let age_seconds = now.since(seen.at).as_secs();
        let holds = holder.and_then(|holder| members.get(holder));
        GroupView {
            namespace: namespace.to_owned(),
            cluster: seen.cluster.clone(),
            broker: seen.broker.clone(),
            holder: holder.map(str::to_owned),
            epoch: record.map(|record| record.term.id.epoch.get()),
            phase: record.map(|record| record.phase.as_str()),
            master_present: holds.is_some_and(|m| m.role == Some("master") && lately(m)),
            silent: age_seconds >= SILENT_SECONDS && !members.values().any(lately),
            age_seconds,
            members: members.into_values().collect(),
        }
    }
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
            What::Group {
                record: text(STATE).and_then(|text| serde_json::from_str(text).ok()),
                holder: holder.filter(|holder| !holder.is_empty()),
            }
        }
        "member" => What::Member(text(REPORT).and_then(|text| serde_json::from_str(text).ok())),
        _ => return None,
    };
    let word = |key: &str| text(key).unwrap_or_default().to_owned();
    Some(Seen {
        group: labels.get(GROUP_LABEL)?.clone(),
        cluster: word(CLUSTER),
        broker: word(BROKER),
        what,
        at: now,
        version,
    })
}

impl MemberView {
    /// One of which there is no report.
    const fn unknown(member: String) -> Self {
        Self {
            member,
            role: None,
            last_epoch: None,
            min_offset: None,
            max_offset: None,
            lag: None,
            electable: None,
            zone: None,
            address: None,
            age_seconds: None,
        }
    }

    fn of(report: &Report, age_seconds: u64) -> Self {
        Self {
            role: report.role.map(agent_core::report::Role::as_str),
            last_epoch: Some(report.last_epoch.get()),
            min_offset: report.log.map(|log| log.min.get()),
            max_offset: report.log.map(|log| log.end.get()),
            electable: Some(report.electable.as_str()),
            zone: Some(report.zone.to_string()),
            address: Some(report.addresses.broker.clone()),
            age_seconds: Some(age_seconds),
            ..Self::unknown(report.who.member.to_string())
        }
    }
}
