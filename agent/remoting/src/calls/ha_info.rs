//! Where a slave replicates from (906, 5.x; facts §2.4).

use super::reply;
use crate::call::Call;
use crate::code::request;
use crate::command::Command;
use crate::error::AnswerError;
use crate::offset::LogOffset;

/// Asks a master where to replicate from and where its log ended when it started. 4.9 does not know it; anybody but a
/// master answers with nothing.
#[derive(Clone, Copy, Debug)]
pub struct GetHaInfo;

/// What a master tells about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HaInfo {
    /// Its HA `ip:port`.
    pub ha_address: String,
    /// Its `ip:port` for clients.
    pub address: String,
    /// End of its log right after recovery, before any new write: in classic mode exactly the promotion offset.
    /// In controller mode it is the end at process start and of no use.
    pub started_at: Option<LogOffset>,
}

impl Call for GetHaInfo {
    type Answer = Option<HaInfo>;

    fn request(&self) -> Command {
        Command::request(request::EXCHANGE_BROKER_HA_INFO)
    }

    fn answer(&self, reply: &Command) -> Result<Option<HaInfo>, AnswerError> {
        reply::expect_success(reply)?;
        let Some(ha_address) = reply.field("masterHaAddress") else {
            return Ok(None);
        };
        Ok(Some(HaInfo {
            ha_address: ha_address.to_owned(),
            address: reply::text(reply, "masterAddress")?.to_owned(),
            started_at: LogOffset::from_java(reply::number(reply, "masterFlushOffset")?),
        }))
    }
}

/// Tells a slave whom to replicate from at its next connect; a connection that stands is kept. The next registration
/// with a name server overwrites it, unless `haMasterAddress` is configured (facts §2.4). Metadata are still fetched
/// from the address that the name server gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetHaMaster {
    /// The master's HA `ip:port`.
    pub ha_address: String,
    /// The master's `ip:port` for clients.
    pub address: String,
    /// The master's flushed end. Some configurations fail with a NullPointerException without it, so it is always sent.
    pub flush_offset: LogOffset,
}

impl Call for SetHaMaster {
    type Answer = ();

    fn request(&self) -> Command {
        Command::request(request::EXCHANGE_BROKER_HA_INFO)
            .with("masterHaAddress", &self.ha_address)
            .with("masterAddress", &self.address)
            .with("masterFlushOffset", self.flush_offset)
    }

    fn answer(&self, reply: &Command) -> Result<(), AnswerError> {
        reply::expect_success(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slave_tells_nothing() {
        assert_eq!(GetHaInfo.answer(&Command::request(0)).unwrap(), None);
    }

    #[test]
    fn a_master_tells_where_it_started() {
        let reply = Command::request(0)
            .with("masterHaAddress", "10.0.0.1:10912")
            .with("masterAddress", "10.0.0.1:10911")
            .with("masterFlushOffset", 1_890_961);
        let info = GetHaInfo.answer(&reply).unwrap().unwrap();
        assert_eq!(info.started_at, Some(LogOffset::new(1_890_961)));
        let reply = reply.with("masterFlushOffset", "x");
        assert!(matches!(
            GetHaInfo.answer(&reply),
            Err(AnswerError::Malformed { .. })
        ));
    }
}
