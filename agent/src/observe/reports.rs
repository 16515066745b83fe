//! What the other members published in their member Leases.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_core::observation::Reading;
use agent_core::record::FORMAT;
use agent_core::{Member, Report};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::{Notify, watch};
use tracing::warn;

use super::objects::{Objects, Sight};
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
        counter,
    };
    let task = async move {
        let never = Notify::new();
        objects
            .follow(&never, |sight| take(&publish, clock, sight))
            .await;
    };
    (reports, task)
}

fn take(publish: &watch::Sender<Reports>, clock: Clock, sight: Sight<Lease>) {
    match sight {
        Sight::Asking | Sight::Current => {}
        Sight::All(items) => {
            let all = items
                .iter()
                .filter_map(|lease| read(lease, clock))
                .collect();
            publish.send_replace(all);
        }
        Sight::Changed(lease) => {
            if let Some((member, report)) = read(&lease, clock) {
                publish.send_modify(|all| {
                    all.insert(member, report);
                });
            }
        }
        Sight::Gone(lease) => {
            if let Some((member, _)) = read(&lease, clock) {
                publish.send_modify(|all| {
                    all.remove(&member);
                });
            }
        }
    }
}

/// The report of a member Lease. One that cannot be read is Unknown, and said once per version.
fn read(lease: &Lease, clock: Clock) -> Option<(Member, Reading<Report>)> {
    let text = lease.annotations().get(names::REPORT)?;
    match decode(text) {
        Ok(report) => Some((
            report.who.member.clone(),
            Reading::known(report, clock.tick()),
        )),
        Err(why) => {
            warn!(
                lease = lease.name_any(),
                why, "a member's report cannot be read; it is ignored"
            );
            None
        }
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
