//! What can go wrong: with bytes, with an answer, with a call.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::code::ResponseCode;

/// Bytes that are no frame, header or stored record, or a command that does not fit into one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The frame's length word leaves no room for the header's length word.
    #[error(
        "read frame: its length word says {length} bytes, at least 4 are needed; the peer does not speak this protocol"
    )]
    FrameTooShort {
        /// The length word.
        length: u32,
    },
    /// The frame is longer than we are willing to hold.
    #[error(
        "frame of {bytes} bytes exceeds the limit of {limit} bytes; if the peer is a broker, raise the limit"
    )]
    FrameTooLarge {
        /// Length of the whole frame in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: usize,
    },
    /// The header reaches past the end of its frame.
    #[error(
        "read frame: header of {header} bytes does not fit into a frame with {frame} bytes behind its length words"
    )]
    HeaderTooLong {
        /// Header length in bytes.
        header: usize,
        /// Bytes of header and body together.
        frame: usize,
    },
    /// The header is longer than any real one.
    #[error("header of {bytes} bytes exceeds the limit of {limit} bytes")]
    HeaderTooLarge {
        /// Its length in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Neither the JSON nor the binary header encoding.
    #[error("read frame: header encoding {0} is unknown, 0 (JSON) or 1 (ROCKETMQ) expected")]
    UnknownHeaderKind(u8),
    /// The JSON header is no JSON object of the known shape.
    #[error("read JSON header")]
    JsonHeader(#[source] serde_json::Error),
    /// A field reaches past the end of its container.
    #[error("read {field}: {need} bytes needed, {have} left")]
    Truncated {
        /// Which field.
        field: &'static str,
        /// Bytes it needs.
        need: usize,
        /// Bytes there are.
        have: usize,
    },
    /// A length below zero.
    #[error("read {field}: length {length} is negative")]
    NegativeLength {
        /// Which field.
        field: &'static str,
        /// The length found.
        length: i64,
    },
    /// Text that is not UTF-8.
    #[error("read {field}: not UTF-8")]
    NotUtf8 {
        /// Which field.
        field: &'static str,
    },
    /// A value that the binary header or the frame has no room for.
    #[error("write {field}: {value} does not fit")]
    TooBig {
        /// Which field.
        field: &'static str,
        /// The value or length that does not fit.
        value: u64,
    },
    /// A code or version outside of the binary header's 16 bits.
    #[error(
        "write {field}: {value} does not fit into the binary header's 16 bits; use the JSON header"
    )]
    NotShort {
        /// Which field.
        field: &'static str,
        /// The value.
        value: i32,
    },
    /// A stored record that contradicts itself.
    #[error("read stored record at byte {at} of the body: {reason}")]
    BadRecord {
        /// Where the record starts.
        at: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// A reply that is not the answer we asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The server said no.
    #[error("answered {code}: {remark}")]
    Refused {
        /// Its response code.
        code: ResponseCode,
        /// Its explanation, cut to a readable length.
        remark: String,
    },
    /// A broker that has just started cannot answer this yet (only
    /// [`GetRuntimeInfo`](crate::calls::GetRuntimeInfo)).
    #[error("not ready yet: {remark}; ask again shortly")]
    NotReady {
        /// Its explanation.
        remark: String,
    },
    /// A field that must be there is not.
    #[error("answer lacks {0}; is this a RocketMQ 4.9 to 5.x server of the expected kind?")]
    Missing(&'static str),
    /// A field has a value that it cannot have.
    #[error("answer has {field} = {value:?}, {expected} expected")]
    Malformed {
        /// Which field.
        field: &'static str,
        /// Its value, cut to a readable length.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The body is not the JSON expected.
    #[error("read {what} from the answer's body")]
    Json {
        /// What the body should hold.
        what: &'static str,
        /// Where it fails.
        #[source]
        source: serde_json::Error,
    },
    /// The body's stored records cannot be read.
    #[error("read messages from the answer's body")]
    Records(#[source] CodecError),
}

/// A call that brought no answer, or not the one asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// No connection.
    #[error("connect to {addr}")]
    Connect {
        /// To whom.
        addr: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// No connection in time.
    #[error("connect to {addr}: no connection within {after:?}")]
    ConnectTimeout {
        /// To whom.
        addr: SocketAddr,
        /// How long we waited.
        after: Duration,
    },
    /// The request cannot be written as a frame; nothing was sent.
    #[error("encode request {code} for {addr}")]
    Encode {
        /// Request code.
        code: i32,
        /// For whom.
        addr: SocketAddr,
        /// Why not.
        #[source]
        source: CodecError,
    },
    /// No reply in time. The request may have been carried out.
    #[error("call {code} on {addr}: no reply within {after:?}")]
    Timeout {
        /// Request code.
        code: i32,
        /// Whom we called.
        addr: SocketAddr,
        /// How long we waited.
        after: Duration,
    },
    /// The connection ended before a reply. The request may have been carried out.
    #[error("call {code} on {addr}: connection closed: {reason}")]
    Closed {
        /// Request code.
        code: i32,
        /// Whom we called.
        addr: SocketAddr,
        /// Why it ended.
        reason: String,
    },
    /// A reply came, and is not the answer asked for.
    #[error("call {code} on {addr}")]
    Answer {
        /// Request code.
        code: i32,
        /// Whom we called.
        addr: SocketAddr,
        /// What is wrong with the reply.
        #[source]
        source: AnswerError,
    },
}

impl CallError {
    /// The response code and explanation of a server that said no.
    pub fn refusal(&self) -> Option<(ResponseCode, &str)> {
        match self {
            Self::Answer {
                source: AnswerError::Refused { code, remark },
                ..
            } => Some((*code, remark)),
            _ => None,
        }
    }

    /// Is the server there, but too young to answer this?
    pub fn is_not_ready(&self) -> bool {
        matches!(
            self,
            Self::Answer {
                source: AnswerError::NotReady { .. },
                ..
            }
        )
    }

    /// Does this version of the server not know the request?
    pub fn is_unsupported(&self) -> bool {
        self.refusal()
            .is_some_and(|(code, _)| code == ResponseCode::REQUEST_CODE_NOT_SUPPORTED)
    }

    /// Could the server have carried out the request although we saw no answer?
    pub fn may_have_happened(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::Closed { .. })
    }
}

/// A text from outside, cut to what a log line can bear.
pub(crate) fn shortened(text: &str) -> String {
    const LONGEST: usize = 300;
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let head: String = text.chars().take(LONGEST).collect();
    format!("{head}…")
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;

    fn answer(source: AnswerError) -> CallError {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 10911));
        CallError::Answer {
            code: 906,
            addr,
            source,
        }
    }

    #[test]
    fn what_a_caller_branches_on_is_told_apart() {
        let refused = |code| {
            answer(AnswerError::Refused {
                code: ResponseCode::new(code),
                remark: "no".to_owned(),
            })
        };
        assert!(refused(3).is_unsupported() && !refused(1).is_unsupported());
        assert!(!refused(3).is_not_ready() && !refused(3).may_have_happened());
        let young = answer(AnswerError::NotReady {
            remark: String::new(),
        });
        assert!(young.is_not_ready() && young.refusal().is_none());
    }

    #[test]
    fn a_long_text_from_outside_is_cut() {
        assert_eq!(shortened("short"), "short");
        let cut = shortened(&"ü".repeat(5000));
        assert_eq!(cut.chars().count(), 301);
    }
}
