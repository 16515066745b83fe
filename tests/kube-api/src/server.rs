//! Connections, bodies and faults: from HTTP to a call of `resource`, and back.

use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::failure::Failure;
use crate::fault::{Faults, Mode, Verb};
use crate::patch::Patch;
use crate::resource::{Reply, Resources};
use crate::route::{Query, Route};
use crate::watch::Watch;

/// A real server's limit for a request body, bytes.
const MAX_BODY_BYTES: usize = 3 * 1024 * 1024;
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// Each agent keeps a handful (its requests and its watches); more wait in the accept queue.
const MAX_CONNECTIONS: usize = 512;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What all connections share.
pub(crate) struct Server {
    pub(crate) resources: Arc<Resources>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) bookmark_every: Duration,
}

/// A request that a path and a method name.
#[derive(Debug)]
struct Call {
    verb: Verb,
    route: Route,
    query: Query,
    content_type: String,
}

impl Server {
    /// Serves until it is dropped.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            // The semaphore is never closed, so a slot always comes.
            let slot = Arc::clone(&slots).acquire_owned().await.ok();
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "accept failed");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let server = Arc::clone(&self);
            connections.spawn(async move {
                server.connection(stream).await;
                drop(slot);
            });
        }
    }

    async fn connection(&self, stream: TcpStream) {
        // An event must not wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let service =
            service_fn(|request| async { Ok::<_, Infallible>(self.answer(request).await) });
        let served = http1::Builder::new()
            // A client may keep an idle connection as long as it likes: hyper's own limit would close it just when the
            // client sends its next request.
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(stream), service);
        let mut mode = self.faults.mode();
        let cut = async {
            // The sender lives as long as self.
            let _ = mode.wait_for(|mode| *mode == Mode::Down).await;
        };
        tokio::select! {
            biased;
            () = cut => {}
            ended = pin!(served) => if let Err(error) = ended {
                debug!(%error, "connection ended early");
            }
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let latency = self.faults.latency();
        // Even a sleep of nothing waits for the timer's next tick.
        if !latency.is_zero() {
            sleep(latency).await;
        }
        let answer = match self.serve(request).await {
            Ok(answer) => answer,
            Err(failure) => whole(failure.code, &failure.status()),
        };
        if self.faults.current() == Mode::ReplyLost {
            pending::<()>().await;
        }
        answer
    }

    async fn serve(&self, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
        if let Some(plain) = plain(request.uri().path()) {
            self.faults.speaking().await;
            return Ok(plain);
        }
        let call = Call::parse(&request)?;
        self.faults.count(call.verb, call.route.kind.plural);
        let body = read(request.into_body()).await?;
        self.faults.speaking().await;
        if let Mode::Failing(code) = self.faults.current() {
            return Err(Failure::injected(code));
        }
        if call.verb == Verb::Watch {
            return self.watch(call);
        }
        let (code, object) = self.carry_out(&call, &body)?;
        Ok(whole(code, &object))
    }

    fn carry_out(&self, call: &Call, body: &[u8]) -> Result<Reply, Failure> {
        let Call {
            verb,
            route,
            query,
            content_type,
        } = call;
        let name = || {
            route
                .name
                .as_deref()
                .ok_or_else(Failure::method_not_allowed)
        };
        match verb {
            Verb::Get => self.resources.get(route, name()?),
            Verb::List | Verb::Watch => self.resources.list(route, query),
            Verb::Create => {
                json_only(content_type)?;
                self.resources.create(route, query, body)
            }
            Verb::Update => {
                json_only(content_type)?;
                self.resources.update(route, name()?, query, body)
            }
            Verb::Patch => {
                let patch = Patch::parse(content_type, body)?;
                self.resources.patch(route, name()?, query, &patch)
            }
            Verb::Delete => self.resources.delete(route, name()?, query, body),
            Verb::DeleteCollection => self.resources.delete_collection(route, query, body),
        }
    }

    fn watch(&self, call: Call) -> Result<Response<Body>, Failure> {
        let (resources, faults) = (Arc::clone(&self.resources), Arc::clone(&self.faults));
        let watch = Watch::start(
            resources,
            faults,
            call.route,
            &call.query,
            self.bookmark_every,
        )?;
        let frames = watch.lines().map(|line| Ok(Frame::data(line)));
        Ok(answered(
            StatusCode::OK,
            StreamBody::new(frames).boxed_unsync(),
        ))
    }
}

impl Call {
    fn parse(request: &Request<Incoming>) -> Result<Self, Failure> {
        let uri = request.uri();
        let query = Query::parse(uri.query().unwrap_or_default());
        let route = Route::parse(uri.path()).ok_or_else(Failure::no_such_path)?;
        let verb = verb(request.method(), &route, &query)?;
        let content_type = request.headers().get(CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        Ok(Self {
            verb,
            route,
            query,
            content_type: content_type.unwrap_or_default().to_owned(),
        })
    }
}

fn verb(method: &Method, route: &Route, query: &Query) -> Result<Verb, Failure> {
    let one = route.name.is_some();
    let in_namespace = route.namespace.is_some() || !route.kind.is_namespaced();
    match *method {
        Method::GET if one => Ok(Verb::Get),
        Method::GET if query.flag("watch") => Ok(Verb::Watch),
        Method::GET => Ok(Verb::List),
        Method::POST if !one && in_namespace => Ok(Verb::Create),
        Method::PUT if one => Ok(Verb::Update),
        Method::PATCH if one => Ok(Verb::Patch),
        Method::DELETE if one => Ok(Verb::Delete),
        Method::DELETE if in_namespace => Ok(Verb::DeleteCollection),
        _ => Err(Failure::method_not_allowed()),
    }
}

/// The paths outside the resources.
fn plain(path: &str) -> Option<Response<Body>> {
    match path {
        "/version" => Some(whole(
            StatusCode::OK,
            &json!({"major": "1", "minor": "36", "gitVersion": "v1.36.0+memory", "gitCommit": "", "gitTreeState": "",
                "buildDate": "", "goVersion": "", "compiler": "", "platform": ""}),
        )),
        "/healthz" | "/livez" | "/readyz" => Some(text("ok")),
        path if !Route::is_in_an_api(path) => {
            let mut answer = text("404 page not found\n");
            *answer.status_mut() = StatusCode::NOT_FOUND;
            Some(answer)
        }
        _ => None,
    }
}

async fn read(body: Incoming) -> Result<Bytes, Failure> {
    let collected = timeout(BODY_DEADLINE, Limited::new(body, MAX_BODY_BYTES).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Failure::too_large(MAX_BODY_BYTES)),
        Ok(Err(error)) => Err(Failure::bad_request(format!("read the body: {error}"))),
        Err(_) => Err(Failure::bad_request("the body took too long")),
    }
}

/// Bodies other than JSON (protobuf, CBOR) are not spoken here; no type at all is taken as JSON.
fn json_only(content_type: &str) -> Result<(), Failure> {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    if ["", "application/json"].contains(&media) {
        return Ok(());
    }
    Err(Failure::unsupported_media(format!(
        "the body of the request was in an unknown format ({media}) - accepted media types include: application/json"
    )))
}

fn text(body: &'static str) -> Response<Body> {
    let mut answer = Response::new(Full::from(body).boxed_unsync());
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, text);
    answer
}

fn whole(code: StatusCode, object: &Value) -> Response<Body> {
    answered(code, Full::from(object.to_string()).boxed_unsync())
}

fn answered(code: StatusCode, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    *answer.status_mut() = code;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}
