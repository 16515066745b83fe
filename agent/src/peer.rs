//! What the members' agents say to each other, over plain HTTP and signed with the group's key.
//!
//! ```text
//! GET /peer/v1/report                              the member's Report, its whole lineage included
//! GET /peer/v1/crc?from=F&upto=T&block=B           CRC-32 of each B bytes of F..T of its commit log: a JSON list
//! ```
//!
//! A question names asker, answerer and a fresh nonce, and is signed; the answer's signature covers the same nonce, so
//! an old answer cannot be given again, nor one member's word passed off as another's. Both cover the group's true
//! names. The bytes are signed, not encrypted: they hold no message.
//!
//! [`server`] answers, [`client`] asks.

pub mod client;
pub mod server;

use agent_core::Member;
use hyper::StatusCode;
use relay::{GroupKey, Tag};

/// Where the questions go.
pub const REPORT: &str = "/peer/v1/report";
/// Where checksums are asked for.
pub const CRC: &str = "/peer/v1/crc";

/// The header that names the asker.
const FROM: &str = "x-rocketmq-ha-from";
/// The header that names who is asked.
const TO: &str = "x-rocketmq-ha-to";
/// The header with the asker's fresh nonce.
const NONCE: &str = "x-rocketmq-ha-nonce";
/// The header with the signature, hexadecimal.
const TAG: &str = "x-rocketmq-ha-tag";

/// The bytes of a nonce's text: 16 random bytes in hexadecimal.
const NONCE_LENGTH: usize = 32;

/// Why a member's answer is of no use.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// Its address is not known.
    #[error("ask {member}: its agent's address is not known yet")]
    NoAddress {
        /// Who.
        member: Member,
    },
    /// No answer in time.
    #[error("ask {member}: no answer within {after_ms} ms")]
    Silent {
        /// Who.
        member: Member,
        /// How long we waited.
        after_ms: u64,
    },
    /// The exchange failed.
    #[error("ask {member}")]
    Http {
        /// Who.
        member: Member,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It refused.
    #[error("ask {member}: it answered {status}: {why}")]
    Refused {
        /// Who.
        member: Member,
        /// With what.
        status: StatusCode,
        /// In its own words.
        why: String,
    },
    /// The signature is not the group's.
    #[error(
        "ask {member}: its answer is not signed with this group's key; give all members the same --group-key-file, \
         cluster and broker name"
    )]
    Unsigned {
        /// Who.
        member: Member,
    },
    /// The content is not understood.
    #[error("read the answer of {member}: {why}")]
    Content {
        /// Who.
        member: Member,
        /// Why not.
        why: String,
    },
}

impl PeerError {
    /// The word for metrics.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NoAddress { .. } => "no_address",
            Self::Silent { .. } => "silent",
            Self::Http { .. } => "http",
            Self::Refused { .. } => "refused",
            Self::Unsigned { .. } => "unsigned",
            Self::Content { .. } => "content",
        }
    }
}

/// Signs and judges for one member of one group.
#[derive(Clone, Debug)]
pub struct Seal {
    key: GroupKey,
    cluster: String,
    broker: String,
    me: Member,
}

/// What a question is about; its signature covers all of it.
#[derive(Clone, Copy, Debug)]
struct Question<'a> {
    from: &'a str,
    to: &'a str,
    nonce: &'a str,
    /// Path and query.
    target: &'a str,
}

impl Seal {
    /// For member `me` of the group with these true names.
    #[must_use]
    pub fn new(key: GroupKey, cluster: &str, broker: &str, me: Member) -> Self {
        Self {
            key,
            cluster: cluster.to_owned(),
            broker: broker.to_owned(),
            me,
        }
    }

    fn sign_question(&self, question: Question<'_>) -> String {
        hex(self
            .key
            .sign("peer question 1", &self.parts(question))
            .as_bytes())
    }

    fn knows_question(&self, question: Question<'_>, tag: &str) -> bool {
        unhex(tag).is_some_and(|tag| {
            self.key
                .verify("peer question 1", &self.parts(question), &tag)
        })
    }

    fn sign_answer(&self, question: Question<'_>, status: StatusCode, body: &[u8]) -> String {
        let status = status.as_u16().to_be_bytes();
        let mut parts = self.parts(question);
        parts.extend([&status[..], body]);
        hex(self.key.sign("peer answer 1", &parts).as_bytes())
    }

    fn knows_answer(
        &self,
        question: Question<'_>,
        status: StatusCode,
        body: &[u8],
        tag: &str,
    ) -> bool {
        let status = status.as_u16().to_be_bytes();
        let mut parts = self.parts(question);
        parts.extend([&status[..], body]);
        unhex(tag).is_some_and(|tag| self.key.verify("peer answer 1", &parts, &tag))
    }

    fn parts<'a>(&'a self, question: Question<'a>) -> Vec<&'a [u8]> {
        vec![
            self.cluster.as_bytes(),
            self.broker.as_bytes(),
            question.from.as_bytes(),
            question.to.as_bytes(),
            question.nonce.as_bytes(),
            question.target.as_bytes(),
        ]
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Tag> {
    let mut bytes = [0_u8; Tag::BYTES];
    if text.len() != 2 * Tag::BYTES || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(Tag::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seal(key: &[u8], broker: &str) -> Seal {
        Seal::new(GroupKey::from_bytes(key).unwrap(), "c", broker, "a".into())
    }

    const QUESTION: Question<'static> = Question {
        from: "a",
        to: "b",
        nonce: "00112233445566778899aabbccddeeff",
        target: "/peer/v1/report",
    };

    #[test]
    fn an_answer_is_bound_to_question_group_and_body() {
        let ours = seal(b"0123456789abcdef", "g");
        let tag = ours.sign_answer(QUESTION, StatusCode::OK, b"body");
        assert!(ours.knows_answer(QUESTION, StatusCode::OK, b"body", &tag));
        let other = Question {
            nonce: "10112233445566778899aabbccddeeff",
            ..QUESTION
        };
        assert!(
            !ours.knows_answer(other, StatusCode::OK, b"body", &tag),
            "replayed"
        );
        let other = Question {
            to: "c",
            ..QUESTION
        };
        assert!(
            !ours.knows_answer(other, StatusCode::OK, b"body", &tag),
            "another's word"
        );
        assert!(!ours.knows_answer(QUESTION, StatusCode::OK, b"bodY", &tag));
        assert!(!ours.knows_answer(QUESTION, StatusCode::NOT_FOUND, b"body", &tag));
        assert!(!ours.knows_question(QUESTION, &tag), "reflected");
        for stranger in [
            seal(b"0123456789abcdef", "h"),
            seal(b"0123456789abcdeX", "g"),
        ] {
            assert!(!stranger.knows_answer(QUESTION, StatusCode::OK, b"body", &tag));
        }
    }

    proptest! {
        #[test]
        fn any_tag_text_is_judged_without_a_panic(tag in ".{0,80}") {
            prop_assert!(!seal(b"0123456789abcdef", "g").knows_question(QUESTION, &tag));
        }
    }
}
