//! A broker's configuration: reading all of it (26) and changing keys of a running broker (25; facts §3.2, §3.3).

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;

use super::reply;
use crate::call::Call;
use crate::code::request;
use crate::command::Command;
use crate::error::AnswerError;

/// Asks a broker for its effective configuration: the only way to learn its role and id from it.
#[derive(Clone, Copy, Debug)]
pub struct GetBrokerConfig;

/// A broker's effective configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerConfig {
    /// Every key with its value as text.
    pub values: BTreeMap<String, String>,
}

impl BrokerConfig {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// The role it is configured for. After a hot change it may not do what the role says: a hot `SLAVE` does not
    /// replicate, it only refuses writes.
    pub fn role(&self) -> Option<BrokerRole> {
        BrokerRole::from_name(self.get("brokerRole")?)
    }

    /// The id under which it registers; 0 for a master.
    pub fn broker_id(&self) -> Option<u64> {
        self.get("brokerId")?.parse().ok()
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.split_once('='));
        Self {
            values: lines
                .map(|(key, value)| (key.trim().to_owned(), value.to_owned()))
                .collect(),
        }
    }
}

impl Call for GetBrokerConfig {
    type Answer = BrokerConfig;

    fn request(&self) -> Command {
        Command::request(request::GET_BROKER_CONFIG)
    }

    fn answer(&self, reply: &Command) -> Result<BrokerConfig, AnswerError> {
        reply::expect_success(reply)?;
        let config = BrokerConfig::parse(reply::body_text(reply, "configuration")?);
        if config.get("brokerName").is_none() {
            return Err(AnswerError::Missing("brokerName"));
        }
        Ok(config)
    }
}

/// `brokerRole`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerRole {
    /// A master that does not wait for slaves.
    AsyncMaster,
    /// A master that waits for slaves; on 5.x only with `inSyncReplicas` of 2 or more (facts §3.4).
    SyncMaster,
    /// A slave.
    Slave,
}

impl BrokerRole {
    /// Java's name of the role, as it stands in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AsyncMaster => "ASYNC_MASTER",
            Self::SyncMaster => "SYNC_MASTER",
            Self::Slave => "SLAVE",
        }
    }

    /// The role of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::AsyncMaster, Self::SyncMaster, Self::Slave]
            .into_iter()
            .find(|role| role.name() == name)
    }
}

impl fmt::Display for BrokerRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Changes keys of a running broker.
///
/// The broker takes what it can parse and ignores the rest silently, unknown keys too, so success proves nothing: read
/// it back with [`GetBrokerConfig`]. It also writes its entire configuration over the file it was started with.
/// Which keys take effect at run time is in facts §3.3.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateBrokerConfig {
    values: BTreeMap<String, String>,
}

impl UpdateBrokerConfig {
    /// Changes one key.
    pub fn set(key: &str, value: impl ToString) -> Self {
        Self::default().and(key, value)
    }

    /// Changes one more key in the same request.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "reads better at the call: numbers and texts alike"
    )]
    pub fn and(mut self, key: &str, value: impl ToString) -> Self {
        self.values.insert(key.to_owned(), value.to_string());
        self
    }

    /// Makes the broker register with every name server at once, by setting `brokerPermission` to what it is already
    /// (6, reading and writing, unless the user configured otherwise). A registration at start is skipped in 4 of 10
    /// starts of a 5.x broker and comes 10 s later; after this call it was seen after 25 to 285 ms.
    pub fn force_registration(current_permission: &str) -> Self {
        Self::set("brokerPermission", current_permission)
    }

    /// Refuses client sends with code 1 until this time, in ms since 1970 by the broker's clock. Takes 20 to 50 ms, on
    /// all versions; the same key in the configuration file makes a broker start this way.
    ///
    /// It gates the send processor only: messages sent back by consumers (36), ends of transactions (37) and delayed
    /// messages that fall due are still appended. Good for a start that must not take sends yet; **never a fence**.
    pub fn refuse_sends_until(ms: u64) -> Self {
        Self::set("startAcceptSendRequestTimeStamp", ms)
    }

    /// Ends [`refuse_sends_until`](Self::refuse_sends_until). The broker has to be the master already, and its
    /// recovered end of log to be checked.
    pub fn accept_sends() -> Self {
        Self::refuse_sends_until(0)
    }

    /// Stops every write of a running master by making its role SLAVE: nothing is appended after the reply, which takes
    /// 4 to 65 ms; sends, send-backs, ends of transactions and due delayed messages are all refused (seen on 4.9.7 and
    /// 5.3.3). On 5.x pulls are refused too, unless `slaveReadEnable`.
    ///
    /// It does not make the broker a slave: it follows nobody, still registers as id 0, its slaves stay connected, and
    /// 907 fails. It lasts only as long as the process or until somebody sets the role back, so it buys milliseconds
    /// for a planned hand-over and is followed by a kill where the master must not come back.
    pub fn refuse_all_writes() -> Self {
        Self::set("brokerRole", BrokerRole::Slave)
    }

    /// Ends [`refuse_all_writes`](Self::refuse_all_writes) on a broker that was **started as a master**.
    ///
    /// Never send it to a broker that was started as a slave: its queue offsets are not rebuilt, and it hands out ones
    /// that are taken (seen on all versions, upstream issue 8539). Promoting takes a restart.
    pub fn accept_all_writes(role: MasterRole) -> Self {
        Self::set("brokerRole", BrokerRole::from(role))
    }

    /// The body: java-properties text, which Java reads as ISO-8859-1.
    fn properties(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.values {
            escape(&mut text, key, true);
            text.push('=');
            escape(&mut text, value, false);
            text.push('\n');
        }
        text
    }
}

/// The two roles that a gate may be opened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MasterRole {
    /// See [`BrokerRole::AsyncMaster`].
    Async,
    /// See [`BrokerRole::SyncMaster`].
    Sync,
}

impl From<MasterRole> for BrokerRole {
    fn from(role: MasterRole) -> Self {
        match role {
            MasterRole::Async => Self::AsyncMaster,
            MasterRole::Sync => Self::SyncMaster,
        }
    }
}

/// `Properties#saveConvert`: what would end a line or a key is escaped, and so is all beyond ASCII.
fn escape(out: &mut String, text: &str, is_key: bool) {
    for (place, character) in text.chars().enumerate() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{c}' => out.push_str("\\f"),
            ' ' if is_key || place == 0 => out.push_str("\\ "),
            '=' | ':' | '#' | '!' if is_key => {
                out.push('\\');
                out.push(character);
            }
            ' '..='~' => out.push(character),
            beyond => {
                let mut units = [0; 2];
                for unit in beyond.encode_utf16(&mut units) {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "\\u{unit:04X}");
                }
            }
        }
    }
}

impl Call for UpdateBrokerConfig {
    type Answer = ();

    fn request(&self) -> Command {
        Command::request(request::UPDATE_BROKER_CONFIG).with_body(self.properties())
    }

    fn answer(&self, reply: &Command) -> Result<(), AnswerError> {
        reply::expect_success(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_javas_reader() {
        let call = UpdateBrokerConfig::set("a=b c", " x=y\\\nü😀")
            .and("brokerRole", BrokerRole::SyncMaster);
        assert_eq!(
            String::from_utf8(call.request().body).unwrap(),
            "a\\=b\\ c=\\ x=y\\\\\\n\\u00FC\\uD83D\\uDE00\nbrokerRole=SYNC_MASTER\n"
        );
    }

    #[test]
    fn the_gates_set_one_key_each() {
        let body = |call: UpdateBrokerConfig| String::from_utf8(call.request().body).unwrap();
        assert_eq!(
            body(UpdateBrokerConfig::force_registration("6")),
            "brokerPermission=6\n"
        );
        assert_eq!(
            body(UpdateBrokerConfig::refuse_sends_until(9_999_999_999_999)),
            "startAcceptSendRequestTimeStamp=9999999999999\n"
        );
        assert_eq!(
            body(UpdateBrokerConfig::accept_sends()),
            "startAcceptSendRequestTimeStamp=0\n"
        );
        assert_eq!(
            body(UpdateBrokerConfig::refuse_all_writes()),
            "brokerRole=SLAVE\n"
        );
        assert_eq!(
            body(UpdateBrokerConfig::accept_all_writes(MasterRole::Async)),
            "brokerRole=ASYNC_MASTER\n"
        );
    }

    #[test]
    fn values_may_hold_equal_signs() {
        let config =
            BrokerConfig::parse("brokerName=b\nbrokerRole=SLAVE\nbrokerId=3\nx=a=b \nno sign\n");
        assert_eq!(config.role(), Some(BrokerRole::Slave));
        assert_eq!(config.broker_id(), Some(3));
        assert_eq!(config.get("x"), Some("a=b "));
        assert_eq!(config.values.len(), 4);
    }

    #[test]
    fn an_answer_of_another_kind_of_server_is_refused() {
        let reply = Command::request(0).with_body("listenPort=9876\n");
        assert!(matches!(
            GetBrokerConfig.answer(&reply),
            Err(AnswerError::Missing("brokerName"))
        ));
    }
}
