//! Reading one record by its place in the commit log (33).

use super::reply;
use crate::call::Call;
use crate::code::{ResponseCode, request};
use crate::command::Command;
use crate::error::AnswerError;
use crate::message::{Message, messages};
use crate::offset::LogOffset;

/// What every version says where its log holds no record at the offset (`QueryMessageProcessor.viewMessageById`).
const NOTHING_THERE: &str = "can not find message by the offset";

/// Asks a broker for the record at an offset of its commit log. It answers from its first moment on, long before its
/// runtime info (28), and so tells how far the log reaches that it recovered: no record is read beyond that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewMessage {
    /// Where the record begins.
    pub offset: LogOffset,
}

impl Call for ViewMessage {
    /// `None`: the log ends before, or there.
    type Answer = Option<Message>;

    fn request(&self) -> Command {
        Command::request(request::VIEW_MESSAGE_BY_ID).with("offset", self.offset.get())
    }

    fn answer(&self, reply: &Command) -> Result<Option<Message>, AnswerError> {
        let nothing = reply::code(reply) == ResponseCode::SYSTEM_ERROR
            && reply::remark(reply).starts_with(NOTHING_THERE);
        if nothing {
            return Ok(None);
        }
        reply::expect_success(reply)?;
        let found = messages(&reply.body)
            .map_err(AnswerError::Records)?
            .into_iter()
            .next();
        match found {
            Some(message) if message.log_offset == self.offset => Ok(Some(message)),
            Some(message) => Err(reply::malformed(
                "offset",
                &message.log_offset.to_string(),
                "the offset that was asked for",
            )),
            None => Err(AnswerError::Missing("body")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: i32, remark: &str) -> Result<Option<Message>, AnswerError> {
        let call = ViewMessage {
            offset: LogOffset::new(7),
        };
        let mut reply = Command::reply_to(&call.request(), code);
        reply.remark = Some(remark.to_owned());
        call.answer(&reply)
    }

    #[test]
    fn only_the_brokers_own_word_means_that_nothing_is_there() {
        let nothing = refused(1, "can not find message by the offset, 7");
        assert_eq!(nothing.unwrap(), None);
        assert!(refused(1, "java.lang.NullPointerException").is_err());
        assert!(refused(0, "").is_err(), "no record in it");
    }
}
