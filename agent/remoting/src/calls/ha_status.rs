//! How replication goes (907, 5.x; facts §2.3).

use serde::Deserialize;

use super::reply;
use crate::call::Call;
use crate::code::request;
use crate::command::Command;
use crate::error::AnswerError;
use crate::offset::LogOffset;

/// Asks a broker how replication goes. 4.9 does not know it; a master gated by a hot role SLAVE answers with an error.
#[derive(Clone, Copy, Debug)]
pub struct GetHaStatus;

/// Replication as one broker sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HaStatus {
    /// Is its role a master's?
    pub is_master: bool,
    /// On a master, the end of its commit log.
    pub master_end: Option<LogOffset>,
    /// Connected slaves less than 256 MiB behind: by no means "caught up".
    pub in_sync_slaves: u64,
    /// On a master, who replicates from it.
    pub connections: Vec<HaConnection>,
    /// On a slave, whom it replicates from. A master fills it with zeros.
    pub source: Option<HaSource>,
}

/// A slave, as its master sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HaConnection {
    /// The slave's `ip:port`. The port is arbitrary, so a slave is known by its IP only.
    pub addr: String,
    /// How far the slave says it has written (to its page cache); `None` before its first report.
    pub slave_ack: Option<LogOffset>,
    /// Master's end minus the slave's, in bytes. **Negative: the slave's log is longer, so it has diverged.**
    pub behind_bytes: i64,
    /// Less than 256 MiB behind.
    pub in_sync: bool,
    /// Bytes sent in the last second.
    pub bytes_per_second: u64,
    /// Where the master began to send; `None` until the slave's first report.
    pub transfer_from: Option<LogOffset>,
}

/// A master, as its slave sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HaSource {
    /// The master's HA `ip:port`, if the slave knows one.
    pub master_addr: Option<String>,
    /// Bytes received in the last second.
    pub bytes_per_second: u64,
    /// The slave's own end.
    pub end: Option<LogOffset>,
    /// When it last read from the master, ms since 1970 by its clock.
    pub last_read_ms: u64,
    /// When it last reported to the master, ms since 1970 by its clock.
    pub last_write_ms: u64,
    /// The master's flushed end as far as the slave was told.
    pub master_flush: Option<LogOffset>,
}

impl Call for GetHaStatus {
    type Answer = HaStatus;

    fn request(&self) -> Command {
        Command::request(request::GET_BROKER_HA_STATUS)
    }

    fn answer(&self, reply: &Command) -> Result<HaStatus, AnswerError> {
        reply::expect_success(reply)?;
        reply::json::<Body>(reply, "HA status").map(HaStatus::from)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    master: bool,
    #[serde(default)]
    master_commit_log_max_offset: i64,
    #[serde(default)]
    in_sync_slave_nums: i64,
    #[serde(default)]
    ha_connection_info: Vec<Connection>,
    ha_client_runtime_info: Option<Source>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Connection {
    addr: String,
    slave_ack_offset: i64,
    diff: i64,
    in_sync: bool,
    transferred_byte_in_second: i64,
    transfer_from_where: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    master_addr: Option<String>,
    #[serde(default)]
    transferred_byte_in_second: i64,
    #[serde(default)]
    max_offset: i64,
    #[serde(default)]
    last_read_timestamp: i64,
    #[serde(default)]
    last_write_timestamp: i64,
    #[serde(default)]
    master_flush_offset: i64,
}

impl From<Body> for HaStatus {
    fn from(body: Body) -> Self {
        Self {
            is_master: body.master,
            master_end: LogOffset::from_java(body.master_commit_log_max_offset)
                .filter(|_| body.master),
            in_sync_slaves: unsigned(body.in_sync_slave_nums),
            connections: body
                .ha_connection_info
                .into_iter()
                .map(HaConnection::from)
                .collect(),
            source: body
                .ha_client_runtime_info
                .map(HaSource::from)
                .filter(|_| !body.master),
        }
    }
}

impl From<Connection> for HaConnection {
    fn from(seen: Connection) -> Self {
        Self {
            addr: seen.addr,
            slave_ack: LogOffset::from_java(seen.slave_ack_offset),
            behind_bytes: seen.diff,
            in_sync: seen.in_sync,
            bytes_per_second: unsigned(seen.transferred_byte_in_second),
            transfer_from: LogOffset::from_java(seen.transfer_from_where),
        }
    }
}

impl From<Source> for HaSource {
    fn from(seen: Source) -> Self {
        Self {
            master_addr: seen.master_addr.filter(|addr| !addr.is_empty()),
            bytes_per_second: unsigned(seen.transferred_byte_in_second),
            end: LogOffset::from_java(seen.max_offset),
            last_read_ms: unsigned(seen.last_read_timestamp),
            last_write_ms: unsigned(seen.last_write_timestamp),
            master_flush: LogOffset::from_java(seen.master_flush_offset),
        }
    }
}

/// A count or a time: never negative, and of no use if it were.
fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diverged_slave_shows_as_a_negative_gap() {
        let body = r#"{"haClientRuntimeInfo":{"activated":false,"lastReadTimestamp":0,"lastWriteTimestamp":0,"masterFlushOffset":0,
            "maxOffset":0,"transferredByteInSecond":0},"haConnectionInfo":[{"addr":"10.0.0.2:4711","diff":-377699,"inSync":true,
            "slaveAckOffset":500,"transferFromWhere":-1,"transferredByteInSecond":0}],"inSyncSlaveNums":1,"master":true,
            "masterCommitLogMaxOffset":1890961}"#;
        let status = GetHaStatus
            .answer(&Command::request(0).with_body(body))
            .unwrap();
        assert_eq!(status.connections[0].behind_bytes, -377_699);
        assert_eq!(status.connections[0].transfer_from, None);
        assert_eq!(status.connections[0].slave_ack, Some(LogOffset::new(500)));
        assert_eq!(status.master_end, Some(LogOffset::new(1_890_961)));
        assert_eq!(status.source, None);
    }
}
