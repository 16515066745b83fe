//! The tables that a slave fetches from its master now and then: 21, 201, 43, 45 (facts §2.1, §4.3).

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::reply;
use crate::call::Call;
use crate::code::request;
use crate::command::Command;
use crate::error::AnswerError;
use crate::fastjson;

/// One of a broker's tables beside the commit log. A 5.x slave fetches them every 60 s and for the first time 60 s after
/// its start; whoever needs them younger asks for them himself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MetadataTable {
    /// Every topic and its queues.
    Topics,
    /// Every consumer group and its settings.
    SubscriptionGroups,
    /// How far every consumer group has read every queue.
    ConsumerOffsets,
    /// How far the delayed messages of every level have been delivered.
    DelayOffsets,
}

impl MetadataTable {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Topics,
        Self::SubscriptionGroups,
        Self::ConsumerOffsets,
        Self::DelayOffsets,
    ];

    /// The file that a broker keeps it in, under `config/` of its store.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Topics => "topics.json",
            Self::SubscriptionGroups => "subscriptionGroup.json",
            Self::ConsumerOffsets => "consumerOffset.json",
            Self::DelayOffsets => "delayOffset.json",
        }
    }

    const fn code(self) -> i32 {
        match self {
            Self::Topics => request::GET_ALL_TOPIC_CONFIG,
            Self::SubscriptionGroups => request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG,
            Self::ConsumerOffsets => request::GET_ALL_CONSUMER_OFFSET,
            Self::DelayOffsets => request::GET_ALL_DELAY_OFFSET,
        }
    }

    /// The field that holds the entries.
    const fn field(self) -> &'static str {
        match self {
            Self::Topics => "topicConfigTable",
            Self::SubscriptionGroups => "subscriptionGroupTable",
            Self::ConsumerOffsets | Self::DelayOffsets => "offsetTable",
        }
    }
}

/// Asks a broker for one of its tables. A table of more than 16 MiB cannot be asked for: the frame would be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetMetadata(pub MetadataTable);

/// One of a broker's tables, as strict JSON in the shape of its file. It is kept as text: as values a table of a busy
/// broker would take many times its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Which one it is.
    pub table: MetadataTable,
    json: String,
}

impl Metadata {
    /// As it can be written to [`MetadataTable::file_name`] of a stopped broker.
    pub fn as_json(&self) -> &str {
        &self.json
    }
}

/// Looks at no more than whether the expected table is there.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tables {
    topic_config_table: Option<IgnoredAny>,
    subscription_group_table: Option<IgnoredAny>,
    offset_table: Option<IgnoredAny>,
}

impl Tables {
    fn has(&self, table: MetadataTable) -> bool {
        let field = match table {
            MetadataTable::Topics => &self.topic_config_table,
            MetadataTable::SubscriptionGroups => &self.subscription_group_table,
            MetadataTable::ConsumerOffsets | MetadataTable::DelayOffsets => &self.offset_table,
        };
        field.is_some()
    }
}

impl Call for GetMetadata {
    type Answer = Metadata;

    fn request(&self) -> Command {
        Command::request(self.0.code())
    }

    fn answer(&self, reply: &Command) -> Result<Metadata, AnswerError> {
        reply::expect_success(reply)?;
        let json = String::from_utf8(fastjson::repair(&reply.body))
            .map_err(|_| reply::malformed("metadata table", "(bytes)", "UTF-8 text"))?;
        let seen: Tables = serde_json::from_str(&json).map_err(|source| AnswerError::Json {
            what: "metadata table",
            source,
        })?;
        if !seen.has(self.0) {
            return Err(AnswerError::Missing(self.0.field()));
        }
        Ok(Metadata {
            table: self.0,
            json,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_queue_ids_come_out_quoted() {
        let reply = Command::request(0).with_body(r#"{"offsetTable":{"t@g":{0:5,1:7}}}"#);
        let offsets = GetMetadata(MetadataTable::ConsumerOffsets)
            .answer(&reply)
            .unwrap();
        assert_eq!(
            offsets.as_json(),
            r#"{"offsetTable":{"t@g":{"0":5,"1":7}}}"#
        );
    }

    #[test]
    fn another_table_is_refused() {
        let reply = Command::request(0).with_body(r#"{"offsetTable":{}}"#);
        let answer = GetMetadata(MetadataTable::Topics).answer(&reply);
        assert!(matches!(
            answer,
            Err(AnswerError::Missing("topicConfigTable"))
        ));
    }
}
