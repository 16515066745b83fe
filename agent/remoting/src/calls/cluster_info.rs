//! The brokers that a name server knows (106), and removing one (104; facts §2.5).

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::reply;
use crate::call::Call;
use crate::code::request;
use crate::command::Command;
use crate::error::AnswerError;

/// Asks a name server for all brokers that are registered with it.
#[derive(Clone, Copy, Debug)]
pub struct GetClusterInfo;

/// All brokers of a name server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ClusterInfo {
    /// Groups by `brokerName`.
    #[serde(rename = "brokerAddrTable", default)]
    pub groups: BTreeMap<String, BrokerGroup>,
    /// Names of the groups of each cluster.
    #[serde(rename = "clusterAddrTable", default)]
    pub clusters: BTreeMap<String, BTreeSet<String>>,
}

/// A master and its slaves, as a name server knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerGroup {
    /// `brokerClusterName`.
    #[serde(default)]
    pub cluster: String,
    /// `brokerName`.
    pub broker_name: String,
    /// `ip:port` by broker id; the master has 0.
    #[serde(rename = "brokerAddrs", default)]
    pub addresses: BTreeMap<u64, String>,
}

impl BrokerGroup {
    /// The master's `ip:port`.
    pub fn master(&self) -> Option<&str> {
        self.addresses.get(&0).map(String::as_str)
    }
}

impl Call for GetClusterInfo {
    type Answer = ClusterInfo;

    fn request(&self) -> Command {
        Command::request(request::GET_BROKER_CLUSTER_INFO)
    }

    fn answer(&self, reply: &Command) -> Result<ClusterInfo, AnswerError> {
        reply::expect_success(reply)?;
        reply::json(reply, "cluster info")
    }
}

/// Removes a broker's route from one name server. A broker that lives comes back with its next registration.
///
/// Up to 5.0.0 the name server removes whatever address is registered under `broker_id`, so check with
/// [`GetClusterInfo`] that it is still the one you mean: naming a loser's address has removed the winner (seen on
/// 4.9.7). From 5.1.0 on only this very address is removed, a little after the reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnregisterBroker {
    /// `brokerClusterName`.
    pub cluster: String,
    /// `brokerName`.
    pub broker_name: String,
    /// The address that it registered.
    pub address: String,
    /// The id that it registered under; 0 for a master.
    pub broker_id: u64,
}

impl Call for UnregisterBroker {
    type Answer = ();

    fn request(&self) -> Command {
        Command::request(request::UNREGISTER_BROKER)
            .with("clusterName", &self.cluster)
            .with("brokerName", &self.broker_name)
            .with("brokerAddr", &self.address)
            .with("brokerId", self.broker_id)
    }

    fn answer(&self, reply: &Command) -> Result<(), AnswerError> {
        reply::expect_success(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_broker_ids_are_read() {
        let body = r#"{"brokerAddrTable":{"b":{"brokerAddrs":{0:"10.0.0.1:10911",1:"10.0.0.2:10911"},"brokerName":"b",
            "cluster":"c","enableActingMaster":false}},"clusterAddrTable":{"c":["b"]}}"#;
        let info = GetClusterInfo
            .answer(&Command::request(0).with_body(body))
            .unwrap();
        assert_eq!(info.groups["b"].master(), Some("10.0.0.1:10911"));
        assert_eq!(info.groups["b"].addresses[&1], "10.0.0.2:10911");
        assert!(info.clusters["c"].contains("b"));
    }
}
