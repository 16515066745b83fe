//! An answer whose bytes are made once, before anybody asks.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use crate::answer::Answer;
use crate::clock::push_date;

/// An answer that is only copied out. `Content-Length` is set here, `Date` and `Connection` when it is sent.
#[derive(Debug)]
pub struct Prepared {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    /// Status line and headers, without the empty line at their end.
    head: Vec<u8>,
}

/// Whether the connection goes on after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Stays,
    Closes,
}

/// Which method is answered: a HEAD gets the same head and no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// With the body.
    Get,
    /// Without.
    Head,
}

impl Prepared {
    /// An answer with these headers and this body.
    pub fn new(
        status: StatusCode,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: impl Into<Bytes>,
    ) -> Self {
        let body = body.into();
        let reason = status.canonical_reason().unwrap_or("");
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
        for (name, value) in &headers {
            push_header(&mut head, name.as_str(), value.as_bytes());
        }
        if has_body(status) {
            push_header(
                &mut head,
                "content-length",
                body.len().to_string().as_bytes(),
            );
        }
        Self {
            status,
            headers,
            body,
            head,
        }
    }

    /// The status.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The same for a handler.
    pub fn answer(&self) -> Answer {
        let mut answer = Response::new(Full::new(self.body.clone()));
        *answer.status_mut() = self.status;
        let headers = self.headers.iter().cloned();
        answer.headers_mut().extend(headers);
        answer
    }

    pub(crate) fn push(&self, out: &mut Vec<u8>, method: Method, after: After) {
        out.extend_from_slice(&self.head);
        push_date(out);
        if after == After::Closes {
            out.extend_from_slice(b"connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
        if method == Method::Get && has_body(self.status) {
            out.extend_from_slice(&self.body);
        }
    }
}

fn push_header(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    head.extend_from_slice(name.as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}

/// 304 and 204 have none, and no length either.
fn has_body(status: StatusCode) -> bool {
    status != StatusCode::NOT_MODIFIED && status != StatusCode::NO_CONTENT
}
