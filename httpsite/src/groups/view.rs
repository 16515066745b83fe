//! Groups as people are shown them, and as they stand in the JSON.

use std::collections::BTreeMap;

use agent_core::report::Electable;
use agent_core::{GroupRecord, Report, Tick};
use serde::Serialize;

use super::{Groups, Seen, What};

/// A member whose report is older than this is taken for gone, seconds: agents write at least every minute.
pub const SILENT_SECONDS: u64 = 150;
/// So far behind its master RocketMQ itself no longer counts a slave, bytes (haSlaveFallbehindMax, facts §3.4).
pub const FAR_BEHIND: u64 = 256 * 1024 * 1024;

/// A group as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct GroupView {
    /// Where.
    pub namespace: String,
    /// The name of its Lease.
    pub lease: String,
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
    /// Why its record cannot be read.
    pub fault: Option<String>,
    /// Whether an operator stopped elections, switchovers and cuts.
    pub paused: bool,
    /// Whether the holder lately reported as master.
    pub master_present: bool,
    /// Whether no agent of the group was heard of lately.
    pub silent: bool,
    /// Since the record last changed, seconds: before our eyes, else by the writer's clock.
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
    /// How far its end is behind the longest log of the group, by their last reports, bytes.
    pub lag: Option<u64>,
    /// Whether it is more than [`FAR_BEHIND`] behind an end that was reported before its own.
    pub far_behind: bool,
    /// Whether it may be elected, or why not.
    pub electable: Option<&'static str>,
    /// Its failure zone.
    pub zone: Option<String>,
    /// Where its broker is.
    pub address: Option<String>,
    /// Since its report last changed, seconds: before our eyes, else by the writer's clock; none if there is no report.
    pub age_seconds: Option<u64>,
    /// Why its report cannot be read.
    pub fault: Option<String>,
}

impl Groups {
    /// All groups, with what is known of their members.
    pub fn views(&self, now: Tick) -> Vec<GroupView> {
        let groups = self.leases.iter().filter_map(|(key, seen)| {
            let What::Group {
                record,
                holder,
                paused,
            } = &seen.what
            else {
                return None;
            };
            let (record, fault) = match record {
                Some(Ok(record)) => (Some(&**record), None),
                Some(Err(why)) => (None, Some(why.clone())),
                None => (None, Some("there is none".to_owned())),
            };
            let members = self.members(key, record, now);
            let lately = |member: &MemberView| member.is_heard();
            let age_seconds = seen.age_seconds(now);
            let holds = members
                .iter()
                .find(|member| Some(&member.member) == holder.as_ref());
            Some(GroupView {
                namespace: key.0.clone(),
                lease: key.1.clone(),
                cluster: seen.cluster.clone(),
                broker: seen.broker.clone(),
                holder: holder.clone(),
                epoch: record.map(|record| record.term.id.epoch.get()),
                phase: record.map(|record| record.phase.as_str()),
                fault,
                paused: *paused,
                master_present: holds.is_some_and(|m| m.role == Some("master") && lately(m)),
                silent: age_seconds >= SILENT_SECONDS && !members.iter().any(lately),
                age_seconds,
                members,
            })
        });
        groups.collect()
    }

    fn members(
        &self,
        (namespace, group): &(String, String),
        record: Option<&GroupRecord>,
        now: Tick,
    ) -> Vec<MemberView> {
        let mut members: BTreeMap<String, MemberView> = record
            .iter()
            .flat_map(|record| record.members.keys())
            .map(|member| (member.to_string(), MemberView::unknown(member.to_string())))
            .collect();
        let mut ends = Vec::new();
        let reports = self
            .leases
            .iter()
            .filter(|((place, _), seen)| place == namespace && seen.group == *group);
        for (_, seen) in reports {
            let What::Member { name, report } = &seen.what else {
                continue;
            };
            let age = seen.age_seconds(now);
            let view = match report {
                Some(Ok(report)) => MemberView::of(report, age),
                Some(Err(why)) => MemberView::unreadable(group, name, why, age),
                None => continue,
            };
            ends.extend(view.max_offset.map(|end| (view.member.clone(), age, end)));
            members.insert(view.member.clone(), view);
        }
        let longest = ends.iter().map(|(_, _, end)| *end).max();
        for (name, age, end) in &ends {
            // An end that was reported later than its own says nothing: the master had time to write on.
            let before = ends.iter().filter(|(_, other, _)| other >= age);
            let before = before.map(|(_, _, end)| *end).max().unwrap_or(*end);
            if let Some(member) = members.get_mut(name) {
                member.lag = longest.map(|longest| longest.saturating_sub(*end));
                member.far_behind = before.saturating_sub(*end) > FAR_BEHIND;
            }
        }
        members.into_values().collect()
    }
}

impl Seen {
    fn age_seconds(&self, now: Tick) -> u64 {
        let before = self.old.unwrap_or_default().as_secs();
        now.since(self.at).as_secs().saturating_add(before)
    }
}

impl GroupView {
    /// `cluster / broker`, as far as it is told; else the Lease's name.
    pub fn title(&self) -> String {
        if self.cluster.is_empty() && self.broker.is_empty() {
            return self.lease.clone();
        }
        format!("{} / {}", self.cluster, self.broker)
    }
}

impl MemberView {
    /// Whether it was heard of lately.
    pub fn is_heard(&self) -> bool {
        self.age_seconds.is_some_and(|age| age < SILENT_SECONDS)
    }

    /// Whether its report says that it may be elected.
    pub fn is_electable(&self) -> bool {
        self.electable == Some(Electable::Yes.as_str())
    }

    /// One of which there is no report.
    const fn unknown(member: String) -> Self {
        Self {
            member,
            role: None,
            last_epoch: None,
            min_offset: None,
            max_offset: None,
            lag: None,
            far_behind: false,
            electable: None,
            zone: None,
            address: None,
            age_seconds: None,
            fault: None,
        }
    }

    /// Its Lease is called `<group's Lease>-<member>`.
    fn unreadable(group: &str, lease: &str, why: &str, age_seconds: u64) -> Self {
        let rest = lease
            .strip_prefix(group)
            .and_then(|rest| rest.strip_prefix('-'));
        Self {
            age_seconds: Some(age_seconds),
            fault: Some(why.to_owned()),
            ..Self::unknown(rest.unwrap_or(lease).to_owned())
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
