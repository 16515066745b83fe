//! Our word in the member Lease: for peers that cannot be reached, and for people.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_core::Report;
use agent_core::report::LogReport;
use futures::FutureExt as _;
use futures::future::pending;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use kube_access::chain;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use crate::clock::Clock;
use crate::kubernetes::{ApiCounter, ApiError, Failure};
use crate::names::{self, GroupNames};

/// Two writes are at least this far apart.
const MIN_GAP: Duration = Duration::from_secs(2);
/// Offsets alone are written this often. With a slave's budget of 0.1 writes a second, changes included.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Longest pause after writes that failed: within the budget even where every write is refused.
const MAX_GAP: Duration = Duration::from_secs(10);

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

/// When the next write is due.
struct Schedule {
    written: Option<Report>,
    heartbeat: Instant,
    earliest: Instant,
    failures: u32,
}

impl Schedule {
    const fn new(now: Instant) -> Self {
        Self {
            written: None,
            heartbeat: now,
            earliest: now,
            failures: 0,
        }
    }

    fn due(&self, report: &Report) -> Instant {
        if matters(report, self.written.as_ref()) {
            self.earliest
        } else {
            self.heartbeat.max(self.earliest)
        }
    }

    fn wrote(&mut self, report: Report, now: Instant) {
        self.written = Some(report);
        self.heartbeat = now + HEARTBEAT;
        self.earliest = now + MIN_GAP;
        self.failures = 0;
    }

    fn failed(&mut self, now: Instant) {
        let gap = MIN_GAP.saturating_mul(1 << self.failures.min(8));
        self.earliest = now + gap.min(MAX_GAP);
        self.failures = self.failures.saturating_add(1);
    }
}

impl Writer {
    async fn run(&self, mut offered: watch::Receiver<Option<Report>>) {
        let mut schedule = Schedule::new(Instant::now());
        loop {
            let report = offered.borrow_and_update().clone();
            let due = report.as_ref().map(|r| schedule.due(r));
            match (report, due) {
                (Some(report), Some(due)) if due <= Instant::now() => {
                    match self.write(&report).await {
                        Ok(_) => schedule.wrote(report, Instant::now()),
                        Err(error) => {
                            self.complain(&error, schedule.failures);
                            schedule.failed(Instant::now());
                        }
                    }
                }
                (_, due) => {
                    // Nothing to say yet: no time to wait for either.
                    let wait = due.map_or_else(
                        || pending().left_future(),
                        |due| sleep_until(due).right_future(),
                    );
                    tokio::select! {
                        changed = offered.changed() => {
                            if changed.is_err() {
                                return;
                            }
                        }
                        () = wait => {}
                    }
                }
            }
        }
    }

    /// What a person must mend is said once, the rest passes by itself.
    fn complain(&self, error: &ApiError, failures: u32) {
        let why = chain(error);
        if error.failure() == Failure::Forbidden && failures == 0 {
            warn!(
                error = why,
                "the member Lease could not be written: grant create and patch on leases in the Role"
            );
        } else {
            debug!(error = why, "the member Lease could not be written");
        }
    }

    async fn write(&self, report: &Report) -> Result<Lease, ApiError> {
        let name = self.group.member_lease(&report.who.member);
        let lease = self.lease(&name, report);
        let patch = Patch::Merge(&lease);
        let (patching, creating) = (PatchParams::default(), PostParams::default());
        let request = self.api.patch(&name, &patching, &patch);
        let answer = self
            .counter
            .call("patch", "leases", self.limit, request)
            .await;
        match answer {
            Err(error) if error.failure() == Failure::NotFound => {
                let request = self.api.create(&creating, &lease);
                self.counter
                    .call("create", "leases", self.limit, request)
                    .await
            }
            answer => answer,
        }
    }

    fn lease(&self, name: &str, report: &Report) -> Lease {
        // A report is names, numbers and words: there is nothing in it that JSON cannot say.
        let text = serde_json::to_string(report).unwrap_or_default();
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
        lease
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

#[cfg(test)]
mod tests {
    use super::*;
    use agent_core::record::{FORMAT, MemberSession, Tuple};
    use agent_core::report::{Electable, Frozen, Role};
    use agent_core::{Epoch, Offset};

    fn slave(end: u64) -> Report {
        Report {
            format: FORMAT,
            who: MemberSession {
                member: "a-1".into(),
                session: "s".into(),
                volume: "v".into(),
            },
            instance: "uid.n".into(),
            zone: "z".into(),
            priority: 0,
            role: Some(Role::Slave),
            term: None,
            joined: true,
            log: Some(LogReport {
                min: Offset::ZERO,
                end: Offset::new(end),
            }),
            last_epoch: Epoch::new(3),
            highest_epoch: Epoch::new(3),
            blank: false,
            frozen: None,
            electable: Electable::Yes,
            addresses: agent_core::report::Addresses::default(),
            version: "1".into(),
            lineage: None,
        }
    }

    /// Writes within an hour in which a report that changes every 100 ms is offered; `answer` says whether one succeeds.
    fn writes(answer: bool) -> u32 {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        let mut writes = 0;
        for step in 0..36_000 {
            let now = start + Duration::from_millis(100) * step;
            let report = slave(u64::from(step));
            if schedule.due(&report) > now {
                continue;
            }
            writes += 1;
            if answer {
                schedule.wrote(report, now);
            } else {
                schedule.failed(now);
            }
        }
        writes
    }

    #[test]
    fn a_steady_slave_keeps_to_its_budget_also_where_it_is_refused() {
        assert!((100..=121).contains(&writes(true)), "{}", writes(true));
        assert!(writes(false) <= 365, "{}", writes(false));
    }

    #[test]
    fn what_a_peer_would_act_on_goes_out_at_once() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        schedule.wrote(slave(5), start);
        let late = start + Duration::from_secs(3);
        assert!(schedule.due(&slave(900)) > late);
        let mut frozen = slave(900);
        frozen.frozen = Some(Frozen {
            vacancy: Tuple::default(),
            end: Offset::new(900),
            last_epoch: Epoch::new(3),
        });
        assert!(schedule.due(&frozen) <= late);
        schedule.wrote(frozen.clone(), late);
        frozen.log = slave(950).log;
        assert!(
            schedule.due(&frozen) <= late + MIN_GAP,
            "a frozen end is never left to the heartbeat"
        );
        let stopped = Report {
            role: None,
            ..slave(900)
        };
        assert!(schedule.due(&stopped) <= late + MIN_GAP);
    }
}
