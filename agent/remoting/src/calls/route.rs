//! Where a topic's queues are (105; facts §2.5).

use serde::Deserialize;

use super::cluster_info::BrokerGroup;
use super::reply;
use super::topic::Permission;
use crate::call::Call;
use crate::code::{ResponseCode, request};
use crate::command::Command;
use crate::error::AnswerError;

/// Asks a name server for the route of one topic: what every client polls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetRoute {
    /// The topic.
    pub topic: String,
}

/// Where a topic's queues are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// The groups that have the topic.
    #[serde(rename = "brokerDatas", default)]
    pub groups: Vec<BrokerGroup>,
    /// The queues in each group.
    #[serde(rename = "queueDatas", default)]
    pub queues: Vec<QueueData>,
}

/// A topic's queues in one group.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueData {
    /// `brokerName`.
    pub broker_name: String,
    /// What clients may do with them.
    #[serde(rename = "perm")]
    pub permission: Permission,
    /// How many queues are read from.
    pub read_queue_nums: u32,
    /// How many queues are written to.
    pub write_queue_nums: u32,
}

impl Call for GetRoute {
    /// `None`: the name server does not know the topic.
    type Answer = Option<Route>;

    fn request(&self) -> Command {
        Command::request(request::GET_ROUTEINFO_BY_TOPIC)
            .with("topic", &self.topic)
            .with("acceptStandardJsonOnly", true)
    }

    fn answer(&self, reply: &Command) -> Result<Option<Route>, AnswerError> {
        if reply::code(reply) == ResponseCode::TOPIC_NOT_EXIST {
            return Ok(None);
        }
        reply::expect_success(reply)?;
        reply::json(reply, "route").map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_topic_is_an_answer() {
        let call = GetRoute {
            topic: "t".to_owned(),
        };
        assert_eq!(call.answer(&Command::request(17)).unwrap(), None);
        assert!(matches!(
            call.answer(&Command::request(1)),
            Err(AnswerError::Refused { .. })
        ));
    }
}
