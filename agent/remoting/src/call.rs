//! What every typed call has in common.

use crate::command::Command;
use crate::error::AnswerError;

/// A request that knows how to read its answer. No I/O: a client sends the one and hands back the other.
pub trait Call {
    /// What the server tells us.
    type Answer;

    /// The request. The client adds opaque number and signature.
    fn request(&self) -> Command;

    /// Reads the reply.
    ///
    /// # Errors
    /// The server refused, or its reply is not of the expected shape.
    fn answer(&self, reply: &Command) -> Result<Self::Answer, AnswerError>;
}
