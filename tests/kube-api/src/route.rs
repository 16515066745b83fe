//! From a path and a query to a resource.

use std::collections::BTreeMap;

use crate::failure::Failure;
use crate::kind::{Kind, Subresource};
use crate::object::Part;

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) kind: &'static Kind,
    /// None: all namespaces, or a cluster-scoped kind.
    pub(crate) namespace: Option<String>,
    /// None: the collection.
    pub(crate) name: Option<String>,
    pub(crate) part: Part,
}

impl Route {
    /// None for a path that names no resource of this server.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let segments: Vec<String> = path.split('/').skip(1).map(decoded).collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let (group, version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        match rest {
            ["namespaces", namespace, plural, rest @ ..] if *plural != "status" => {
                let kind = Kind::find(group, version, plural)?;
                let route = Self::within(kind, rest)?;
                (kind.is_namespaced() && !namespace.is_empty()).then(|| Self {
                    namespace: Some((*namespace).to_owned()),
                    ..route
                })
            }
            [plural, rest @ ..] => {
                let kind = Kind::find(group, version, plural)?;
                let route = Self::within(kind, rest)?;
                // A namespaced object has no address without its namespace.
                (!kind.is_namespaced() || route.name.is_none()).then_some(route)
            }
            [] => None,
        }
    }

    /// Whether a path belongs to an API of this server, even if to no resource of it.
    pub(crate) fn is_in_an_api(path: &str) -> bool {
        let mut segments = path.split('/').skip(1);
        let group = match segments.next() {
            Some("api") => Some(""),
            Some("apis") => segments.next(),
            _ => None,
        };
        let version = segments.next();
        group.is_some_and(|group| version.is_some_and(|version| Kind::is_served(group, version)))
    }

    fn within(kind: &'static Kind, rest: &[&str]) -> Option<Self> {
        let (name, part) = match rest {
            [] => (None, Part::Main),
            [""] | ["", _] => return None,
            [name] => (Some((*name).to_owned()), Part::Main),
            [name, "status"] if kind.status == Subresource::Separate => {
                (Some((*name).to_owned()), Part::Status)
            }
            _ => return None,
        };
        Some(Self {
            kind,
            namespace: None,
            name,
            part,
        })
    }
}

/// The query's parameters; of a repeated one the last counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    pub(crate) fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(key, value)| (decoded(key), decoded(&value.replace('+', " "))))
                .collect(),
        )
    }

    /// Empty when absent.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// As Go reads a flag: `1`, `t`, `true` and the like; anything else is false.
    pub(crate) fn flag(&self, name: &str) -> bool {
        ["1", "t", "T", "true", "TRUE", "True"].contains(&self.text(name))
    }

    /// None when absent or empty.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Failure> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(None);
        }
        let message = || Failure::bad_request(format!("{name}: Invalid value: \"{text}\""));
        text.parse().map(Some).map_err(|_| message())
    }
}

/// Undoes percent encoding; what is no encoding stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = |at: usize| tail.get(at).and_then(|b| char::from(*b).to_digit(16));
        let byte = match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => u8::try_from(high * 16 + low).ok(),
            _ => None,
        };
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &str) -> Option<String> {
        let route = Route::parse(path)?;
        Some(format!(
            "{} {:?} {:?} {:?}",
            route.kind.resource(),
            route.namespace.as_deref(),
            route.name.as_deref(),
            route.part
        ))
    }

    #[test]
    fn paths_name_resources() {
        for (path, want) in [
            ("/api/v1/pods", "pods None None Main"),
            ("/api/v1/namespaces", "namespaces None None Main"),
            ("/api/v1/namespaces/a", "namespaces None Some(\"a\") Main"),
            (
                "/api/v1/namespaces/a/status",
                "namespaces None Some(\"a\") Status",
            ),
            ("/api/v1/namespaces/a/pods", "pods Some(\"a\") None Main"),
            (
                "/api/v1/namespaces/a/pods/b",
                "pods Some(\"a\") Some(\"b\") Main",
            ),
            (
                "/api/v1/namespaces/a/pods/b/status",
                "pods Some(\"a\") Some(\"b\") Status",
            ),
            (
                "/apis/coordination.k8s.io/v1/namespaces/a/leases/b%2Ec",
                "leases.coordination.k8s.io Some(\"a\") Some(\"b.c\") Main",
            ),
        ] {
            assert_eq!(shown(path).as_deref(), Some(want), "{path}");
        }
        for path in [
            "/",
            "",
            "/api",
            "/api/v1",
            "/api/v2/pods",
            "/api/v1/pods/a",
            "/api/v1/widgets",
            "/api/v1/namespaces/a/nodes",
            "/api/v1/namespaces/a/pods/",
            "/api/v1/namespaces//pods",
            "/api/v1/namespaces/a/pods/b/exec",
            "/api/v1/namespaces/a/pods/b/status/c",
            "/apis/coordination.k8s.io/v1/namespaces/a/leases/b/status",
            "/apis/coordination.k8s.io/v1/namespaces/a",
        ] {
            assert_eq!(shown(path), None, "{path}");
        }
    }

    #[test]
    fn queries_are_decoded() {
        let query = Query::parse("a=x%3Dy%2Cz+w&b&c=1&d=%zz%");
        assert_eq!(query.text("a"), "x=y,z w");
        assert_eq!(query.text("b"), "");
        assert_eq!(query.text("d"), "%zz%");
        assert!(query.flag("c") && !query.flag("a") && !query.flag("none"));
        assert_eq!(query.number("c").unwrap(), Some(1));
        assert_eq!(query.number("b").unwrap(), None);
        assert!(query.number("a").is_err());
    }
}
