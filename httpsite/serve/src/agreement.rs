//! What the short way answers, the judge must find sound, of the same length and without a body; for any bytes.
//!
//! `NEAR_VALID_CASES=5000000 cargo test --release -p serve agreement` tries more.

use std::sync::Arc;

use hyper::{StatusCode, Uri};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::head::{Body, Head};
use crate::prepared::After;
use crate::quick::{Asked, Quick, answer};
use crate::{Limits, Prepared};

/// Has the same answer to everything.
struct Always(Arc<Prepared>);

impl Quick for Always {
    fn find(&self, asked: &Asked<'_>) -> Option<Arc<Prepared>> {
        // The path that hyper would hand to the handler.
        let target = match asked.query() {
            Some(query) => format!("{}?{query}", asked.path()),
            None => asked.path().to_owned(),
        };
        let uri: Uri = target.parse().expect("hyper reads it too");
        assert_eq!((uri.path(), uri.query()), (asked.path(), asked.query()));
        Some(Arc::clone(&self.0))
    }
}

fn near_valid() -> impl Strategy<Value = Vec<u8>> {
    let parts = select(
        &[
            "GET ",
            "HEAD ",
            "POST ",
            "/rocketmq/nsaddr",
            "?nofix=1",
            "?",
            "#",
            "%",
            "*",
            "http://x/",
            " HTTP/1.1",
            " HTTP/1.0",
            "\r\n",
            "\n",
            "\r\n\r\n",
            "Host: x\r\n",
            "Connection: close\r\n",
            "Connection: keep-alive, close\r\n",
            "Content-Length: 0\r\n",
            "Content-Length: 5\r\n",
            "Transfer-Encoding: chunked\r\n",
            "X: y\r\n",
            "X : y\r\n",
            " ",
            ":",
        ][..],
    );
    let sound = (vec(
        select(&["Host: x\r\n", "A:b\r\n", "Connection: close\r\n"][..]),
        0..4,
    ))
    .prop_map(|headers| {
        format!(
            "GET /rocketmq/nsaddr?a=1 HTTP/1.1\r\n{}\r\n",
            headers.concat()
        )
    });
    let text = prop_oneof![
        2 => sound,
        1 => vec(parts, 0..12).prop_map(|parts| parts.concat()),
    ];
    let changes = vec((any::<Index>(), any::<u8>(), 0_u8..3), 0..4);
    (text, changes).prop_map(|(text, changes)| {
        let mut bytes = text.into_bytes();
        for (at, byte, kind) in changes {
            let at = at.index(bytes.len().max(1));
            match kind {
                0 if at < bytes.len() => bytes[at] = byte,
                1 if at < bytes.len() => drop(bytes.remove(at)),
                _ => bytes.insert(at.min(bytes.len()), byte),
            }
        }
        bytes
    })
}

#[test]
fn what_the_short_way_answers_is_sound() {
    let cases = std::env::var("NEAR_VALID_CASES").ok();
    let config = ProptestConfig {
        cases: cases.and_then(|cases| cases.parse().ok()).unwrap_or(4000),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let limits = Limits::default();
    let always = Always(Arc::new(Prepared::new(StatusCode::OK, Vec::new(), "x")));
    let answered = std::cell::Cell::new(0);
    proptest!(config, |(bytes in near_valid())| {
        let judged = Head::of(&bytes, &limits);
        let mut out = Vec::new();
        if let Some((length, _)) = answer(&bytes, &always, &limits, || After::Stays, &mut out) {
            answered.set(answered.get() + 1);
            prop_assert_eq!(judged, Head::Whole(length, Body::Sized(0)));
            prop_assert!(length <= bytes.len() && out.starts_with(b"HTTP/1.1 200 OK\r\n"));
        }
    });
    println!("{} answered", answered.get());
    assert!(answered.get() > 200, "the generator has to hit");
}
