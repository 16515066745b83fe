//! The stream of changes to a collection.

use std::collections::VecDeque;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{Stream, unfold};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

use crate::event;
use crate::failure::Failure;
use crate::fault::Faults;
use crate::resource::Resources;
use crate::route::{Query, Route};
use crate::selector::Selector;
use crate::store::{Change, Forgotten};

/// Changes taken from the history at once, so that a slow reader holds little.
const BATCH: usize = 64;
/// How long a watch lasts when the client does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1800);
/// No watch lasts longer, whatever the client says.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// A last bookmark leaves this long before the end of a watch.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);

/// One client's watch.
pub(crate) struct Watch {
    resources: Arc<Resources>,
    faults: Arc<Faults>,
    route: Route,
    selector: Selector,
    /// Every change up to this version was looked at.
    cursor: u64,
    /// An object of this kind was written since the beginning. A real server has nothing to bookmark before.
    moved: bool,
    /// Events to be sent, as lines.
    ready: VecDeque<Bytes>,
    /// After an ERROR event there is nothing more to say.
    over: bool,
    changes: watch::Receiver<u64>,
    end: Pin<Box<Sleep>>,
    bookmarks: Option<Bookmarks>,
}

struct Bookmarks {
    every: Duration,
    regular: Pin<Box<Sleep>>,
    /// None when it was sent, or when the watch is too short for it.
    last: Option<Pin<Box<Sleep>>>,
}

/// What a watch woke up for.
enum Wake {
    Changed,
    Bookmark,
    End,
}

impl Watch {
    /// Reads the query and takes the state or the place in history to start from.
    pub(crate) fn start(
        resources: Arc<Resources>,
        faults: Arc<Faults>,
        route: Route,
        query: &Query,
        bookmark_every: Duration,
    ) -> Result<Self, Failure> {
        let (labels, fields) = (query.text("labelSelector"), query.text("fieldSelector"));
        let selector = Selector::parse(route.kind, labels, fields)?;
        let version = query.number("resourceVersion");
        // A list refuses the same with a 400; the real server's watch is less kind.
        let version = version.map_err(|failure| Failure::unforeseen(failure.to_string()))?;
        let version = version.unwrap_or(0);
        let timeout = query
            .number("timeoutSeconds")?
            .filter(|seconds| *seconds > 0);
        let timeout = timeout
            .map_or(DEFAULT_TIMEOUT, Duration::from_secs)
            .min(MAX_TIMEOUT);
        let streaming_list = query.flag("sendInitialEvents");
        let mut this = Self {
            changes: resources.changes(),
            resources,
            faults,
            route,
            selector,
            cursor: version,
            moved: false,
            ready: VecDeque::new(),
            over: false,
            end: Box::pin(sleep(timeout)),
            bookmarks: query
                .flag("allowWatchBookmarks")
                .then(|| Bookmarks::new(bookmark_every, timeout)),
        };
        if version == 0 || streaming_list {
            this.begin_with_state();
        }
        if streaming_list && this.bookmarks.is_some() {
            let line = this.bookmark(json!({"k8s.io/initial-events-end": "true"}));
            this.ready.push_back(line);
        }
        Ok(this)
    }

    /// The lines of the answer, one event each.
    pub(crate) fn lines(self) -> impl Stream<Item = Bytes> {
        unfold(self, |mut watch| async move {
            let line = watch.next().await?;
            watch.faults.speaking().await;
            Some((line, watch))
        })
    }

    fn begin_with_state(&mut self) {
        let (kind, namespace) = (self.route.kind, self.route.namespace.as_deref());
        let (version, objects): (u64, Vec<_>) = self.resources.read(|store| {
            let chosen = store
                .list(kind.collection, namespace)
                .filter(|(_, object)| self.selector.matches(object))
                .map(|(_, object)| Arc::clone(object));
            (store.version(), chosen.collect())
        });
        self.cursor = version;
        for object in objects {
            let line = self.line("ADDED", &object);
            self.ready.push_back(line);
        }
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            if self.over {
                return None;
            }
            // Marked as seen before the look into the store: a change in between wakes at once.
            self.changes.borrow_and_update();
            if self.advance() {
                continue;
            }
            match self.wake().await {
                Wake::Changed => {}
                Wake::Bookmark if !self.moved => {}
                Wake::Bookmark => return Some(self.bookmark(json!({}))),
                Wake::End => return None,
            }
        }
    }

    /// Turns the next changes into events; false when there are none.
    fn advance(&mut self) -> bool {
        let cursor = self.cursor;
        let (changes, newest) = self
            .resources
            .read(|store| (store.since(cursor, BATCH), store.version()));
        let changes = match changes {
            Ok(changes) => changes,
            Err(Forgotten { oldest }) => {
                let status = Failure::expired(cursor, oldest).status();
                self.ready.push_back(encoded("ERROR", &status));
                self.over = true;
                return true;
            }
        };
        let Some(last) = changes.last() else {
            return false;
        };
        self.cursor = if changes.len() < BATCH {
            newest
        } else {
            last.version
        };
        let collection = self.route.kind.collection;
        self.moved |= changes.iter().any(|c| c.key.collection == collection);
        for change in &changes {
            if let Some(line) = self.event(change) {
                self.ready.push_back(line);
            }
        }
        true
    }

    /// What a change is to this watcher: an object may enter or leave its selection.
    fn event(&self, change: &Change) -> Option<Bytes> {
        let (key, route) = (&change.key, &self.route);
        let elsewhere = route
            .namespace
            .as_ref()
            .is_some_and(|only| *only != key.namespace);
        if key.collection != route.kind.collection || elsewhere {
            return None;
        }
        let selected = |object: &Option<Arc<Value>>| {
            let object = object.as_ref()?;
            self.selector.matches(object).then(|| Arc::clone(object))
        };
        match (selected(&change.before), selected(&change.after)) {
            (None, Some(after)) => Some(self.line("ADDED", &after)),
            (Some(_), Some(after)) => Some(self.line("MODIFIED", &after)),
            // The last state that was seen here, under the version of its disappearance.
            (Some(before), None) => {
                let mut last = Value::clone(&before);
                last["metadata"]["resourceVersion"] = change.version.to_string().into();
                Some(self.line("DELETED", &last))
            }
            (None, None) => None,
        }
    }

    async fn wake(&mut self) -> Wake {
        let bookmark = async {
            match &mut self.bookmarks {
                Some(bookmarks) => bookmarks.due().await,
                None => pending().await,
            }
        };
        tokio::select! {
            // The sender lives in self.resources, so an error cannot come; it would be an end.
            changed = self.changes.changed() => if changed.is_ok() { Wake::Changed } else { Wake::End },
            () = bookmark => Wake::Bookmark,
            () = &mut self.end => Wake::End,
        }
    }

    fn line(&self, what: &str, object: &Value) -> Bytes {
        encoded(what, &event::shown(self.route.kind, object.clone()))
    }

    fn bookmark(&self, annotations: Value) -> Bytes {
        let kind = self.route.kind;
        let mut metadata =
            json!({"resourceVersion": self.cursor.to_string(), "creationTimestamp": null});
        if annotations.as_object().is_some_and(|a| !a.is_empty()) {
            metadata["annotations"] = annotations;
        }
        let object =
            json!({"kind": kind.kind, "apiVersion": kind.api_version(), "metadata": metadata});
        encoded("BOOKMARK", &object)
    }
}

impl Bookmarks {
    fn new(every: Duration, timeout: Duration) -> Self {
        let last = timeout.checked_sub(BOOKMARK_BEFORE_END);
        Self {
            every,
            regular: Box::pin(sleep(every)),
            last: last.map(|wait| Box::pin(sleep(wait))),
        }
    }

    async fn due(&mut self) {
        let last = async {
            match &mut self.last {
                Some(last) => last.await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = &mut self.regular => self.regular.set(sleep(self.every)),
            () = last => self.last = None,
        }
    }
}

fn encoded(what: &str, object: &Value) -> Bytes {
    let mut line = json!({"type": what, "object": object}).to_string();
    line.push('\n');
    Bytes::from(line)
}
