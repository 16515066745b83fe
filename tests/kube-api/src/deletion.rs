//! Deletions: preconditions, a pod's grace, finalizers, and what is left of a namespace.

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::kind::Kind;
use crate::object::{self, meta, version_of};
use crate::resource::{Reply, is_dry_run};
use crate::route::{Query, Route};
use crate::store::{Key, Store};
use crate::{clock, event};

/// Seconds a pod gets to end when nobody says otherwise.
const DEFAULT_GRACE_SECONDS: i64 = 30;

/// What a client asks of a deletion; empty texts ask nothing.
#[derive(Debug, Default)]
pub(crate) struct DeleteOptions {
    uid: String,
    resource_version: String,
    grace_seconds: Option<i64>,
    dry_run: bool,
}

impl DeleteOptions {
    pub(crate) fn parse(query: &Query, body: &[u8]) -> Result<Self, Failure> {
        let body: Value = if body.is_empty() {
            json!({})
        } else {
            let malformed =
                |error| Failure::bad_request(format!("malformed DeleteOptions: {error}"));
            serde_json::from_slice(body).map_err(malformed)?
        };
        let precondition = |field: &str| {
            body["preconditions"][field]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let in_query = query.number("gracePeriodSeconds")?;
        let in_query = in_query.and_then(|seconds| i64::try_from(seconds).ok());
        Ok(Self {
            uid: precondition("uid"),
            resource_version: precondition("resourceVersion"),
            grace_seconds: body["gracePeriodSeconds"].as_i64().or(in_query),
            dry_run: is_dry_run(query) || body["dryRun"] == json!(["All"]),
        })
    }

    /// Seconds that the object may live on. Only a pod that was given to a node and has not ended gets any.
    fn grace_for(&self, object: &Value) -> i64 {
        let is_running = object["kind"] == "Pod"
            && object["spec"]["nodeName"]
                .as_str()
                .is_some_and(|node| !node.is_empty())
            && !["Succeeded", "Failed"]
                .contains(&object["status"]["phase"].as_str().unwrap_or_default());
        if !is_running {
            return 0;
        }
        let own = object["spec"]["terminationGracePeriodSeconds"].as_i64();
        self.grace_seconds
            .or(own)
            .unwrap_or(DEFAULT_GRACE_SECONDS)
            .max(0)
    }
}

/// Deletes an object, or marks it when it has time or finalizers left.
pub(crate) fn delete(
    store: &mut Store,
    route: &Route,
    name: &str,
    options: &DeleteOptions,
) -> Result<Reply, Failure> {
    let kind = route.kind;
    let key = route.key(name);
    let old = store.get(&key).cloned();
    let old = old.ok_or_else(|| Failure::not_found(kind, name))?;
    let (asked, found) = (options.uid.as_str(), meta(&old, "uid"));
    if !asked.is_empty() && asked != found {
        let why = format!(
            "the UID in the precondition ({asked}) does not match the UID in record ({found}). \
             The object might have been deleted and then recreated"
        );
        return Err(Failure::precondition(kind, name, &why));
    }
    let (asked, found) = (options.resource_version.as_str(), version_of(&old));
    if !asked.is_empty() && asked != found {
        let why = format!(
            "the ResourceVersion in the precondition ({asked}) does not match the ResourceVersion in record ({found}). \
             The object might have been modified"
        );
        return Err(Failure::precondition(kind, name, &why));
    }
    let grace = options.grace_for(&old);
    if options.dry_run {
        return Ok((StatusCode::OK, event::shown(kind, Value::clone(&old))));
    }
    if grace > 0 || object::has_finalizers(&old) {
        let marked = mark(store, &key, &old, grace);
        return Ok((StatusCode::OK, event::shown(kind, marked)));
    }
    if kind.kind == "Namespace" {
        for inside in store.keys_in(name) {
            store.remove(&inside);
        }
    }
    store.remove(&key);
    Ok((StatusCode::OK, farewell(kind, &old)))
}

/// Marks an object as being deleted; a mark is only ever shortened.
fn mark(store: &mut Store, key: &Key, old: &Value, grace: i64) -> Value {
    let marked_for = old["metadata"]["deletionGracePeriodSeconds"].as_i64();
    if !meta(old, "deletionTimestamp").is_empty() && marked_for.is_none_or(|marked| marked <= grace)
    {
        return old.clone();
    }
    let mut marked = old.clone();
    marked["metadata"]["deletionTimestamp"] = clock::from_now(grace).into();
    marked["metadata"]["deletionGracePeriodSeconds"] = grace.into();
    Value::clone(&store.put(key.clone(), marked))
}

/// Some kinds answer a deletion with the object, most with a Status.
fn farewell(kind: &Kind, last: &Value) -> Value {
    if ["Pod", "Namespace"].contains(&kind.kind) {
        return event::shown(kind, last.clone());
    }
    let mut details =
        json!({"name": meta(last, "name"), "kind": kind.plural, "uid": meta(last, "uid")});
    if !kind.group.is_empty() {
        details["group"] = kind.group.into();
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

/// Whether an object was only waiting for its finalizers.
pub(crate) fn ends_now(object: &Value) -> bool {
    !meta(object, "deletionTimestamp").is_empty()
        && !object::has_finalizers(object)
        && object["metadata"]["deletionGracePeriodSeconds"]
            .as_i64()
            .unwrap_or(0)
            == 0
}
