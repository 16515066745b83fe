//! What is counted (promises §3). One registry of our own, no globals.

use std::path::Path;

use hyper::StatusCode;
use jiff::Timestamp;
use prometheus::{
    Encoder as _, GaugeVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};
use serve::Unsecured;

use crate::board::{Account, Board};
use crate::change::{Health, Origin};
use crate::clock::Clock;
use crate::probe::Findings;

/// All metrics. Clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    ok: IntCounter,
    not_modified: IntCounter,
    unavailable: IntCounter,
    name_servers: IntGaugeVec,
    age: GaugeVec,
    stale: IntGaugeVec,
    origin: IntGaugeVec,
    downgraded: IntGaugeVec,
    source_up: IntGaugeVec,
    up: IntGaugeVec,
    latency: GaugeVec,
    tls_expires: IntGaugeVec,
    tls_reload_failures: IntCounter,
    tls_failures: IntCounterVec,
    /// 1 where a group's master is present, by its Lease and its report.
    pub group_master_present: IntGaugeVec,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// Two metrics of one name: a bug.
    pub fn register() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        let new = New(&registry);
        let build = new.ints("build_info", "1; the version is the label", &["version"])?;
        build.with_label_values(&[crate::VERSION]).set(1);
        let requests = IntCounterVec::new(
            Opts::new("rocketmq_httpsite_requests_total", "Answers by status code"),
            &["code"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        let tls_reload_failures = IntCounter::new(
            "rocketmq_httpsite_tls_reload_failures_total",
            "New certificates that were not taken because something is wrong with them",
        )?;
        registry.register(Box::new(tls_reload_failures.clone()))?;
        let tls_failures = IntCounterVec::new(
            Opts::new(
                "rocketmq_httpsite_tls_handshake_failures_total",
                "Connections to the TLS port that were closed before they were secured",
            ),
            &["reason"],
        )?;
        registry.register(Box::new(tls_failures.clone()))?;
        Ok(Self {
            ok: requests.with_label_values(&["200"]),
            not_modified: requests.with_label_values(&["304"]),
            unavailable: requests.with_label_values(&["503"]),
            requests,
            name_servers: new.ints("nameservers", "Name servers on the list", &["list"])?,
            age: new.floats(
                "list_age_seconds",
                "Since a source in working order last stood behind the list",
                &["list"],
            )?,
            stale: new.ints(
                "stale",
                "1 while no source in working order stands behind the list, or there is none",
                &["list"],
            )?,
            origin: new.ints(
                "list_origin",
                "Where the list comes from",
                &["list", "origin"],
            )?,
            downgraded: new.ints(
                "downgraded",
                "1 while clients of the list are sent to its partner",
                &["list"],
            )?,
            source_up: new.ints(
                "source_up",
                "1 while the source is in working order",
                &["list", "source"],
            )?,
            up: new.ints(
                "nameserver_up",
                "1 while the name server answers its probe",
                &["nameserver"],
            )?,
            latency: new.floats(
                "nameserver_probe_seconds",
                "How long the last answer to a probe took",
                &["nameserver"],
            )?,
            tls_expires: new.ints(
                "tls_expires_timestamp_seconds",
                "When the certificate in use expires, in seconds since 1970",
                &["certificate"],
            )?,
            tls_reload_failures,
            tls_failures,
            group_master_present: new.ints(
                "group_master_present",
                "1 while a group's Lease has a holder that reports as master",
                &["namespace", "cluster", "broker"],
            )?,
            registry,
        })
    }

    /// For counters of other modules.
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Counts an answer.
    pub fn count(&self, status: StatusCode) {
        match status {
            StatusCode::OK => self.ok.inc(),
            StatusCode::NOT_MODIFIED => self.not_modified.inc(),
            StatusCode::SERVICE_UNAVAILABLE => self.unavailable.inc(),
            other => self.requests.with_label_values(&[other.as_str()]).inc(),
        }
    }

    /// Until when the certificate of the TLS port is good.
    pub fn tls_expires(&self, certificate: &Path, expires: Option<Timestamp>) {
        let certificate = certificate.to_string_lossy();
        let label = [certificate.as_ref()];
        match expires {
            Some(expires) => self
                .tls_expires
                .with_label_values(&label)
                .set(expires.as_second()),
            None => self.tls_expires.reset(),
        }
    }

    /// Counts a new certificate that was not taken.
    pub fn tls_reload_failed(&self) {
        self.tls_reload_failures.inc();
    }

    /// Counts a connection that was not secured.
    pub fn unsecured(&self, why: Unsecured) {
        self.tls_failures.with_label_values(&[why.as_str()]).inc();
    }

    /// Everything as text, with the gauges of this moment.
    pub fn text(&self, board: &Board, findings: &Findings, clock: Clock) -> String {
        for (name, place) in board.places() {
            let listed = place
                .published
                .borrow()
                .as_ref()
                .map_or(0, |published| published.list.servers().len());
            let label = [name.as_str()];
            let listed = i64::try_from(listed).unwrap_or(i64::MAX);
            self.name_servers.with_label_values(&label).set(listed);
            self.account(name.as_str(), &place.account.borrow(), clock);
        }
        self.up.reset();
        self.latency.reset();
        for (server, finding) in findings {
            let server = server.to_string();
            let up = i64::from(finding.health == Health::Alive);
            self.up.with_label_values(&[&server]).set(up);
            if let Some(ms) = finding.latency_ms {
                self.latency.with_label_values(&[&server]).set(ms / 1000.0);
            }
        }
        let mut text = Vec::new();
        // Writing into memory fails only for a metric without a sample, which is then left out.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }

    fn account(&self, list: &str, account: &Account, clock: Clock) {
        let age = account
            .fresh_at
            .map_or(f64::INFINITY, |at| clock.tick().since(at).as_secs_f64());
        let stale = account.stale || account.origin.is_none();
        let age = if stale { age } else { 0.0 };
        self.age.with_label_values(&[list]).set(age);
        self.stale.with_label_values(&[list]).set(i64::from(stale));
        let downgraded = i64::from(account.downgraded.is_some());
        self.downgraded.with_label_values(&[list]).set(downgraded);
        for origin in Origin::ALL {
            let is = i64::from(account.origin == Some(origin));
            let labels = [list, origin.as_str()];
            self.origin.with_label_values(&labels).set(is);
        }
        for source in &account.sources {
            let up = i64::from(source.servers.is_some() && source.fault.is_none());
            let labels = [list, source.text.as_str()];
            self.source_up.with_label_values(&labels).set(up);
        }
    }
}

struct New<'a>(&'a Registry);

impl New<'_> {
    fn ints(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        let gauges =
            IntGaugeVec::new(Opts::new(format!("rocketmq_httpsite_{name}"), help), labels)?;
        self.0.register(Box::new(gauges.clone()))?;
        Ok(gauges)
    }

    fn floats(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<GaugeVec, prometheus::Error> {
        let gauges = GaugeVec::new(Opts::new(format!("rocketmq_httpsite_{name}"), help), labels)?;
        self.0.register(Box::new(gauges.clone()))?;
        Ok(gauges)
    }
}
