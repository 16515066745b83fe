//! The messages with which two relays show each other who they are.

use crate::shape;
use crate::target::Target;
use message::{HEAD_BYTES, Head, Kind, MessageError, Received, Transcript};
use relay::{GroupKey, GroupName, Instance, Member, Refusal, Session, Tag, Term};
use serde::{Deserialize, Serialize};

#[allow(dead_code, unreachable_pub)]
#[path = "../../../agent/relay/src/handshake/message.rs"]
mod message;

/// What the messages' own source wants to have above it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("refused")]
    Refused(#[source] Refusal),
    #[error("no message")]
    Message(#[from] MessageError),
}

pub(crate) const TARGET: Target = Target {
    name: "handshake",
    seeds,
    words: &[
        "RHA\u{1}\u{1}",
        "RHA\u{1}\u{2}",
        "RHA\u{1}\u{3}",
        "RHA\u{1}\u{4}",
        "RHA\u{1}\u{5}",
        "\"group\":",
        "\"term\":",
        "\"nonce\":\"",
        "{\"end\":",
        "{\"min\":0,\"from\":1}",
        "{\"reason\":\"wrong_group\"}",
        "\"mine\":",
    ],
    longest: 8 * 1024,
    memory: |len| 64 * 1024 + 256 * len,
    check,
};

/// As in the product, whose own is not for others.
#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    group: GroupName,
    term: Term,
    holder_member: Member,
    holder_instance: Instance,
    member: Member,
    session: Session,
    instance: Instance,
    nonce: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Proof {
    end: u64,
}

const PURPOSE: &str = "rocketmq-ha relay: slave";

fn key() -> Option<GroupKey> {
    GroupKey::from_bytes(&[b'k'; 64]).ok()
}

fn seeds() -> Vec<Vec<u8>> {
    let hello = Hello {
        group: GroupName {
            cluster: "c".into(),
            broker: "b".into(),
        },
        term: Term { epoch: 1, nonce: 2 },
        holder_member: Member::new("a"),
        holder_instance: Instance::new("u.n"),
        member: Member::new("b"),
        session: Session::new("s"),
        instance: Instance::new("v.m"),
        nonce: "00".repeat(32),
    };
    let Some(key) = key() else { return Vec::new() };
    let mut said = Transcript::default();
    let one = said.compose(Kind::Hello, &hello, None).unwrap_or_default();
    let two = said.compose(Kind::Proof, &Proof { end: 900 }, Some((&key, PURPOSE)));
    let refusal = Refusal::BelowMin { min: 7 };
    let three = Transcript::default().compose(Kind::Refused, &refusal, None);
    vec![
        [one, two.unwrap_or_default()].concat(),
        three.unwrap_or_default(),
    ]
}

/// All messages of a stream, one after the other, as a relay takes them.
fn check(input: &[u8]) -> Result<u64, String> {
    let Some(key) = key() else {
        return Err("no key".into());
    };
    let mut said = Transcript::default();
    let mut rest = input;
    let mut kinds = 0_u64;
    while let Some((head, after)) = rest.split_first_chunk::<HEAD_BYTES>() {
        let head = match Head::decode(*head) {
            Ok(head) => head,
            Err(error) => return Ok(kinds ^ shape::of("head", &error)),
        };
        let bytes = head.rest_bytes();
        if bytes > 4096 + Tag::BYTES {
            return Err(format!("wants {bytes} bytes"));
        }
        let Some((body, after)) = after.split_at_checked(bytes) else {
            return Ok(kinds ^ shape::of("part", &""));
        };
        rest = after;
        let received = match said.note(head, body.to_vec()) {
            Ok(received) => received,
            Err(error) => return Ok(kinds ^ shape::of("note", &error)),
        };
        let shown = u64::from(said.verify(&key, PURPOSE, &received));
        kinds = kinds.rotate_left(3) ^ content(received)? ^ shown;
    }
    Ok(kinds)
}

fn content(received: Received) -> Result<u64, String> {
    let hello = received.parse::<Hello>(Kind::Hello);
    let proof = received.parse::<Proof>(Kind::Proof);
    let refusal = match received.not_refused() {
        Ok(_) => shape::of("goes on", &""),
        Err(HandshakeError::Refused(refusal)) => {
            again(&refusal)?;
            shape::of("refused", &refusal.word())
        }
        Err(HandshakeError::Message(error)) => error_of(&error),
    };
    let one = hello.map_or_else(|e| error_of(&e), |h| shape::of("hello", &h.term.epoch));
    let two = proof.map_or_else(|e| error_of(&e), |p| shape::of("proof", &p.end));
    Ok(one ^ two.rotate_left(7) ^ refusal.rotate_left(13))
}

fn error_of(error: &MessageError) -> u64 {
    match error {
        MessageError::Content(content) => shape::of("content", content),
        other => shape::of("", other),
    }
}

/// A refusal is read back as it was written.
fn again(refusal: &Refusal) -> Result<(), String> {
    let bytes = Transcript::default()
        .compose(Kind::Refused, refusal, None)
        .map_err(|e| format!("{refusal:?} is not written: {e}"))?;
    let read = || {
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
        let head = Head::decode(*head).ok()?;
        let received = Transcript::default().note(head, rest.to_vec()).ok()?;
        received.parse::<Refusal>(Kind::Refused).ok()
    };
    match read() {
        Some(second) if second == *refusal => Ok(()),
        other => Err(format!("{refusal:?} is read as {other:?}")),
    }
}
