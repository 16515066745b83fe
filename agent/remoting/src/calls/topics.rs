//! A broker's topics as a name server keeps them (21; facts §2.1).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::registration::DataVersion;
use super::reply;
use super::topic::Permission;
use crate::call::Call;
use crate::code::request;
use crate::command::Command;
use crate::error::AnswerError;

/// Asks a broker for all its topics. More than 16 MiB of them cannot be asked for: the frame would be refused.
#[derive(Clone, Copy, Debug)]
pub struct GetTopics;

/// All topics of a broker, without what only brokers look at (filters, attributes, static queues).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Topics {
    /// Changes with every change of a topic.
    pub data_version: DataVersion,
    /// By name.
    #[serde(rename = "topicConfigTable")]
    pub topics: BTreeMap<String, Topic>,
}

/// One topic's queues on this broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Topic {
    /// Its name, which the name server reads from here and not from the key.
    pub topic_name: String,
    /// How many queues are read from.
    pub read_queue_nums: u32,
    /// How many queues are written to.
    pub write_queue_nums: u32,
    /// What clients may do with it.
    #[serde(rename = "perm")]
    pub permission: Permission,
    /// Java's bits for unit topics.
    #[serde(default)]
    pub topic_sys_flag: i32,
}

impl Topics {
    /// Takes from every topic what `broker` does not allow, as a broker does before it registers.
    pub fn restrict(&mut self, broker: Permission) {
        for topic in self.topics.values_mut() {
            topic.permission = topic.permission.and(broker);
        }
    }
}

impl Call for GetTopics {
    type Answer = Topics;

    fn request(&self) -> Command {
        Command::request(request::GET_ALL_TOPIC_CONFIG)
    }

    fn answer(&self, reply: &Command) -> Result<Topics, AnswerError> {
        reply::expect_success(reply)?;
        reply::json(reply, "topics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As 5.5.0 and 4.9.7 write them.
    const NEW: &str = r#"{"dataVersion":{"counter":3,"stateVersion":0,"timestamp":1795393886712},"mappingDataVersion":{"counter":0,"stateVersion":0,"timestamp":1},
        "topicConfigTable":{"t":{"attributes":{"+message.type":"NORMAL"},"order":false,"perm":6,"readQueueNums":8,"topicFilterType":"SINGLE_TAG",
        "topicName":"t","topicSysFlag":0,"writeQueueNums":4}},"topicQueueMappingDetailMap":{"s":{"hostedQueues":{0:[]}}},"topicQueueMappingInfoMap":{}}"#;
    const OLD: &str = r#"{"dataVersion":{"counter":3,"timestamp":1795393886712},"topicConfigTable":{"t":{"order":false,"perm":6,"readQueueNums":8,
        "topicFilterType":"SINGLE_TAG","topicName":"t","topicSysFlag":0,"writeQueueNums":4}}}"#;

    #[test]
    fn both_generations_are_read_and_written_alike() {
        let read = |body: &str| {
            GetTopics
                .answer(&Command::request(0).with_body(body))
                .unwrap()
        };
        let mut topics = read(NEW);
        assert_eq!(topics, read(OLD));
        topics.restrict(Permission::READ);
        assert_eq!(
            serde_json::to_string(&topics).unwrap(),
            r#"{"dataVersion":{"counter":3,"stateVersion":0,"timestamp":1795393886712},"topicConfigTable":{"t":{"topicName":"t","readQueueNums":8,"writeQueueNums":4,"perm":4,"topicSysFlag":0}}}"#
        );
    }
}
