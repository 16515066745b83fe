//! What an agent says of itself at its admin port: newer than what it published, and with its reasons.

use std::net::SocketAddr;
use std::time::Duration;

use agent_core::{Member, Report};
use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an agent may take. It is never needed, so it is not waited for.
const LIMIT: Duration = Duration::from_secs(2);
/// The longest answer that is read: 200 decisions with a record of 64 terms in some of them.
const MOST_BYTES: usize = 16 << 20;

/// The parts of `/status` that people are shown.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct AgentStatus {
    /// Who answers.
    pub(super) member: Member,
    /// Its version.
    pub(super) version: String,
    /// Its wall clock.
    pub(super) time: Timestamp,
    /// Why it does what it does.
    pub(super) reason: String,
    /// The same in one sentence.
    pub(super) sentence: String,
    /// Its last decision.
    #[serde(default)]
    pub(super) decision: Decided,
    /// The last decisions that changed something, oldest first.
    #[serde(default)]
    pub(super) history: Vec<Entry>,
}

/// The part of a decision that is shown.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Decided {
    /// Its word about itself.
    #[serde(default)]
    pub(super) report: Option<Report>,
}

/// One decision that changed something.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Entry {
    /// Its wall clock.
    pub(super) time: Timestamp,
    /// Why.
    pub(super) reason: String,
    /// The same in one sentence.
    pub(super) sentence: String,
    /// What was done.
    #[serde(default)]
    pub(super) actions: Vec<Value>,
}

/// Asks an agent.
pub(super) async fn ask(address: SocketAddr) -> anyhow::Result<AgentStatus> {
    timeout(LIMIT, exchange(address))
        .await
        .map_err(anyhow::Error::from)
        .and_then(|answer| answer)
        .with_context(|| format!("ask the agent at {address} for /status"))
}

async fn exchange(address: SocketAddr) -> anyhow::Result<AgentStatus> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/status")
        .header(HOST, address.to_string())
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let talk = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, MOST_BYTES).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
        if head.status != StatusCode::OK {
            let text = String::from_utf8_lossy(body.get(..body.len().min(200)).unwrap_or_default());
            bail!("it answered {}: {}", head.status, text.trim());
        }
        serde_json::from_slice(&body)
            .context("its answer is no status: is this an agent's admin port?")
    };
    let mut connection = std::pin::pin!(connection);
    let mut talk = std::pin::pin!(talk);
    tokio::select! {
        answer = &mut talk => answer,
        // It may end before its last bytes were read.
        _ = &mut connection => talk.await,
    }
}

/// An action in a few words.
pub(super) fn action(value: &Value) -> String {
    match value {
        Value::String(word) => word.clone(),
        Value::Object(fields) => match fields.iter().next() {
            // An announcement is an event with facts of its own.
            Some((word, inner)) if word == "announce" => format!("announce({})", action(inner)),
            Some((word, inner)) => {
                let facts = facts(inner);
                if facts.is_empty() {
                    word.clone()
                } else {
                    format!("{word}({facts})")
                }
            }
            None => String::new(),
        },
        other => other.to_string(),
    }
}

/// The plain values of an action; what is nested is in the JSON.
fn facts(inner: &Value) -> String {
    let plain = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Object(fields) => fields.get("epoch").map(Value::to_string),
        Value::Null | Value::Bool(_) | Value::Array(_) => None,
    };
    match inner {
        Value::Object(fields) => {
            let told = fields
                .iter()
                .filter_map(|(key, value)| Some(format!("{key}={}", plain(value)?)));
            told.collect::<Vec<_>>().join(" ")
        }
        other => plain(other).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_core::action::Event;
    use agent_core::{Action, Reason};
    use serde_json::json;

    #[test]
    fn the_agents_own_history_can_be_read() {
        let entry = crate::history::Entry {
            time: Timestamp::UNIX_EPOCH,
            tick_ms: 5,
            reason: Reason::Opening.word(),
            sentence: Reason::Opening.sentence(),
            actions: vec![
                Action::ReadLease,
                Action::Announce(Event::SwitchOverFailed {
                    why: Reason::SwitchoverLag,
                }),
            ],
            observation: "00".to_owned(),
        };
        let read: Entry = serde_json::from_value(json!(entry)).unwrap();
        assert_eq!(read.reason, "opening");
        let shown: Vec<String> = read.actions.iter().map(action).collect();
        assert_eq!(shown[0], "read_lease");
        assert!(shown[1].starts_with("announce"), "{}", shown[1]);
    }

    #[test]
    fn an_action_is_shown_in_a_few_words() {
        let kill = json!({"kill": {"term": {"epoch": 6, "nonce": 1}, "why": "lease_lost"}});
        assert_eq!(action(&kill), "kill(term=6 why=lease_lost)");
        let write = json!({"write": {"id": 3, "carries": 7, "why": "acquire", "record": {"big": []}, "clear_switchover": false}});
        assert_eq!(action(&write), "write(carries=7 id=3 why=acquire)");
        let told = json!({"announce": {"switch_over_failed": {"why": "switchover_lag"}}});
        assert_eq!(
            action(&told),
            "announce(switch_over_failed(why=switchover_lag))"
        );
        // Whatever a newer agent says.
        for odd in [json!(null), json!({}), json!({"x": [1]}), json!(5)] {
            let _ = action(&odd);
        }
    }
}
