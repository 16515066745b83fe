//! One fault: what it costs, and that everything is well after it.

use std::fmt::{self, Display};
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube_api::KubeApi;
use playground::ApiKind;
use playground::archive::Archives;
use playground::http;
use playground::logs;
use playground::traffic::{Consumer, Number, Probers, Producer};
use serde::Serialize;

use crate::books::{Books, accepted};
use crate::case::Case;
use crate::group::{Group, LIMIT, Shape, counted};

/// Set to a file: every trial adds its costs to it, one JSON object a line.
pub const COSTS_VARIABLE: &str = "ROCKETMQ_HA_COSTS";

const REQUESTS: &str = "rocketmq_ha_api_requests_total{";
const WRITES: [&str; 4] = ["create", "update", "patch", "delete"];

/// Messages before the fault and after the recovery.
const SOME: u64 = 100;

/// A group under traffic that is about to suffer a fault.
#[derive(Debug)]
pub struct Trial<'a> {
    group: Group<'a>,
    producer: Producer,
    consumer: Consumer,
    probers: Probers,
    replicated: Vec<Number>,
    struck: Mark,
    forgotten: Option<Forgotten>,
}

/// When a fault began, as the producer and the API server count.
#[derive(Debug, Clone, Copy)]
struct Mark {
    at: Duration,
    writes: u64,
}

/// A time whose messages may be in no archive when they are lost.
#[derive(Debug, Clone, Copy)]
struct Forgotten {
    from: Duration,
    to: Duration,
}

/// What a fault cost.
#[derive(Debug, Clone, Serialize)]
pub struct Costs {
    /// The story.
    pub fault: String,
    /// RocketMQ's version.
    pub version: String,
    /// The longest time for which two members acknowledged, ms.
    pub dual_accept_ms: u128,
    /// Acknowledged messages that nobody can read any more. They are all in an archive.
    pub lost: usize,
    /// The longest time without an acknowledged message after the fault, ms.
    pub without_master_ms: u128,
    /// API writes of all agents from the fault to the end.
    pub api_writes: u64,
    /// From the fault to the end, ms.
    pub took_ms: u128,
    /// Who acknowledged, in order.
    pub reigns: Vec<String>,
}

impl Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "COSTS dual accept {} ms, lost {}, without master {} ms, API writes {} in {} s, reigns {:?}",
            self.dual_accept_ms,
            self.lost,
            self.without_master_ms,
            self.api_writes,
            self.took_ms / 1000,
            self.reigns,
        )
    }
}

impl<'a> Trial<'a> {
    /// Forms a group, puts traffic on it, and waits until some of it is replicated: none of that may ever be lost.
    ///
    /// # Errors
    /// When that does not come about.
    pub async fn begin(case: &'a Case, shape: Shape) -> Result<Self> {
        Self::with(Group::form(case, shape).await?).await
    }

    /// The same with a group that is there.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub async fn with(group: Group<'a>) -> Result<Self> {
        let producer = group.producer(200)?;
        let consumer = group.consumer(&producer);
        let probers = group.probers();
        producer.accept_more(SOME, LIMIT).await?;
        let replicated = accepted(&producer);
        let master = group.master().await?;
        group.replicated(master).await?;
        let mut trial = Self {
            group,
            producer,
            consumer,
            probers,
            replicated,
            struck: Mark {
                at: Duration::ZERO,
                writes: 0,
            },
            forgotten: None,
        };
        trial.strike();
        Ok(trial)
    }

    /// The fault comes now: what happens from here on is its price.
    pub fn strike(&mut self) {
        self.struck = Mark {
            at: self.producer.elapsed(),
            writes: writes(&self.group),
        };
    }

    /// [`Self::strike`] on this kind of API: nobody but the agents themselves counts the writes of a real one. An agent that
    /// is started anew counts from nought.
    ///
    /// # Errors
    /// When an agent does not tell.
    pub async fn strike_on(&mut self, api: ApiKind) -> Result<()> {
        self.strike();
        if api == ApiKind::Real {
            self.struck.writes = written_by_agents(&self.group).await?;
        }
        Ok(())
    }

    /// A machine forgets what it had not written: of the messages sent since the fault began, those that are lost need be
    /// in no archive. Until [`Self::remembers`].
    pub fn forgets(&mut self) {
        self.forgotten = Some(Forgotten {
            from: self.struck.at,
            to: Duration::MAX,
        });
    }

    /// What is sent from now on must be kept again.
    pub fn remembers(&mut self) {
        if let Some(forgotten) = &mut self.forgotten {
            forgotten.to = self.producer.elapsed();
        }
    }

    /// The group.
    #[must_use]
    pub fn group(&self) -> &Group<'a> {
        &self.group
    }

    /// The group, to be hurt.
    pub fn group_mut(&mut self) -> &mut Group<'a> {
        &mut self.group
    }

    /// The traffic.
    #[must_use]
    pub fn producer(&self) -> &Producer {
        &self.producer
    }

    /// Waits until clients are served again, wherever.
    ///
    /// # Errors
    /// When they are not in time.
    pub async fn served(&self) -> Result<()> {
        self.producer.accept_more(1, LIMIT).await
    }

    /// Waits until the group is on its own what it was before: one member serves, all others follow, clients are served.
    ///
    /// # Errors
    /// When that does not come about in time.
    pub async fn healed(&self) -> Result<usize> {
        self.served().await?;
        let master = self.group.master().await?;
        for slave in self.group.others(master) {
            self.group.follows(slave).await?;
        }
        self.producer.accept_more(SOME, LIMIT).await?;
        let after = self.group.master().await?;
        ensure!(after == master, "the group healed, then changed its master");
        Ok(master)
    }

    /// [`Self::healed`], then settles everything: nothing replicated is lost, what is lost is archived, consumers read
    /// all that is there, never two masters, equal logs. Tells the costs.
    ///
    /// # Errors
    /// When one of these is not so.
    pub async fn end(self) -> Result<Costs> {
        let master = self.healed().await?;
        let api_writes = match self.group.plane().memory() {
            Some(api) => api.writes(),
            None => written_by_agents(&self.group).await?,
        };
        let api_writes = api_writes.saturating_sub(self.struck.writes);
        let took = self.producer.elapsed().saturating_sub(self.struck.at);
        let case = self.group.case();
        case.say(counted(&self.producer));
        let books = Books::close(&self.group, self.producer, self.consumer).await?;
        books.keeps(&self.replicated)?;
        let disputes = self.group.disputes(&self.probers);
        let longest = disputes.iter().map(|one| one.to.saturating_sub(one.from));
        let costs = Costs {
            fault: case.story().to_owned(),
            version: case.ground().version().to_string(),
            dual_accept_ms: longest.max().unwrap_or_default().as_millis(),
            lost: books.settled.lost.len(),
            without_master_ms: books
                .ledger
                .largest_gap(self.struck.at)
                .length()
                .as_millis(),
            api_writes,
            took_ms: took.as_millis(),
            reigns: self.group.reigns(&self.probers),
        };
        drop(self.probers);
        case.say(&costs);
        write_down(&costs)?;
        ensure!(disputes.is_empty(), "two masters at once: {disputes:?}");
        let mut archives = Archives::default();
        for index in self.group.indexes() {
            archives.add(Archives::read(&self.group.member(index).store())?);
        }
        let forgotten = self.forgotten;
        books.lost_is_archived_or(&archives, |sent| {
            forgotten.is_some_and(|time| (time.from..time.to).contains(&sent))
        })?;
        equal_logs(&self.group, master).await?;
        Ok(costs)
    }
}

/// All agents' API writes so far; a real API server counts elsewhere.
fn writes(group: &Group<'_>) -> u64 {
    group.plane().memory().map_or(0, KubeApi::writes)
}

/// As their metrics have it.
async fn written_by_agents(group: &Group<'_>) -> Result<u64> {
    let mut sum = 0;
    for index in group.indexes() {
        let metrics = http::get(group.member(index).admin(), "/metrics").await?;
        sum += written(&metrics.body);
    }
    Ok(sum)
}

/// Requests that would change something, whatever became of them.
fn written(metrics: &str) -> u64 {
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with(REQUESTS))
        .filter(|line| {
            WRITES
                .iter()
                .any(|verb| line.contains(&format!("verb=\"{verb}\"")))
        });
    lines
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
        .sum()
}

/// A log that was copied anew begins later; what both have must be equal.
async fn equal_logs(group: &Group<'_>, master: usize) -> Result<()> {
    group.replicated(master).await?;
    let masters = group.log(master).await?;
    for slave in group.others(master) {
        let found = logs::compare(&masters, &group.log(slave).await?)?;
        ensure!(
            found.is_equal(),
            "logs differ: {} against the master: {found:?}",
            group.member(slave).name()
        );
    }
    Ok(())
}

fn write_down(costs: &Costs) -> Result<()> {
    let Some(path) = std::env::var_os(COSTS_VARIABLE) else {
        return Ok(());
    };
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("open {COSTS_VARIABLE} {}", path.display()))?;
    let line = serde_json::to_string(costs)?;
    writeln!(file, "{line}").with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_told_from_reads() {
        let metrics = "\
# TYPE rocketmq_ha_api_requests_total counter
rocketmq_ha_api_requests_total{code=\"ok\",resource=\"leases\",verb=\"update\"} 30
rocketmq_ha_api_requests_total{code=\"transport\",resource=\"leases\",verb=\"patch\"} 2
rocketmq_ha_api_requests_total{code=\"ok\",resource=\"leases\",verb=\"list\"} 7
rocketmq_ha_other_total{verb=\"update\"} 100
";
        assert_eq!(written(metrics), 32);
    }
}
