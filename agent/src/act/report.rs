//! Our word in the member Lease: for peers that cannot be reached, and for people.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_core::Report;
use agent_core::report::LogReport;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use crate::clock::Clock;
use crate::kubernetes::{ApiCounter, ApiError, Failure};
use crate::names::{self, GroupNames};
use crate::observe::objects::chain;

/// Two writes are at least this far apart.
const MIN_GAP: Duration = Duration::from_secs(2);
/// Offsets alone are written this often. With a slave's budget of 0.1 writes a second, changes included.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Takes reports and writes those that a peer would act on.
#[derive(Clone)]
pub struct Publisher {
    offer: watch::Sender<Option<Report>>,
}

impl Publisher {
    /// Offers the newest report. Never waits.
    pub fn offer(&self, report: &Report) {
        let mut report = report.clone();
        // The full history goes by HTTP only.
        report.lineage = None;
        self.offer.send_if_modified(|last| {
            let news = last.as_ref() != Some(&report);
            *last = Some(report);
            news
        });
    }
}

/// Starts the publisher. The returned future runs until it is dropped.
pub fn publish(
    client: Client,
    namespace: &str,
    group: GroupNames,
    clock: Clock,
    counter: ApiCounter,
    limit: Duration,
) -> (Publisher, impl Future<Output = ()> + Send + 'static) {
    let (offer, offered) = watch::channel(None);
    let writer = Writer {
        api: Api::namespaced(client, namespace),
        group,
        clock,
        counter,
        limit,
    };
    (
        Publisher { offer },
        async move { writer.run(offered).await },
    )
}

struct Writer {
    api: Api<Lease>,
    group: GroupNames,
    clock: Clock,
    counter: ApiCounter,
    limit: Duration,
}

impl Writer {
    async fn run(&self, mut offered: watch::Receiver<Option<Report>>) {
        let mut written: Option<Report> = None;
        let mut heartbeat = Instant::now();
        let mut earliest = heartbeat;
        loop {
            let report = offered.borrow_and_update().clone();
            let now = Instant::now();
            let due = report
                .as_ref()
                .is_some_and(|r| matters(r, written.as_ref()) || now >= heartbeat);
            if let Some(report) = report.filter(|_| due && now >= earliest) {
                let done = self.write(&report).await;
                let now = Instant::now();
                earliest = now + MIN_GAP;
                if done {
                    written = Some(report);
                    heartbeat = now + HEARTBEAT;
                }
                continue;
            }
            let next = if due { earliest } else { heartbeat };
            tokio::select! {
                changed = offered.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = sleep_until(next) => {}
            }
        }
    }

    async fn write(&self, report: &Report) -> bool {
        let name = self.group.member_lease(&report.who.member);
        let Some(lease) = self.lease(&name, report) else {
            return false;
        };
        let patch = Patch::Merge(&lease);
        let (patching, creating) = (PatchParams::default(), PostParams::default());
        let request = self.api.patch(&name, &patching, &patch);
        let mut answer = self
            .counter
            .call("patch", "leases", self.limit, request)
            .await;
        if answer
            .as_ref()
            .is_err_and(|e| e.failure() == Failure::NotFound)
        {
            let request = self.api.create(&creating, &lease);
            answer = self
                .counter
                .call("create", "leases", self.limit, request)
                .await;
        }
        self.done(answer)
    }

    fn done(&self, answer: Result<Lease, ApiError>) -> bool {
        match answer {
            Ok(_) => true,
            Err(error) => {
                debug!(error = %chain(&error), "the member Lease could not be written");
                false
            }
        }
    }

    fn lease(&self, name: &str, report: &Report) -> Option<Lease> {
        let text = serde_json::to_string(report).ok()?;
        let mut lease = Lease::default();
        lease.metadata.name = Some(name.to_owned());
        lease.metadata.labels = Some(BTreeMap::from([
            (names::GROUP_LABEL.to_owned(), self.group.lease.clone()),
            (names::KIND_LABEL.to_owned(), "member".to_owned()),
        ]));
        lease.metadata.annotations = Some(BTreeMap::from([
            (names::CLUSTER.to_owned(), self.group.cluster.clone()),
            (names::BROKER.to_owned(), self.group.broker.clone()),
            (names::REPORT.to_owned(), text),
        ]));
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(report.who.member.to_string()),
            lease_duration_seconds: Some(
                i32::try_from(HEARTBEAT.as_secs() * 2).unwrap_or(i32::MAX),
            ),
            renew_time: Some(MicroTime(self.clock.wall())),
            ..LeaseSpec::default()
        });
        Some(lease)
    }
}

/// Whether a peer or a person would act on the difference: everything but the moving end of a living log.
fn matters(report: &Report, written: Option<&Report>) -> bool {
    written.is_none_or(|old| essence(old) != essence(report))
}

fn essence(report: &Report) -> Report {
    let frozen = report.frozen.is_some();
    let log = report.log.map(|l| LogReport {
        min: l.min,
        end: if frozen { l.end } else { l.min },
    });
    Report {
        log,
        last_epoch: if frozen {
            report.last_epoch
        } else {
            Default::default()
        },
        ..report.clone()
    }
}
