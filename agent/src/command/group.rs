//! A group as its objects on the API server tell it.

use std::collections::BTreeMap;

use agent_core::observation::{LeaseSeen, Requests};
use agent_core::record::GroupRecord;
use agent_core::{Member, Report};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;

use crate::names::{self, GroupNames};
use crate::observe::reports::decode;
use crate::record_codec;

/// A group's Lease and the words of its members.
#[derive(Clone, Debug)]
pub struct Group {
    /// The Lease's name.
    pub name: String,
    /// `brokerClusterName`.
    pub cluster: String,
    /// `brokerName`.
    pub broker: String,
    /// What the Lease says.
    pub seen: LeaseSeen,
    /// What cannot be read of what people asked.
    pub complaints: Vec<String>,
    /// When the holder last renewed, by its wall clock.
    pub renewed: Option<Timestamp>,
    /// What the members published.
    pub members: BTreeMap<Member, Word>,
}

/// A member's published report.
#[derive(Clone, Debug)]
pub struct Word {
    /// What it says.
    pub report: Report,
    /// When it was written, by the member's wall clock.
    pub written: Option<Timestamp>,
}

impl Group {
    /// From the group's Lease; members are added one by one.
    pub fn new(lease: Lease) -> Self {
        let name = lease.name_any();
        let annotation = |key| lease.annotations().get(key).cloned().unwrap_or_default();
        let (cluster, broker) = (annotation(names::CLUSTER), annotation(names::BROKER));
        let names = GroupNames::new(&cluster, &broker);
        let mut complaints = Vec::new();
        let mut seen = record_codec::see(Some(&lease), &names, &mut |line| complaints.push(line));
        if names.lease != name {
            // The names lead to another Lease: they were changed by hand, or it was copied.
            let whose = format!("cluster {cluster:?}, broker {broker:?}");
            seen = LeaseSeen::Stranger { whose };
        }
        Self {
            renewed: lease.spec.and_then(|s| s.renew_time).map(|time| time.0),
            name,
            cluster,
            broker,
            seen,
            complaints,
            members: BTreeMap::new(),
        }
    }

    /// Takes a member's Lease in, if its report can be read.
    pub fn add(&mut self, lease: &Lease) {
        let Some(text) = lease.annotations().get(names::REPORT) else {
            return;
        };
        match decode(text) {
            Ok(report) => {
                let written = lease.spec.as_ref().and_then(|s| s.renew_time.as_ref());
                let word = Word {
                    written: written.map(|time| time.0),
                    report,
                };
                self.members.insert(word.report.who.member.clone(), word);
            }
            Err(why) => self
                .complaints
                .push(format!("the report in Lease {}: {why}", lease.name_any())),
        }
    }

    /// How it is called in messages.
    pub fn title(&self) -> String {
        format!("{} of {}", self.broker, self.cluster)
    }

    /// The record, where there is a sound one.
    pub fn record(&self) -> Option<&GroupRecord> {
        match &self.seen {
            LeaseSeen::Record { record, .. } => Some(record),
            LeaseSeen::Absent
            | LeaseSeen::Stranger { .. }
            | LeaseSeen::Newer { .. }
            | LeaseSeen::Damaged { .. } => None,
        }
    }

    /// What people asked.
    pub fn requests(&self) -> Option<&Requests> {
        match &self.seen {
            LeaseSeen::Record { requests, .. } | LeaseSeen::Damaged { requests, .. } => {
                Some(requests)
            }
            LeaseSeen::Absent | LeaseSeen::Stranger { .. } | LeaseSeen::Newer { .. } => None,
        }
    }

    /// Why there is no sound record, and what to do.
    pub fn trouble(&self) -> Option<String> {
        match &self.seen {
            LeaseSeen::Record { .. } => None,
            LeaseSeen::Absent => Some("there is no Lease".to_owned()),
            LeaseSeen::Stranger { whose } => Some(format!(
                "Lease {} says that it is the group of {whose}: mend annotations {} and {}",
                self.name,
                names::CLUSTER,
                names::BROKER
            )),
            LeaseSeen::Newer { format } => Some(format!(
                "Lease {} has format {format}, which this version does not know: upgrade it",
                self.name
            )),
            LeaseSeen::Damaged { why, .. } => Some(format!(
                "Lease {}: {why}; its holder writes it anew, else the group elects after its wait",
                self.name
            )),
        }
    }
}
