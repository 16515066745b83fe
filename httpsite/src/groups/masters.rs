//! Which groups have a master, as a metric.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::Groups;
use crate::clock::Clock;
use crate::metrics::Metrics;

/// How often it is made anew.
const PERIOD: Duration = Duration::from_secs(2);

/// Keeps `rocketmq_httpsite_group_master_present` true; runs until it is dropped.
pub(crate) async fn count_masters(groups: watch::Receiver<Groups>, metrics: Metrics, clock: Clock) {
    let mut shown: BTreeMap<[String; 3], bool> = BTreeMap::new();
    loop {
        let views = groups.borrow().clone().views(clock.tick());
        let now: BTreeMap<[String; 3], bool> = views
            .into_iter()
            .map(|view| {
                (
                    [view.namespace, view.cluster, view.broker],
                    view.master_present,
                )
            })
            .collect();
        let gauges = &metrics.group_master_present;
        for gone in shown.keys().filter(|key| !now.contains_key(*key)) {
            let _ = gauges.remove_label_values(&gone.each_ref().map(String::as_str));
        }
        for (key, present) in &now {
            let labels = key.each_ref().map(String::as_str);
            gauges.with_label_values(&labels).set(i64::from(*present));
        }
        shown = now;
        sleep(PERIOD).await;
    }
}
