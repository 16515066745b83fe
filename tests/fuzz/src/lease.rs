//! The annotations of the group Lease: as they are, and with a digest that is right, so that what lies behind it is reached.

use crate::shape;
use crate::target::Target;
use agent::names::{self, GroupNames};
use agent::record_codec::{decode, encode, see};
use agent_core::observation::LeaseSeen;
use k8s_openapi::api::coordination::v1::Lease;
use ring::digest::{SHA256, digest};
use serde_json::Value;

pub(crate) const TARGET: Target = Target {
    name: "lease",
    seeds,
    words: &[
        "\"format\":2",
        "\"epoch\":",
        "\"nonce\":",
        "\"lineage\":[",
        "\"replication\":null",
        "\"qos_enforced\":3",
        "\"members\":{",
        "\"stage\":\"opening\"",
        "\"phase\":\"sync\"",
        "\"target\":\"a\"",
        "\"digest\":\"\"",
        "null",
        "[",
        "{",
        "\\u0000",
        "true",
        "{\"id\":\"x\",\"term\":{\"epoch\":1,\"nonce\":2}}",
    ],
    longest: 2 * 1024,
    memory: |len| 128 * 1024 + 1024 * len,
    check,
};

const SEED: &str = r#"{"format":1,"term":{"epoch":3,"nonce":7,"start":900,"master":"a","stage":"serving"},"holder":"u.n","containers":["c"],"seq":4,"replication":{"term":{"epoch":3,"nonce":7},"master":{"member":"a","session":"s","volume":"v"},"members":[{"member":"b","session":"t","volume":"w"}],"acks":0,"confirmed":900},"members":{"a":"v","b":"w"},"lineage":[{"epoch":2,"nonce":5,"start":0,"master":"b"},{"epoch":3,"nonce":7,"start":900,"master":"a"}],"log_min":0,"qos_enforced":1,"phase":"async","target":null,"take_wait_ms":10000}"#;

fn seeds() -> Vec<Vec<u8>> {
    let switchover = r#"{"id":"x","term":{"epoch":3,"nonce":7},"target":"b","limit_ms":500}"#;
    vec![
        SEED.into(),
        sealed(SEED).unwrap_or_default().into(),
        switchover.into(),
        b"true".to_vec(),
    ]
}

/// The state with the digest that it should have.
fn sealed(text: &str) -> Option<String> {
    let mut value: Value = serde_json::from_str(text).ok()?;
    value.as_object_mut()?.remove("digest");
    let seal = digest(&SHA256, value.to_string().as_bytes());
    let seal: String = seal
        .as_ref()
        .iter()
        .take(8)
        .map(|b| format!("{b:02x}"))
        .collect();
    value
        .as_object_mut()?
        .insert("digest".into(), Value::String(seal));
    serde_json::to_string(&value).ok()
}

fn check(input: &[u8]) -> Result<u64, String> {
    let Ok(text) = std::str::from_utf8(input) else {
        return Ok(shape::of("no text", &""));
    };
    if let Ok(record) = decode(text) {
        again(&record)?;
    }
    let whole = sealed(text);
    let seen = see(
        Some(&lease(whole.as_deref().unwrap_or(text), text)),
        &names(),
        &mut |_| {},
    );
    let kind = match &seen {
        LeaseSeen::Absent | LeaseSeen::Stranger { .. } => return Err(format!("seen as {seen:?}")),
        LeaseSeen::Newer { .. } => shape::of("newer", &""),
        LeaseSeen::Damaged { why, requests, .. } => {
            shape::of("damaged", why) ^ u64::from(requests.switchover.is_some())
        }
        LeaseSeen::Record { record, .. } => {
            again(record)?;
            let what = format!("{:?}{:?}", record.qos_enforced, record.phase);
            let many = shape::letters(record.lineage.entries().len() + 1);
            shape::of("record", &what) ^ shape::of("", &many)
        }
    };
    let reason = match whole.as_deref().map(decode) {
        Some(Err(error)) => match std::error::Error::source(&error) {
            Some(source) => shape::of("", &source),
            None => 0,
        },
        Some(Ok(_)) | None => 0,
    };
    Ok(kind ^ reason)
}

fn again(record: &agent_core::GroupRecord) -> Result<(), String> {
    let text = encode(record).map_err(|e| format!("not written: {e}"))?;
    match decode(&text) {
        Ok(read) if read == *record => Ok(()),
        other => Err(format!("{record:?} is read as {other:?}")),
    }
}

fn names() -> GroupNames {
    GroupNames::new("c", "b")
}

fn lease(state: &str, request: &str) -> Lease {
    let mut lease = Lease::default();
    lease.metadata.resource_version = Some("7".into());
    let all = [
        (names::CLUSTER, "c"),
        (names::BROKER, "b"),
        (names::STATE, state),
        (names::SWITCHOVER, request),
        (names::PAUSED, request),
    ];
    let all = all.map(|(key, value)| (key.to_owned(), value.to_owned()));
    lease.metadata.annotations = Some(all.into());
    lease
}
