//! Reads, creations and updates: what a write must satisfy and what it changes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::deletion::{DeleteOptions, delete, ends_now};
use crate::event;
use crate::failure::Failure;
use crate::kind::{AbsentPut, Kind, UnversionedPut};
use crate::object::{self, Part, meta, version_of};
use crate::patch::Patch;
use crate::route::{Query, Route};
use crate::selector::Selector;
use crate::store::{Key, Store};
use crate::validation::validate;

/// A status and a body.
pub(crate) type Reply = (StatusCode, Value);

/// The store and a signal for those who wait for its changes.
#[derive(Debug)]
pub(crate) struct Resources {
    store: Mutex<Store>,
    changed: watch::Sender<u64>,
}

impl Resources {
    /// Starts with the namespaces that every cluster has.
    pub(crate) fn new(max_history: usize) -> Self {
        let this = Self {
            store: Mutex::new(Store::new(max_history)),
            changed: watch::Sender::new(0),
        };
        for namespace in ["default", "kube-system"] {
            this.add_namespace(namespace);
        }
        this
    }

    /// Makes a namespace exist.
    pub(crate) fn add_namespace(&self, name: &str) {
        let Some(kind) = Kind::find("", "v1", "namespaces") else {
            return;
        };
        let mut namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        object::born(kind, &mut namespace);
        self.write(|store| {
            let key = key(kind, "", name);
            if store.get(&key).is_none() {
                store.put(key, namespace);
            }
        });
    }

    /// Reads under the lock.
    pub(crate) fn read<T>(&self, reading: impl FnOnce(&Store) -> T) -> T {
        reading(&self.locked())
    }

    /// Tells the newest version whenever it changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Writes under the lock, then wakes the watchers.
    pub(crate) fn write<T>(&self, writing: impl FnOnce(&mut Store) -> T) -> T {
        let mut store = self.locked();
        let result = writing(&mut store);
        let version = store.version();
        drop(store);
        self.changed.send_replace(version);
        result
    }

    fn locked(&self) -> MutexGuard<'_, Store> {
        // Every write of the store is whole or absent, so a panicked writer leaves nothing half done.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, route: &Route, name: &str) -> Result<Reply, Failure> {
        let found = self.read(|store| store.get(&route.key(name)).cloned());
        let object = found.ok_or_else(|| Failure::not_found(route.kind, name))?;
        Ok((
            StatusCode::OK,
            event::shown(route.kind, Value::clone(&object)),
        ))
    }

    pub(crate) fn list(&self, route: &Route, query: &Query) -> Result<Reply, Failure> {
        let kind = route.kind;
        let selector = Selector::parse(
            kind,
            query.text("labelSelector"),
            query.text("fieldSelector"),
        )?;
        let asked = query.number("resourceVersion")?.unwrap_or(0);
        self.read(|store| {
            let current = store.version();
            if asked > current {
                return Err(Failure::from_the_future(asked, current));
            }
            if query.text("resourceVersionMatch") == "Exact" && asked < current {
                return Err(Failure::expired(asked, current));
            }
            let items: Vec<Value> = store
                .list(kind.collection, route.namespace.as_deref())
                .filter(|(_, object)| selector.matches(object))
                .map(|(_, object)| list_item(kind, object))
                .collect();
            let list = json!({
                "kind": format!("{}List", kind.kind), "apiVersion": kind.api_version(),
                "metadata": {"resourceVersion": current.to_string()}, "items": items,
            });
            Ok((StatusCode::OK, list))
        })
    }

    pub(crate) fn create(
        &self,
        route: &Route,
        query: &Query,
        body: &[u8],
    ) -> Result<Reply, Failure> {
        let object = object::decode(route.kind, body)?;
        self.write(|store| create(store, route, query, object))
    }

    pub(crate) fn update(
        &self,
        route: &Route,
        name: &str,
        query: &Query,
        body: &[u8],
    ) -> Result<Reply, Failure> {
        let kind = route.kind;
        let mut new = object::decode(kind, body)?;
        object::place(&mut new, route.namespace_text(), Some(name))?;
        self.write(|store| match store.get(&route.key(name)).cloned() {
            Some(old) => {
                let new = event::stored(kind, new);
                replace(store, route, query, &old, new)
            }
            None if kind.absent_put == AbsentPut::NotFound || route.part == Part::Status => {
                Err(Failure::not_found(kind, name))
            }
            // The uid is a precondition, and nothing has no uid.
            None if !meta(&new, "uid").is_empty() => {
                let why = format!(
                    "Precondition failed: UID in precondition: {}, UID in object meta: ",
                    meta(&new, "uid")
                );
                Err(Failure::conflict(kind, name, &why))
            }
            None => {
                unversion(&mut new);
                create(store, route, query, new)
            }
        })
    }

    pub(crate) fn patch(
        &self,
        route: &Route,
        name: &str,
        query: &Query,
        patch: &Patch,
    ) -> Result<Reply, Failure> {
        let kind = route.kind;
        self.write(|store| {
            let old = store.get(&route.key(name)).cloned();
            let old = old.ok_or_else(|| Failure::not_found(kind, name))?;
            let patched = patch.apply(event::shown(kind, Value::clone(&old)))?;
            let mut new = object::check_shape(kind, patched).map_err(Failure::in_a_patch)?;
            object::place(&mut new, route.namespace_text(), Some(name))?;
            if !["", meta(&old, "uid")].contains(&meta(&new, "uid")) {
                let why = format!(
                    "Invalid value: \"{}\": field is immutable",
                    meta(&new, "uid")
                );
                let reason = "FieldValueInvalid";
                return Err(Failure::invalid(kind, name, "metadata.uid", reason, &why));
            }
            replace(store, route, query, &old, event::stored(kind, new))
                .map_err(Failure::in_a_patch)
        })
    }

    pub(crate) fn delete(
        &self,
        route: &Route,
        name: &str,
        query: &Query,
        body: &[u8],
    ) -> Result<Reply, Failure> {
        let options = DeleteOptions::parse(query, body)?;
        self.write(|store| delete(store, route, name, &options))
    }

    pub(crate) fn delete_collection(
        &self,
        route: &Route,
        query: &Query,
        body: &[u8],
    ) -> Result<Reply, Failure> {
        let listed = self.list(route, query)?;
        let kind = route.kind;
        let selector = Selector::parse(
            kind,
            query.text("labelSelector"),
            query.text("fieldSelector"),
        )?;
        let options = DeleteOptions::parse(query, body)?;
        self.write(|store| {
            let chosen: Vec<Key> = store
                .list(kind.collection, route.namespace.as_deref())
                .filter(|(_, object)| selector.matches(object))
                .map(|(key, _)| key.clone())
                .collect();
            for key in chosen {
                let one = Route {
                    namespace: Some(key.namespace).filter(|n| !n.is_empty()),
                    ..route.clone()
                };
                delete(store, &one, &key.name, &options)?;
            }
            Ok(listed)
        })
    }
}

impl Route {
    fn namespace_text(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }

    pub(crate) fn key(&self, name: &str) -> Key {
        key(self.kind, self.namespace_text(), name)
    }
}

fn key(kind: &Kind, namespace: &str, name: &str) -> Key {
    Key {
        collection: kind.collection,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

/// Items of a list carry no type line; the list has it.
fn list_item(kind: &Kind, object: &Value) -> Value {
    let mut item = event::shown(kind, object.clone());
    if let Some(fields) = item.as_object_mut() {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    item
}

fn create(
    store: &mut Store,
    route: &Route,
    query: &Query,
    mut new: Value,
) -> Result<Reply, Failure> {
    let kind = route.kind;
    object::place(&mut new, route.namespace_text(), None)?;
    if meta(&new, "name").is_empty() && meta(&new, "generateName").is_empty() {
        let why = "Required value: name or generateName is required";
        return Err(Failure::invalid(
            kind,
            "",
            "metadata.name",
            "FieldValueRequired",
            why,
        ));
    }
    if !version_of(&new).is_empty() {
        let why = "resourceVersion should not be set on objects to be created";
        return Err(Failure::unforeseen(why));
    }
    if let Some(namespace) = &route.namespace {
        namespace_exists(store, namespace)?;
    }
    object::born(kind, &mut new);
    let mut new = event::stored(kind, new);
    validate(kind, &mut new)?;
    let name = meta(&new, "name").to_owned();
    let key = route.key(&name);
    if store.get(&key).is_some() {
        return Err(Failure::already_exists(kind, &name));
    }
    let created = if is_dry_run(query) {
        new
    } else {
        Value::clone(&store.put(key, new))
    };
    Ok((StatusCode::CREATED, event::shown(kind, created)))
}

fn namespace_exists(store: &Store, name: &str) -> Result<(), Failure> {
    let namespaces = Kind::find("", "v1", "namespaces").ok_or_else(Failure::no_such_path)?;
    match store.get(&key(namespaces, "", name)) {
        Some(_) => Ok(()),
        None => Err(Failure::not_found(namespaces, name)),
    }
}

/// Puts `new` in the place of `old` if its preconditions hold.
fn replace(
    store: &mut Store,
    route: &Route,
    query: &Query,
    old: &Value,
    mut new: Value,
) -> Result<Reply, Failure> {
    let kind = route.kind;
    let name = meta(old, "name").to_owned();
    let uid = meta(&new, "uid");
    if !uid.is_empty() && uid != meta(old, "uid") {
        let why = uid_mismatch(uid, old);
        return Err(Failure::conflict(kind, &name, &why));
    }
    match (version_of(&new), kind.unversioned_put) {
        ("" | "0", UnversionedPut::Overwrites) => {}
        ("" | "0", UnversionedPut::Refused) => {
            let why = "Invalid value: 0x0: must be specified for an update";
            let (field, reason) = ("metadata.resourceVersion", "FieldValueInvalid");
            return Err(Failure::invalid(kind, &name, field, reason, why));
        }
        (asked, _) if asked == version_of(old) => {}
        _ => return Err(Failure::modified(kind, &name)),
    }
    object::carry_over(kind, route.part, old, &mut new);
    new["metadata"]["resourceVersion"] = version_of(old).into();
    new["apiVersion"] = old["apiVersion"].clone();
    new["kind"] = old["kind"].clone();
    validate(kind, &mut new)?;
    // A write that changes nothing is no write: no new version, and no watcher hears of it.
    if new == *old || is_dry_run(query) {
        return Ok((StatusCode::OK, event::shown(kind, new)));
    }
    let key = route.key(&name);
    if ends_now(&new) {
        store.remove(&key);
        return Ok((StatusCode::OK, event::shown(kind, new)));
    }
    let put = store.put(key, new);
    Ok((StatusCode::OK, event::shown(kind, Value::clone(&put))))
}

fn uid_mismatch(asked: &str, old: &Value) -> String {
    let found = meta(old, "uid");
    format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {found}")
}

/// Takes the resourceVersion out.
fn unversion(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
}

pub(crate) fn is_dry_run(query: &Query) -> bool {
    query.text("dryRun") == "All"
}
