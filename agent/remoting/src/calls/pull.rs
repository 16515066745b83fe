//! Pulling stored messages (11).

use super::reply;
use crate::call::Call;
use crate::code::{ResponseCode, request};
use crate::command::Command;
use crate::error::AnswerError;
use crate::message::{Message, messages};
use crate::offset::QueueOffset;

/// "The request carries its own subscription", so that no consumer needs to be registered.
const WITH_SUBSCRIPTION: u32 = 4;

/// Reads messages of one queue. It does not wait for new ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullMessages {
    /// The topic.
    pub topic: String,
    /// The queue.
    pub queue_id: u32,
    /// From which message on.
    pub from: QueueOffset,
    /// At most so many; the broker gives at most 32.
    pub at_most: u32,
    /// The consumer group it is done for. Nothing is committed.
    pub group: String,
}

/// What a queue held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// What the broker says about the place asked for.
    pub status: PullStatus,
    /// Where to read on.
    pub next: QueueOffset,
    /// Start of the queue.
    pub min: Option<QueueOffset>,
    /// End of the queue.
    pub max: Option<QueueOffset>,
    /// The messages.
    pub messages: Vec<Message>,
}

/// What the broker says about the place asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullStatus {
    /// There are messages.
    Found,
    /// It is the end of the queue.
    NothingNew,
    /// Nothing there, but further on: ask again from `next`.
    Retry,
    /// It lies outside of the queue: `next` is the nearest place inside.
    Moved,
}

impl PullStatus {
    fn from_code(code: ResponseCode) -> Option<Self> {
        match code {
            ResponseCode::SUCCESS => Some(Self::Found),
            ResponseCode::PULL_NOT_FOUND => Some(Self::NothingNew),
            ResponseCode::PULL_RETRY_IMMEDIATELY => Some(Self::Retry),
            ResponseCode::PULL_OFFSET_MOVED => Some(Self::Moved),
            _ => None,
        }
    }
}

impl Call for PullMessages {
    type Answer = Pulled;

    fn request(&self) -> Command {
        Command::request(request::PULL_MESSAGE)
            .with("consumerGroup", &self.group)
            .with("topic", &self.topic)
            .with("queueId", self.queue_id)
            .with("queueOffset", self.from)
            .with("maxMsgNums", self.at_most)
            .with("sysFlag", WITH_SUBSCRIPTION)
            .with("commitOffset", 0)
            .with("suspendTimeoutMillis", 0)
            .with("subscription", "*")
            .with("subVersion", 0)
            .with("expressionType", "TAG")
    }

    fn answer(&self, reply: &Command) -> Result<Pulled, AnswerError> {
        let Some(status) = PullStatus::from_code(reply::code(reply)) else {
            return Err(reply::refused(reply));
        };
        let next: i64 = reply::number(reply, "nextBeginOffset")?;
        Ok(Pulled {
            status,
            next: QueueOffset::from_java(next).ok_or_else(|| {
                reply::malformed("nextBeginOffset", &next.to_string(), "an offset")
            })?,
            min: QueueOffset::from_java(reply::number(reply, "minOffset")?),
            max: QueueOffset::from_java(reply::number(reply, "maxOffset")?),
            messages: match status {
                PullStatus::Found => messages(&reply.body).map_err(AnswerError::Records)?,
                PullStatus::NothingNew | PullStatus::Retry | PullStatus::Moved => Vec::new(),
            },
        })
    }
}
