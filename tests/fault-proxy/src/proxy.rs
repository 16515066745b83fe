//! Connections, and the faults themselves.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body as KubeBody;
use kube_access::{Access, AccessArgs};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

use crate::rule::{Fault, Rule, When};

/// To reach the API behind it.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// An API server takes 3 MiB, and says so about more: that is not for us to say.
const LARGEST_BODY: usize = 16 << 20;
/// After a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

type Body = UnsyncBoxBody<Bytes, anyhow::Error>;
type Answer = Result<Response<Body>>;

/// A running proxy. Dropped, it ends, and cuts its connections.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    book: Arc<Book>,
    task: JoinHandle<()>,
}

impl FaultProxy {
    /// Listens on a free port of loopback, in front of the API that `back` leads to. What proves who a client is comes from
    /// the client: a token in `back` would win over it, so give none.
    ///
    /// # Errors
    /// It cannot listen, or `back` cannot be used.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(back: &AccessArgs) -> Result<Self> {
        let access = Access::new(AccessArgs {
            kube_token_file: None,
            ..back.clone()
        })?;
        let back = access.client("default", CONNECT_LIMIT)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("listen on a free port of loopback")?;
        let address = listener.local_addr().context("read the port")?;
        let book = Arc::new(Book::default());
        let task = tokio::spawn(run(listener, back, Arc::clone(&book)));
        Ok(Self {
            address,
            book,
            task,
        })
    }

    /// `http://127.0.0.1:<port>`
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a rule behind those that are there. Its number is for [`Self::withdraw`] and [`Self::hits`].
    pub fn break_with(&self, rule: Rule) -> usize {
        let mut entries = self.book.entries();
        entries.push(Entry {
            rule,
            since: Instant::now(),
            hits: 0,
            withdrawn: watch::Sender::new(false),
            remembered: HashMap::new(),
        });
        entries.len() - 1
    }

    /// Ends a rule. Requests that hang by it are cut.
    pub fn withdraw(&self, number: usize) {
        if let Some(entry) = self.book.entries().get(number) {
            entry.withdrawn.send_replace(true);
        }
    }

    /// Ends all rules.
    pub fn heal(&self) {
        for entry in self.book.entries().iter() {
            entry.withdrawn.send_replace(true);
        }
    }

    /// Cuts all connections, watches included. Clients may come again at once.
    pub fn cut(&self) {
        self.book.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// All requests so far, whatever became of them.
    #[must_use]
    pub fn counted(&self) -> Counted {
        *self.book.counted()
    }

    /// Requests that a rule has met so far.
    #[must_use]
    pub fn hits(&self, number: usize) -> u32 {
        self.book
            .entries()
            .get(number)
            .map_or(0, |entry| entry.hits)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Requests by what they want.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Gets and lists.
    pub reads: u64,
    /// Watches that were begun.
    pub watches: u64,
    /// All others.
    pub writes: u64,
}

impl Counted {
    /// Of all kinds.
    #[must_use]
    pub const fn all(&self) -> u64 {
        self.reads + self.watches + self.writes
    }

    /// What came since then.
    #[must_use]
    pub const fn since(&self, then: Self) -> Self {
        Self {
            reads: self.reads - then.reads,
            watches: self.watches - then.watches,
            writes: self.writes - then.writes,
        }
    }

    fn add(&mut self, request: &Request<Incoming>) {
        let watch = |query: &str| query.contains("watch=true");
        let kind = match *request.method() {
            Method::GET if request.uri().query().is_some_and(watch) => &mut self.watches,
            Method::GET => &mut self.reads,
            _ => &mut self.writes,
        };
        *kind += 1;
    }
}

/// All rules there ever were, and all requests.
#[derive(Debug)]
struct Book {
    entries: Mutex<Vec<Entry>>,
    counted: Mutex<Counted>,
    cuts: watch::Sender<u64>,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
            counted: Mutex::default(),
            cuts: watch::Sender::new(0),
        }
    }
}

#[derive(Debug)]
struct Entry {
    rule: Rule,
    since: Instant,
    hits: u32,
    withdrawn: watch::Sender<bool>,
    /// Of [`Fault::Stale`]: the first answers by path and query.
    remembered: HashMap<String, (StatusCode, Bytes)>,
}

/// A rule that fits a request.
struct Hit {
    number: usize,
    fault: Fault,
    withdrawn: watch::Receiver<bool>,
}

impl Book {
    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        // A panic of another holder leaves whole entries.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hit(&self, request: &Request<Incoming>) -> Option<Hit> {
        self.counted().add(request);
        let mut entries = self.entries();
        let (number, entry) = entries.iter_mut().enumerate().find(|(_, entry)| {
            entry.holds() && entry.rule.which.fits(request.method(), request.uri())
        })?;
        entry.hits = entry.hits.saturating_add(1);
        Some(Hit {
            number,
            fault: entry.rule.fault.clone(),
            withdrawn: entry.withdrawn.subscribe(),
        })
    }
}

impl Entry {
    fn holds(&self) -> bool {
        let now = match self.rule.when {
            When::Always => true,
            When::Times(times) => self.hits < times,
            When::Flapping(half) => {
                let halves = self.since.elapsed().as_millis() / half.as_millis().max(1);
                halves.is_multiple_of(2)
            }
        };
        now && !*self.withdrawn.borrow()
    }
}

async fn run(listener: TcpListener, back: Client, book: Arc<Book>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, back.clone(), Arc::clone(&book)));
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection(stream: TcpStream, back: Client, book: Arc<Book>) {
    // An event must not wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let mut cuts = book.cuts.subscribe();
    let service = service_fn(|request| answer(&back, &book, request));
    let served = http1::Builder::new()
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service);
    // Ends with an error wherever a fault cuts it: that is meant.
    tokio::select! {
        _ = served => {}
        _ = cuts.changed() => {}
    }
}

/// An error cuts the connection.
async fn answer(back: &Client, book: &Book, request: Request<Incoming>) -> Answer {
    let Some(hit) = book.hit(&request) else {
        return passed(back, request).await;
    };
    match hit.fault {
        Fault::Delay(time) => {
            sleep(time).await;
            passed(back, request).await
        }
        Fault::Refuse { code, retry_after } => refused(code, retry_after),
        Fault::RefuseAfterCommit(code) => {
            read_all(passed(back, request).await?).await?;
            refused(code, None)
        }
        Fault::Hang => {
            until_withdrawn(hit.withdrawn).await;
            Err(anyhow!("hung until now"))
        }
        Fault::Cut => Err(anyhow!("cut")),
        Fault::LoseReply => {
            read_all(passed(back, request).await?).await?;
            Err(anyhow!("the reply is lost"))
        }
        Fault::Truncate(bytes) => {
            let answer = passed(back, request).await?;
            Ok(with_body(answer, |frames| truncated(frames, bytes)))
        }
        Fault::Silence => {
            let mut answer = passed(back, request).await?;
            // Headers alone, and an end that is an abrupt one.
            let end = stream::once(async move {
                until_withdrawn(hit.withdrawn).await;
                Err(anyhow!("silent until now"))
            });
            *answer.body_mut() = StreamBody::new(end).boxed_unsync();
            Ok(answer)
        }
        Fault::Gap(events) => {
            let answer = passed(back, request).await?;
            Ok(with_body(answer, |frames| without_events(frames, events)))
        }
        Fault::Gone => Ok(whole(StatusCode::OK, gone())),
        Fault::Stale => stale(back, book, hit.number, request).await,
    }
}

/// As it is, to the API and back.
async fn passed(back: &Client, request: Request<Incoming>) -> Answer {
    let (mut parts, body) = request.into_parts();
    let body = Limited::new(body, LARGEST_BODY).collect().await;
    let body = body.map_err(|error| anyhow!("read the request: {error}"))?;
    // The address of this proxy means nothing to the API.
    parts.headers.remove(hyper::header::HOST);
    let request = Request::from_parts(parts, KubeBody::from(body.to_bytes().to_vec()));
    let answer = back.send(request).await.context("ask the API")?;
    Ok(answer.map(|body| {
        body.map_err(|error| anyhow!("read the API's answer: {error}"))
            .boxed_unsync()
    }))
}

async fn read_all(answer: Response<Body>) -> Result<(StatusCode, Bytes)> {
    let code = answer.status();
    let body = answer.into_body().collect().await?;
    Ok((code, body.to_bytes()))
}

async fn stale(back: &Client, book: &Book, number: usize, request: Request<Incoming>) -> Answer {
    let key = request.uri().to_string();
    let known = |book: &Book| book.entries().get(number)?.remembered.get(&key).cloned();
    if let Some((code, body)) = known(book) {
        return Ok(whole(code, body));
    }
    let (code, body) = read_all(passed(back, request).await?).await?;
    if let Some(entry) = book.entries().get_mut(number) {
        entry.remembered.insert(key, (code, body.clone()));
    }
    Ok(whole(code, body))
}

async fn until_withdrawn(mut withdrawn: watch::Receiver<bool>) {
    // The sender is never dropped before the proxy is.
    let _ = withdrawn.wait_for(|withdrawn| *withdrawn).await;
}

fn refused(code: u16, retry_after: Option<u32>) -> Answer {
    let status = StatusCode::from_u16(code).context("use this status")?;
    let reason = match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        409 => "Conflict",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "",
    };
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
        "message": format!("the fault proxy says {code}"),
    });
    let mut answer = whole(status, body.to_string().into());
    if let Some(seconds) = retry_after {
        answer.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    Ok(answer)
}

/// As a real server says it: see the conformance suite.
fn gone() -> Bytes {
    let event = json!({"type": "ERROR", "object": {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 410, "reason": "Expired",
        "message": "too old resource version: the fault proxy says so",
    }});
    format!("{event}\n").into()
}

fn whole(code: StatusCode, body: Bytes) -> Response<Body> {
    let body = Full::from(body).map_err(|never: Infallible| match never {});
    let mut answer = Response::new(body.boxed_unsync());
    *answer.status_mut() = code;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}

/// The same answer with another body, whose length nobody knows unless it is cut short.
fn with_body<S>(
    answer: Response<Body>,
    change: impl FnOnce(stream::BoxStream<'static, Result<Bytes>>) -> S,
) -> Response<Body>
where
    S: Stream<Item = Result<Bytes>> + Send + 'static,
{
    let (mut parts, body) = answer.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    // One body is read by one task only; the lock that makes it Sync is never waited for.
    let frames = body.into_data_stream();
    let frames = stream::unfold(frames, |mut frames| async move {
        let frame = frames.next().await?;
        Some((frame, frames))
    });
    let body = StreamBody::new(change(Box::pin(frames)).map(|chunk| chunk.map(Frame::data)));
    Response::from_parts(parts, body.boxed_unsync())
}

fn truncated(
    frames: stream::BoxStream<'static, Result<Bytes>>,
    bytes: usize,
) -> impl Stream<Item = Result<Bytes>> + Send {
    stream::unfold((frames, Some(bytes)), |(mut frames, left)| async move {
        let left = left?;
        let Some(Ok(mut chunk)) = frames.next().await else {
            return Some((Err(anyhow!("the answer was shorter")), (frames, None)));
        };
        if left == 0 {
            return Some((Err(anyhow!("truncated")), (frames, None)));
        }
        chunk.truncate(left);
        let left = left - chunk.len();
        Some((Ok(chunk), (frames, Some(left))))
    })
}

/// A watch's answer is a line per event.
fn without_events(
    frames: stream::BoxStream<'static, Result<Bytes>>,
    events: usize,
) -> impl Stream<Item = Result<Bytes>> + Send {
    let mut left = events;
    frames.map(move |chunk| {
        let chunk = chunk?;
        let mut kept = Vec::with_capacity(chunk.len());
        for line in chunk.split_inclusive(|byte| *byte == b'\n') {
            if left == 0 {
                kept.extend_from_slice(line);
            } else if line.ends_with(b"\n") {
                left -= 1;
            }
        }
        Ok(Bytes::from(kept))
    })
}
