//! One request: refuse what breaks a limit, read the whole body, ask the handler, all under one deadline.

use std::future::Future;
use std::pin::{Pin, pin};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::header::CONTENT_LENGTH;
use hyper::{Method, Request, StatusCode};
use tokio::time::{Sleep, sleep};

use crate::Limits;
use crate::answer::{self, Answer};

/// Answers one request. Never fails: what goes wrong becomes an error answer.
pub(crate) async fn exchange<B, H, F>(request: Request<B>, limits: &Limits, handler: &H) -> Answer
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    H: Fn(Request<Bytes>) -> F,
    F: Future<Output = Answer>,
{
    if let Some(refusal) = refuse(&request, limits) {
        return refusal;
    }
    let mut deadline = pin!(sleep(limits.request_deadline));
    let (head, body) = request.into_parts();
    let body = match whole_body(body, limits, deadline.as_mut()).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    tokio::select! {
        // An answer that is there at once needs no timer.
        biased;
        answer = handler(Request::from_parts(head, body)) => answer,
        () = deadline => answer::last(StatusCode::SERVICE_UNAVAILABLE, "the answer took too long\n"),
    }
}

/// What can be told from the head alone.
fn refuse<B>(request: &Request<B>, limits: &Limits) -> Option<Answer> {
    // A proxy's method; hyper would turn a 200 into a tunnel.
    if request.method() == Method::CONNECT {
        let reason = "this is no proxy\n";
        return Some(answer::last(StatusCode::METHOD_NOT_ALLOWED, reason));
    }
    if target_bytes(request) > limits.max_target_bytes {
        return Some(answer::last(
            StatusCode::URI_TOO_LONG,
            "request target too long\n",
        ));
    }
    // hyper has already refused a length that is no number; one that does not fit is too large.
    let declared = request.headers().get(CONTENT_LENGTH)?.to_str().ok()?;
    match declared.parse::<usize>() {
        Ok(bytes) if bytes <= limits.max_body_bytes => None,
        _ => Some(too_large()),
    }
}

fn target_bytes<B>(request: &Request<B>) -> usize {
    request
        .uri()
        .path_and_query()
        .map_or(0, |target| target.as_str().len())
}

async fn whole_body<B>(body: B, limits: &Limits, deadline: Pin<&mut Sleep>) -> Result<Bytes, Answer>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let read = tokio::select! {
        biased;
        read = Limited::new(body, limits.max_body_bytes).collect() => read,
        () = deadline => {
            let reason = "the body took too long\n";
            return Err(answer::last(StatusCode::REQUEST_TIMEOUT, reason));
        }
    };
    match read {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => Err(answer::last(
            StatusCode::BAD_REQUEST,
            "the body is malformed\n",
        )),
    }
}

fn too_large() -> Answer {
    answer::last(StatusCode::PAYLOAD_TOO_LARGE, "request body too large\n")
}
