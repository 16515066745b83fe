//! The compare-and-swap on the group Lease.

use std::collections::BTreeMap;

use agent_core::Boot;
use agent_core::action::{LeaseWrite, WriteReason};
use agent_core::observation::{WriteOutcome, WriteResult};
use agent_core::record::GroupRecord;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use kube_access::chain;
use tracing::{debug, warn};

use crate::clock::Clock;
use crate::kubernetes::Failure;
use crate::names;
use crate::observe::lease::LeaseView;
use crate::record_codec;

/// Writes the group Lease: one attempt, under a deadline, and never without the version it was decided on.
#[derive(Clone)]
pub struct LeaseWriter {
    view: LeaseView,
    clock: Clock,
}

impl LeaseWriter {
    /// A writer on top of a view.
    pub fn new(view: LeaseView, clock: Clock) -> Self {
        Self { view, clock }
    }

    /// Carries one write out. What it committed is in the view before this returns.
    pub async fn write(&self, write: &LeaseWrite) -> WriteOutcome {
        let sent = self.clock.boot();
        let result = self.send(write).await;
        WriteOutcome {
            id: write.id,
            sent,
            result,
        }
    }

    async fn send(&self, write: &LeaseWrite) -> WriteResult {
        let known = self.view.object();
        let carries = known.as_ref().and_then(record_codec::version);
        if carries != write.carries {
            // It moved on while this was decided: what the server would say is known.
            return WriteResult::Conflict;
        }
        let state = match record_codec::encode(&write.record) {
            Ok(state) => state,
            Err(error) => {
                warn!(%error, "write the group's record as JSON");
                return WriteResult::Refused;
            }
        };
        let lease = self.changed(known, write, state);
        let (api, counter, limit) = self.view.api();
        let params = PostParams::default();
        let name = &self.view.names().lease;
        let answer = match write.carries {
            Some(_) => {
                counter
                    .call(
                        "update",
                        "leases",
                        limit,
                        api.replace(name, &params, &lease),
                    )
                    .await
            }
            None => {
                counter
                    .call("create", "leases", limit, api.create(&params, &lease))
                    .await
            }
        };
        match answer {
            Ok(lease) => {
                self.view.committed(lease);
                WriteResult::Committed
            }
            Err(error) => {
                let cause = chain(&error);
                match error.failure() {
                    // Nothing but a person's hand changes that, and without writes no master can stay.
                    Failure::Forbidden => {
                        warn!(why = ?write.why, error = %cause, "a Lease write is forbidden: grant create and update of leases in the Role");
                    }
                    _ => debug!(why = ?write.why, error = %cause, "a Lease write did not succeed"),
                }
                match error.failure() {
                    Failure::Conflict => WriteResult::Conflict,
                    Failure::NotFound | Failure::Forbidden | Failure::Refused | Failure::Gone => {
                        WriteResult::Refused
                    }
                    Failure::Throttled
                    | Failure::Server
                    | Failure::Timeout
                    | Failure::Transport => WriteResult::Unknown,
                }
            }
        }
    }

    /// The object as last seen with only our parts changed: unknown annotations stay (H46).
    fn changed(&self, known: Option<Lease>, write: &LeaseWrite, state: String) -> Lease {
        let names = self.view.names();
        let mut lease = known.unwrap_or_default();
        let record = &write.record;
        let before = lease
            .metadata
            .annotations
            .as_ref()
            .and_then(|a| a.get(names::STATE));
        let before = before.and_then(|text| record_codec::decode(text).ok());
        lease.metadata.name = Some(names.lease.clone());
        let labels = lease.metadata.labels.get_or_insert_with(BTreeMap::new);
        labels.insert(names::GROUP_LABEL.to_owned(), names.lease.clone());
        labels.insert(names::KIND_LABEL.to_owned(), "group".to_owned());
        let annotations = lease.metadata.annotations.get_or_insert_with(BTreeMap::new);
        annotations.insert(names::CLUSTER.to_owned(), names.cluster.clone());
        annotations.insert(names::BROKER.to_owned(), names.broker.clone());
        annotations.insert(names::STATE.to_owned(), state);
        if write.clear_switchover {
            annotations.remove(names::SWITCHOVER);
        }
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        self.spec(spec, record, before.as_ref(), write.why);
        lease
    }

    /// What every reader of Leases expects to find; nothing of ours is decided on it.
    fn spec(
        &self,
        spec: &mut LeaseSpec,
        record: &GroupRecord,
        before: Option<&GroupRecord>,
        why: WriteReason,
    ) {
        let now = MicroTime(self.clock.wall());
        let held = !record.holder.is_empty();
        spec.holder_identity = held.then(|| record.term.master.to_string());
        let seconds = record.take_wait_ms.div_ceil(1000);
        spec.lease_duration_seconds = Some(i32::try_from(seconds).unwrap_or(i32::MAX));
        spec.renew_time = Some(now.clone());
        if why == WriteReason::Acquire {
            spec.acquire_time = Some(now);
        }
        let moved = before.is_some_and(|b| b.term.master != record.term.master);
        let transitions = spec.lease_transitions.unwrap_or(0);
        spec.lease_transitions = Some(transitions.saturating_add(i32::from(moved)));
    }
}

/// When the last write of this outcome earned a permit: the time before its first byte.
pub fn earned(outcome: &WriteOutcome) -> Option<Boot> {
    (outcome.result == WriteResult::Committed).then_some(outcome.sent)
}
