//! Reading fields of a reply, with errors that name them.

use std::str::FromStr;

use serde::de::DeserializeOwned;

use crate::code::ResponseCode;
use crate::command::Command;
use crate::error::{AnswerError, shortened};
use crate::fastjson;

/// The response code as it is.
pub(super) fn code(reply: &Command) -> ResponseCode {
    ResponseCode::new(reply.code)
}

/// An error unless the server carried out the request.
pub(super) fn expect_success(reply: &Command) -> Result<(), AnswerError> {
    if code(reply) == ResponseCode::SUCCESS {
        return Ok(());
    }
    Err(refused(reply))
}

pub(super) fn refused(reply: &Command) -> AnswerError {
    AnswerError::Refused {
        code: code(reply),
        remark: remark(reply),
    }
}

pub(super) fn remark(reply: &Command) -> String {
    shortened(reply.remark.as_deref().unwrap_or_default())
}

/// The text of a header field that must be there.
pub(super) fn text<'a>(reply: &'a Command, field: &'static str) -> Result<&'a str, AnswerError> {
    reply.field(field).ok_or(AnswerError::Missing(field))
}

/// The number in a header field that must be there.
pub(super) fn number<T: FromStr>(reply: &Command, field: &'static str) -> Result<T, AnswerError> {
    parsed(field, text(reply, field)?)
}

/// A number, if the text is one.
pub(super) fn parsed<T: FromStr>(field: &'static str, value: &str) -> Result<T, AnswerError> {
    value
        .trim()
        .parse()
        .map_err(|_| malformed(field, value, "a number"))
}

pub(super) fn malformed(field: &'static str, value: &str, expected: &'static str) -> AnswerError {
    AnswerError::Malformed {
        field,
        value: shortened(value),
        expected,
    }
}

/// The body as fastjson wrote it.
pub(super) fn json<T: DeserializeOwned>(
    reply: &Command,
    what: &'static str,
) -> Result<T, AnswerError> {
    fastjson::from_slice(&reply.body).map_err(|source| AnswerError::Json { what, source })
}

/// The body as text, for people and for `key=value` lines.
pub(super) fn body_text<'a>(
    reply: &'a Command,
    what: &'static str,
) -> Result<&'a str, AnswerError> {
    std::str::from_utf8(&reply.body).map_err(|_| malformed(what, "(bytes)", "UTF-8 text"))
}
