//! The operator's desk: what a person orders by hand, in one ConfigMap or one file.
//!
//! | key | value | what it does |
//! |---|---|---|
//! | `override.<list>` | `ip:port;ip:port` | this is the list, whatever the sources say |
//! | `downgrade.<list>` | `who: why` | the clients of this list get its partner's |
//!
//! In a ConfigMap both stand in its data, or in annotations under `rocketmq-ha.io/`, so that `kubectl annotate` is a switch;
//! in a file they are lines `key=value`. An order that cannot be read is ignored, and the one before it stays.

pub(crate) mod place;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use crate::list_name::ListName;
use crate::name_server::{HostNames, ServerSet, parse_servers};

/// The prefix of annotations.
pub const PREFIX: &str = "rocketmq-ha.io/";
/// The longest `who: why` that is kept, characters.
const MAX_SAID: usize = 200;

/// All orders in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desk {
    /// Lists given by hand.
    pub overrides: BTreeMap<ListName, ServerSet>,
    /// Lists whose clients are sent to the partner; who and why.
    pub downgrades: BTreeMap<ListName, String>,
    /// What could not be read.
    pub faults: Vec<String>,
    /// Which version of the object this was, for telling it once.
    pub version: String,
}

impl Desk {
    /// The orders in `map`; `before` is what was in force.
    pub fn of_config_map(map: &ConfigMap, before: &Self, names: HostNames) -> Self {
        let data = map.data.iter().flatten();
        let annotations = map.metadata.annotations.iter().flatten();
        let orders = data
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .chain(
                annotations
                    .filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, value.as_str()))),
            );
        let version = map.metadata.resource_version.clone().unwrap_or_default();
        Self::read(orders, version, before, names)
    }

    /// The orders in a file of lines `key=value`.
    pub fn of_text(text: &str, before: &Self, names: HostNames) -> Self {
        let lines = text.lines().map(str::trim);
        let orders = lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| line.split_once('=').unwrap_or((line, "")))
            .map(|(key, value)| (key.trim(), value.trim()));
        Self::read(orders, String::new(), before, names)
    }

    fn read<'a>(
        orders: impl Iterator<Item = (&'a str, &'a str)>,
        version: String,
        before: &Self,
        names: HostNames,
    ) -> Self {
        let mut desk = Self {
            version,
            ..Self::default()
        };
        for (key, value) in orders {
            let Some((order, list)) = key.split_once('.') else {
                continue;
            };
            if !matches!(order, "override" | "downgrade") {
                continue;
            }
            let list: ListName = match list.parse() {
                Ok(list) => list,
                Err(error) => {
                    desk.faults.push(format!("{key}: {error}"));
                    continue;
                }
            };
            if order == "downgrade" {
                desk.downgrades
                    .insert(list, value.trim().chars().take(MAX_SAID).collect());
                continue;
            }
            match parse_servers(value, names) {
                // Emptied: no override.
                Ok(servers) if servers.is_empty() => {}
                Ok(servers) => {
                    desk.overrides.insert(list, servers);
                }
                Err(error) => {
                    desk.faults.push(format!("{key}: {error}"));
                    if let Some(servers) = before.overrides.get(&list) {
                        desk.overrides.insert(list, servers.clone());
                    }
                }
            }
        }
        desk
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn name(text: &str) -> ListName {
        text.parse().unwrap()
    }

    #[test]
    fn a_file_and_a_config_map_say_the_same() {
        let text =
            "# by hand\noverride.nsaddr = 10.0.0.1:9876\ndowngrade.nsaddr-u1=ann: room a is dark\n";
        let before = Desk::default();
        let desk = Desk::of_text(text, &before, HostNames::Refused);
        assert_eq!(desk.downgrades[&name("nsaddr-u1")], "ann: room a is dark");
        assert_eq!(desk.overrides[&name("nsaddr")].len(), 1);
        let map: ConfigMap = serde_json::from_value(json!({
            "metadata": {"annotations": {"rocketmq-ha.io/downgrade.nsaddr-u1": "ann: room a is dark", "x/y": "z"}},
            "data": {"override.nsaddr": "10.0.0.1:9876", "other": "x"},
        }))
        .unwrap();
        assert_eq!(Desk::of_config_map(&map, &before, HostNames::Refused), desk);
    }

    #[test]
    fn an_order_that_cannot_be_read_leaves_the_one_before_in_force() {
        let good = Desk::of_text(
            "override.a=10.0.0.1:1",
            &Desk::default(),
            HostNames::Refused,
        );
        let bad = Desk::of_text("override.a=10.0.0.1", &good, HostNames::Refused);
        assert_eq!(bad.overrides, good.overrides);
        assert_eq!(bad.faults.len(), 1);
        let gone = Desk::of_text("override.a=", &bad, HostNames::Refused);
        assert!(gone.overrides.is_empty() && gone.faults.is_empty());
    }
}
