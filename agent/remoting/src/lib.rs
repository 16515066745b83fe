//! RocketMQ's remoting protocol: a pure codec, two small clients, typed calls.
//!
//! From the bytes up:
//!
//! * [`command`] is one request or reply, [`frame`] its bytes on the wire. The header comes in two encodings, JSON and
//!   binary ([`HeaderKind`]); a reader goes by the byte in the frame, not by what it wrote. Encoding and
//!   decoding are functions over byte slices with a bound on every length; no socket is in sight.
//! * [`fastjson`] makes strict JSON of the bodies of Java's fastjson, which prints numeric map keys without quotes.
//! * [`signing`] signs requests for brokers with ACL 1.0 or 2.0.
//! * [`calls`] are the requests we send and the answers we read: each is a value that implements [`Call`], a request
//!   builder and an answer parser without I/O. Java's signed offsets become [`LogOffset`] and [`QueueOffset`] there.
//! * [`message`] reads the stored records that a pull returns.
//! * `client` (feature `client`) runs calls over tokio, many at once on one connection; [`blocking`] runs them one
//!   by one over a plain socket, for programs without an async runtime.
//!
//! Neither client reconnects: a broken connection fails its calls, and the caller decides what that means.
//!
//! Where a fact of the protocol is not obvious, the comment names the Java class it was read from.

mod clock;
mod cursor;

pub mod blocking;
pub mod call;
pub mod calls;
#[cfg(feature = "client")]
pub mod client;
pub mod code;
pub mod command;
pub mod error;
pub mod fastjson;
pub mod frame;
mod header_binary;
mod header_json;
mod inbox;
pub mod message;
pub mod offset;
pub mod options;
pub mod signing;

pub use call::Call;
#[cfg(feature = "client")]
pub use client::Client;
pub use code::ResponseCode;
pub use command::{Command, Language};
pub use error::{AnswerError, CallError, CodecError};
pub use frame::{DEFAULT_FRAME_LIMIT, HeaderKind, decode, encode};
pub use offset::{LogOffset, QueueOffset};
pub use options::ClientOptions;
pub use signing::Credentials;
