//! Judges the head of a request before hyper sees it, so that every refusal is ours: with a reason, a length, and counted.
//!
//! hyper would answer what it cannot parse with an empty body, and tell nobody. So this is at least as strict as hyper, and
//! where the rules leave a choice it is the strict one: a request whose length could be understood in two ways is refused.

use httparse::{EMPTY_HEADER, Error, Header, Request, Status};
use hyper::{Method, StatusCode, Uri};

use crate::Limits;
use crate::answer::{self, Answer};

/// The most headers that any [`Limits`] allow.
const MAX_HEADERS: usize = 128;

/// Why a request is not served, for the client and for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) reason: &'static str,
}

impl Refusal {
    pub(crate) const fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason }
    }

    const fn malformed(reason: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }

    /// The request's body is longer than the limit.
    pub(crate) const fn body_too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "request body too large\n")
    }

    const fn head_too_large() -> Self {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Self::new(status, "request headers too large\n")
    }

    const fn target_too_long() -> Self {
        Self::new(StatusCode::URI_TOO_LONG, "request target too long\n")
    }

    /// The answer. The connection is of no more use after it: the rest of the request was not read.
    pub(crate) fn answer(self) -> Answer {
        answer::last(self.status, self.reason)
    }
}

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// So many bytes.
    Sized(usize),
    /// Chunks, of which only hyper finds the end.
    Chunked,
}

/// What the first bytes of a request are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// Sound so far, and not all of it.
    Part,
    /// A head of so many bytes that hyper will take.
    Whole(usize, Body),
    /// Not to be served.
    Refused(Refusal),
}

impl Head {
    /// Judges `bytes`, which begin a request.
    pub(crate) fn of(bytes: &[u8], limits: &Limits) -> Self {
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let allowed = limits.max_headers.min(MAX_HEADERS);
        let mut request = Request::new(headers.get_mut(..allowed).unwrap_or_default());
        match request.parse(bytes) {
            Ok(Status::Complete(length)) if length > limits.max_head_bytes => {
                Self::Refused(too_long(bytes, &request, limits))
            }
            Ok(Status::Complete(length)) => match body(&request, limits) {
                Ok(body) => Self::Whole(length, body),
                Err(refusal) => Self::Refused(refusal),
            },
            Ok(Status::Partial) if bytes.len() >= limits.max_head_bytes => {
                Self::Refused(too_long(bytes, &request, limits))
            }
            Ok(Status::Partial) => Self::Part,
            Err(error) => Self::Refused(broken(error)),
        }
    }
}

/// Which part of a head is the one that is too long.
fn too_long(bytes: &[u8], request: &Request<'_, '_>, limits: &Limits) -> Refusal {
    let in_target = match request.path {
        Some(target) => target.len() > limits.max_target_bytes,
        None => !bytes.contains(&b'\n'),
    };
    if in_target {
        Refusal::target_too_long()
    } else {
        Refusal::head_too_large()
    }
}

const fn broken(error: Error) -> Refusal {
    match error {
        Error::TooManyHeaders => {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            Refusal::new(status, "too many request headers\n")
        }
        Error::Version => Refusal::malformed("only HTTP/1.0 and HTTP/1.1 are spoken here\n"),
        Error::HeaderName => Refusal::malformed("a header's name is malformed\n"),
        Error::HeaderValue => Refusal::malformed("a header's value is malformed\n"),
        Error::NewLine => Refusal::malformed("a line does not end as it must\n"),
        Error::Token | Error::Status => Refusal::malformed("the request line is malformed\n"),
    }
}

/// What a sound head says about its body, if it says one thing.
fn body(request: &Request<'_, '_>, limits: &Limits) -> Result<Body, Refusal> {
    let method = request.method.unwrap_or("");
    // A proxy's method; hyper would turn a 200 into a tunnel.
    if method == Method::CONNECT.as_str() {
        let reason = "this is no proxy\n";
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, reason));
    }
    let target = request.path.unwrap_or("");
    if target.len() > limits.max_target_bytes {
        return Err(Refusal::target_too_long());
    }
    if target.parse::<Uri>().is_err() {
        return Err(Refusal::malformed("the request target is malformed\n"));
    }
    let mut length = None;
    let mut chunked = false;
    for header in &*request.headers {
        if named(header, "content-length") {
            if length.is_some() {
                return Err(Refusal::malformed("more than one Content-Length\n"));
            }
            length = Some(content_length(header.value, limits)?);
        } else if named(header, "transfer-encoding") {
            if chunked || !header.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                let reason = "the only Transfer-Encoding spoken here is chunked, once\n";
                return Err(Refusal::malformed(reason));
            }
            chunked = true;
        }
    }
    match (chunked, length) {
        (true, Some(_)) => Err(Refusal::malformed(
            "both Transfer-Encoding and Content-Length\n",
        )),
        (true, None) if request.version == Some(0) => Err(Refusal::malformed(
            "there is no Transfer-Encoding in HTTP/1.0\n",
        )),
        (true, None) => Ok(Body::Chunked),
        (false, length) => Ok(Body::Sized(length.unwrap_or(0))),
    }
}

/// A path and perhaps a query, of which nothing is refused and nothing left off (as a fragment would be), whoever reads it.
pub(crate) fn is_plain_target(target: &str) -> bool {
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'/' | b'-' | b'.' | b'_' | b'~' | b'?' | b'=' | b'&' | b'%'
            )
    };
    target.starts_with('/') && target.bytes().all(plain)
}

fn named(header: &Header<'_>, name: &str) -> bool {
    header.name.eq_ignore_ascii_case(name)
}

/// Digits only: neither a sign nor a list. A number that does not fit is too large.
fn content_length(value: &[u8], limits: &Limits) -> Result<usize, Refusal> {
    let value = value.trim_ascii();
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::malformed("the Content-Length is no number\n"));
    }
    std::str::from_utf8(value)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .filter(|length| *length <= limits.max_body_bytes)
        .ok_or(Refusal::body_too_large())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(request: &str) -> (u16, &'static str) {
        match Head::of(request.as_bytes(), &Limits::default()) {
            Head::Refused(refusal) => (refusal.status.as_u16(), refusal.reason),
            other => panic!("{request:?}: {other:?}"),
        }
    }

    #[test]
    fn a_sound_head_is_as_long_as_it_is_however_it_is_cut() {
        let request = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET";
        let limits = Limits::default();
        let end = request.len() - 6;
        for cut in 0..=request.len() {
            let expected = if cut < end {
                Head::Part
            } else {
                Head::Whole(end, Body::Sized(3))
            };
            assert_eq!(Head::of(&request[..cut], &limits), expected, "{cut}");
        }
    }

    #[test]
    fn a_length_is_one_number() {
        let with = |headers: &str| refused(&format!("POST / HTTP/1.1\r\n{headers}\r\n\r\n"));
        for length in ["", "-1", "+1", "1,1", "0x1", "1 1"] {
            let (status, reason) = with(&format!("Content-Length: {length}"));
            assert_eq!(
                (status, reason),
                (400, "the Content-Length is no number\n"),
                "{length}"
            );
        }
        assert_eq!(with("Content-Length: 99999999999999999999999").0, 413);
        assert_eq!(with("Content-Length: 1\r\ncontent-length: 1").0, 400);
        for coding in ["gzip", "gzip, chunked", "chunked, chunked", "", "xchunked"] {
            assert_eq!(with(&format!("Transfer-Encoding: {coding}")).0, 400);
        }
        let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked";
        assert_eq!(with(twice).0, 400);
    }

    #[test]
    fn what_is_too_long_is_named() {
        let long = "a".repeat(9000);
        assert_eq!(refused(&format!("GET /{long}")).0, 414);
        assert_eq!(refused(&format!("GET /{long} HTTP/1.1\r\n\r\n")).0, 414);
        let target = "a".repeat(2048);
        assert_eq!(refused(&format!("GET /{target} HTTP/1.1\r\n\r\n")).0, 414);
        assert_eq!(refused(&format!("GET / HTTP/1.1\r\nx: {long}")).0, 431);
        let many = "a: b\r\n".repeat(65);
        assert_eq!(refused(&format!("GET / HTTP/1.1\r\n{many}\r\n")).0, 431);
    }
}
