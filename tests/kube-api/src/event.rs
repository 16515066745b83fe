//! The two faces of an Event: core/v1 and events.k8s.io/v1 are one object with renamed fields.

use serde_json::Value;

use crate::kind::Kind;

/// (core/v1, events.k8s.io/v1)
const RENAMED: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// From what clients of `kind` write to what is stored (core/v1).
pub(crate) fn stored(kind: &Kind, mut object: Value) -> Value {
    if is_new_face(kind) {
        for (core, new) in RENAMED {
            rename(&mut object, new, core);
        }
    }
    object
}

/// From what is stored to what clients of `kind` read, with the kind's own type line.
pub(crate) fn shown(kind: &Kind, mut object: Value) -> Value {
    if is_new_face(kind) {
        for (core, new) in RENAMED {
            rename(&mut object, core, new);
        }
    }
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = kind.kind.into();
    object
}

fn is_new_face(kind: &Kind) -> bool {
    kind.group == "events.k8s.io"
}

fn rename(object: &mut Value, from: &str, to: &str) {
    let Value::Object(fields) = object else {
        return;
    };
    if let Some(value) = fields.remove(from) {
        fields.insert(to.to_owned(), value);
    }
}
