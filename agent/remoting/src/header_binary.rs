//! The binary header (`RocketMQSerializable`):
//!
//! ```text
//! i16 code | u8 language | i16 version | i32 opaque | i32 flag
//! i32 length, remark
//! i32 length of all arguments | repeated: i16 length, key, i32 length, value
//! ```

use std::collections::BTreeMap;

use crate::command::{Command, Language};
use crate::cursor::{Cursor, text};
use crate::error::CodecError;

pub(crate) fn encode(command: &Command) -> Result<Vec<u8>, CodecError> {
    let mut header = Vec::with_capacity(64);
    header.extend_from_slice(&short("code", command.code)?.to_be_bytes());
    header.push(command.language.number());
    header.extend_from_slice(&short("version", command.version)?.to_be_bytes());
    header.extend_from_slice(&command.opaque.to_be_bytes());
    header.extend_from_slice(&command.flag.to_be_bytes());
    put_long_text(
        &mut header,
        "remark",
        command.remark.as_deref().unwrap_or_default(),
    )?;
    let mut arguments = Vec::new();
    for (key, value) in &command.ext {
        let length = i16::try_from(key.len()).map_err(|_| too_big("argument name", key.len()))?;
        arguments.extend_from_slice(&length.to_be_bytes());
        arguments.extend_from_slice(key.as_bytes());
        put_long_text(&mut arguments, "argument", value)?;
    }
    let length =
        i32::try_from(arguments.len()).map_err(|_| too_big("arguments", arguments.len()))?;
    header.extend_from_slice(&length.to_be_bytes());
    header.extend_from_slice(&arguments);
    Ok(header)
}

/// The command of this header, still without its body.
pub(crate) fn decode(header: &[u8]) -> Result<Command, CodecError> {
    let mut header = Cursor::new(header);
    let code = header.i16("code")?;
    let language = header.u8("language")?;
    let version = header.i16("version")?;
    let opaque = header.i32("opaque")?;
    let flag = header.i32("flag")?;
    let remark = text("remark", header.long_bytes("remark")?)?;
    let arguments = header.long_bytes("arguments")?;
    Ok(Command {
        code: i32::from(code),
        language: Language::from_number(language),
        version: i32::from(version),
        opaque,
        flag,
        remark: Some(remark).filter(|remark| !remark.is_empty()),
        ext: arguments_of(arguments)?,
        body: Vec::new(),
    })
}

fn arguments_of(bytes: &[u8]) -> Result<BTreeMap<String, String>, CodecError> {
    let mut rest = Cursor::new(bytes);
    let mut arguments = BTreeMap::new();
    while !rest.is_empty() {
        let key = text("argument name", rest.short_bytes("argument name")?)?;
        let value = text("argument", rest.long_bytes("argument")?)?;
        arguments.insert(key, value);
    }
    Ok(arguments)
}

fn put_long_text(out: &mut Vec<u8>, field: &'static str, value: &str) -> Result<(), CodecError> {
    let length = i32::try_from(value.len()).map_err(|_| too_big(field, value.len()))?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value.as_bytes());
    Ok(())
}

fn short(field: &'static str, value: i32) -> Result<i16, CodecError> {
    i16::try_from(value).map_err(|_| CodecError::NotShort { field, value })
}

fn too_big(field: &'static str, length: usize) -> CodecError {
    CodecError::TooBig {
        field,
        value: u64::try_from(length).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_below_zero_or_past_the_end_are_errors() {
        let start = [0, 28, 12, 1, 0x91, 0, 0, 0, 5, 0, 0, 0, 1];
        let with = |rest: &[u8]| [&start[..], rest].concat();
        assert!(matches!(
            decode(&with(&[0xFF, 0xFF, 0xFF, 0xFF])),
            Err(CodecError::NegativeLength {
                field: "remark",
                length: -1
            })
        ));
        assert!(matches!(
            decode(&with(&[0x7F, 0xFF, 0xFF, 0xFF])),
            Err(CodecError::Truncated {
                field: "remark",
                ..
            })
        ));
        assert!(matches!(
            decode(&with(&[0, 0, 0, 0, 0, 0, 0, 2, 0x80, 0])),
            Err(CodecError::NegativeLength {
                field: "argument name",
                ..
            })
        ));
        assert!(matches!(
            decode(&with(&[0, 0, 0, 0, 0, 0, 0, 3, 0, 1, b'k'])),
            Err(CodecError::Truncated {
                field: "argument",
                ..
            })
        ));
        assert!(matches!(
            decode(&with(&[0, 0, 0, 1, 0xFF, 0, 0, 0, 0])),
            Err(CodecError::NotUtf8 { field: "remark" })
        ));
        let read = decode(&with(&[0, 0, 0, 0, 0, 0, 0, 0])).unwrap();
        assert_eq!(
            (read.code, read.version, read.opaque, read.remark),
            (28, 401, 5, None)
        );
    }

    #[test]
    fn a_code_of_more_than_16_bits_is_refused() {
        assert!(matches!(
            encode(&Command::request(200_050)),
            Err(CodecError::NotShort {
                field: "code",
                value: 200_050
            })
        ));
    }
}
