//! What a broker says about itself (28; facts §2.2).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::reply;
use crate::call::Call;
use crate::code::{ResponseCode, request};
use crate::command::Command;
use crate::error::AnswerError;
use crate::offset::LogOffset;

/// Asks a broker for its counters and offsets. Cheap, and the same on all versions.
///
/// For the first 0.6 to 0.8 s after its port opened a broker answers with an exception, because its statistics have no
/// sample yet; that is read as [`AnswerError::NotReady`]. It works already: [`GetBrokerConfig`](super::GetBrokerConfig)
/// and on 5.x [`GetHaInfo`](super::GetHaInfo) answer from the first moment, and sends are taken (seen on 4.9.7 and
/// 5.5.0). Who is in a hurry asks those.
#[derive(Clone, Copy, Debug)]
pub struct GetRuntimeInfo;

/// Counters and offsets of a running broker. It holds neither the role nor the broker id: see
/// [`GetBrokerConfig`](super::GetBrokerConfig).
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeInfo {
    /// End of the commit log as written to the page cache, not as flushed. On a slave it may lie inside a record.
    pub commit_log_max: LogOffset,
    /// Start of the oldest commit-log file; `None` while there is none.
    pub commit_log_min: Option<LogOffset>,
    /// Bytes of commit log that are not yet in the consume queues.
    pub dispatch_behind_bytes: u64,
    /// When the broker's process made its store, ms since 1970 by the broker's clock: tells one process from the next.
    pub boot_timestamp_ms: u64,
    /// Like `V5_5_0`.
    pub version: String,
    /// 5.x: do the services that only a master runs run? `None` on 4.9.
    pub active: Option<bool>,
    /// Messages stored per second, mean of the last 10 s.
    pub put_tps: Option<f64>,
    /// Used part of the commit log's disk, 0 to 1; `None` if the path is missing.
    pub commit_log_disk_ratio: Option<f64>,
    /// Used part of the consume queues' disk, 0 to 1; `None` if the path is missing.
    pub consume_queue_disk_ratio: Option<f64>,
    /// Requests waiting in the send thread pool.
    pub send_queue_size: Option<u64>,
    /// Age of the oldest of them in ms.
    pub send_queue_wait_ms: Option<u64>,
    /// How long the current put holds the page-cache lock, in ms.
    pub page_cache_lock_ms: Option<u64>,
    /// Messages stored since midnight.
    pub put_total_today: Option<u64>,
    /// Until when the broker refuses client sends, ms since 1970 by its clock (see
    /// [`UpdateBrokerConfig::refuse_sends_until`](super::UpdateBrokerConfig::refuse_sends_until)).
    pub sends_refused_until_ms: Option<u64>,
    /// Everything the broker said, also what is not read above.
    pub table: BTreeMap<String, String>,
}

impl Call for GetRuntimeInfo {
    type Answer = RuntimeInfo;

    fn request(&self) -> Command {
        Command::request(request::GET_BROKER_RUNTIME_INFO)
    }

    fn answer(&self, reply: &Command) -> Result<RuntimeInfo, AnswerError> {
        if is_starting(reply) {
            return Err(AnswerError::NotReady {
                remark: reply::remark(reply),
            });
        }
        reply::expect_success(reply)?;
        let Body { table } = reply::json(reply, "runtime info")?;
        RuntimeInfo::from_table(table)
    }
}

/// ACL 1.0 also answers 1, with the exception's name: that will not pass by waiting.
fn is_starting(reply: &Command) -> bool {
    let denied = reply
        .remark
        .as_deref()
        .is_some_and(|remark| remark.contains("AclException"));
    reply::code(reply) == ResponseCode::SYSTEM_ERROR && !denied
}

#[derive(Deserialize)]
struct Body {
    table: BTreeMap<String, String>,
}

impl RuntimeInfo {
    fn from_table(table: BTreeMap<String, String>) -> Result<Self, AnswerError> {
        let signed = |key| must(&table, key).and_then(|value| reply::parsed::<i64>(key, value));
        let max = signed("commitLogMaxOffset")?;
        Ok(Self {
            commit_log_max: LogOffset::from_java(max).ok_or_else(|| {
                reply::malformed("commitLogMaxOffset", &max.to_string(), "an offset")
            })?,
            commit_log_min: LogOffset::from_java(signed("commitLogMinOffset")?),
            // Java subtracts two offsets that move: a moment's negative value means nothing is behind.
            dispatch_behind_bytes: u64::try_from(signed("dispatchBehindBytes")?).unwrap_or(0),
            boot_timestamp_ms: must(&table, "bootTimestamp")
                .and_then(|value| reply::parsed("bootTimestamp", value))?,
            version: must(&table, "brokerVersionDesc")?.to_owned(),
            active: table.get("brokerActive").map(|value| value == "true"),
            put_tps: table
                .get("putTps")
                .and_then(|tps| tps.split(' ').next()?.parse().ok()),
            commit_log_disk_ratio: ratio(&table, "commitLogDiskRatio"),
            consume_queue_disk_ratio: ratio(&table, "consumeQueueDiskRatio"),
            send_queue_size: count(&table, "sendThreadPoolQueueSize"),
            send_queue_wait_ms: count(&table, "sendThreadPoolQueueHeadWaitTimeMills"),
            page_cache_lock_ms: count(&table, "pageCacheLockTimeMills"),
            put_total_today: count(&table, "msgPutTotalTodayNow"),
            sends_refused_until_ms: count(&table, "startAcceptSendRequestTimeStamp"),
            table,
        })
    }
}

fn must<'a>(
    table: &'a BTreeMap<String, String>,
    key: &'static str,
) -> Result<&'a str, AnswerError> {
    table
        .get(key)
        .map(String::as_str)
        .ok_or(AnswerError::Missing(key))
}

fn count(table: &BTreeMap<String, String>, key: &str) -> Option<u64> {
    table.get(key)?.trim().parse().ok()
}

/// −1 stands for a path that is not there.
fn ratio(table: &BTreeMap<String, String>, key: &str) -> Option<f64> {
    let value: f64 = table.get(key)?.trim().parse().ok()?;
    (0.0..=1.0).contains(&value).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: i32, remark: Option<&str>, body: &str) -> Result<RuntimeInfo, AnswerError> {
        GetRuntimeInfo.answer(&Command {
            code,
            remark: remark.map(str::to_owned),
            body: body.into(),
            ..Command::request(0)
        })
    }

    #[test]
    fn an_exception_while_starting_is_not_a_refusal() {
        assert!(matches!(
            answer(1, Some("java.lang.NullPointerException"), ""),
            Err(AnswerError::NotReady { .. })
        ));
        let denied = "org.apache.rocketmq.acl.common.AclException: No accessKey is configured";
        assert!(matches!(
            answer(1, Some(denied), ""),
            Err(AnswerError::Refused {
                code: ResponseCode::SYSTEM_ERROR,
                ..
            })
        ));
        assert!(matches!(
            answer(16, Some("no"), ""),
            Err(AnswerError::Refused {
                code: ResponseCode::NO_PERMISSION,
                ..
            })
        ));
    }

    #[test]
    fn javas_minus_one_is_none() {
        let body = r#"{"table":{"commitLogMaxOffset":"0","commitLogMinOffset":"-1","dispatchBehindBytes":"-5",
            "bootTimestamp":"1","brokerVersionDesc":"V4_9_7","commitLogDiskRatio":"-1.0","putTps":"1.5 0.1 0.0"}}"#;
        let info = answer(0, None, body).unwrap();
        assert_eq!(info.commit_log_min, None);
        assert_eq!(info.dispatch_behind_bytes, 0);
        assert_eq!(info.commit_log_disk_ratio, None);
        assert_eq!(info.put_tps, Some(1.5));
        assert_eq!(info.active, None);
    }

    #[test]
    fn a_missing_or_impossible_end_of_log_is_an_error() {
        assert!(matches!(
            answer(0, None, r#"{"table":{}}"#),
            Err(AnswerError::Missing("commitLogMaxOffset"))
        ));
        let body = r#"{"table":{"commitLogMaxOffset":"-1"}}"#;
        assert!(matches!(
            answer(0, None, body),
            Err(AnswerError::Malformed { .. })
        ));
        assert!(matches!(
            answer(0, None, "<html>"),
            Err(AnswerError::Json { .. })
        ));
    }
}
