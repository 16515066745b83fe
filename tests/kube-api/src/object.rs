//! Objects and their metadata: reading it, filling it in, carrying it over.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use serde_json::{Map, Value, json};

use crate::clock;
use crate::failure::Failure;
use crate::kind::{Generation, Kind, Subresource};

/// Kubernetes leaves out vowels and digits that resemble them, so that no words arise.
const SUFFIX_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;

/// A text below `metadata`; empty when absent.
pub(crate) fn meta<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

pub(crate) fn version_of(object: &Value) -> &str {
    meta(object, "resourceVersion")
}

pub(crate) fn has_finalizers(object: &Value) -> bool {
    let finalizers = object["metadata"]["finalizers"].as_array();
    finalizers.is_some_and(|list| !list.is_empty())
}

/// The fields of ObjectMeta.
const METADATA: &[&str] = &[
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

/// The fields of LeaseSpec.
const LEASE_SPEC: &[&str] = &[
    "holderIdentity",
    "leaseDurationSeconds",
    "acquireTime",
    "renewTime",
    "leaseTransitions",
    "strategy",
    "preferredHolder",
];

/// Reads a body into the object it must be: right type line, an object for metadata, no nulls.
pub(crate) fn decode(kind: &Kind, body: &[u8]) -> Result<Value, Failure> {
    let object: Value = serde_json::from_slice(body).map_err(|error| {
        Failure::bad_request(format!("the object provided is unrecognized: {error}"))
    })?;
    check_shape(kind, object)
}

/// The same checks for an object that a patch has made.
pub(crate) fn check_shape(kind: &Kind, mut object: Value) -> Result<Value, Failure> {
    drop_nulls(&mut object);
    let Value::Object(fields) = &mut object else {
        return Err(Failure::bad_request("the body is no JSON object"));
    };
    let (version, name) = (kind.api_version(), kind.kind);
    let said = |field: &str| {
        fields
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    if !["", version.as_str()].contains(&said("apiVersion")) {
        let got = said("apiVersion");
        return Err(Failure::bad_request(format!(
            "the API version in the data ({got}) does not match the expected API version ({version})"
        )));
    }
    if !["", name].contains(&said("kind")) {
        let got = said("kind");
        return Err(Failure::bad_request(format!(
            "{got} in version \"{version}\" cannot be handled as a {name}"
        )));
    }
    if kind.kind == "Lease" {
        keep_known(fields, &["apiVersion", "kind", "metadata", "spec"]);
        if let Some(spec) = fields.get_mut("spec").and_then(Value::as_object_mut) {
            keep_known(spec, LEASE_SPEC);
        }
    }
    let metadata = fields
        .entry("metadata")
        .or_insert_with(|| Value::Object(Map::new()));
    let Value::Object(known) = &mut *metadata else {
        return Err(Failure::bad_request("metadata is no JSON object"));
    };
    keep_known(known, METADATA);
    for field in ["labels", "annotations"] {
        let texts = metadata[field].as_object();
        if texts.is_some_and(|texts| !texts.values().all(Value::is_string)) {
            return Err(Failure::bad_request(format!(
                "metadata.{field} holds a value that is no string"
            )));
        }
    }
    Ok(object)
}

/// A real server leaves out fields that it does not know, with a warning in a header.
fn keep_known(fields: &mut Map<String, Value>, known: &[&str]) {
    fields.retain(|field, _| known.contains(&field.as_str()));
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Puts the request's namespace and name into the metadata, or refuses another one that is there.
pub(crate) fn place(
    object: &mut Value,
    namespace: &str,
    name: Option<&str>,
) -> Result<(), Failure> {
    let said = meta(object, "namespace");
    if !said.is_empty() && said != namespace {
        return Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if let Some(name) = name {
        let said = meta(object, "name");
        if said.is_empty() {
            return Err(Failure::bad_request("name must be provided"));
        }
        if said != name {
            return Err(Failure::bad_request(format!(
                "the name of the object ({said}) does not match the name on the URL ({name})"
            )));
        }
    }
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = namespace.into();
    }
    Ok(())
}

/// What the server fills in at creation.
pub(crate) fn born(kind: &Kind, object: &mut Value) {
    if meta(object, "name").is_empty() {
        let name = format!("{}{}", meta(object, "generateName"), random_suffix());
        object["metadata"]["name"] = name.into();
    }
    strip(object);
    let metadata = &mut object["metadata"];
    metadata["uid"] = random_uid().into();
    metadata["creationTimestamp"] = clock::from_now(0).into();
    if kind.generation != Generation::None {
        metadata["generation"] = 1.into();
    }
    match kind.kind {
        "Pod" => object["status"] = json!({"phase": "Pending", "qosClass": "BestEffort"}),
        "Namespace" => object["status"] = json!({"phase": "Active"}),
        _ => {}
    }
}

/// Which part of an object a write is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Main,
    Status,
}

/// What an update may not change keeps its old value; the generation counts what it may.
pub(crate) fn carry_over(kind: &Kind, part: Part, old: &Value, new: &mut Value) {
    match part {
        Part::Status => keep(old, new, "spec"),
        Part::Main if kind.status == Subresource::Separate => keep(old, new, "status"),
        Part::Main => {}
    }
    strip(new);
    for field in [
        "uid",
        "creationTimestamp",
        "generateName",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        keep(&old["metadata"], &mut new["metadata"], field);
    }
    if raises_generation(kind, old, new) {
        let generation = old["metadata"]["generation"].as_u64().unwrap_or(1);
        new["metadata"]["generation"] = generation.saturating_add(1).into();
    }
}

/// Fields that only the server writes, and those this server does not keep.
fn strip(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in [
            "uid",
            "creationTimestamp",
            "generation",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "managedFields",
            "selfLink",
        ] {
            metadata.remove(field);
        }
    }
}

fn keep(old: &Value, new: &mut Value, field: &str) {
    let Some(fields) = new.as_object_mut() else {
        return;
    };
    match old.get(field) {
        Some(value) => fields.insert(field.to_owned(), value.clone()),
        None => fields.remove(field),
    };
}

fn raises_generation(kind: &Kind, old: &Value, new: &Value) -> bool {
    match kind.generation {
        Generation::None => false,
        Generation::Spec => old.get("spec") != new.get("spec"),
        Generation::ContentAndLabels => {
            let content = |object: &Value| {
                let mut object = object.clone();
                object["metadata"] = object["metadata"]["labels"].take();
                object
            };
            content(old) != content(new)
        }
    }
}

/// 64 random bits from the keys that the standard library draws for its maps: enough for names in a test server.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn random_uid() -> String {
    let (a, b) = (random(), random());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        0x8000 | ((b >> 48) & 0x3fff),
        b & 0xffff_ffff_ffff,
    )
}

fn random_suffix() -> String {
    let mut bits = random();
    let letters = SUFFIX_LETTERS.iter().copied().cycle();
    (0..SUFFIX_LENGTH)
        .filter_map(|_| {
            let index = usize::try_from(bits % 27).ok()?;
            bits /= 27;
            letters.clone().nth(index).map(char::from)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_look_like_random_uuids_and_differ() {
        let (a, b) = (random_uid(), random_uid());
        assert_ne!(a, b);
        let lengths: Vec<_> = a.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(random_suffix().len(), 5);
    }
}
