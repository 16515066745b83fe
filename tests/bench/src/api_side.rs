//! What a real API server and its etcd do, by their own account.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Result;
use playground::RealApi;
use playground::clock::now;

use crate::cost::{Cost, cost};
use crate::scrape::series;

/// One look.
pub(crate) struct ApiSide {
    at: Instant,
    server: Cost,
    etcd: Cost,
    requests: Requests,
}

/// How many requests by verb, resource and status code.
pub(crate) type Requests = BTreeMap<(String, String, String), f64>;

/// What happened between two looks.
pub(crate) struct Between {
    /// Seconds.
    pub(crate) span: f64,
    /// Requests per second.
    pub(crate) rates: Requests,
    pub(crate) server_rss_mib: f64,
    /// Share of a core, 0 to many.
    pub(crate) server_cores: f64,
    pub(crate) etcd_rss_mib: f64,
    pub(crate) etcd_cores: f64,
}

impl ApiSide {
    /// Looks now.
    pub(crate) async fn look(api: &mut RealApi) -> Result<Self> {
        let metrics = api.metrics().await?;
        let mut requests = Requests::new();
        for (labels, count) in series(&metrics, "apiserver_request_total") {
            let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
            // What has no resource is our own look.
            if label("resource").is_empty() {
                continue;
            }
            let key = (label("verb"), label("resource"), label("code"));
            *requests.entry(key).or_default() += count;
        }
        Ok(Self {
            at: now(),
            server: cost(api.server()?.pid())?,
            etcd: cost(api.etcd()?.pid())?,
            requests,
        })
    }

    /// What happened since an earlier look.
    pub(crate) fn since(&self, before: &Self) -> Between {
        let span = self.at.duration_since(before.at).as_secs_f64();
        let rates = self.requests.iter().map(|(key, count)| {
            let had = before.requests.get(key).copied().unwrap_or_default();
            (key.clone(), (count - had) / span)
        });
        Between {
            span,
            rates: rates.filter(|(_, rate)| *rate > 0.0).collect(),
            server_rss_mib: self.server.rss_mib,
            server_cores: (self.server.cpu - before.server.cpu) / span,
            etcd_rss_mib: self.etcd.rss_mib,
            etcd_cores: (self.etcd.cpu - before.etcd.cpu) / span,
        }
    }
}

impl Between {
    /// Prints requests, for all groups and scaled to one; without what the server does for itself, where that is known.
    pub(crate) fn print(&self, idle: Option<&Self>, groups: f64) {
        println!(
            "\nby the API server's own count, in {:.0} s                      per second   per group and hour",
            self.span
        );
        for (key, rate) in &self.rates {
            let own = idle.and_then(|idle| idle.rates.get(key).copied());
            let own = own.unwrap_or_default();
            let rate = rate - own;
            let (verb, resource, code) = key;
            println!(
                "{:<58} {rate:>12.3} {:>12.1}   (itself: {own:.3}/s)",
                format!("{verb} {resource} {code}"),
                rate / groups * 3600.0
            );
        }
        let say = |who: &str, rss: f64, cores: f64, idle: f64| {
            println!(
                "{who}: {rss:.0} MiB, {:.1} % of a core ({:.1} % without agents)",
                cores * 100.0,
                idle * 100.0
            );
        };
        say(
            "kube-apiserver",
            self.server_rss_mib,
            self.server_cores,
            idle.map_or(0.0, |idle| idle.server_cores),
        );
        say(
            "etcd",
            self.etcd_rss_mib,
            self.etcd_cores,
            idle.map_or(0.0, |idle| idle.etcd_cores),
        );
    }
}
