//! One request whose head is sound: read the whole body, ask the handler, all under one deadline.

use std::future::Future;
use std::pin::{Pin, pin};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::{Request, StatusCode};
use tokio::time::{Sleep, sleep};

use crate::Limits;
use crate::answer::Answer;
use crate::head::Refusal;

/// Answers one request.
///
/// # Errors
/// Why the handler was not asked, or not heard.
pub(crate) async fn exchange<B, H, F>(
    request: Request<B>,
    limits: &Limits,
    handler: &H,
) -> Result<Answer, Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    H: Fn(Request<Bytes>) -> F,
    F: Future<Output = Answer>,
{
    let mut deadline = pin!(sleep(limits.request_deadline));
    let (head, body) = request.into_parts();
    let body = whole_body(body, limits, deadline.as_mut()).await?;
    tokio::select! {
        // An answer that is there at once needs no timer.
        biased;
        answer = handler(Request::from_parts(head, body)) => Ok(answer),
        () = deadline => Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the answer took too long\n")),
    }
}

async fn whole_body<B>(
    body: B,
    limits: &Limits,
    deadline: Pin<&mut Sleep>,
) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let read = tokio::select! {
        biased;
        read = Limited::new(body, limits.max_body_bytes).collect() => read,
        () = deadline => {
            let reason = "the body took too long\n";
            return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, reason));
        }
    };
    match read {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::body_too_large()),
        Err(_) => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "the body is malformed\n",
        )),
    }
}
