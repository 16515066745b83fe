//! A list and a watch of some Kubernetes objects, for ever.

use std::fmt::Debug;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use crate::{ApiCounter, Failure};

/// First pause after a failure; doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// How long the server may keep one watch open, in seconds.
const WATCH_SECONDS: u32 = 290;
/// A watch that was open for this long was a working one: the next pause is the first again, and its end is no failure.
const STEADY: Duration = Duration::from_secs(1);
/// How long a watch may say nothing, not even a bookmark, before its connection is taken for dead. A server sends
/// bookmarks about once a minute.
pub const IDLE: Duration = Duration::from_secs(150);

/// What was seen of the objects.
#[derive(Debug)]
pub enum Sight<K> {
    /// A list is about to be asked for: what is learned from it is at least as new as this moment.
    Asking,
    /// All of them.
    All(Vec<K>),
    /// One is new or changed.
    Changed(K),
    /// One is gone.
    Gone(K),
    /// Nothing changed: the view is current.
    Current,
}

/// Which objects, and how.
pub struct Objects<K> {
    /// Where.
    pub api: Api<K>,
    /// Their name in logs and metrics.
    pub resource: &'static str,
    /// Selects by label.
    pub labels: Option<String>,
    /// Selects by field.
    pub fields: Option<String>,
    /// How long one request may take.
    pub limit: Duration,
    /// How long a watch may be silent: [`IDLE`].
    pub idle: Duration,
    /// Counts.
    pub counter: ApiCounter,
}

impl<K> Objects<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Default,
{
    /// Lists and watches until the future is dropped. `again` makes it start over: its watch was found to be behind.
    pub async fn follow(&self, again: &Notify, mut sink: impl FnMut(Sight<K>)) {
        let mut pause = MIN_PAUSE;
        loop {
            let ended = tokio::select! {
                ended = self.round(&mut sink) => ended,
                () = again.notified() => continue,
            };
            debug!(
                resource = self.resource,
                failure = ended.failure.as_str(),
                "watch ended"
            );
            if ended.open >= STEADY {
                pause = MIN_PAUSE;
            }
            tokio::select! {
                () = sleep(jittered(pause)) => {}
                // Somebody read with success: no reason to wait.
                () = again.notified() => {}
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// One list and the watches after it, until one of them fails.
    async fn round(&self, sink: &mut impl FnMut(Sight<K>)) -> Ended {
        sink(Sight::Asking);
        let params = ListParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            ..ListParams::default()
        };
        let list = match self
            .counter
            .call("list", self.resource, self.limit, self.api.list(&params))
            .await
        {
            Ok(list) => list,
            Err(error) => {
                if error.failure() == Failure::Forbidden {
                    warn!(resource = self.resource, error = %chain(&error), "not allowed to list: grant list and watch in the Role");
                }
                return Ended::unopened(error.failure());
            }
        };
        let mut version = list
            .metadata
            .resource_version
            .clone()
            .unwrap_or_else(|| "0".to_owned());
        sink(Sight::All(list.items));
        loop {
            let stream = match self.open(&version).await {
                Ok(stream) => stream,
                Err(failure) => return Ended::unopened(failure),
            };
            let began = Instant::now();
            let end = self.listen(stream, &mut version, sink).await;
            let open = began.elapsed();
            match end {
                Err(failure) => return Ended { failure, open },
                // The server closed it in order: go on from where it was. One that closes at once is not asked at once.
                Ok(()) if open < STEADY => {
                    let failure = Failure::Transport;
                    return Ended { failure, open };
                }
                Ok(()) => {}
            }
        }
    }

    /// Begins a watch.
    async fn open(
        &self,
        version: &str,
    ) -> Result<BoxStream<'static, kube::Result<WatchEvent<K>>>, Failure> {
        let params = WatchParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            timeout: Some(WATCH_SECONDS),
            bookmarks: true,
            ..WatchParams::default()
        };
        let request = self.api.watch(&params, version);
        let stream = self
            .counter
            .call("watch", self.resource, self.limit, request)
            .await
            .map_err(|error| error.failure())?;
        Ok(stream.boxed())
    }

    /// One watch. Ok: the server closed it in order.
    async fn listen(
        &self,
        mut stream: BoxStream<'static, kube::Result<WatchEvent<K>>>,
        version: &mut String,
        sink: &mut impl FnMut(Sight<K>),
    ) -> Result<(), Failure> {
        loop {
            let event = match timeout(self.idle, stream.try_next()).await {
                Ok(Ok(Some(event))) => event,
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(_)) => return Err(self.broken(Failure::Transport)),
                Err(_) => return Err(self.broken(Failure::Timeout)),
            };
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    remember(version, &object);
                    sink(Sight::Changed(object));
                }
                WatchEvent::Deleted(object) => {
                    remember(version, &object);
                    sink(Sight::Gone(object));
                }
                WatchEvent::Bookmark(bookmark) => {
                    version.clone_from(&bookmark.metadata.resource_version);
                    sink(Sight::Current);
                }
                WatchEvent::Error(status) => {
                    return Err(self.broken(Failure::of_code(status.code)));
                }
            }
        }
    }

    /// A watch that had begun well.
    fn broken(&self, failure: Failure) -> Failure {
        self.counter.count("watch", self.resource, failure.as_str());
        failure
    }
}

/// How a round ended.
#[derive(Debug)]
struct Ended {
    failure: Failure,
    /// For how long its last watch had been open: not the time in which nobody answered.
    open: Duration,
}

impl Ended {
    const fn unopened(failure: Failure) -> Self {
        let open = Duration::ZERO;
        Self { failure, open }
    }
}

fn remember<K: Resource>(version: &mut String, object: &K) {
    if let Some(newer) = object.resource_version() {
        *version = newer;
    }
}

/// Between half of the pause and the whole: agents that failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let spread = getrandom::u32().map_or(0.5, |n| f64::from(n) / f64::from(u32::MAX));
    pause.mul_f64(0.5 + spread / 2.0)
}

/// An error with all its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::coordination::v1::Lease;
    use kube::{Client, Config};
    use prometheus::Registry;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    const LIST: &str = r#"{"kind":"LeaseList","apiVersion":"coordination.k8s.io/v1","metadata":{"resourceVersion":"5"},"items":[]}"#;
    const GONE: &str = r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old","reason":"Expired","code":410}}"#;

    /// What a watch answers.
    #[derive(Clone, Copy)]
    enum Watch {
        /// This, and its end at once.
        Ends(&'static str),
        /// Nothing, for ever.
        Hangs,
        /// Not even that it has begun.
        Unanswered,
    }

    /// A server that answers every list; and how many lists and watches it was asked for.
    async fn server(watch: Watch) -> (Objects<Lease>, Arc<[AtomicUsize; 2]>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<[AtomicUsize; 2]> = Arc::default();
        let counts = asked.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(stream, watch, counts.clone()));
            }
        });
        let client = Client::try_from(Config::new(uri.parse().unwrap())).unwrap();
        let objects = Objects {
            api: Api::namespaced(client, "default"),
            resource: "leases",
            labels: None,
            fields: None,
            limit: Duration::from_secs(1),
            idle: Duration::from_millis(100),
            counter: ApiCounter::register(&Registry::new(), "test").unwrap(),
        };
        (objects, asked)
    }

    async fn answer(mut stream: TcpStream, watch: Watch, asked: Arc<[AtomicUsize; 2]>) {
        let mut head = vec![0_u8; 4096];
        let read = stream.read(&mut head).await.unwrap();
        let watching = String::from_utf8_lossy(&head[..read]).contains("watch=true");
        asked[usize::from(watching)].fetch_add(1, SeqCst);
        let body = match (watching, watch) {
            (false, _) => LIST,
            (true, Watch::Ends(body)) => body,
            (true, Watch::Unanswered) => std::future::pending().await,
            (true, Watch::Hangs) => {
                let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
                stream.write_all(head.as_bytes()).await.unwrap();
                std::future::pending().await
            }
        };
        let text = format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(text.as_bytes()).await.unwrap();
    }

    async fn follow_for(objects: &Objects<Lease>, how_long: Duration) {
        let never = Notify::new();
        let following = objects.follow(&never, |_| {});
        assert!(timeout(how_long, following).await.is_err());
    }

    #[tokio::test]
    async fn a_watch_that_ends_at_once_is_not_begun_again_at_once() {
        for body in ["", GONE] {
            let (objects, asked) = server(Watch::Ends(body)).await;
            follow_for(&objects, Duration::from_millis(700)).await;
            let watches = asked[1].load(SeqCst);
            assert!((2..=6).contains(&watches), "{watches} watches for {body:?}");
        }
    }

    /// Else a server that hangs, and that is asked again after each time-out, is never asked more rarely.
    #[tokio::test]
    async fn the_time_in_which_nobody_answered_is_no_steady_watch() {
        let (objects, _) = server(Watch::Unanswered).await;
        let objects = Objects {
            limit: STEADY + STEADY / 4,
            ..objects
        };
        let ended = objects.round(&mut |_| {}).await;
        assert_eq!(ended.failure, Failure::Timeout);
        assert!(ended.open < STEADY, "{ended:?}");
    }

    #[tokio::test]
    async fn a_watch_that_says_nothing_is_given_up() {
        let (objects, asked) = server(Watch::Hangs).await;
        follow_for(&objects, Duration::from_millis(1500)).await;
        assert!(asked[0].load(SeqCst) >= 2, "listed again");
    }

    #[tokio::test]
    async fn one_that_read_more_than_the_watch_told_gets_a_new_list() {
        let (objects, asked) = server(Watch::Hangs).await;
        let objects = Objects {
            idle: IDLE,
            ..objects
        };
        let again = Notify::new();
        let following = objects.follow(&again, |_| {});
        let asking = async {
            for round in 1..4 {
                while asked[1].load(SeqCst) < round {
                    sleep(Duration::from_millis(1)).await;
                }
                again.notify_one();
            }
        };
        tokio::select! {
            () = following => {}
            done = timeout(Duration::from_secs(10), asking) => done.unwrap(),
        }
    }
}
