//! The server against clients that speak, misspeak or keep silent on a plain socket.
#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test may panic like the test itself"
)]

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, Request, StatusCode};
use serve::{Answer, Arrivals, Drained, Limits, Peer, answer, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Ends every wait of these tests that would otherwise hang.
const PATIENCE: Duration = Duration::from_secs(8);
const SHORT: Duration = Duration::from_millis(150);

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    entered: Arc<Notify>,
    ended: JoinHandle<Drained>,
}

async fn start(limits: Limits) -> Server {
    let arrivals = Arrivals::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = arrivals.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let entered = Arc::new(Notify::new());
    let enter = Arc::clone(&entered);
    let handler = move |request| {
        let enter = Arc::clone(&enter);
        async move {
            enter.notify_one();
            handle(request).await
        }
    };
    let shutdown = async { drop(stopped.await) };
    let ended = tokio::spawn(serve(arrivals, limits, handler, shutdown));
    Server {
        address,
        stop,
        entered,
        ended,
    }
}

async fn handle(request: Request<Bytes>) -> Answer {
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/hello") => answer::text(StatusCode::OK, "hello\n"),
        (&Method::POST, "/echo") => answer::text(StatusCode::OK, request.into_body()),
        (&Method::GET, "/peer") => {
            let Peer(address) = *request.extensions().get::<Peer>().unwrap();
            answer::text(StatusCode::OK, address.to_string())
        }
        (&Method::GET, "/huge") => answer::text(StatusCode::OK, vec![b'x'; 32 << 20]),
        (&Method::GET, "/stuck") => pending().await,
        (_, "/hello") => answer::method_not_allowed("GET, HEAD"),
        _ => answer::not_found(),
    }
}

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.address).await.unwrap()
}

/// Everything until the server closes.
async fn to_end(stream: &mut TcpStream) -> String {
    let mut got = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut got)).await;
    // A reset after the answer is an end as well: the server closed with some of our bytes unread.
    let _ = read.expect("the server closes in time");
    String::from_utf8(got).unwrap()
}

async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut got = String::new();
    while !got.ends_with(end) {
        let mut byte = [0];
        let read = timeout(PATIENCE, stream.read_exact(&mut byte)).await;
        read.expect("an answer in time").expect("more bytes");
        got.push(char::from(byte[0]));
    }
    got
}

/// Sends `request`, expects an answer with `status` and then the end of the connection.
async fn refused(limits: Limits, request: &str, status: &str) {
    let server = start(limits).await;
    let mut client = connect(&server).await;
    client.write_all(request.as_bytes()).await.unwrap();
    let got = to_end(&mut client).await;
    assert!(got.starts_with(&format!("HTTP/1.1 {status} ")), "{got:?}");
    let (head, body) = got.split_once("\r\n\r\n").unwrap();
    let length = format!("\r\ncontent-length: {}\r\n", body.len());
    assert!(!body.is_empty() && head.contains(&length), "{got:?}");
    assert!(head.contains("\r\nconnection: close"), "{got:?}");
}

#[tokio::test]
async fn answers_whole_with_a_length_and_keeps_the_connection() {
    let server = start(Limits::default()).await;
    let mut client = connect(&server).await;
    for _ in 0..2 {
        client
            .write_all(b"GET /hello?any=query HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let got = until(&mut client, "hello\n").await;
        assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "{got:?}");
        assert!(got.contains("content-length: 6\r\n"), "{got:?}");
        assert!(!got.contains("chunked"), "{got:?}");
    }
}

#[tokio::test]
async fn an_answer_arrives_with_its_head_in_one_read() {
    let server = start(Limits::default()).await;
    for _ in 0..20 {
        let mut client = connect(&server).await;
        client
            .write_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut first = [0; 4096];
        let length = client.read(&mut first).await.unwrap();
        assert!(
            first[..length].ends_with(b"\r\n\r\nhello\n"),
            "{:?}",
            &first[..length]
        );
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = start(Limits::default()).await;
    let mut client = connect(&server).await;
    let mut requests = String::new();
    for n in 0..5 {
        requests += &format!("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n<{n}");
    }
    requests +=
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n<5";
    client.write_all(requests.as_bytes()).await.unwrap();
    let got = to_end(&mut client).await;
    let order: String = got
        .split('<')
        .skip(1)
        .filter_map(|part| part.chars().next())
        .collect();
    assert_eq!(order, "012345");
}

#[tokio::test]
async fn http_1_0_is_closed_after_its_answer() {
    let server = start(Limits::default()).await;
    let mut client = connect(&server).await;
    client
        .write_all(b"GET /hello HTTP/1.0\r\n\r\n")
        .await
        .unwrap();
    let got = to_end(&mut client).await;
    assert!(got.starts_with("HTTP/1.0 200 OK\r\n"), "{got:?}");
    assert!(got.contains("content-length: 6\r\n"), "{got:?}");
    assert!(got.ends_with("\r\n\r\nhello\n"), "{got:?}");
}

#[tokio::test]
async fn head_has_the_length_without_the_body() {
    let server = start(Limits::default()).await;
    let mut client = connect(&server).await;
    client
        .write_all(b"HEAD /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let got = to_end(&mut client).await;
    assert!(
        got.contains("content-length: 6\r\n") && got.ends_with("\r\n\r\n"),
        "{got:?}"
    );
}

#[tokio::test]
async fn a_chunked_body_arrives_whole_and_is_the_last_of_its_connection() {
    let server = start(Limits::default()).await;
    let mut client = connect(&server).await;
    client
        .write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        .await
        .unwrap();
    let got = to_end(&mut client).await;
    assert!(got.contains("connection: close\r\n"), "{got:?}");
    assert!(got.ends_with("\r\n\r\nabcde"), "{got:?}");
}

#[tokio::test]
async fn the_handler_sees_its_peer() {
    let server = start(Limits::default()).await;
    let mut client = connect(&server).await;
    client
        .write_all(b"GET /peer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let got = to_end(&mut client).await;
    assert!(
        got.ends_with(&client.local_addr().unwrap().to_string()),
        "{got:?}"
    );
}

#[tokio::test]
async fn unknown_paths_and_methods_get_404_and_405() {
    let server = start(Limits::default()).await;
    let mut client = connect(&server).await;
    client
        .write_all(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let got = until(&mut client, "no such path\n").await;
    assert!(got.starts_with("HTTP/1.1 404 "), "{got:?}");
    client
        .write_all(b"DELETE /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let got = to_end(&mut client).await;
    assert!(got.starts_with("HTTP/1.1 405 "), "{got:?}");
    assert!(got.contains("allow: GET, HEAD\r\n"), "{got:?}");
}

#[tokio::test]
async fn malformed_requests_get_400() {
    for request in [
        "NONSENSE\r\n\r\n",
        "\u{1}\u{2}\u{3}\r\n\r\n",
        "GET /hello HTTP/7.1\r\n\r\n",
        "GET /hello HTTP/1.1\r\nbad header\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        refused(Limits::default(), request, "400").await;
    }
}

#[tokio::test]
async fn a_refusal_waits_for_the_answers_before_it() {
    let limits = Limits {
        request_deadline: SHORT,
        ..Limits::default()
    };
    let server = start(limits).await;
    let mut client = connect(&server).await;
    // The first is at work for a while when the second stands at the gate.
    client
        .write_all(b"GET /stuck HTTP/1.1\r\nHost: x\r\n\r\nBAD HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    let got = to_end(&mut client).await;
    assert!(got.starts_with("HTTP/1.1 503 "), "{got:?}");
    let mut client = connect(&server).await;
    client
        .write_all(b"GET /huge HTTP/1.1\r\nHost: x\r\n\r\nBAD HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    let got = to_end(&mut client).await;
    let (_, after) = got.split_at(32 << 20);
    assert!(after.contains("HTTP/1.1 400 "), "{after:?}");
}

#[tokio::test]
async fn a_refused_client_may_finish_sending() {
    let server = start(Limits::default()).await;
    let mut client = connect(&server).await;
    let part = vec![b'x'; 16 << 10];
    client.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
    client.write_all(&part).await.unwrap();
    let got = to_end(&mut client).await;
    assert!(got.starts_with("HTTP/1.1 431 "), "{got:?}");
    // A reset comes with the first of these, and shows with the next.
    for _ in 0..4 {
        client.write_all(&part).await.expect("no reset");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_head_beyond_its_limits_gets_431() {
    let long = format!(
        "GET /hello HTTP/1.1\r\nHost: x\r\nPad: {}\r\n\r\n",
        "p".repeat(9000)
    );
    refused(Limits::default(), &long, "431").await;
    let many = format!(
        "GET /hello HTTP/1.1\r\nHost: x\r\n{}\r\n",
        "a: b\r\n".repeat(100)
    );
    refused(Limits::default(), &many, "431").await;
}

#[tokio::test]
async fn a_target_beyond_its_limit_gets_414() {
    let request = format!(
        "GET /hello?{} HTTP/1.1\r\nHost: x\r\n\r\n",
        "q".repeat(3000)
    );
    refused(Limits::default(), &request, "414").await;
}

#[tokio::test]
async fn a_body_beyond_its_limit_gets_413() {
    let limits = Limits {
        max_body_bytes: 10,
        ..Limits::default()
    };
    for request in [
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551000\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n6\r\nabcdef\r\n",
    ] {
        refused(limits.clone(), request, "413").await;
    }
}

#[tokio::test]
async fn a_body_that_trickles_gets_408() {
    let limits = Limits {
        request_deadline: SHORT,
        ..Limits::default()
    };
    let request = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab";
    refused(limits, request, "408").await;
}

#[tokio::test]
async fn a_handler_that_hangs_gets_503() {
    let limits = Limits {
        request_deadline: SHORT,
        ..Limits::default()
    };
    refused(limits, "GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n", "503").await;
}

#[tokio::test]
async fn a_proxy_request_is_refused() {
    refused(
        Limits::default(),
        "CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        "405",
    )
    .await;
}

#[tokio::test]
async fn slow_heads_lose_their_slots_and_others_are_served() {
    let limits = Limits {
        max_connections: 2,
        head_deadline: SHORT,
        ..Limits::default()
    };
    let server = start(limits).await;
    let mut slow = [connect(&server).await, connect(&server).await];
    for client in &mut slow {
        client
            .write_all(b"GET /hello HTTP/1.1\r\nHos")
            .await
            .unwrap();
    }
    let mut honest = connect(&server).await;
    honest
        .write_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    until(&mut honest, "\r\n\r\nhello\n").await;
    for client in &mut slow {
        let got = to_end(client).await;
        assert!(got.starts_with("HTTP/1.1 408 "), "{got:?}");
        assert!(got.ends_with("took too long\n"), "{got:?}");
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let limits = Limits {
        head_deadline: SHORT,
        ..Limits::default()
    };
    let server = start(limits).await;
    let mut client = connect(&server).await;
    client
        .write_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    until(&mut client, "\r\n\r\nhello\n").await;
    assert_eq!(to_end(&mut client).await, "");
}

#[tokio::test]
async fn no_connection_is_kept_while_others_wait() {
    let limits = Limits {
        max_connections: 1,
        ..Limits::default()
    };
    let server = start(limits).await;
    let mut first = connect(&server).await;
    let mut second = connect(&server).await;
    for client in [&mut first, &mut second] {
        client
            .write_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
    }
    for client in [&mut first, &mut second] {
        assert!(to_end(client).await.contains("connection: close\r\n"));
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped() {
    let limits = Limits {
        max_connections: 1,
        write_stall: SHORT,
        ..Limits::default()
    };
    let server = start(limits).await;
    let mut deaf = connect(&server).await;
    deaf.write_all(b"GET /huge HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    server.entered.notified().await;
    let mut honest = connect(&server).await;
    honest
        .write_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    assert!(to_end(&mut honest).await.ends_with("hello\n"));
}

#[tokio::test]
async fn shutdown_lets_an_open_exchange_finish_and_closes_idle_connections() {
    let server = start(Limits::default()).await;
    let mut idle = connect(&server).await;
    idle.write_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    until(&mut idle, "\r\n\r\nhello\n").await;
    let mut busy = connect(&server).await;
    busy.write_all(
        b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
    )
    .await
    .unwrap();
    // The 100 proves that the exchange is open.
    until(&mut busy, "HTTP/1.1 100 Continue\r\n\r\n").await;
    server.stop.send(()).unwrap();
    assert_eq!(to_end(&mut idle).await, "");
    assert!(TcpStream::connect(server.address).await.is_err());
    busy.write_all(b"last").await.unwrap();
    assert!(to_end(&mut busy).await.ends_with("\r\n\r\nlast"));
    assert_eq!(server.ended.await.unwrap(), Drained { cut_off: 0 });
}

#[tokio::test]
async fn shutdown_cuts_off_what_does_not_finish() {
    let limits = Limits {
        drain_deadline: SHORT,
        ..Limits::default()
    };
    let server = start(limits).await;
    let mut stuck = connect(&server).await;
    stuck
        .write_all(b"GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    server.entered.notified().await;
    server.stop.send(()).unwrap();
    assert_eq!(server.ended.await.unwrap(), Drained { cut_off: 1 });
    assert_eq!(to_end(&mut stuck).await, "");
}
