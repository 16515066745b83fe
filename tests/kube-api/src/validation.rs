//! What a value must be: the checks that our programs could trip over, as the real server makes them.

use jiff::Timestamp;
use serde_json::Value;

use crate::failure::Failure;
use crate::kind::Kind;
use crate::object::meta;

/// All keys and values of an object's annotations together, bytes.
const MAX_ANNOTATIONS_BYTES: usize = 256 * 1024;
const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

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
        "Event" => {
            let about = object["involvedObject"]["namespace"].as_str();
            if about.is_some_and(|namespace| namespace != meta(object, "namespace")) {
                let why = "Invalid value: does not match event.namespace";
                return Err(invalid("involvedObject.namespace", why));
            }
            micro_time(object, "eventTime")
        }
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
}
