//! Requests that are almost right, many at once, cut anywhere: the short way and hyper's must answer them alike.
//!
//! `NEAR_VALID_CASES=1000000 cargo test --release -p httpsite --test site -- near_valid` tries more, and
//! `NEAR_VALID_SEED=17` others.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{RngAlgorithm, TestCaseError, TestRng, TestRunner};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::ground::{PATIENCE, Site, start};
use crate::malformed::counted;

const LIST: &str = "nsaddr=static:10.0.0.1:9876";
const BODY: &str = "10.0.0.1:9876\n";
/// A request that has no prepared answer, so that its connection is hyper's from then on.
const FOR_HYPER: &str = "GET /nowhere HTTP/1.1\r\n\r\n";

/// One connection's bytes.
#[derive(Clone, Debug)]
struct Case {
    requests: Vec<Request>,
    changes: Vec<Change>,
    /// Where the bytes are cut into writes.
    cuts: Vec<Index>,
}

#[derive(Clone, Debug)]
struct Request {
    method: &'static str,
    target: String,
    version: &'static str,
    headers: Vec<&'static str>,
    end: &'static str,
}

/// One mistake.
#[derive(Clone, Debug)]
enum Change {
    Replace(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Double(Index),
    Insertion(Index, &'static str),
}

impl Case {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.requests.iter().flat_map(Request::bytes).collect();
        for change in &self.changes {
            let length = bytes.len();
            if length == 0 {
                return bytes;
            }
            match change {
                Change::Replace(at, byte) => bytes[at.index(length)] = *byte,
                Change::Insert(at, byte) => bytes.insert(at.index(length), *byte),
                Change::Remove(at) => drop(bytes.remove(at.index(length))),
                Change::Double(at) => {
                    let tail = bytes[at.index(length)..].to_vec();
                    bytes.extend(tail);
                }
                Change::Insertion(at, text) => {
                    let at = at.index(length);
                    bytes.splice(at..at, text.bytes());
                }
            }
        }
        bytes
    }

    fn pieces(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut cuts: Vec<usize> = self
            .cuts
            .iter()
            .map(|at| at.index(bytes.len() + 1))
            .collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        cuts.windows(2)
            .map(|cut| bytes[cut[0]..cut[1]].to_vec())
            .collect()
    }

    /// The methods of the requests that must be answered, where nothing was changed.
    fn answerable(&self) -> Option<Vec<&'static str>> {
        // Whether HTTP/1.0 goes on is the server's choice: the short way never does.
        let may_go_on = |request: &Request| {
            request.version == "1.0" && request.headers.contains(&"Connection: keep-alive")
        };
        if !self.changes.is_empty() || self.requests.iter().any(may_go_on) {
            return None;
        }
        let last = self.requests.iter().position(|request| request.closes());
        let count = last.map_or(self.requests.len(), |last| last + 1);
        Some(
            self.requests[..count]
                .iter()
                .map(|request| request.method)
                .collect(),
        )
    }
}

impl Request {
    fn bytes(&self) -> Vec<u8> {
        let Self {
            method,
            target,
            version,
            headers,
            end,
        } = self;
        let mut text = format!("{method} {target} HTTP/{version}{end}");
        for header in headers {
            text += header;
            text += end;
        }
        text += end;
        text.into_bytes()
    }

    fn closes(&self) -> bool {
        self.version == "1.0" || self.headers.contains(&"Connection: close")
    }
}

fn requests() -> impl Strategy<Value = Request> {
    let methods = prop_oneof![8 => Just("GET"), 2 => Just("HEAD"), 1 => Just("DELETE")];
    let targets = prop_oneof![
        8 => Just("/rocketmq/nsaddr".to_owned()),
        2 => select(&["/rocketmq/nsaddr-u1?nofix=1", "/rocketmq/nsaddr?wait=0s", "/rocketmq/nsaddr?wait=x",
            "/rocketmq/nsaddr?await=1", "/rocketmq/nsaddr#wait=x", "http://x/rocketmq/nsaddr", "/rocketmq/",
            "/rocketmq/n%73addr", "/rocketmq/../nsaddr", "/nowhere", "*"][..]).prop_map(str::to_owned),
        // Every visible character, where only some belong.
        2 => "[!-~]{0,6}".prop_map(|tail| format!("/rocketmq/nsaddr?{tail}")),
        1 => "[!-~é]{0,6}".prop_map(|tail| format!("/rocketmq/nsaddr{tail}")),
    ];
    let versions = prop_oneof![9 => Just("1.1"), 1 => Just("1.0")];
    let headers = vec(
        select(
            &[
                "Host: x",
                "Accept: */*",
                "Connection: keep-alive",
                "Connection: close",
                "If-None-Match: *",
                "If-None-Match: \"0\"",
                "Content-Length: 0",
                "Metaq-Client-RequestTS: 1790000000000",
                "Upgrade: h2c",
                "X-Empty:",
                "X:\t tabs\t",
            ][..],
        ),
        0..5,
    );
    let ends = prop_oneof![9 => Just("\r\n"), 1 => Just("\n")];
    (methods, targets, versions, headers, ends).prop_map(
        |(method, target, version, mut headers, end)| {
            // Twice the same length is a mistake of its own.
            let length = |header: &&str| header.starts_with("Content-Length");
            while headers.iter().filter(|header| length(header)).count() > 1 {
                let at = headers.iter().position(&length).unwrap();
                headers.remove(at);
            }
            Request {
                method,
                target,
                version,
                headers,
                end,
            }
        },
    )
}

fn changes() -> impl Strategy<Value = Change> {
    let bytes = || prop_oneof![select(&b"\r\n \t:;,?#%/\0\x7f\xff01"[..]), any::<u8>()];
    let texts = select(
        &[
            "Content-Length: 3\r\n",
            "Content-Length: -1\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "Connection: keep-alive\r\n",
            "Expect: 100-continue\r\n",
            "HTTP/1.0",
            "\r\n\r\n",
            "wait=",
        ][..],
    );
    prop_oneof![
        (any::<Index>(), bytes()).prop_map(|(at, byte)| Change::Replace(at, byte)),
        (any::<Index>(), bytes()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        any::<Index>().prop_map(Change::Remove),
        any::<Index>().prop_map(Change::Double),
        (any::<Index>(), texts).prop_map(|(at, text)| Change::Insertion(at, text)),
    ]
}

fn cases() -> impl Strategy<Value = Case> {
    let changes = prop_oneof![1 => Just(Vec::new()), 2 => vec(changes(), 1..4)];
    let cuts = prop_oneof![1 => Just(Vec::new()), 1 => vec(any::<Index>(), 1..4)];
    (vec(requests(), 1..5), changes, cuts).prop_map(|(requests, changes, cuts)| Case {
        requests,
        changes,
        cuts,
    })
}

/// One answer on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reply {
    status: u16,
    body: String,
    closes: bool,
}

/// Takes apart all that came. A stated length without a body is the answer to a HEAD: no body of ours begins as an answer does.
fn replies(mut bytes: &[u8]) -> Result<Vec<Reply>, String> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        let (head, rest) = text.split_once("\r\n\r\n").ok_or("half a head")?;
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        let status = status
            .filter(|_| head.starts_with("HTTP/1."))
            .ok_or("no status")?;
        let field = |name: &str| {
            let mut fields = head.lines().filter_map(|line| line.strip_prefix(name));
            (fields.next(), fields.next())
        };
        let length = match field("content-length: ") {
            (Some(length), None) => length.parse().map_err(|_| "no length")?,
            (None, None) if matches!(status, 100 | 304) => 0,
            other => return Err(format!("{status} with the lengths {other:?}")),
        };
        let has_body = !rest.is_empty() && !rest.starts_with("HTTP/1.");
        let length = if has_body { length } else { 0 };
        let body = rest.get(..length).ok_or("half a body")?.to_owned();
        bytes = &rest.as_bytes()[length..];
        if status >= 400 && has_body != (length > 0) {
            return Err(format!("{status} with an empty body"));
        }
        if status != 100 {
            all.push(Reply {
                status,
                body,
                closes: match field("connection: ").0 {
                    Some(word) => word == "close",
                    None => head.starts_with("HTTP/1.0"),
                },
            });
        }
    }
    Ok(all)
}

/// A new address for each connection: the kernel keeps a pair of ports for a minute.
async fn connect(site: &Site) -> TcpStream {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed) % 60_000;
    let from = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + number);
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    let stream = socket.connect(site.clients).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

async fn exchange(stream: &mut TcpStream, pieces: &[Vec<u8>]) -> Result<Vec<Reply>, String> {
    for piece in pieces {
        // A server that refused something earlier may have closed already.
        if stream.write_all(piece).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let _ = stream.shutdown().await;
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    read.map_err(|_| "no end")?
        .map_err(|error| error.to_string())?;
    replies(&bytes)
}

/// All that the short way answered, and all that hyper did.
async fn each(site: &Site, pieces: &[Vec<u8>]) -> Result<[Vec<Reply>; 2], String> {
    let mut stream = connect(site).await;
    let short = exchange(&mut stream, pieces).await;
    let mut stream = connect(site).await;
    stream.write_all(FOR_HYPER.as_bytes()).await.unwrap();
    let mut first = [0; 512];
    let length = timeout(PATIENCE, stream.read(&mut first)).await;
    let length = length
        .map_err(|_| "no answer")?
        .map_err(|error| error.to_string())?;
    if replies(&first[..length])?.len() != 1 {
        return Err("not one answer".to_owned());
    }
    let hyper = exchange(&mut stream, &[pieces.concat()]).await;
    Ok([
        short.map_err(|error| format!("the short way: {error}"))?,
        hyper.map_err(|error| format!("hyper: {error}"))?,
    ])
}

fn alike(short: &[Reply], hyper: &[Reply]) -> bool {
    let said = |reply: &Reply| (reply.status, reply.body.clone());
    let same = short
        .iter()
        .zip(hyper)
        .all(|(one, two)| said(one) == said(two));
    // One may close where the other goes on, but must say so.
    let (few, many) = if short.len() < hyper.len() {
        (short, hyper)
    } else {
        (hyper, short)
    };
    same && (few.len() == many.len() || few.last().is_some_and(|last| last.closes))
}

fn judge(case: &Case, [short, hyper]: &[Vec<Reply>; 2]) -> Result<(), String> {
    if !alike(short, hyper) {
        return Err(format!("the short way: {short:?}\nhyper: {hyper:?}"));
    }
    for replies in [short, hyper] {
        if replies.iter().rev().skip(1).any(|reply| reply.closes) {
            return Err(format!("something after the last answer: {replies:?}"));
        }
        let Some(methods) = case.answerable() else {
            continue;
        };
        // What the generator calls sound may still have a target that is refused.
        let ended = replies.last().is_some_and(|last| last.closes);
        if replies.len() > methods.len() || (replies.len() < methods.len() && !ended) {
            return Err(format!("{} requests: {replies:?}", methods.len()));
        }
        for (reply, method) in replies.iter().zip(methods) {
            let bodiless = method == "HEAD" || reply.status == 304;
            if bodiless != reply.body.is_empty()
                || (reply.status == 200 && !bodiless && reply.body != BODY)
            {
                return Err(format!("{method}: {reply:?}"));
            }
        }
    }
    Ok(())
}

/// What once was answered in two ways, and why.
#[test]
fn what_once_was_answered_in_two_ways_is_answered_in_one() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let site = start(&["--list", LIST]).await;
        for (why, request, cut) in [
            (
                "hyper takes no < in a target",
                "GET /rocketmq/nsaddr?< HTTP/1.1\r\n\r\n",
                0,
            ),
            (
                "a blank is no blank line before a HEAD",
                " HEAD /rocketmq/nsaddr HTTP/1.1\r\n\r\n",
                1,
            ),
        ] {
            let mut pieces = vec![request.as_bytes().to_vec()];
            if cut > 0 {
                pieces.insert(1, pieces[0][cut..].to_vec());
                pieces[0].truncate(cut);
            }
            let got = each(&site, &pieces).await.unwrap();
            assert!(alike(&got[0], &got[1]), "{why}: {got:?}");
        }
        site.ended().await;
    });
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn the_short_way_and_hyper_answer_alike() {
    let cases_wanted = number("NEAR_VALID_CASES").unwrap_or(600);
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number("NEAR_VALID_SEED").unwrap_or(0).to_le_bytes());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let site = runtime.block_on(start(&["--list", LIST]));
    let config = ProptestConfig {
        cases: u32::try_from(cases_wanted).unwrap(),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let answers = std::cell::Cell::new(0_u64);
    let connections = std::cell::Cell::new(0_u64);
    let ran = runner.run(&cases(), |case| {
        let told = || String::from_utf8_lossy(&case.bytes()).into_owned();
        let failed = |error| TestCaseError::fail(format!("{error}\n{:?}", told()));
        let got = runtime
            .block_on(each(&site, &case.pieces(&case.bytes())))
            .map_err(failed)?;
        connections.set(connections.get() + 2);
        // One more for the request that led to hyper.
        let count = got.iter().map(Vec::len).sum::<usize>() + 1;
        answers.set(answers.get() + u64::try_from(count).unwrap());
        judge(&case, &got).map_err(failed)
    });
    if let Err(error) = ran {
        panic!("{error}");
    }
    println!(
        "{} connections, {} answers",
        connections.get(),
        answers.get()
    );
    let counted: u64 = runtime.block_on(counted(&site)).values().sum();
    assert_eq!(counted, answers.get(), "every answer is counted once");
    runtime.block_on(site.ended());
}
