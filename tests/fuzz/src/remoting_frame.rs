//! Commands of RocketMQ's remoting protocol, in both encodings; message records and fastjson's bodies in them.

use crate::shape;
use crate::target::Target;
use remoting::{Command, HeaderKind, decode, encode, fastjson, message};
use serde_json::Value;

/// The longest frame taken here, bytes.
const LIMIT: usize = 64 * 1024;

pub(crate) const TARGET: Target = Target {
    name: "remoting",
    seeds,
    words: &[
        "{\"code\":0,",
        "\"extFields\":{",
        "\"flag\":1",
        "\"language\":\"JAVA\"",
        "\"opaque\":",
        "\"remark\":\"\"",
        "\"serializeTypeCurrentRPC\":\"JSON\"",
        "\"version\":",
        "{0:\"",
        "null",
        "\\u0000",
        "\\ud800",
        "\u{1}",
        "\u{2}",
    ],
    longest: 4 * 1024,
    // A header of many short arguments takes many times its length.
    memory: |len| 256 * 1024 + 1024 * len,
    check,
};

fn seeds() -> Vec<Vec<u8>> {
    let request = Command::request(105)
        .with("topic", "T")
        .with("queueId", 3)
        .with_body(*b"{\"brokerDatas\":[{\"brokerAddrs\":{0:\"10.0.0.1:10911\",1:\"x\"}}]}");
    let mut reply = Command::reply_to(&request, 17);
    reply.remark = Some("No topic route info".into());
    let mut record = vec![0, 0, 0, 96, 0xDA, 0xA3, 0x20, 0xA7];
    record.extend_from_slice(&[0; 75]);
    record.extend_from_slice(&[0, 0, 0, 2, b'o', b'k', 1, b'T', 0, 4, b'k', 1, b'v', 2]);
    let pulled = Command::reply_to(&request, 0).with_body(record);
    [request, reply, pulled]
        .iter()
        .flat_map(|c| [HeaderKind::Json, HeaderKind::Binary].map(|kind| encode(c, kind)))
        .filter_map(Result::ok)
        .collect()
}

fn check(input: &[u8]) -> Result<u64, String> {
    let (command, used) = match decode(input, LIMIT) {
        Ok(Some(read)) => read,
        Ok(None) => return Ok(shape::of("part", &"")),
        Err(error) => return Ok(shape::of("refused", &error)),
    };
    if used > input.len() {
        return Err(format!("takes {used} bytes of {}", input.len()));
    }
    again(&command, HeaderKind::Json)?;
    again(&command, HeaderKind::Binary)?;
    let body = bodies(&command.body)?;
    let fields = shape::letters(command.ext.len() + 1);
    let kind = if command.remark.is_some() {
        "remark"
    } else {
        ""
    };
    Ok(body ^ shape::of(kind, &fields))
}

/// What is written is read back.
fn again(command: &Command, kind: HeaderKind) -> Result<(), String> {
    let Ok(frame) = encode(command, kind) else {
        // Does not fit into this encoding.
        return Ok(());
    };
    let mut expected = command.clone();
    if kind == HeaderKind::Binary {
        expected.remark = expected.remark.filter(|r| !r.is_empty());
    }
    match decode(&frame, usize::MAX) {
        Ok(Some((read, used))) if read == expected && used == frame.len() => Ok(()),
        other => Err(format!("{kind:?}: {expected:?} is read as {other:?}")),
    }
}

fn bodies(body: &[u8]) -> Result<u64, String> {
    let repaired = fastjson::repair(body);
    if serde_json::from_slice::<Value>(body).is_ok() && repaired != body {
        return Err("sound JSON is repaired".into());
    }
    if fastjson::repair(&repaired) != repaired {
        return Err("what was repaired is repaired again".into());
    }
    match message::messages(body) {
        Ok(messages) => Ok(shape::of("messages", &shape::letters(messages.len() + 1))),
        Err(error) => Ok(shape::of("no messages", &error)),
    }
}
