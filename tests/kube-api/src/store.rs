//! Objects under one global version, with a bounded history of changes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

/// Where an object lives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) collection: &'static str,
    /// Empty for a cluster-scoped object.
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// One committed write.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) key: Key,
    pub(crate) before: Option<Arc<Value>>,
    /// None: deleted.
    pub(crate) after: Option<Arc<Value>>,
}

/// The history that a reader asks for is gone; `oldest` is the first version it could start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forgotten {
    pub(crate) oldest: u64,
}

#[derive(Debug)]
pub(crate) struct Store {
    /// Of the newest change.
    version: u64,
    /// Changes up to this version are forgotten.
    compacted: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    history: VecDeque<Arc<Change>>,
    max_history: usize,
}

impl Store {
    pub(crate) fn new(max_history: usize) -> Self {
        Self {
            // Version 0 means "any" in the API, so no object may have it.
            version: 1,
            compacted: 1,
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            max_history: max_history.max(1),
        }
    }

    pub(crate) const fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// The objects of a collection, in one namespace or all, by namespace and name.
    pub(crate) fn list(
        &self,
        collection: &'static str,
        namespace: Option<&str>,
    ) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        let first = Key {
            collection,
            namespace: namespace.unwrap_or_default().to_owned(),
            name: String::new(),
        };
        self.objects.range(first..).take_while(move |(key, _)| {
            key.collection == collection && namespace.is_none_or(|only| key.namespace == only)
        })
    }

    /// Everything that lives in a namespace.
    pub(crate) fn keys_in(&self, namespace: &str) -> Vec<Key> {
        let inside = |key: &&Key| key.namespace == namespace;
        self.objects.keys().filter(inside).cloned().collect()
    }

    /// Writes an object under the next version and stamps that into it.
    pub(crate) fn put(&mut self, key: Key, mut object: Value) -> Arc<Value> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let object = Arc::new(object);
        let before = self.objects.insert(key.clone(), Arc::clone(&object));
        self.remember(key, before, Some(Arc::clone(&object)));
        object
    }

    /// Deletes an object and returns its last state.
    pub(crate) fn remove(&mut self, key: &Key) -> Option<Arc<Value>> {
        let last = self.objects.remove(key)?;
        self.version += 1;
        self.remember(key.clone(), Some(Arc::clone(&last)), None);
        Some(last)
    }

    fn remember(&mut self, key: Key, before: Option<Arc<Value>>, after: Option<Arc<Value>>) {
        let version = self.version;
        self.history.push_back(Arc::new(Change {
            version,
            key,
            before,
            after,
        }));
        if self.history.len() > self.max_history
            && let Some(forgotten) = self.history.pop_front()
        {
            self.compacted = forgotten.version;
        }
    }

    /// At most `limit` changes after `version`, oldest first.
    pub(crate) fn since(&self, version: u64, limit: usize) -> Result<Vec<Arc<Change>>, Forgotten> {
        if version < self.compacted {
            return Err(Forgotten {
                oldest: self.compacted,
            });
        }
        let from = self.history.partition_point(|c| c.version <= version);
        let changes = self.history.range(from..).take(limit);
        Ok(changes.cloned().collect())
    }

    /// Forgets all history, as etcd does from time to time.
    pub(crate) fn compact(&mut self) {
        self.history.clear();
        self.compacted = self.version;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(namespace: &str, name: &str) -> Key {
        Key {
            collection: "leases",
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn history_is_bounded_and_says_from_where() {
        let mut store = Store::new(3);
        for n in 0..5 {
            store.put(key("a", &n.to_string()), json!({"metadata": {}}));
        }
        assert_eq!(store.since(2, 9).unwrap_err(), Forgotten { oldest: 3 });
        let versions = |from| -> Vec<u64> {
            let changes = store.since(from, 9).unwrap();
            changes.iter().map(|c| c.version).collect()
        };
        assert_eq!(versions(3), [4, 5, 6]);
        assert_eq!(versions(5), [6]);
        assert!(versions(6).is_empty());
        assert!(versions(100).is_empty());
        assert_eq!(store.since(3, 2).unwrap().len(), 2);
    }

    #[test]
    fn a_list_stays_in_its_namespace_and_collection() {
        let mut store = Store::new(9);
        for (namespace, name) in [("b", "2"), ("a", "1"), ("b", "1"), ("c", "1")] {
            store.put(key(namespace, name), json!({"metadata": {}}));
        }
        let pod = Key {
            collection: "pods",
            ..key("b", "1")
        };
        store.put(pod, json!({"metadata": {}}));
        let names = |only| -> Vec<String> {
            let list = store.list("leases", only);
            list.map(|(k, _)| format!("{}/{}", k.namespace, k.name))
                .collect()
        };
        assert_eq!(names(Some("b")), ["b/1", "b/2"]);
        assert_eq!(names(None), ["a/1", "b/1", "b/2", "c/1"]);
    }
}
