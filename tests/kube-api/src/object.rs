//! Metadata of objects: reading it, filling it in, checking it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::clock;
use crate::failure::Failure;
use crate::kind::{Generation, Kind, Subresource};

/// All keys and values of an object's annotations together, bytes.
const MAX_ANNOTATIONS_BYTES: usize = 256 * 1024;
const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;
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
    let metadata = fields
        .entry("metadata")
        .or_insert_with(|| Value::Object(Map::new()));
    if !metadata.is_object() {
        return Err(Failure::bad_request("metadata is no JSON object"));
    }
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

/// The checks that our programs could trip over: names, labels, the size of annotations, a Lease's numbers and times.
pub(crate) fn validate(kind: &Kind, object: &mut Value) -> Result<(), Failure> {
    let name = meta(object, "name").to_owned();
    let invalid =
        |field: &str, why: &str| Failure::invalid(kind, &name, field, "FieldValueInvalid", why);
    if !is_subdomain(&name) {
        let why = format!(
            "Invalid value: \"{name}\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character"
        );
        return Err(invalid("metadata.name", &why));
    }
    for (_, value) in texts(object, "labels") {
        if !is_label_value(value) {
            let why = format!(
                "Invalid value: \"{value}\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
            );
            return Err(invalid("metadata.labels", &why));
        }
    }
    for field in ["labels", "annotations"] {
        if let Some((key, _)) = texts(object, field).find(|(key, _)| !is_qualified_name(key)) {
            let why = format!(
                "Invalid value: \"{key}\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
            );
            return Err(invalid(&format!("metadata.{field}"), &why));
        }
    }
    let bytes: usize = texts(object, "annotations")
        .map(|(k, v)| k.len() + v.len())
        .sum();
    if bytes > MAX_ANNOTATIONS_BYTES {
        let why = format!("Too long: may not be more than {MAX_ANNOTATIONS_BYTES} bytes");
        return Err(Failure::invalid(
            kind,
            &name,
            "metadata.annotations",
            "FieldValueTooLong",
            &why,
        ));
    }
    match kind.kind {
        "Lease" => match object.get_mut("spec") {
            Some(spec) if spec.is_object() => validate_lease(spec, invalid),
            Some(_) => Err(Failure::bad_request("Lease spec is no JSON object")),
            None => Ok(()),
        },
        "Event" => micro_time(object, "eventTime"),
        _ => Ok(()),
    }
}

fn validate_lease(
    spec: &mut Value,
    invalid: impl Fn(&str, &str) -> Failure,
) -> Result<(), Failure> {
    for (field, least, why) in [
        ("leaseDurationSeconds", 1, "must be greater than 0"),
        ("leaseTransitions", 0, "must be greater than or equal to 0"),
    ] {
        let Some(value) = spec.get(field) else {
            continue;
        };
        let number = value.as_i64().and_then(|n| i32::try_from(n).ok());
        let number = number.ok_or_else(|| {
            Failure::bad_request(format!("Lease spec.{field} {value} is no 32-bit integer"))
        })?;
        if number < least {
            let why = format!("Invalid value: {number}: {why}");
            return Err(invalid(&format!("spec.{field}"), &why));
        }
    }
    for field in ["acquireTime", "renewTime"] {
        micro_time(spec, field)?;
    }
    let holder = spec.get("holderIdentity");
    if holder.is_some_and(|holder| !holder.is_string()) {
        return Err(Failure::bad_request(
            "Lease spec.holderIdentity is no string",
        ));
    }
    Ok(())
}

/// A time with exactly six digits of a second: the real server refuses any other number of them.
/// It is shown in UTC, whatever zone it was written in.
fn micro_time(object: &mut Value, field: &str) -> Result<(), Failure> {
    let Some(value) = object.get(field) else {
        return Ok(());
    };
    let text = value.as_str().unwrap_or_default();
    let fraction = text.get(19..).and_then(|rest| rest.strip_prefix('.'));
    let digits = fraction.map(|rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    let time: Option<Timestamp> = text.parse().ok().filter(|_| digits == Some(6));
    let Some(time) = time else {
        return Err(Failure::bad_request(format!(
            "parsing time {value} of field {field} as \"2006-01-02T15:04:05.000000Z07:00\""
        )));
    };
    object[field] = time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string().into();
    Ok(())
}

fn texts<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = (&'a String, &'a str)> {
    let fields = object["metadata"][field].as_object();
    fields
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key, value.as_str()?)))
}

fn is_subdomain(name: &str) -> bool {
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.len() <= MAX_NAME_BYTES
        && name.split('.').all(|part| {
            let bytes = part.as_bytes();
            bytes.first().is_some_and(|b| lower(*b))
                && bytes.last().is_some_and(|b| lower(*b))
                && bytes.iter().all(|b| lower(*b) || *b == b'-')
        })
}

fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_name_part(value)
}

fn is_qualified_name(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_name_part(name),
        None => is_name_part(key),
    }
}

fn is_name_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= MAX_LABEL_BYTES
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
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
    fn names_and_labels_are_checked_as_kubernetes_does() {
        for good in ["a", "a-0", "0.b-c"] {
            assert!(is_subdomain(good), "{good}");
        }
        for bad in ["", "A", "a_b", "-a", "a-", "a..b", ".a", &"a".repeat(254)] {
            assert!(!is_subdomain(bad), "{bad}");
        }
        for good in ["", "Broker_A.1-x", "0"] {
            assert!(is_label_value(good), "{good}");
        }
        for bad in ["-a", "a-", "a/b", "a b", &"a".repeat(64)] {
            assert!(!is_label_value(bad), "{bad}");
        }
        for good in ["example.org/a_B", "a"] {
            assert!(is_qualified_name(good), "{good}");
        }
        for bad in ["", "/a", "a/", "a/b/c", "A_/b"] {
            assert!(!is_qualified_name(bad), "{bad}");
        }
    }

    #[test]
    fn uids_look_like_random_uuids_and_differ() {
        let (a, b) = (random_uid(), random_uid());
        assert_ne!(a, b);
        let lengths: Vec<_> = a.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(random_suffix().len(), 5);
    }
}
