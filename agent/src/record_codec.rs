//! The group's record as it stands in the Lease: one annotation of JSON with a format number and a digest (safety H46).

use agent_core::ids::Rv;
use agent_core::observation::{LeaseSeen, Requests, SwitchoverRequest};
use agent_core::record::{FORMAT, GroupRecord};
use k8s_openapi::api::coordination::v1::Lease;
use ring::digest::{SHA256, digest};
use serde_json::Value;
use std::collections::BTreeMap;
use thiserror::Error;

use crate::names::{self, GroupNames};

/// The longest state that is read, in bytes. A record of 64 terms and a dozen members has about 12 KiB.
const MAX_STATE: usize = 200 * 1024;

/// Why a state is no state.
#[derive(Debug, Error)]
pub enum StateError {
    /// Too long.
    #[error(
        "annotation {} has {bytes} bytes, at most {MAX_STATE} are read",
        names::STATE
    )]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// Not JSON.
    #[error("annotation {} is not JSON", names::STATE)]
    Json(#[source] serde_json::Error),
    /// JSON, but not a record.
    #[error("annotation {} is JSON but not a record of this format", names::STATE)]
    Shape(#[source] serde_json::Error),
    /// Somebody wrote into it by hand.
    #[error(
        "annotation {} has digest {found:?}, its content has {wanted:?}: it was changed by hand",
        names::STATE
    )]
    Digest {
        /// What it carries.
        found: String,
        /// What it should carry.
        wanted: String,
    },
    /// Written by a newer version.
    #[error(
        "annotation {} has format {format}, this version reads up to {FORMAT}: upgrade this agent",
        names::STATE
    )]
    Newer {
        /// What it has.
        format: u32,
    },
}

/// The annotation of a record.
///
/// # Errors
/// Only if the record cannot be written as JSON, which no record can cause.
pub fn encode(record: &GroupRecord) -> Result<String, serde_json::Error> {
    let mut value = serde_json::to_value(record)?;
    let seal = seal(&value);
    if let Value::Object(fields) = &mut value {
        fields.insert("digest".to_owned(), Value::String(seal));
    }
    serde_json::to_string(&value)
}

/// The record of an annotation.
///
/// # Errors
/// [`StateError`], which names what is wrong with it.
pub fn decode(text: &str) -> Result<GroupRecord, StateError> {
    if text.len() > MAX_STATE {
        return Err(StateError::TooLong { bytes: text.len() });
    }
    let mut value: Value = serde_json::from_str(text).map_err(StateError::Json)?;
    let format = value
        .get("format")
        .and_then(Value::as_u64)
        .and_then(|f| u32::try_from(f).ok());
    if let Some(format) = format.filter(|f| *f > FORMAT) {
        return Err(StateError::Newer { format });
    }
    let found = value
        .as_object_mut()
        .and_then(|fields| fields.remove("digest"));
    let found = found
        .as_ref()
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let wanted = seal(&value);
    if found != wanted {
        return Err(StateError::Digest { found, wanted });
    }
    serde_json::from_value(value).map_err(StateError::Shape)
}

/// The first 16 hex digits of the SHA-256 of the JSON with sorted keys.
fn seal(value: &Value) -> String {
    names::hex(digest(&SHA256, value.to_string().as_bytes()).as_ref())
        .chars()
        .take(16)
        .collect()
}

/// What a Lease says to us. `complain` is told of a request that cannot be read.
pub fn see(
    lease: Option<&Lease>,
    names: &GroupNames,
    complain: &mut dyn FnMut(String),
) -> LeaseSeen {
    let Some(lease) = lease else {
        return LeaseSeen::Absent;
    };
    let empty = BTreeMap::new();
    let annotations = lease.metadata.annotations.as_ref().unwrap_or(&empty);
    if let Some(whose) = stranger(annotations, names) {
        return LeaseSeen::Stranger { whose };
    }
    let requests = requests(annotations, complain);
    let Some(rv) = version(lease) else {
        let why = format!(
            "resourceVersion {:?} is not a number",
            lease.metadata.resource_version
        );
        return LeaseSeen::Damaged {
            rv: Rv::new(0),
            why,
            requests,
        };
    };
    let Some(state) = annotations.get(names::STATE) else {
        let why = format!("annotation {} is missing", names::STATE);
        return LeaseSeen::Damaged { rv, why, requests };
    };
    match decode(state) {
        Ok(record) => LeaseSeen::Record {
            rv,
            record: Box::new(record),
            requests,
        },
        Err(StateError::Newer { format }) => LeaseSeen::Newer { format },
        Err(error) => LeaseSeen::Damaged {
            rv,
            why: error.to_string(),
            requests,
        },
    }
}

/// The object's version, which Kubernetes promises to be a comparable number.
pub fn version(lease: &Lease) -> Option<Rv> {
    lease
        .metadata
        .resource_version
        .as_ref()?
        .parse()
        .ok()
        .map(Rv::new)
}

/// Whose it is, where a true name is given and is not ours (H13). One that is missing was taken off by hand.
fn stranger(annotations: &BTreeMap<String, String>, names: &GroupNames) -> Option<String> {
    let cluster = annotations.get(names::CLUSTER);
    let broker = annotations.get(names::BROKER);
    let ours =
        cluster.is_none_or(|c| *c == names.cluster) && broker.is_none_or(|b| *b == names.broker);
    let word = |name: Option<&String>| name.cloned().unwrap_or_default();
    (!ours).then(|| format!("cluster {:?}, broker {:?}", word(cluster), word(broker)))
}

fn requests(annotations: &BTreeMap<String, String>, complain: &mut dyn FnMut(String)) -> Requests {
    let paused = match annotations.get(names::PAUSED).map(String::as_str) {
        Some("true") => true,
        None | Some("false" | "") => false,
        Some(other) => {
            complain(format!(
                "annotation {} is {other:?}: use \"true\" or remove it; taken as true",
                names::PAUSED
            ));
            true
        }
    };
    let switchover = annotations.get(names::SWITCHOVER).and_then(|text| {
        let parsed: Result<SwitchoverRequest, _> = serde_json::from_str(text);
        parsed
            .map_err(|error| {
                let key = names::SWITCHOVER;
                complain(format!(
                    "annotation {key} is {text:?}: {error}; ignored: use `rocketmq-ha switchover`"
                ));
            })
            .ok()
    });
    Requests { paused, switchover }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_core::record::{MemberSession, Phase, Qos, Replication, Stage, Term, TermId};
    use agent_core::{Epoch, Lineage, LineageEntry, Nonce, Offset};
    use proptest::prelude::*;

    fn record(epoch: u64, nonce: u64, start: u64) -> GroupRecord {
        let id = TermId {
            epoch: Epoch::new(epoch),
            nonce: Nonce::new(nonce),
        };
        let entry = LineageEntry {
            epoch: id.epoch,
            nonce: id.nonce,
            start: Offset::new(start),
            master: "a-0".into(),
        };
        let who = MemberSession {
            member: "a-0".into(),
            session: "s".into(),
            volume: "v".into(),
        };
        GroupRecord {
            format: FORMAT,
            term: Term {
                id,
                start: Offset::new(start),
                master: "a-0".into(),
                stage: Stage::Serving,
            },
            holder: "uid.n".into(),
            containers: vec!["containerd://x".into()],
            seq: 3,
            replication: Some(Replication {
                term: id,
                master: who.clone(),
                members: [who].into(),
                acks: 0,
                confirmed: Offset::new(start),
            }),
            members: [("a-0".into(), "v".into())].into(),
            lineage: Lineage::new(vec![entry]).unwrap(),
            log_min: Offset::ZERO,
            qos_enforced: Qos::Async,
            phase: Phase::Single,
            target: None,
            take_wait_ms: 10_000,
        }
    }

    proptest! {
        #[test]
        fn a_record_survives_its_annotation(epoch in 1u64.., nonce in 0u64.., start in 0u64..) {
            let record = record(epoch, nonce, start);
            prop_assert_eq!(decode(&encode(&record).unwrap()).unwrap(), record);
        }

        #[test]
        fn no_text_is_more_than_an_error(text in ".{0,300}") {
            let _ = decode(&text);
        }

        #[test]
        fn every_changed_byte_is_noticed(at in 0usize.., byte in 0x20u8..0x7f) {
            let sound = encode(&record(7, 1, 900)).unwrap();
            let mut bytes = sound.clone().into_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            let changed = String::from_utf8(bytes).unwrap();
            if changed != sound {
                prop_assert!(decode(&changed).is_err(), "{}", changed);
            }
        }
    }

    #[test]
    fn the_annotation_is_stable() {
        let text = encode(&record(7, 42, 900)).unwrap();
        assert_eq!(
            text,
            r#"{"containers":["containerd://x"],"digest":"DIGEST","format":1,"holder":"uid.n","lineage":[{"epoch":7,"master":"a-0","nonce":42,"start":900}],"log_min":0,"members":{"a-0":"v"},"phase":"single","qos_enforced":0,"replication":{"acks":0,"confirmed":900,"master":{"member":"a-0","session":"s","volume":"v"},"members":[{"member":"a-0","session":"s","volume":"v"}],"term":{"epoch":7,"nonce":42}},"seq":3,"take_wait_ms":10000,"target":null,"term":{"epoch":7,"master":"a-0","nonce":42,"stage":"serving","start":900}}"#
                .replace("DIGEST", &seal_of(&text))
        );
    }

    fn seal_of(text: &str) -> String {
        let value: Value = serde_json::from_str(text).unwrap();
        value["digest"].as_str().unwrap().to_owned()
    }

    fn lease(annotations: &[(&str, &str)]) -> Lease {
        let mut lease = Lease::default();
        lease.metadata.resource_version = Some("12".into());
        lease.metadata.annotations = Some(
            annotations
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        );
        lease
    }

    #[test]
    fn a_lease_of_nonsense_gives_no_rights_and_says_why() {
        let names = GroupNames::new("c", "b");
        let seen = see(
            Some(&lease(&[(names::STATE, "{\"format\":1}")])),
            &names,
            &mut |_| {},
        );
        assert!(
            matches!(&seen, LeaseSeen::Damaged { why, .. } if why.contains("changed by hand")),
            "{seen:?}"
        );
        let seen = see(
            Some(&lease(&[(names::STATE, "{\"format\":9}")])),
            &names,
            &mut |_| {},
        );
        assert_eq!(seen, LeaseSeen::Newer { format: 9 });
        let seen = see(
            Some(&lease(&[(names::CLUSTER, "c"), (names::BROKER, "B")])),
            &names,
            &mut |_| {},
        );
        assert!(matches!(seen, LeaseSeen::Stranger { .. }));
        let seen = see(Some(&lease(&[(names::BROKER, "B")])), &names, &mut |_| {});
        assert!(matches!(seen, LeaseSeen::Stranger { .. }), "{seen:?}");
        assert_eq!(see(None, &names, &mut |_| {}), LeaseSeen::Absent);
    }

    #[test]
    fn a_bad_request_is_named_and_ignored_and_a_doubtful_pause_is_a_pause() {
        let names = GroupNames::new("c", "b");
        let state = encode(&record(1, 1, 0)).unwrap();
        let asked = lease(&[
            (names::STATE, &state),
            (names::SWITCHOVER, "now!"),
            (names::PAUSED, "yes"),
        ]);
        let mut said = Vec::new();
        let seen = see(Some(&asked), &names, &mut |line| said.push(line));
        let LeaseSeen::Record { requests, .. } = seen else {
            panic!("{seen:?}")
        };
        assert_eq!(
            requests,
            Requests {
                paused: true,
                switchover: None
            }
        );
        assert_eq!(said.len(), 2);
        assert!(
            said.iter()
                .any(|l| l.contains("\"now!\"") && l.contains("rocketmq-ha switchover")),
            "{said:?}"
        );
    }
}
