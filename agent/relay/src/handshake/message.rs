//! The handshake's messages: `"RHA"`, kind, version, length, JSON, and a tag behind those that show the key.

use super::HandshakeError;
use crate::{GroupKey, Tag};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The peer link's version. Another one is refused by name, so that a rolling upgrade says what is wrong.
pub(crate) const VERSION: u8 = 1;
/// Bytes before the JSON.
pub(crate) const HEAD_BYTES: usize = 7;
const MAGIC: [u8; 3] = *b"RHA";
/// Names are at most a few hundred bytes.
const MAX_BODY_BYTES: u16 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Hello = 1,
    Challenge = 2,
    Proof = 3,
    Welcome = 4,
    Refused = 5,
}

impl Kind {
    const fn decode(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Hello),
            2 => Some(Self::Challenge),
            3 => Some(Self::Proof),
            4 => Some(Self::Welcome),
            5 => Some(Self::Refused),
            _ => None,
        }
    }

    const fn is_signed(self) -> bool {
        matches!(self, Self::Proof | Self::Welcome)
    }
}

/// Bytes that are no handshake.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MessageError {
    #[error("take a handshake message: it does not begin like one")]
    Magic,
    #[error("take a handshake message of version {0}: this side speaks {VERSION}")]
    Version(u8),
    #[error("take a handshake message of unknown kind {0}")]
    UnknownKind(u8),
    #[error("take a handshake message of {0} bytes: more than {MAX_BODY_BYTES}")]
    Length(usize),
    #[error("take a handshake message {got:?} instead of {expected:?}")]
    Order { expected: Kind, got: Kind },
    #[error("take the content of a handshake message")]
    Content(#[from] serde_json::Error),
}

/// The fixed part of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    kind: Kind,
    length: u16,
}

impl Head {
    pub(crate) fn decode(bytes: [u8; HEAD_BYTES]) -> Result<Self, MessageError> {
        let [one, two, three, version, kind, high, low] = bytes;
        if [one, two, three] != MAGIC {
            return Err(MessageError::Magic);
        }
        if version != VERSION {
            return Err(MessageError::Version(version));
        }
        let kind = Kind::decode(kind).ok_or(MessageError::UnknownKind(kind))?;
        let length = u16::from_be_bytes([high, low]);
        if length > MAX_BODY_BYTES {
            return Err(MessageError::Length(usize::from(length)));
        }
        Ok(Self { kind, length })
    }

    fn encode(self) -> [u8; HEAD_BYTES] {
        let [one, two, three] = MAGIC;
        let [high, low] = self.length.to_be_bytes();
        [one, two, three, VERSION, self.kind as u8, high, low]
    }

    /// JSON and tag.
    pub(crate) fn rest_bytes(self) -> usize {
        usize::from(self.length) + if self.kind.is_signed() { Tag::BYTES } else { 0 }
    }
}

/// Everything said so far, both ways, tags left out.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    bytes: Vec<u8>,
}

/// A message as it came.
#[derive(Debug)]
pub(crate) struct Received {
    kind: Kind,
    body: Vec<u8>,
    tag: Option<Tag>,
}

impl Transcript {
    /// The bytes of a message of ours, noted and, if asked for, signed together with all that was said before.
    pub(crate) fn compose(
        &mut self,
        kind: Kind,
        body: &impl Serialize,
        sign: Option<(&GroupKey, &str)>,
    ) -> Result<Vec<u8>, MessageError> {
        let body = serde_json::to_vec(body)?;
        let length = u16::try_from(body.len())
            .ok()
            .filter(|length| *length <= MAX_BODY_BYTES);
        let head = Head {
            kind,
            length: length.ok_or(MessageError::Length(body.len()))?,
        };
        let mut message = head.encode().to_vec();
        message.extend_from_slice(&body);
        self.bytes.extend_from_slice(&message);
        if let Some((key, purpose)) = sign {
            message.extend_from_slice(key.sign(purpose, &[&self.bytes]).as_bytes());
        }
        Ok(message)
    }

    /// Notes a message of theirs. `rest` is as long as [`Head::rest_bytes`] says.
    pub(crate) fn note(&mut self, head: Head, rest: Vec<u8>) -> Result<Received, MessageError> {
        let mut body = rest;
        let tag = body.split_off(body.len().min(usize::from(head.length)));
        let tag = <[u8; Tag::BYTES]>::try_from(tag).ok().map(Tag::from_bytes);
        self.bytes.extend_from_slice(&head.encode());
        self.bytes.extend_from_slice(&body);
        Ok(Received {
            kind: head.kind,
            body,
            tag,
        })
    }

    /// Whether `last`, which must be the message noted last, is signed for `purpose`.
    pub(crate) fn verify(&self, key: &GroupKey, purpose: &str, last: &Received) -> bool {
        last.tag
            .as_ref()
            .is_some_and(|tag| key.verify(purpose, &[&self.bytes], tag))
    }
}

impl Received {
    pub(crate) fn parse<T: DeserializeOwned>(&self, expected: Kind) -> Result<T, MessageError> {
        if self.kind != expected {
            return Err(MessageError::Order {
                expected,
                got: self.kind,
            });
        }
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// Turns a refusal into the error it is.
    pub(crate) fn not_refused(self) -> Result<Self, HandshakeError> {
        if self.kind == Kind::Refused {
            return Err(HandshakeError::Refused(self.parse(Kind::Refused)?));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_head_is_taken_or_refused_within_bounds(bytes in any::<[u8; HEAD_BYTES]>(), like in any::<bool>()) {
            let mut bytes = bytes;
            if like { bytes[..4].copy_from_slice(b"RHA\x01"); bytes[4] %= 7; }
            if let Ok(head) = Head::decode(bytes) {
                prop_assert!(head.rest_bytes() <= usize::from(MAX_BODY_BYTES) + Tag::BYTES);
                prop_assert_eq!(head.encode(), bytes);
            }
        }
    }

    #[test]
    fn too_long_a_message_is_not_sent() {
        let long = "x".repeat(5000);
        assert!(matches!(
            Transcript::default().compose(Kind::Hello, &long, None),
            Err(MessageError::Length(5002))
        ));
    }
}
