//! The JSON header (`RemotingSerializable`, fastjson).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::command::{Command, Language};
use crate::error::CodecError;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    code: i32,
    language: &'a str,
    version: i32,
    opaque: i32,
    flag: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    remark: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    ext_fields: &'a BTreeMap<String, String>,
    #[serde(rename = "serializeTypeCurrentRPC")]
    serialize_type: &'static str,
}

/// Only the code must be there: Java leaves out what is null, other clients what is zero.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read {
    code: i32,
    #[serde(default)]
    language: Option<String>,
    #[serde(default)]
    version: i32,
    #[serde(default)]
    opaque: i32,
    #[serde(default)]
    flag: i32,
    #[serde(default)]
    remark: Option<String>,
    #[serde(default)]
    ext_fields: Option<BTreeMap<String, Option<String>>>,
}

pub(crate) fn encode(command: &Command) -> Result<Vec<u8>, CodecError> {
    let header = Written {
        code: command.code,
        language: command.language.name(),
        version: command.version,
        opaque: command.opaque,
        flag: command.flag,
        remark: command.remark.as_deref(),
        ext_fields: &command.ext,
        serialize_type: "JSON",
    };
    serde_json::to_vec(&header).map_err(CodecError::JsonHeader)
}

/// The command of this header, still without its body.
pub(crate) fn decode(header: &[u8]) -> Result<Command, CodecError> {
    let header: Read = serde_json::from_slice(header).map_err(CodecError::JsonHeader)?;
    let ext = header.ext_fields.unwrap_or_default();
    Ok(Command {
        code: header.code,
        language: header
            .language
            .map_or(Language::Other, |name| Language::from_name(&name)),
        version: header.version,
        opaque: header.opaque,
        flag: header.flag,
        remark: header.remark,
        ext: ext
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .collect(),
        body: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_java_leaves_out_is_empty() {
        let read = decode(br#"{"code":0,"flag":1,"extFields":{"a":null,"b":"1"},"unheardOf":[1]}"#)
            .unwrap();
        assert_eq!(read.ext, BTreeMap::from([("b".to_owned(), "1".to_owned())]));
        assert_eq!(read.language, Language::Other);
        assert!(read.is_reply());
        assert_eq!(
            decode(br#"{"code":7,"extFields":null,"remark":null}"#)
                .unwrap()
                .remark,
            None
        );
    }

    #[test]
    fn nonsense_is_an_error() {
        for header in [
            &b""[..],
            b"{}",
            b"[]",
            b"null",
            b"{\"code\":\"x\"}",
            b"{\"code\":99999999999}",
            b"\xff",
        ] {
            assert!(
                matches!(decode(header), Err(CodecError::JsonHeader(_))),
                "{header:?}"
            );
        }
        assert!(decode("[".repeat(100_000).as_bytes()).is_err());
    }
}
