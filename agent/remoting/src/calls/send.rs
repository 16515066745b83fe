//! Sending one message (310).

use std::collections::BTreeMap;

use super::reply;
use crate::call::Call;
use crate::code::{ResponseCode, request};
use crate::command::Command;
use crate::error::AnswerError;
use crate::offset::QueueOffset;

/// Sends one message to one queue of a master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendMessage {
    topic: String,
    queue_id: u32,
    group: String,
    born_timestamp_ms: u64,
    properties: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// A property that the wire format cannot carry.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "set message property {key:?}: keys and values must be free of the separators 0x01 and 0x02, and the key not empty"
)]
pub struct InvalidProperty {
    key: String,
}

const SEPARATORS: [char; 2] = ['\u{1}', '\u{2}'];

impl SendMessage {
    /// A message with this body. The queue must exist: 0 does whenever the topic does.
    pub fn new(topic: impl Into<String>, queue_id: u32, body: impl Into<Vec<u8>>) -> Self {
        Self {
            topic: topic.into(),
            queue_id,
            group: "rocketmq-ha".to_owned(),
            born_timestamp_ms: 0,
            properties: BTreeMap::new(),
            body: body.into(),
        }
    }

    /// The producer group it is sent for.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = group.into();
        self
    }

    /// When it was made, in ms since 1970. Left out it is 0.
    #[must_use]
    pub fn born_at(mut self, ms: u64) -> Self {
        self.born_timestamp_ms = ms;
        self
    }

    /// Sets a property, for example `KEYS`, `TAGS`, `UNIQ_KEY` or `DELAY`.
    ///
    /// # Errors
    /// Key or value hold a separator of the wire format, or the key is empty.
    pub fn property(mut self, key: &str, value: &str) -> Result<Self, InvalidProperty> {
        if key.is_empty() || key.contains(SEPARATORS) || value.contains(SEPARATORS) {
            return Err(InvalidProperty {
                key: key.to_owned(),
            });
        }
        self.properties.insert(key.to_owned(), value.to_owned());
        Ok(self)
    }

    /// Does not let the broker wait for disk or slaves.
    #[must_use]
    pub fn without_waiting(mut self) -> Self {
        self.properties
            .insert("WAIT".to_owned(), "false".to_owned());
        self
    }

    fn properties_text(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.properties {
            text.push_str(key);
            text.push('\u{1}');
            text.push_str(value);
            text.push('\u{2}');
        }
        text
    }
}

/// A message that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// How safely.
    pub status: SendStatus,
    /// Its id, which names broker address and commit-log offset.
    pub message_id: String,
    /// The queue it is in.
    pub queue_id: u32,
    /// Its place there.
    pub queue_offset: QueueOffset,
}

/// How safely a message was stored. In every case it is in the broker's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendStatus {
    /// All that was configured was waited for.
    Ok,
    /// Not on disk in time.
    FlushDiskTimeout,
    /// Not acknowledged by enough slaves in time.
    FlushSlaveTimeout,
    /// There was no slave to wait for (4.9).
    SlaveNotAvailable,
}

impl SendStatus {
    fn from_code(code: ResponseCode) -> Option<Self> {
        match code {
            ResponseCode::SUCCESS => Some(Self::Ok),
            ResponseCode::FLUSH_DISK_TIMEOUT => Some(Self::FlushDiskTimeout),
            ResponseCode::FLUSH_SLAVE_TIMEOUT => Some(Self::FlushSlaveTimeout),
            ResponseCode::SLAVE_NOT_AVAILABLE => Some(Self::SlaveNotAvailable),
            _ => None,
        }
    }
}

impl Call for SendMessage {
    type Answer = Sent;

    /// Argument names are those of `SendMessageRequestHeaderV2`.
    fn request(&self) -> Command {
        Command::request(request::SEND_MESSAGE_V2)
            .with("a", &self.group)
            .with("b", &self.topic)
            .with("c", "TBW102") // defaultTopic
            .with("d", 4) // defaultTopicQueueNums
            .with("e", self.queue_id)
            .with("f", 0) // sysFlag
            .with("g", self.born_timestamp_ms)
            .with("h", 0) // flag
            .with("i", self.properties_text())
            .with("j", 0) // reconsumeTimes
            .with("k", false) // unitMode
            .with("m", false) // batch
            .with_body(self.body.clone())
    }

    fn answer(&self, reply: &Command) -> Result<Sent, AnswerError> {
        let Some(status) = SendStatus::from_code(reply::code(reply)) else {
            return Err(reply::refused(reply));
        };
        let queue_offset: i64 = reply::number(reply, "queueOffset")?;
        Ok(Sent {
            status,
            message_id: reply::text(reply, "msgId")?.to_owned(),
            queue_id: reply::number(reply, "queueId")?,
            queue_offset: QueueOffset::from_java(queue_offset).ok_or_else(|| {
                reply::malformed("queueOffset", &queue_offset.to_string(), "an offset")
            })?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_with_a_weaker_guarantee_is_not_refused() {
        let call = SendMessage::new("t", 0, "x");
        let reply = |code| {
            Command::request(code)
                .with("msgId", "ID")
                .with("queueId", 0)
                .with("queueOffset", 7)
        };
        assert_eq!(call.answer(&reply(0)).unwrap().status, SendStatus::Ok);
        assert_eq!(
            call.answer(&reply(12)).unwrap().status,
            SendStatus::FlushSlaveTimeout
        );
        assert_eq!(
            call.answer(&reply(11)).unwrap().queue_offset,
            QueueOffset::new(7)
        );
        for code in [1, 2, 14, 16, 17] {
            assert!(matches!(
                call.answer(&reply(code)),
                Err(AnswerError::Refused { .. })
            ));
        }
        assert!(matches!(
            call.answer(&Command::request(0)),
            Err(AnswerError::Missing("queueOffset"))
        ));
    }

    #[test]
    fn properties_are_separated_by_control_characters() {
        let call = SendMessage::new("t", 0, "")
            .property("KEYS", "a b")
            .unwrap()
            .without_waiting();
        assert_eq!(
            call.request().ext["i"],
            "KEYS\u{1}a b\u{2}WAIT\u{1}false\u{2}"
        );
        assert!(
            SendMessage::new("t", 0, "")
                .property("KEYS", "a\u{2}b")
                .is_err()
        );
        assert!(SendMessage::new("t", 0, "").property("", "a").is_err());
    }
}
