//! What stock clients send, byte for byte (facts §7), and what they could choke on.

use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::ground::{PATIENCE, Site, ask, start, taken_apart};

const LIST: &str = "nsaddr=static:10.0.0.2:9876;10.0.0.1:9876;[fd00::1]:9876";
const LINE: &str = "10.0.0.1:9876;10.0.0.2:9876;[fd00::1]:9876";
/// Nobody listens there: the API server cannot be reached.
const NOBODY: &str = "http://127.0.0.1:9";

const CPP: &str =
    "GET /rocketmq/nsaddr HTTP/1.0\r\nHost: 127.0.0.1\r\nAccept: */*\r\nConnection: close\r\n\r\n";
const JAVA: &str = "GET /rocketmq/nsaddr-u1?nofix=1 HTTP/1.1\r\nClient-Version: V5_3_3\r\nContent-Type: application/x-www-form-urlencoded;charset=UTF-8\r\nMetaq-Client-RequestTS: 1790000000000\r\nUser-Agent: Java/1.8.0_432\r\nHost: 127.0.0.1:8080\r\nAccept: text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2\r\nConnection: keep-alive\r\n\r\n";
const GO: &str = "GET /rocketmq/nsaddr HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n\r\n";

/// What one read returns, and the stream.
async fn first_read(site: &Site, request: &str) -> (Vec<u8>, TcpStream) {
    let mut stream = TcpStream::connect(site.clients).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = vec![0; 8192];
    let length = timeout(PATIENCE, stream.read(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    bytes.truncate(length);
    (bytes, stream)
}

#[tokio::test]
async fn the_cpp_client_finds_the_whole_answer_in_its_first_read_and_then_the_end() {
    let site = start(&["--list", LIST]).await;
    let (bytes, mut stream) = first_read(&site, CPP).await;
    let got = taken_apart(&bytes);
    assert_eq!(
        (got.status, got.body.as_str()),
        (200, format!("{LINE}\n").as_str())
    );
    assert_eq!(
        got.header("content-length"),
        Some(format!("{}", LINE.len() + 1).as_str())
    );
    assert!(got.header("transfer-encoding").is_none());
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    site.ended().await;
}

#[tokio::test]
async fn java_and_go_keep_the_connection_and_a_unit_without_a_list_has_the_sub_groups() {
    let site = start(&["--list", LIST]).await;
    for request in [JAVA, GO] {
        let (bytes, mut stream) = first_read(&site, request).await;
        let got = taken_apart(&bytes);
        assert_eq!((got.status, got.body.trim_end()), (200, LINE));
        assert!(got.header("connection").is_none());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut again = vec![0; 8192];
        let length = stream.read(&mut again).await.unwrap();
        assert_eq!(taken_apart(&again[..length]).body.trim_end(), LINE);
    }
    site.ended().await;
}

#[tokio::test]
async fn no_list_yet_is_503_with_a_short_body_and_not_ready() {
    let source = "nsaddr=service:a/b:9876";
    let site = start(&["--list", source, "--kube-url", NOBODY]).await;
    for request in [CPP, JAVA, GO] {
        let (bytes, _stream) = first_read(&site, request).await;
        let got = taken_apart(&bytes);
        assert_eq!(
            (got.status, got.body.as_str()),
            (503, "no name server is known yet\n")
        );
    }
    let close = "HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let ready = ask(site.admin, &format!("GET /ready {close}")).await;
    assert_eq!(ready.status, 503, "{}", ready.body);
    assert_eq!(
        ask(site.admin, &format!("GET /live {close}")).await.status,
        200
    );
    let metrics = ask(site.admin, &format!("GET /metrics {close}")).await.body;
    assert!(
        metrics.contains("rocketmq_httpsite_stale{list=\"nsaddr\"} 1"),
        "{metrics}"
    );
    site.ended().await;
}

#[tokio::test]
async fn a_known_tag_gets_304_and_head_no_body() {
    let site = start(&["--list", LIST]).await;
    let got = site.get("/rocketmq/nsaddr", "").await;
    let tag = got.header("etag").unwrap();
    let known = site
        .get("/rocketmq/nsaddr", &format!("If-None-Match: {tag}\r\n"))
        .await;
    assert_eq!((known.status, known.body.as_str()), (304, ""));
    assert_eq!(known.header("etag"), Some(tag));
    let head = ask(site.clients, "HEAD /rocketmq/nsaddr HTTP/1.0\r\n\r\n").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), got.header("content-length"));
    site.ended().await;
}

#[tokio::test]
async fn what_is_wrong_gets_its_code_and_a_short_body() {
    let site = start(&["--list", LIST]).await;
    let long = "a".repeat(3000);
    let many = "x: y\r\n".repeat(100);
    for (request, status) in [
        ("GET /rocketmq/other HTTP/1.0\r\n\r\n".to_owned(), 404),
        ("GET /rocketmq/ HTTP/1.0\r\n\r\n".to_owned(), 404),
        ("GET /rocketmq HTTP/1.0\r\n\r\n".to_owned(), 404),
        ("POST /rocketmq/nsaddr HTTP/1.0\r\n\r\n".to_owned(), 405),
        (
            "GET /rocketmq/nsaddr?wait=x HTTP/1.0\r\n\r\n".to_owned(),
            400,
        ),
        ("GET\r\n\r\n".to_owned(), 400),
        (format!("GET /rocketmq/nsaddr?{long} HTTP/1.0\r\n\r\n"), 414),
        (format!("GET /rocketmq/nsaddr HTTP/1.0\r\n{many}\r\n"), 431),
        (
            format!("GET /rocketmq/nsaddr HTTP/1.0\r\nx: {long}{long}{long}{long}\r\n\r\n"),
            431,
        ),
    ] {
        let got = ask(site.clients, &request).await;
        assert_eq!(got.status, status, "{request:.60}: {}", got.head);
        assert!(!got.body.is_empty(), "{request:.60}");
    }
    site.ended().await;
}

#[tokio::test]
async fn requests_that_arrive_in_pieces_or_many_at_once_are_answered_all_the_same() {
    let site = start(&["--list", LIST]).await;
    let whole = ask(site.clients, CPP).await.body;
    for cut in 1..CPP.len() {
        let mut stream = TcpStream::connect(site.clients).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (one, two) = CPP.split_at(cut);
        stream.write_all(one.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
        stream.write_all(two.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut bytes))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(taken_apart(&bytes).body, whole, "cut at {cut}");
    }
    // Plain ones, one for hyper in between, and a last one that closes: 300 answers in order.
    let mut stream = TcpStream::connect(site.clients).await.unwrap();
    let odd = "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n";
    let requests = format!("{}{odd}{}{CPP}", GO.repeat(150), GO.repeat(149));
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    let text = String::from_utf8(bytes).unwrap();
    // hyper answers HTTP/1.0 in kind.
    assert_eq!(text.matches(" 200 OK\r\n").count(), 300);
    assert_eq!(text.matches("HTTP/1.1 404 Not Found").count(), 1);
    site.ended().await;
}

#[tokio::test]
async fn a_long_poll_ends_with_its_time_or_with_the_server() {
    let mut site = start(&["--list", LIST]).await;
    let got = site.get("/rocketmq/nsaddr", "").await;
    let index = got.header("x-list-index").unwrap().to_owned();
    let began = Instant::now();
    let known = format!("/rocketmq/nsaddr?wait=300ms&index={index}");
    let same = site.get(&known, "").await;
    assert_eq!((same.status, same.body.trim_end()), (200, LINE));
    assert!(began.elapsed() >= Duration::from_millis(300));
    let other = site
        .get("/rocketmq/nsaddr?wait=30s&index=0000000000000000", "")
        .await;
    assert_eq!(other.status, 200);
    let target = format!("/rocketmq/nsaddr?wait=50s&index={index}");
    let clients = site.clients;
    let stopping = async {
        sleep(Duration::from_millis(100)).await;
        drop(site.stop.take());
    };
    let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    let (got, ()) = tokio::join!(ask(clients, &request), stopping);
    assert_eq!(got.status, 200);
    assert!(began.elapsed() < PATIENCE);
    site.ended().await;
}

#[tokio::test]
async fn the_page_and_its_json_are_there_on_both_ports() {
    let site = start(&["--list", LIST]).await;
    for port in [site.clients, site.admin] {
        let page = ask(port, "GET / HTTP/1.0\r\n\r\n").await;
        assert!(page.status == 200 && page.body.contains("10.0.0.1:9876"));
        assert!(!page.body.contains("<script") && !page.body.contains("src="));
        let json = ask(port, "GET /status.json HTTP/1.0\r\n\r\n").await;
        let json: serde_json::Value = serde_json::from_str(&json.body).unwrap();
        assert_eq!(json["lists"][0]["line"], LINE);
    }
    site.ended().await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_bytes_keep_the_next_client_from_its_answer(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        at in 0_usize..CPP.len(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let site = start(&["--list", LIST]).await;
            // Noise alone, and noise inside of a request.
            let (head, tail) = CPP.as_bytes().split_at(at);
            for noise in [bytes.clone(), [head, &bytes, tail].concat()] {
                let mut stream = TcpStream::connect(site.clients).await.unwrap();
                let _ = stream.write_all(&noise).await;
                let _ = stream.shutdown().await;
                let _ = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.expect("an end");
            }
            assert_eq!(site.line("nsaddr").await, LINE);
        });
    }
}
