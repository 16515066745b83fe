//! Requests that nobody should send, and the exact answer to each; every answer is counted.

use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::ground::{Got, PATIENCE, Site, ask, start, taken_apart};

const LIST: &str = "nsaddr=static:10.0.0.1:9876";
const LINE: &str = "10.0.0.1:9876\n";

const LINE_BROKEN: &str = "the request line is malformed\n";
const TARGET: &str = "the request target is malformed\n";
const VERSION: &str = "only HTTP/1.0 and HTTP/1.1 are spoken here\n";
const NAME: &str = "a header's name is malformed\n";
const VALUE: &str = "a header's value is malformed\n";
const LENGTH: &str = "the Content-Length is no number\n";
const CODING: &str = "the only Transfer-Encoding spoken here is chunked, once\n";
const NO_PATH: &str = "no such path\n";
const USE_GET: &str = "method not allowed here, use GET, HEAD\n";
const TOO_LONG: &str = "request target too long\n";
const TOO_LARGE: &str = "request headers too large\n";
const BODY_TOO_LARGE: &str = "request body too large\n";

/// Whether a client may ask again on the same connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Stays,
    Closes,
}
use Then::{Closes, Stays};

/// What is sent, and what comes back.
struct Case {
    sent: Vec<u8>,
    status: u16,
    body: &'static str,
    then: Then,
}

fn case(sent: impl Into<Vec<u8>>, status: u16, body: &'static str, then: Then) -> Case {
    Case {
        sent: sent.into(),
        status,
        body,
        then,
    }
}

/// A GET for the list with these header lines.
fn with(headers: &str) -> String {
    format!("GET /rocketmq/nsaddr HTTP/1.1\r\nHost: x\r\n{headers}\r\n")
}

/// A GET for this target.
fn at(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")
}

fn by(method: &str) -> String {
    format!("{method} /rocketmq/nsaddr HTTP/1.1\r\nHost: x\r\n\r\n")
}

/// A POST to the list with these header lines, and what follows.
fn post(headers: &str, body: &str) -> String {
    format!("POST /rocketmq/nsaddr HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}")
}

fn request_lines() -> Vec<Case> {
    let long = "a".repeat(9000);
    vec![
        case("GET /rocketmq/nsaddr\r\n\r\n", 400, LINE_BROKEN, Closes),
        case("GET\r\n\r\n", 400, LINE_BROKEN, Closes),
        case("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, VERSION, Closes),
        case(
            "GET /rocketmq/nsaddr HTTP/9.9\r\n\r\n",
            400,
            VERSION,
            Closes,
        ),
        case(
            "GET /rocketmq/nsaddr HTTP/1.2\r\n\r\n",
            400,
            VERSION,
            Closes,
        ),
        case(
            "GET /rocketmq/nsaddr http/1.1\r\n\r\n",
            400,
            VERSION,
            Closes,
        ),
        case(
            "GET  /rocketmq/nsaddr HTTP/1.1\r\n\r\n",
            400,
            LINE_BROKEN,
            Closes,
        ),
        case("G@T / HTTP/1.1\r\n\r\n", 400, LINE_BROKEN, Closes),
        case("\x16\x03\x01\x02\x00\x01\x00", 400, LINE_BROKEN, Closes),
        case("GET /\0 HTTP/1.1\r\n\r\n", 400, LINE_BROKEN, Closes),
        case(b"GET /\xff HTTP/1.1\r\n\r\n", 400, LINE_BROKEN, Closes),
        case("GET rocketmq/nsaddr HTTP/1.1\r\n\r\n", 400, TARGET, Closes),
        // Line ends as some write them by hand.
        case(
            "GET /rocketmq/nsaddr HTTP/1.1\nHost: x\n\n",
            200,
            LINE,
            Stays,
        ),
        case(
            "\r\n\r\nGET /rocketmq/nsaddr HTTP/1.1\r\n\r\n",
            200,
            LINE,
            Stays,
        ),
        // Forms of a target.
        case(at("http://x/rocketmq/nsaddr"), 200, LINE, Stays),
        case(at("*"), 404, NO_PATH, Stays),
        case(by("CONNECT"), 405, "this is no proxy\n", Closes),
        case(
            "CONNECT x:80 HTTP/1.1\r\n\r\n",
            405,
            "this is no proxy\n",
            Closes,
        ),
        case(at("/rocketmq/ns%61ddr"), 404, NO_PATH, Stays),
        case(at("/rocketmq/../rocketmq/nsaddr"), 404, NO_PATH, Stays),
        case(at("/rocketmq//nsaddr"), 404, NO_PATH, Stays),
        case(at("/rocketmq/nsaddr/"), 404, NO_PATH, Stays),
        case(at("/rocketmq/nsaddr#wait=1s"), 200, LINE, Stays),
        case(at("/rocketmq/nsaddr-%00"), 200, LINE, Stays),
        case(at(&format!("/{}", &long[..2047])), 404, NO_PATH, Stays),
        case(at(&format!("/{}", &long[..2048])), 414, TOO_LONG, Closes),
        case(at(&format!("/{long}")), 414, TOO_LONG, Closes),
        case(format!("GET /{long}"), 414, TOO_LONG, Closes),
        // Methods.
        case(by("TRACE"), 405, USE_GET, Stays),
        case(by("OPTIONS"), 405, USE_GET, Stays),
        case(by("BREW"), 405, USE_GET, Stays),
        case(by("get"), 405, USE_GET, Stays),
        case("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 404, NO_PATH, Stays),
    ]
}

fn headers() -> Vec<Case> {
    let large = format!("x: {}\r\n", "a".repeat(64 << 10));
    vec![
        case(with("no colon\r\n"), 400, NAME, Closes),
        case(with(": nameless\r\n"), 400, NAME, Closes),
        case(with("a : b\r\n"), 400, NAME, Closes),
        case(with("x: a\r\n b\r\n"), 400, NAME, Closes),
        case(with("x: a\0\r\n"), 400, VALUE, Closes),
        case(with(&"x: y\r\n".repeat(63)), 200, LINE, Stays),
        case(
            with(&"x: y\r\n".repeat(100)),
            431,
            "too many request headers\n",
            Closes,
        ),
        case(with(&large), 431, TOO_LARGE, Closes),
        case(
            "GET /rocketmq/nsaddr HTTP/1.1\r\nHost:\r\n\r\n",
            200,
            LINE,
            Stays,
        ),
        case("GET /rocketmq/nsaddr HTTP/1.1\r\n\r\n", 200, LINE, Stays),
        case(with("Host: y\r\n"), 200, LINE, Stays),
        case(
            with("Upgrade: h2c\r\nConnection: upgrade\r\n"),
            200,
            LINE,
            Stays,
        ),
    ]
}

fn bodies() -> Vec<Case> {
    let length = |value: &str| post(&format!("Content-Length: {value}\r\n"), "");
    let chunked = "Transfer-Encoding: chunked\r\n";
    let both = format!("Content-Length: 5\r\n{chunked}");
    vec![
        case(post("Content-Length: 5\r\n", "hello"), 405, USE_GET, Stays),
        case(with("Content-Length: 5\r\n") + "hello", 200, LINE, Stays),
        case(
            post("Expect: 100-continue\r\nContent-Length: 5\r\n", "hello"),
            405,
            USE_GET,
            Stays,
        ),
        case(length("-1"), 400, LENGTH, Closes),
        case(length("+1"), 400, LENGTH, Closes),
        case(length("5, 5"), 400, LENGTH, Closes),
        case(length("4097"), 413, BODY_TOO_LARGE, Closes),
        case(length("99999999999999999999"), 413, BODY_TOO_LARGE, Closes),
        case(
            post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
            400,
            "more than one Content-Length\n",
            Closes,
        ),
        // What a proxy in front could cut otherwise than we do.
        case(
            post(&both, "0\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
            400,
            "both Transfer-Encoding and Content-Length\n",
            Closes,
        ),
        case(
            post("Transfer-Encoding: gzip, chunked\r\n", ""),
            400,
            CODING,
            Closes,
        ),
        case(post(&chunked.repeat(2), ""), 400, CODING, Closes),
        case(
            "POST /rocketmq/nsaddr HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "there is no Transfer-Encoding in HTTP/1.0\n",
            Closes,
        ),
        case(
            post(chunked, "5\r\nhello\r\n0\r\n\r\n"),
            405,
            USE_GET,
            Closes,
        ),
        case(
            post(chunked, "zz\r\n"),
            400,
            "the body is malformed\n",
            Closes,
        ),
        case(
            post(
                chunked,
                &format!("fff\r\n{}\r\n2\r\nab\r\n0\r\n\r\n", "a".repeat(4095)),
            ),
            413,
            BODY_TOO_LARGE,
            Closes,
        ),
        case(
            post(chunked, "fffffffffffffffff\r\n"),
            400,
            "the body is malformed\n",
            Closes,
        ),
    ]
}

/// The one answer to what was sent, and whether the connection still answers after it.
async fn answered(site: &Site, sent: &[u8]) -> (Got, Then) {
    let mut stream = TcpStream::connect(site.clients).await.unwrap();
    stream.write_all(sent).await.unwrap();
    let mut bytes = Vec::new();
    let mut whole = async |bytes: &mut Vec<u8>, from: usize| {
        while !is_whole(&bytes[from..]) {
            let read = timeout(PATIENCE, stream.read_buf(bytes)).await;
            assert_ne!(read.expect("an answer").unwrap_or(0), 0, "{bytes:?}");
        }
    };
    whole(&mut bytes, 0).await;
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
    if bytes.starts_with(interim) {
        bytes.drain(..interim.len());
        whole(&mut bytes, 0).await;
    }
    let got = taken_apart(&bytes);
    let mut then = Closes;
    if got.header("connection") != Some("close") {
        then = Stays;
        let last = with("Connection: close\r\n");
        stream.write_all(last.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut rest))
            .await
            .unwrap()
            .unwrap();
        let next = taken_apart(&rest);
        assert_eq!((next.status, next.body.as_str()), (200, LINE));
    } else {
        let mut rest = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut rest))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(rest, b"", "something after the last answer");
    }
    (got, then)
}

/// Head, and as much body as it says.
fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| body.len() == length.parse::<usize>().unwrap())
}

pub(crate) async fn counted(site: &Site) -> BTreeMap<u16, u64> {
    let request = "GET /metrics HTTP/1.0\r\n\r\n";
    let metrics = ask(site.admin, request).await.body;
    let lines = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix("rocketmq_httpsite_requests_total{code=\"")?;
        let (code, count) = rest.split_once("\"} ")?;
        Some((code.parse().unwrap(), count.parse().unwrap()))
    });
    lines.filter(|(_, count)| *count > 0).collect()
}

#[tokio::test]
async fn each_malformed_request_has_its_answer_and_is_counted() {
    let site = start(&["--list", LIST]).await;
    let mut expected: BTreeMap<u16, u64> = BTreeMap::new();
    let mut wrong = Vec::new();
    for case in [request_lines(), headers(), bodies()].into_iter().flatten() {
        let (got, then) = answered(&site, &case.sent).await;
        let (is, should) = (
            (got.status, got.body.as_str(), then),
            (case.status, case.body, case.then),
        );
        if is != should {
            let sent = String::from_utf8_lossy(&case.sent);
            wrong.push(format!("{sent:.80?}: {is:?}, not {should:?}"));
        }
        *expected.entry(got.status).or_default() += 1;
        if then == Stays {
            *expected.entry(200).or_default() += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(counted(&site).await, expected);
    site.ended().await;
}

#[tokio::test]
async fn a_request_that_ends_early_is_told_so_and_blank_lines_are_none() {
    let site = start(&["--list", LIST]).await;
    for (sent, answer) in [
        (
            "GET /rocketmq/nsad",
            "the request ends before its head does\n",
        ),
        (
            "GET /rocketmq/nsaddr HTTP/1.1\r\nHost: x\r\n",
            "the request ends before its head does\n",
        ),
        ("\r\n\r\n", ""),
        ("", ""),
    ] {
        let mut stream = TcpStream::connect(site.clients).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut got = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut got))
            .await
            .unwrap()
            .unwrap();
        assert!(
            got.ends_with(answer) && got.is_empty() == answer.is_empty(),
            "{sent:?}: {got}"
        );
    }
    assert_eq!(counted(&site).await, BTreeMap::from([(400, 2)]));
    site.ended().await;
}

#[tokio::test]
async fn a_thousand_at_once_are_answered_in_order_up_to_the_first_that_is_refused() {
    let site = start(&["--list", LIST]).await;
    let mut stream = TcpStream::connect(site.clients).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    // One in ten is for hyper.
    let ten = at("/rocketmq/nsaddr").repeat(9) + &at("/nowhere");
    let sent = ten.repeat(100) + "BAD\r\n\r\n" + &ten;
    let mut got = String::new();
    let (sent, read) = tokio::join!(
        writer.write_all(sent.as_bytes()),
        timeout(PATIENCE, reader.read_to_string(&mut got))
    );
    sent.unwrap();
    read.unwrap().unwrap();
    let codes: Vec<&str> = got
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|part| &part[..3])
        .collect();
    assert_eq!(codes.len(), 1001);
    for (at, code) in codes.iter().enumerate() {
        let expected = match at {
            1000 => "400",
            at if at % 10 == 9 => "404",
            _ => "200",
        };
        assert_eq!(*code, expected, "{at}");
    }
    assert_eq!(
        counted(&site).await,
        BTreeMap::from([(200, 900), (404, 100), (400, 1)])
    );
    site.ended().await;
}
