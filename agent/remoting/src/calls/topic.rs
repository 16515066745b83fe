//! Creating a topic (17; facts §2.1).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::reply;
use crate::call::Call;
use crate::code::request;
use crate::command::Command;
use crate::error::AnswerError;

/// What clients may do with a topic: 4 reads, 2 writes, 6 both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Permission(u32);

impl Permission {
    /// Reading only.
    pub const READ: Self = Self(4);
    /// Reading and writing.
    pub const READ_WRITE: Self = Self(6);

    /// From its number, as in `brokerPermission`.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// What both allow.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// May clients write?
    pub const fn may_write(self) -> bool {
        self.0 & 2 != 0
    }

    /// May clients read?
    pub const fn may_read(self) -> bool {
        self.0 & 4 != 0
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Creates a topic on one broker, or changes it. Send it to masters only: 4.9 and 5.0.0 to 5.1.3 refuse it on a slave,
/// later ones accept it there and lose it at the next sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTopic {
    /// Its name.
    pub topic: String,
    /// How many queues it has, for reading and writing alike.
    pub queues: u32,
    /// What clients may do with it.
    pub permission: Permission,
}

impl Call for CreateTopic {
    type Answer = ();

    fn request(&self) -> Command {
        Command::request(request::UPDATE_AND_CREATE_TOPIC)
            .with("topic", &self.topic)
            // Must be there; any existing topic does, and this one always exists.
            .with("defaultTopic", "TBW102")
            .with("readQueueNums", self.queues)
            .with("writeQueueNums", self.queues)
            .with("perm", self.permission)
            .with("topicFilterType", "SINGLE_TAG")
            .with("topicSysFlag", 0)
            .with("order", false)
    }

    fn answer(&self, reply: &Command) -> Result<(), AnswerError> {
        reply::expect_success(reply)
    }
}
