//! What is counted, under the names that dashboards know (promises 3). One registry of our own, no globals.

use std::time::Duration;

use agent_core::observation::{LeaseSeen, Observation, Process};
use agent_core::record::{Phase, Stage};
use agent_core::report::Role;
use agent_core::{Decision, Policy, Reason};
use prometheus::{
    Encoder as _, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::clock::Clock;

/// Buckets for what takes milliseconds to seconds, in seconds.
const FAST: &[f64] = &[
    0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 120.0,
];

/// All of them. Clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    role: IntGaugeVec,
    state: IntGaugeVec,
    epoch: IntGauge,
    lease_held: IntGauge,
    lease_remaining: Gauge,
    /// How long a committed renewal took.
    pub lease_renew_duration: Histogram,
    /// Writes on the group Lease that were not committed.
    pub lease_renew_failures: IntCounterVec,
    max_offset: IntGauge,
    min_offset: IntGauge,
    lag: IntGaugeVec,
    report_age: GaugeVec,
    /// Transitions by kind and result.
    pub transitions: IntCounterVec,
    /// How long each stage of a transition took.
    pub transition_duration: HistogramVec,
    last_transition: Gauge,
    /// 1 while the broker passes its check.
    pub broker_alive: IntGauge,
    /// 1 while the broker refuses messages for want of room.
    pub disk_full: IntGauge,
    /// How long the check took.
    pub alive_test_duration: Histogram,
    /// Checks that failed, by verdict.
    pub alive_test_failures: IntCounterVec,
    /// Starts of a broker that had run before.
    pub broker_restarts: IntCounterVec,
    config_restart_pending: IntGauge,
    config_valid: IntGauge,
    qos_declared: IntGauge,
    qos_enforced: IntGauge,
    electable: IntGaugeVec,
    paused: IntGauge,
    /// Questions to other members that brought nothing.
    pub peer_failures: IntCounterVec,
    /// Decisions by reason.
    pub decisions: IntCounterVec,
    /// Jobs on the volume by name and result.
    pub jobs: IntCounterVec,
    /// Kills ordered by the watchdog thread.
    pub watchdog_kills: IntCounter,
}

impl Metrics {
    /// Registers everything; the labels of one member are the same on every series.
    ///
    /// # Errors
    /// Two metrics of one name: a bug.
    pub fn register(
        cluster: &str,
        broker: &str,
        pod: &str,
        zone: &str,
    ) -> Result<Self, prometheus::Error> {
        let labels = [
            ("cluster", cluster),
            ("broker", broker),
            ("node_id", broker),
            ("pod", pod),
            ("zone", zone),
        ];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let registry = Registry::new_custom(None, Some(labels.into_iter().collect()))?;
        let new = New(&registry);
        #[cfg(target_os = "linux")]
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        let build = new.gauges(
            "rocketmq_ha_build_info",
            "1; the version is the label",
            &["version"],
        )?;
        build.with_label_values(&[crate::VERSION]).set(1);
        Ok(Self {
            role: new.gauges("rocketmq_ha_role", "What the broker runs as", &["role"])?,
            state: new.gauges(
                "rocketmq_ha_state",
                "How the group replicates, or what keeps it from it",
                &["state"],
            )?,
            epoch: new.gauge("rocketmq_ha_epoch", "Number of the newest term seen")?,
            lease_held: new.gauge(
                "rocketmq_ha_lease_held",
                "1 while this member holds the group Lease",
            )?,
            lease_remaining: new.float(
                "rocketmq_ha_lease_remaining_seconds",
                "Until this master's permit ends",
            )?,
            lease_renew_duration: new.histogram(
                "rocketmq_ha_lease_renew_duration_seconds",
                "Of a committed write on the group Lease",
            )?,
            lease_renew_failures: new.counters(
                "rocketmq_ha_lease_renew_failures_total",
                "Writes on the group Lease that were not committed",
                &["reason"],
            )?,
            max_offset: new.gauge(
                "rocketmq_ha_commitlog_max_offset_bytes",
                "End of the commit log",
            )?,
            min_offset: new.gauge(
                "rocketmq_ha_commitlog_min_offset_bytes",
                "Start of the commit log",
            )?,
            lag: new.gauges(
                "rocketmq_ha_replication_lag_bytes",
                "Of a connected slave, as its master sees it",
                &["member"],
            )?,
            report_age: new.floats(
                "rocketmq_ha_offset_report_age_seconds",
                "Since a member last answered",
                &["member"],
            )?,
            transitions: new.counters(
                "rocketmq_ha_transitions_total",
                "Changes of master",
                &["kind", "result"],
            )?,
            transition_duration: new.histograms(
                "rocketmq_ha_transition_duration_seconds",
                "Of one stage of a change of master",
                &["kind", "stage"],
            )?,
            last_transition: new.float(
                "rocketmq_ha_last_transition_timestamp_seconds",
                "When this member last became or ceased to be master",
            )?,
            broker_alive: new.gauge(
                "rocketmq_ha_broker_alive",
                "1 while the broker passes its check",
            )?,
            disk_full: new.gauge(
                "rocketmq_ha_broker_disk_full",
                "1 while the broker's disk is so full that it refuses messages",
            )?,
            alive_test_duration: new.histogram(
                "rocketmq_ha_broker_alive_test_duration_seconds",
                "Of a check of the broker",
            )?,
            alive_test_failures: new.counters(
                "rocketmq_ha_broker_alive_test_failures_total",
                "Checks of the broker that failed",
                &["check"],
            )?,
            broker_restarts: new.counters(
                "rocketmq_ha_broker_restarts_total",
                "Starts of a broker that had run before",
                &["reason"],
            )?,
            config_restart_pending: new.gauge(
                "rocketmq_ha_config_restart_pending",
                "1 while the broker runs with an older broker.conf than the operator's",
            )?,
            config_valid: new.gauge(
                "rocketmq_ha_config_valid",
                "1 while the operator's broker.conf can be used, 0 while it is refused",
            )?,
            qos_declared: new.gauge("rocketmq_ha_qos_declared", "The QoS asked for")?,
            qos_enforced: new.gauge("rocketmq_ha_qos_enforced", "The QoS in force")?,
            electable: new.gauges(
                "rocketmq_ha_electable",
                "1 for what is true of this member: yes, or why not",
                &["reason"],
            )?,
            paused: new.gauge("rocketmq_ha_paused", "1 while the group is paused")?,
            peer_failures: new.counters(
                "rocketmq_ha_peer_failures_total",
                "Questions to other members that brought nothing",
                &["reason"],
            )?,
            decisions: new.counters(
                "rocketmq_ha_decisions_total",
                "Decisions that changed the reason",
                &["reason"],
            )?,
            jobs: new.counters(
                "rocketmq_ha_volume_jobs_total",
                "Work on the volume",
                &["job", "result"],
            )?,
            watchdog_kills: new.counter(
                "rocketmq_ha_watchdog_kills_total",
                "Kills ordered by the watchdog thread",
            )?,
            registry,
        })
    }

    /// The registry, for those who count for themselves.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The text that Prometheus reads.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        // Writing into memory fails only for a metric without name or value, of which there is none.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }

    /// Shows what was seen and decided.
    pub fn show(&self, seen: &Observation, decision: &Decision, policy: &Policy, clock: Clock) {
        self.show_process(seen, decision, clock);
        self.show_group(seen, decision, policy);
        if let Some(broker) = seen.broker.last() {
            self.max_offset.set(signed(broker.end.get()));
            self.min_offset.set(signed(broker.min.get()));
            let replicas = seen.launcher.last().map(|launcher| &launcher.replicas);
            for (member, acked) in replicas.into_iter().flatten() {
                let lag = signed(broker.end.since(*acked));
                self.lag.with_label_values(&[member.as_str()]).set(lag);
            }
        }
        for (member, peer) in &seen.peers {
            if let agent_core::observation::Reading::Known { at, .. } = peer.answer {
                let age = clock.tick().since(at).as_secs_f64();
                self.report_age
                    .with_label_values(&[member.as_str()])
                    .set(age);
            }
        }
    }

    fn show_process(&self, seen: &Observation, decision: &Decision, clock: Clock) {
        let live = seen
            .launcher
            .last()
            .and_then(|launcher| match &launcher.process {
                Process::Live { role, permit, .. } => Some((*role, *permit)),
                Process::Idle | Process::Ended { .. } => None,
            });
        for role in [Role::Master, Role::Slave] {
            let on = live.is_some_and(|(live, _)| live == role);
            self.role
                .with_label_values(&[role.as_str()])
                .set(i64::from(on));
        }
        let none = self.role.with_label_values(&["none"]);
        none.set(i64::from(live.is_none()));
        let left = match live {
            Some((Role::Master, permit)) => permit.since(clock.boot()).as_secs_f64(),
            Some((Role::Slave, _)) | None => 0.0,
        };
        self.lease_remaining.set(left);
        self.lease_held.set(i64::from(decision.next.held.is_some()));
        self.epoch.set(signed(decision.next.highest.get()));
    }

    fn show_group(&self, seen: &Observation, decision: &Decision, policy: &Policy) {
        let (record, requests) = match seen.lease.last() {
            Some(LeaseSeen::Record {
                record, requests, ..
            }) => (Some(record), Some(requests)),
            Some(LeaseSeen::Damaged { requests, .. }) => (None, Some(requests)),
            Some(LeaseSeen::Absent | LeaseSeen::Stranger { .. } | LeaseSeen::Newer { .. })
            | None => (None, None),
        };
        let paused = requests.is_some_and(|requests| requests.paused);
        self.paused.set(i64::from(paused));
        self.qos_declared.set(i64::from(u8::from(policy.qos)));
        let enforced = record.map_or(0, |record| i64::from(u8::from(record.qos_enforced)));
        self.qos_enforced.set(enforced);
        let serving = record.filter(|record| record.term.stage == Stage::Serving);
        for phase in [Phase::Single, Phase::Async, Phase::SemiSync, Phase::Sync] {
            let on = serving.is_some_and(|record| record.phase == phase);
            self.state
                .with_label_values(&[phase.as_str()])
                .set(i64::from(on));
        }
        self.state
            .with_label_values(&["paused"])
            .set(i64::from(paused));
        let fenced = decision.reason == Reason::PermitEnding;
        self.state
            .with_label_values(&["fenced"])
            .set(i64::from(fenced));
        let Some(report) = &decision.report else {
            return;
        };
        self.electable.reset();
        self.electable
            .with_label_values(&[report.electable.as_str()])
            .set(1);
    }

    /// How the operator's broker.conf stands to the running broker.
    pub fn config(&self, restart_pending: bool, valid: bool) {
        self.config_restart_pending.set(i64::from(restart_pending));
        self.config_valid.set(i64::from(valid));
    }

    /// This member became master, or ceased to be.
    pub fn transition(&self, kind: &str, result: &str, clock: Clock) {
        self.transitions.with_label_values(&[kind, result]).inc();
        let wall = clock.wall().as_millisecond();
        self.last_transition
            .set(Duration::from_millis(u64::try_from(wall).unwrap_or(0)).as_secs_f64());
    }
}

/// Java's offsets and our epochs fit into 63 bits; what does not is shown as the largest number.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Makes and registers.
struct New<'a>(&'a Registry);

impl New<'_> {
    fn keep<C: prometheus::core::Collector + Clone + 'static>(
        &self,
        made: C,
    ) -> Result<C, prometheus::Error> {
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.keep(IntGauge::new(name, help)?)
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        self.keep(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn float(&self, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
        self.keep(Gauge::new(name, help)?)
    }

    fn floats(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<GaugeVec, prometheus::Error> {
        self.keep(GaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.keep(IntCounter::new(name, help)?)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.keep(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn histogram(&self, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
        self.keep(Histogram::with_opts(
            HistogramOpts::new(name, help).buckets(FAST.to_vec()),
        )?)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<HistogramVec, prometheus::Error> {
        let opts = HistogramOpts::new(name, help).buckets(FAST.to_vec());
        self.keep(HistogramVec::new(opts, labels)?)
    }
}
