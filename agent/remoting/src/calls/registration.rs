//! Registering a broker with a name server on its behalf (103), and who did it last (322; facts §2.5, §6.5).

use serde::{Deserialize, Serialize};

use super::reply;
use super::topics::Topics;
use crate::call::Call;
use crate::code::request;
use crate::command::Command;
use crate::error::AnswerError;

/// Which state of a broker's topics it is. Name servers compare for equality only; `state_version` alone is also compared
/// by size, and decides between two addresses that claim the same id (5.x, `RouteInfoManager#registerBroker`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DataVersion {
    /// Counted up with every change.
    pub counter: i64,
    /// The controller's epoch; 0 without a controller, absent on 4.9.
    #[serde(default)]
    pub state_version: i64,
    /// When it changed, in ms since 1970 by the broker's clock.
    pub timestamp: i64,
}

impl DataVersion {
    /// The same topics, announced by somebody else than the broker. No broker has timestamp 0: it takes the time of its
    /// start. So the broker's own next registration counts as a change and always wins.
    #[must_use]
    pub const fn on_behalf(self) -> Self {
        Self {
            timestamp: 0,
            ..self
        }
    }

    /// Was it made by [`on_behalf`](Self::on_behalf)?
    pub const fn is_on_behalf(self) -> bool {
        self.timestamp == 0
    }
}

/// Registers a broker with one name server, in the broker's name.
///
/// The name server ties the broker to **the connection this arrives on**, and forgets the broker at once when that
/// connection ends, unless somebody registered the same address on another connection since (`onChannelDestroy`; seen on
/// 4.9.7, 5.1.4 and 5.5.0: 3 to 40 ms). The last one who registers an id has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterBroker {
    /// `brokerClusterName`.
    pub cluster: String,
    /// `brokerName`.
    pub broker_name: String,
    /// The address that clients are given.
    pub address: String,
    /// 0 for a master.
    pub broker_id: u64,
    /// What slaves are told to replicate from.
    pub ha_address: String,
    /// `enableSlaveActingMaster`; none for a 4.9 broker, which does not say. A 5.x name server takes the topics of a slave
    /// without a master only from a broker that says it.
    pub acting_master: Option<bool>,
    /// All topics: a 5.x name server refuses a first registration with a single one.
    pub topics: Topics,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    topic_config_serialize_wrapper: &'a Topics,
    filter_server_list: [(); 0],
}

impl Call for RegisterBroker {
    type Answer = ();

    fn request(&self) -> Command {
        let body = Body {
            topic_config_serialize_wrapper: &self.topics,
            filter_server_list: [],
        };
        let body =
            serde_json::to_string(&body).expect("numbers and texts under text keys are JSON");
        // No bodyCrc32: 0, its default, is not checked, and TCP has a checksum of its own.
        let mut request = Command::request(request::REGISTER_BROKER);
        if let Some(acting_master) = self.acting_master {
            request = request.with("enableActingMaster", acting_master);
        }
        request
            .with("clusterName", &self.cluster)
            .with("brokerName", &self.broker_name)
            .with("brokerAddr", &self.address)
            .with("brokerId", self.broker_id)
            .with("haServerAddr", &self.ha_address)
            .with("compressed", false)
            .with_body(body)
    }

    fn answer(&self, reply: &Command) -> Result<(), AnswerError> {
        reply::expect_success(reply)
    }
}

/// Asks a name server for the version of the topics that an address registered with last. Counts as a sign of life of
/// that address: on 4.9 if its version is `guess`, on 5.x in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetRegisteredVersion {
    /// `brokerClusterName`.
    pub cluster: String,
    /// `brokerName`.
    pub broker_name: String,
    /// The address.
    pub address: String,
    /// 0 for a master.
    pub broker_id: u64,
    /// What the asker thinks it is.
    pub guess: DataVersion,
}

impl Call for GetRegisteredVersion {
    /// `None`: the address is not registered.
    type Answer = Option<DataVersion>;

    fn request(&self) -> Command {
        let guess = serde_json::to_string(&self.guess).expect("numbers under text keys are JSON");
        Command::request(request::QUERY_DATA_VERSION)
            .with("clusterName", &self.cluster)
            .with("brokerName", &self.broker_name)
            .with("brokerAddr", &self.address)
            .with("brokerId", self.broker_id)
            .with_body(guess)
    }

    fn answer(&self, reply: &Command) -> Result<Option<DataVersion>, AnswerError> {
        reply::expect_success(reply)?;
        if reply.body.is_empty() {
            return Ok(None);
        }
        reply::json(reply, "data version").map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_body_is_what_a_broker_sends_but_for_the_version() {
        let own = DataVersion {
            counter: 7,
            state_version: 0,
            timestamp: 1_795_393_886_712,
        };
        let call = RegisterBroker {
            cluster: "c".to_owned(),
            broker_name: "b".to_owned(),
            address: "10.0.0.1:10911".to_owned(),
            broker_id: 1,
            ha_address: "255.255.255.255:10912".to_owned(),
            acting_master: Some(false),
            topics: Topics {
                data_version: own.on_behalf(),
                topics: BTreeMap::new(),
            },
        };
        let request = call.request();
        assert_eq!(
            String::from_utf8(request.body).unwrap(),
            r#"{"topicConfigSerializeWrapper":{"dataVersion":{"counter":7,"stateVersion":0,"timestamp":0},"topicConfigTable":{}},"filterServerList":[]}"#
        );
        assert_eq!(request.ext["brokerId"], "1");
        assert_eq!(request.ext["enableActingMaster"], "false");
        assert!(own.on_behalf().is_on_behalf() && !own.is_on_behalf());
    }

    #[test]
    fn an_address_that_is_not_there_has_no_version() {
        let call = GetRegisteredVersion {
            cluster: "c".to_owned(),
            broker_name: "b".to_owned(),
            address: "10.0.0.1:10911".to_owned(),
            broker_id: 0,
            guess: DataVersion::default(),
        };
        let answer = |body: &str| call.answer(&Command::request(0).with_body(body)).unwrap();
        assert_eq!(answer(""), None);
        let seen = answer(r#"{"counter":2,"timestamp":5}"#).unwrap();
        assert_eq!((seen.counter, seen.timestamp), (2, 5));
    }
}
