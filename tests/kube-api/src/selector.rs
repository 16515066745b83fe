//! Label and field selectors of a list or watch.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::failure::Failure;
use crate::kind::Kind;

/// Which objects a list or watch is about. The default takes all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<Field>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    Exists(String),
    Absent(String),
    In(String, BTreeSet<String>),
    /// Also true where the label is absent.
    NotIn(String, BTreeSet<String>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    path: String,
    value: String,
    wanted: Wanted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Equal,
    Different,
}

impl Selector {
    /// Parses the two query parameters; absent is empty.
    pub(crate) fn parse(kind: &Kind, labels: &str, fields: &str) -> Result<Self, Failure> {
        Ok(Self {
            labels: requirements(labels)?,
            fields: field_terms(kind, fields)?,
        })
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels.iter().all(|r| r.matches(labels))
            && self.fields.iter().all(|f| f.matches(object))
    }
}

impl Requirement {
    fn matches(&self, labels: &Value) -> bool {
        match self {
            Self::Exists(key) => labels[key.as_str()].is_string(),
            Self::Absent(key) => !labels[key.as_str()].is_string(),
            Self::In(key, values) => {
                let value = labels[key.as_str()].as_str();
                value.is_some_and(|value| values.contains(value))
            }
            Self::NotIn(key, values) => {
                let value = labels[key.as_str()].as_str();
                value.is_none_or(|value| !values.contains(value))
            }
        }
    }
}

impl Field {
    fn matches(&self, object: &Value) -> bool {
        let mut at = object;
        for step in self.path.split('.') {
            at = &at[step];
        }
        let equal = match at {
            Value::String(text) => *text == self.value,
            Value::Bool(flag) => flag.to_string() == self.value,
            _ => self.value.is_empty(),
        };
        match self.wanted {
            Wanted::Equal => equal,
            Wanted::Different => !equal,
        }
    }
}

/// `a=b,c!=d,e in (f,g),h notin (i),j,!k`
fn requirements(text: &str) -> Result<Vec<Requirement>, Failure> {
    split_outside_brackets(text)
        .into_iter()
        .map(|term| {
            requirement(term.trim()).ok_or_else(|| {
                Failure::bad_request(format!("unable to parse requirement: {term:?}"))
            })
        })
        .collect()
}

fn split_outside_brackets(text: &str) -> Vec<&str> {
    let mut inside = false;
    text.split(|c| {
        match c {
            '(' => inside = true,
            ')' => inside = false,
            _ => {}
        }
        c == ',' && !inside
    })
    .filter(|term| !term.trim().is_empty())
    .collect()
}

fn requirement(term: &str) -> Option<Requirement> {
    if let Some(rest) = term.strip_suffix(')') {
        let (head, values) = rest.split_once('(')?;
        let values = values.split(',').map(|v| v.trim().to_owned()).collect();
        let mut words = head.split_whitespace();
        let key = label_key(words.next()?)?;
        let operator = words.next()?;
        return match (operator, words.next()) {
            ("in", None) => Some(Requirement::In(key, values)),
            ("notin", None) => Some(Requirement::NotIn(key, values)),
            _ => None,
        };
    }
    if let Some((key, value)) = term.split_once("!=") {
        return Some(Requirement::NotIn(label_key(key)?, one(value)));
    }
    if let Some((key, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return Some(Requirement::In(label_key(key)?, one(value)));
    }
    match term.strip_prefix('!') {
        Some(key) => Some(Requirement::Absent(label_key(key)?)),
        None => Some(Requirement::Exists(label_key(term)?)),
    }
}

fn one(value: &str) -> BTreeSet<String> {
    BTreeSet::from([value.trim().to_owned()])
}

fn label_key(key: &str) -> Option<String> {
    let key = key.trim();
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    (!key.is_empty() && key.chars().all(fits)).then(|| key.to_owned())
}

fn field_terms(kind: &Kind, text: &str) -> Result<Vec<Field>, Failure> {
    text.split(',')
        .filter(|term| !term.is_empty())
        .map(|term| field_term(kind, term))
        .collect()
}

fn field_term(kind: &Kind, term: &str) -> Result<Field, Failure> {
    let (path, value, wanted) = if let Some((path, value)) = term.split_once("!=") {
        (path, value, Wanted::Different)
    } else if let Some((path, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        (path, value, Wanted::Equal)
    } else {
        let message = format!("invalid selector: '{term}'; can't understand '{term}'");
        return Err(Failure::bad_request(message));
    };
    let known = path == "metadata.name"
        || (path == "metadata.namespace" && kind.is_namespaced())
        || kind.fields.contains(&path);
    if !known {
        let message = format!("field label not supported: {path}");
        return Err(Failure::bad_request(message));
    }
    Ok(Field {
        path: path.to_owned(),
        value: value.to_owned(),
        wanted,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matches(labels: &str, fields: &str) -> bool {
        let pod = Kind::find("", "v1", "pods").unwrap();
        let object = json!({
            "metadata": {"name": "a-0", "labels": {"app": "broker", "example.org/zone": "z1", "empty": ""}},
            "spec": {"nodeName": "n1"},
        });
        Selector::parse(pod, labels, fields)
            .unwrap()
            .matches(&object)
    }

    #[test]
    fn label_requirements_match_as_kubernetes_defines_them() {
        for yes in [
            "",
            "app=broker",
            "app==broker",
            "app = broker , example.org/zone=z1",
            "app!=other",
            "absent!=other",
            "app in (broker, x)",
            "app notin (x)",
            "absent notin (x)",
            "app",
            "!absent",
            "empty=",
        ] {
            assert!(matches(yes, ""), "{yes}");
        }
        for no in [
            "app=other",
            "app=broker,absent",
            "app!=broker",
            "app in (x,y)",
            "absent in (x)",
            "app notin (broker)",
            "!app",
            "absent=",
        ] {
            assert!(!matches(no, ""), "{no}");
        }
    }

    #[test]
    fn fields_match_by_path() {
        assert!(matches("", "metadata.name=a-0,spec.nodeName!=n2"));
        assert!(!matches("", "metadata.name!=a-0"));
        assert!(matches("", "status.podIP="));
    }

    #[test]
    fn nonsense_is_refused() {
        let pod = Kind::find("", "v1", "pods").unwrap();
        for bad in [
            "a in b",
            "a in (b",
            "a like (b)",
            "=b",
            "a b",
            "()",
            "in (x)",
        ] {
            assert!(Selector::parse(pod, bad, "").is_err(), "{bad}");
        }
        for bad in ["spec.containers=x", "metadata.name", "spec=x"] {
            assert!(Selector::parse(pod, "", bad).is_err(), "{bad}");
        }
    }
}
