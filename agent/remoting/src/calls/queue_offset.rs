//! The ends of a queue (30, 31), and a consumer group's position in it (14, 15).

use super::reply;
use crate::call::Call;
use crate::code::{ResponseCode, request};
use crate::command::Command;
use crate::error::AnswerError;
use crate::offset::QueueOffset;

/// Asks a broker where a queue ends: the place of the next message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetMaxOffset {
    /// The topic.
    pub topic: String,
    /// The queue.
    pub queue_id: u32,
}

/// Asks a broker where a queue starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetMinOffset {
    /// The topic.
    pub topic: String,
    /// The queue.
    pub queue_id: u32,
}

/// Asks a broker how far a consumer group has read a queue. Where a queue still has its first message, 4.9 answers 0 for
/// a group that it does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetConsumerOffset {
    /// The consumer group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The queue.
    pub queue_id: u32,
}

/// Tells a broker how far a consumer group has read a queue. 5.x refuses it for a group that it does not know; a pull for
/// the group makes it known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetConsumerOffset {
    /// The consumer group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The queue.
    pub queue_id: u32,
    /// The next message that it has not read.
    pub offset: QueueOffset,
}

fn queue(code: i32, topic: &str, queue_id: u32) -> Command {
    Command::request(code)
        .with("topic", topic)
        .with("queueId", queue_id)
}

fn offset(reply: &Command) -> Result<Option<QueueOffset>, AnswerError> {
    reply::expect_success(reply)?;
    reply::number(reply, "offset").map(QueueOffset::from_java)
}

impl Call for GetMaxOffset {
    /// `None`: there is no such queue.
    type Answer = Option<QueueOffset>;

    fn request(&self) -> Command {
        queue(request::GET_MAX_OFFSET, &self.topic, self.queue_id)
    }

    fn answer(&self, reply: &Command) -> Result<Option<QueueOffset>, AnswerError> {
        offset(reply)
    }
}

impl Call for GetMinOffset {
    /// `None`: there is no such queue.
    type Answer = Option<QueueOffset>;

    fn request(&self) -> Command {
        queue(request::GET_MIN_OFFSET, &self.topic, self.queue_id)
    }

    fn answer(&self, reply: &Command) -> Result<Option<QueueOffset>, AnswerError> {
        offset(reply)
    }
}

impl Call for GetConsumerOffset {
    /// `None`: the group has no position there.
    type Answer = Option<QueueOffset>;

    fn request(&self) -> Command {
        queue(request::QUERY_CONSUMER_OFFSET, &self.topic, self.queue_id)
            .with("consumerGroup", &self.group)
    }

    fn answer(&self, reply: &Command) -> Result<Option<QueueOffset>, AnswerError> {
        if reply::code(reply) == ResponseCode::QUERY_NOT_FOUND {
            return Ok(None);
        }
        offset(reply)
    }
}

impl Call for SetConsumerOffset {
    type Answer = ();

    fn request(&self) -> Command {
        queue(request::UPDATE_CONSUMER_OFFSET, &self.topic, self.queue_id)
            .with("consumerGroup", &self.group)
            .with("commitOffset", self.offset)
    }

    fn answer(&self, reply: &Command) -> Result<(), AnswerError> {
        reply::expect_success(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_position_is_none() {
        let call = GetConsumerOffset {
            group: "g".to_owned(),
            topic: "t".to_owned(),
            queue_id: 0,
        };
        assert_eq!(call.answer(&Command::request(22)).unwrap(), None);
        assert_eq!(
            call.answer(&Command::request(0).with("offset", -1))
                .unwrap(),
            None
        );
        let answer = call.answer(&Command::request(0).with("offset", 5)).unwrap();
        assert_eq!(answer, Some(QueueOffset::new(5)));
    }
}
