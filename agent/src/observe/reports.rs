//! What the other members published in their member Leases.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_core::observation::Reading;
use agent_core::record::FORMAT;
use agent_core::{Member, Report};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, ResourceExt as _};
use kube_access::{IDLE, Objects, Sight};
use tokio::sync::{Notify, watch};
use tracing::warn;

use crate::clock::Clock;
use crate::kubernetes::ApiCounter;
use crate::names::{self, GroupNames};

/// The longest report that is read, in bytes.
const MAX_REPORT: usize = 32 * 1024;

/// The members' published reports, by member.
pub type Reports = BTreeMap<Member, Reading<Report>>;

/// Starts watching the group's member Leases. The returned future runs until it is dropped.
pub fn observe(
    client: Client,
    namespace: &str,
    group: &GroupNames,
    clock: Clock,
    counter: ApiCounter,
    limit: Duration,
) -> (
    watch::Receiver<Reports>,
    impl Future<Output = ()> + Send + 'static,
) {
    let (publish, reports) = watch::channel(Reports::new());
    let objects: Objects<Lease> = Objects {
        api: Api::namespaced(client, namespace),
        resource: "leases",
        labels: Some(group.selector("member")),
        fields: None,
        limit,
        idle: IDLE,
        counter,
    };
    let reader = Reader {
        group: group.clone(),
        clock,
    };
    let task = async move {
        let never = Notify::new();
        let seen = &mut Seen::new();
        objects
            .follow(&never, |sight| {
                if reader.take(seen, sight) {
                    let known = seen.values().filter_map(|s| s.report.clone()).collect();
                    publish.send_replace(known);
                }
            })
            .await;
    };
    (reports, task)
}

/// What each member Lease says, by its name.
type Seen = BTreeMap<String, Version>;

/// One version of a member Lease.
struct Version {
    number: Option<String>,
    report: Option<(Member, Reading<Report>)>,
}

struct Reader {
    group: GroupNames,
    clock: Clock,
}

impl Reader {
    /// Whether something was seen.
    fn take(&self, seen: &mut Seen, sight: Sight<Lease>) -> bool {
        match sight {
            Sight::Asking | Sight::Current => return false,
            Sight::All(items) => {
                let mut before = std::mem::take(seen);
                for lease in items {
                    let known = before.remove(&lease.name_any());
                    // Listed again, it is as old as it was.
                    let known = known.filter(|v| {
                        v.number.is_some() && v.number == lease.metadata.resource_version
                    });
                    let version = known.unwrap_or_else(|| self.read(&lease));
                    seen.insert(lease.name_any(), version);
                }
            }
            Sight::Changed(lease) => {
                seen.insert(lease.name_any(), self.read(&lease));
            }
            Sight::Gone(lease) => {
                seen.remove(&lease.name_any());
            }
        }
        true
    }

    fn read(&self, lease: &Lease) -> Version {
        let report = match self.report(lease) {
            Ok(report) => Some(report),
            Err(why) => {
                warn!(
                    lease = lease.name_any(),
                    why, "a member's report cannot be read; it is ignored"
                );
                None
            }
        };
        let known = |report: Report| {
            let member = report.who.member.clone();
            (member, Reading::known(report, self.clock.tick()))
        };
        Version {
            number: lease.metadata.resource_version.clone(),
            report: report.map(known),
        }
    }

    /// The report of a member Lease that is really that member's.
    fn report(&self, lease: &Lease) -> Result<Report, String> {
        let Some(text) = lease.annotations().get(names::REPORT) else {
            return Err(format!("annotation {} is missing", names::REPORT));
        };
        let report = decode(text)?;
        let member = &report.who.member;
        let home = self.group.member_lease(member);
        if home != lease.name_any() {
            return Err(format!(
                "it speaks for member {member:?}, whose Lease is {home:?}: delete this one"
            ));
        }
        Ok(report)
    }
}

/// A report as it stands in a member Lease or in a peer's answer.
///
/// # Errors
/// One line that says what is wrong with it.
pub fn decode(text: &str) -> Result<Report, String> {
    if text.len() > MAX_REPORT {
        return Err(format!(
            "it has {} bytes, at most {MAX_REPORT} are read",
            text.len()
        ));
    }
    let report: Report = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if report.format > FORMAT {
        return Err(format!(
            "it has format {}, this version reads up to {FORMAT}: upgrade this agent",
            report.format
        ));
    }
    Ok(report)
}
