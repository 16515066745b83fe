//! Ready-made answers. Every error carries a short body: some RocketMQ clients fail on an error without one (facts §7.2).

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

/// A whole answer: its length is known, so it leaves with a `Content-Length` and in one write.
pub type Answer = Response<Full<Bytes>>;

/// Plain text in UTF-8.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    whole(status, "text/plain; charset=utf-8", body.into())
}

/// JSON that the caller has already encoded.
pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    whole(status, "application/json", body.into())
}

/// A body of any other type.
pub fn whole(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// 404 for a path nobody serves.
pub fn not_found() -> Answer {
    text(StatusCode::NOT_FOUND, "no such path\n")
}

/// 405 for a known path; `allow` lists the methods it has, such as `GET, HEAD`.
pub fn method_not_allowed(allow: &'static str) -> Answer {
    let mut answer = text(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("method not allowed here, use {allow}\n"),
    );
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allow));
    answer
}

/// An error after which the connection is of no more use, because the rest of the request was not read.
pub(crate) fn last(status: StatusCode, reason: &'static str) -> Answer {
    let mut answer = text(status, reason);
    answer
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}
