//! Lines between agent and launcher.

use crate::shape;
use crate::target::Target;
use launcher::protocol::{Lines, MAX_LINE, Reply, Request, decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) const TARGET: Target = Target {
    name: "launcher",
    seeds,
    words: &[
        "{\"id\":1,\"op\":\"kill\"}\n",
        "\"status\"",
        "\"watch\"",
        "{\"stop\":{\"grace_ms\":",
        "\"permit\":",
        "\"start\":",
        "\"hello\":",
        "\"relay\":",
        "\"role\":\"master\"",
        "\"term\":{\"epoch\":1,\"nonce\":2}",
        "null",
        "\n",
        "[",
        "{",
        "\\u0000",
        "18446744073709551615",
    ],
    longest: 4 * 1024,
    // Each empty line costs two errors, and a long input is read twenty times over.
    memory: |len| 1024 * 1024 + 4096 * len,
    check,
};

fn seeds() -> Vec<Vec<u8>> {
    [
        r#"{"id":1,"op":{"hello":{"protocol":1,"boot_id":"b","boottime_ms":5,"agent_version":"1"}}}"#,
        r#"{"id":2,"op":{"start":{"role":"master","term":{"epoch":7,"nonce":8},"instance":"u.n","conf":"/c","permit_until_ms":9,"jvm_options":["-Xmx1g"]}}}"#,
        r#"{"id":3,"op":{"permit":{"term":{"epoch":7,"nonce":8},"instance":"u.n","until_ms":10}}}"#,
        r#"{"id":4,"op":{"stop":{"grace_ms":1}}}"#,
        r#"{"id":5,"op":"watch"}"#,
        r#"{"id":6,"op":{"relay":{"master":null,"slave":"park"}}}"#,
        r#"{"id":7,"error":{"kind":"term","message":"m"},"status":{"protocol":1,"version":"1","launcher_nonce":"n","boot_id":"b","boottime_ms":5,"guarded":true,"leaving":false,"broker":{"state":"running","pid":1,"role":"slave","term":{"epoch":7,"nonce":8},"instance":"u.n","permit_until_ms":9,"started_ms":1,"running_ms":2,"listen_port":10911,"activity":{"at_ms":1,"cpu_ms":2,"io_bytes":3,"frozen":false},"last_end":{"code":1,"signal":null,"why":"exited","at_ms":3,"role":"master","term":{"epoch":7,"nonce":8}}},"relay":{"master":null,"slave":null}}}"#,
    ]
    .iter()
    .map(|line| format!("{line}\n").into_bytes())
    .collect()
}

fn check(input: &[u8]) -> Result<u64, String> {
    // Now and then more than a line may have.
    let long = if input.len() > 4_000 {
        input.repeat(20)
    } else {
        Vec::new()
    };
    let input = if long.is_empty() { input } else { &long };
    let mut lines = Lines::default();
    let mut whole = Vec::new();
    let (mut kinds, mut count) = (0, 0);
    // In two pieces, as a socket may give them.
    let (one, two) = input.split_at(input.len() / 3);
    for piece in [one, two] {
        lines.push(piece);
        loop {
            match lines.next_line() {
                Ok(Some(line)) => {
                    kinds ^= message(&line)?;
                    count += 1;
                    whole.extend_from_slice(&line);
                    whole.push(b'\n');
                }
                Ok(None) => break,
                Err(error) => return Ok(kinds ^ shape::of("line", &error)),
            }
        }
    }
    if !input.starts_with(&whole) || whole.len() + MAX_LINE < input.len() {
        return Err(format!("{count} lines are not those that came"));
    }
    Ok(kinds)
}

fn message(line: &[u8]) -> Result<u64, String> {
    let request = again::<Request>(line)?;
    let reply = again::<Reply>(line)?;
    Ok(request ^ reply.rotate_left(1))
}

fn again<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    line: &[u8],
) -> Result<u64, String> {
    let read: T = match decode(line, "line") {
        Ok(read) => read,
        Err(error) => {
            let source = std::error::Error::source(&error);
            return Ok(source.map_or(0, |s| shape::of("refused", &s)));
        }
    };
    // What is longer once it is written out in full is refused.
    if let Ok(line) = encode(&read) {
        match decode::<T>(&line, "line") {
            Ok(second) if second == read => {}
            other => return Err(format!("{read:?} is read as {other:?}")),
        }
    }
    let kind = format!("{read:?}");
    Ok(shape::of("read", &kind.get(..40).unwrap_or_default()))
}
