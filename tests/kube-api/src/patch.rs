//! The patch formats: JSON merge patch (RFC 7386), JSON patch (RFC 6902: add, replace, remove, test), and the strategic
//! merge patch as far as it means the same as a merge patch.

use serde_json::{Map, Value};

use crate::failure::Failure;

/// A parsed patch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Patch {
    Merge(Value),
    Json(Vec<Value>),
}

impl Patch {
    /// Reads `body` by its content type.
    ///
    /// # Errors
    /// 415 for a format this server does not have, 400 for a body that is none of its format.
    pub(crate) fn parse(content_type: &str, body: &[u8]) -> Result<Self, Failure> {
        let media = content_type.split(';').next().unwrap_or_default().trim();
        match media {
            "application/merge-patch+json" => Ok(Self::Merge(object(body)?)),
            "application/strategic-merge-patch+json" => {
                let patch = object(body)?;
                if needs_strategy(&patch) {
                    return Err(Failure::unsupported_media(
                        "this server applies a strategic merge patch only where it equals a merge patch: \
                         no $-directives, no lists of objects, no finalizers; send a merge patch",
                    ));
                }
                Ok(Self::Merge(patch))
            }
            "application/json-patch+json" => match serde_json::from_slice(body) {
                Ok(steps) => Ok(Self::Json(steps)),
                Err(error) => Err(malformed(&error)),
            },
            _ => Err(Failure::unsupported_media(format!(
                "this server has no patch of type {media:?} - accepted media types include: \
                 application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json"
            ))),
        }
    }

    pub(crate) fn apply(&self, mut target: Value) -> Result<Value, Failure> {
        match self {
            Self::Merge(patch) => merge(&mut target, patch),
            Self::Json(steps) => {
                for step in steps {
                    apply_step(&mut target, step)?;
                }
            }
        }
        Ok(target)
    }
}

fn object(body: &[u8]) -> Result<Value, Failure> {
    let patch: Value = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    if patch.is_object() {
        return Ok(patch);
    }
    Err(Failure::bad_request("a merge patch must be a JSON object"))
}

fn malformed(error: &serde_json::Error) -> Failure {
    Failure::bad_request(format!("error decoding patch: {error}"))
}

fn needs_strategy(patch: &Value) -> bool {
    match patch {
        Value::Object(fields) => fields.iter().any(|(key, value)| {
            key.starts_with('$')
                || (key == "finalizers" && value.is_array())
                || needs_strategy(value)
        }),
        Value::Array(items) => items.iter().any(Value::is_object),
        _ => false,
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

fn apply_step(target: &mut Value, step: &Value) -> Result<(), Failure> {
    let refuse = |why: &str| Failure::unprocessable(format!("json patch {step}: {why}"));
    let path = step["path"]
        .as_str()
        .ok_or_else(|| refuse("path is missing"))?;
    let value = step.get("value");
    match step["op"].as_str() {
        Some("test") => {
            let found = target.pointer(path).unwrap_or(&Value::Null);
            if found == value.unwrap_or(&Value::Null) {
                return Ok(());
            }
            Err(refuse("test failed"))
        }
        Some("replace") => {
            let value = value.ok_or_else(|| refuse("value is missing"))?;
            let slot = target
                .pointer_mut(path)
                .ok_or_else(|| refuse("no such path"))?;
            *slot = value.clone();
            Ok(())
        }
        Some("add") => {
            let value = value.ok_or_else(|| refuse("value is missing"))?;
            let (parent, key) = parent_mut(target, path).ok_or_else(|| refuse("no such path"))?;
            add(parent, &key, value.clone()).ok_or_else(|| refuse("no such place"))
        }
        Some("remove") => {
            let (parent, key) = parent_mut(target, path).ok_or_else(|| refuse("no such path"))?;
            remove(parent, &key).ok_or_else(|| refuse("no such path"))
        }
        _ => Err(refuse("this server has only add, replace, remove and test")),
    }
}

fn parent_mut<'a>(target: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (parent, key) = path.rsplit_once('/')?;
    let key = key.replace("~1", "/").replace("~0", "~");
    Some((target.pointer_mut(parent)?, key))
}

fn add(parent: &mut Value, key: &str, value: Value) -> Option<()> {
    match parent {
        Value::Object(fields) => {
            fields.insert(key.to_owned(), value);
        }
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => {
            let at = key.parse().ok().filter(|at| *at <= items.len())?;
            items.insert(at, value);
        }
        _ => return None,
    }
    Some(())
}

fn remove(parent: &mut Value, key: &str) -> Option<()> {
    match parent {
        Value::Object(fields) => fields.remove(key).map(drop),
        Value::Array(items) => {
            let at = key.parse().ok().filter(|at| *at < items.len())?;
            items.remove(at);
            Some(())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(media: &str, target: Value, patch: &Value) -> Result<Value, Failure> {
        Patch::parse(media, patch.to_string().as_bytes())?.apply(target)
    }

    #[test]
    fn merge_patch_follows_rfc_7386() {
        // The appendix of the RFC, as far as the patch is an object.
        for (target, patch, result) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (
                json!({"a":"b","b":"c"}),
                json!({"a":null}),
                json!({"b":"c"}),
            ),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (
                json!({"a":{"b":"c"}}),
                json!({"a":{"b":"d","c":null}}),
                json!({"a":{"b":"d"}}),
            ),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (
                json!({}),
                json!({"a":{"bb":{"ccc":null}}}),
                json!({"a":{"bb":{}}}),
            ),
        ] {
            let got = patched("application/merge-patch+json", target, &patch).unwrap();
            assert_eq!(got, result);
        }
    }

    #[test]
    fn json_patch_has_its_four_operations() {
        let target = json!({"a": {"b/c": 1}, "l": [1, 3]});
        let patch = json!([
            {"op": "test", "path": "/a/b~1c", "value": 1},
            {"op": "replace", "path": "/a/b~1c", "value": 2},
            {"op": "add", "path": "/l/1", "value": 2},
            {"op": "add", "path": "/l/-", "value": 4},
            {"op": "remove", "path": "/l/0"},
            {"op": "add", "path": "/n", "value": {}},
        ]);
        let got = patched("application/json-patch+json", target, &patch).unwrap();
        assert_eq!(got, json!({"a": {"b/c": 2}, "l": [2, 3, 4], "n": {}}));
    }

    #[test]
    fn a_patch_that_does_not_fit_is_refused() {
        for step in [
            json!({"op": "test", "path": "/a", "value": 2}),
            json!({"op": "replace", "path": "/x", "value": 2}),
            json!({"op": "remove", "path": "/x"}),
            json!({"op": "add", "path": "/a/b", "value": 2}),
            json!({"op": "add", "path": "x", "value": 2}),
            json!({"op": "move", "path": "/a", "from": "/b"}),
            json!({}),
        ] {
            let got = patched(
                "application/json-patch+json",
                json!({"a": 1}),
                &json!([step]),
            );
            assert_eq!(got.unwrap_err().code, 422, "{step}");
        }
    }

    #[test]
    fn a_strategic_patch_is_taken_only_where_it_is_a_merge_patch() {
        let media = "application/strategic-merge-patch+json";
        let good = json!({"metadata": {"labels": {"a": null}}, "data": ["x"]});
        assert!(patched(media, json!({}), &good).is_ok());
        for bad in [
            json!({"spec": {"containers": [{"name": "a"}]}}),
            json!({"metadata": {"finalizers": ["a"]}}),
            json!({"metadata": {"$patch": "replace"}}),
        ] {
            assert_eq!(patched(media, json!({}), &bad).unwrap_err().code, 415);
        }
    }

    #[test]
    fn other_formats_and_bodies_are_refused() {
        let apply = patched("application/apply-patch+yaml", json!({}), &json!({}));
        assert_eq!(apply.unwrap_err().code, 415);
        for media in [
            "application/merge-patch+json",
            "application/json-patch+json",
        ] {
            assert_eq!(patched(media, json!({}), &json!(1)).unwrap_err().code, 400);
            assert_eq!(Patch::parse(media, b"{").unwrap_err().code, 400);
        }
    }
}
