use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::calls::ProbeNameServer;
use crate::frame::{DEFAULT_FRAME_LIMIT, HeaderKind};
use crate::signing::Credentials;

/// Long enough never to matter unless something hangs.
const LONG: Duration = Duration::from_secs(20);

/// Our end of a connection that a test plays the server on.
struct Server {
    stream: TcpStream,
    inbox: Inbox,
}

impl Server {
    async fn request(&mut self) -> Option<Command> {
        let mut chunk = vec![0; 64 * 1024];
        loop {
            if let Some(command) = self.inbox.next().unwrap() {
                return Some(command);
            }
            let count = self.stream.read(&mut chunk).await.unwrap();
            if count == 0 {
                return None;
            }
            self.inbox.add(&chunk[..count]);
        }
    }

    async fn send(&mut self, command: &Command) {
        let frame = encode(command, HeaderKind::Binary).unwrap();
        self.stream.write_all(&frame).await.unwrap();
    }
}

async fn pair_with(options: ClientOptions) -> (Client, Server) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let client = Client::connect(listener.local_addr().unwrap(), &options)
        .await
        .unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let inbox = Inbox::new(DEFAULT_FRAME_LIMIT);
    (client, Server { stream, inbox })
}

async fn pair() -> (Client, Server) {
    pair_with(ClientOptions::default()).await
}

fn spawn_call(client: &Client, code: i32) -> tokio::task::JoinHandle<Result<Command, CallError>> {
    let client = client.clone();
    tokio::spawn(async move { client.call(Command::request(code), LONG).await })
}

#[tokio::test]
async fn replies_out_of_order_find_their_calls() {
    let (client, mut server) = pair().await;
    let calls: Vec<_> = (0..20).map(|code| spawn_call(&client, code)).collect();
    let mut requests = Vec::new();
    for _ in 0..20 {
        requests.push(server.request().await.unwrap());
    }
    // What the server asks of us is no reply, even under a number that somebody waits for.
    let own_request = Command {
        opaque: requests[0].opaque,
        ..Command::request(40)
    };
    server.send(&own_request).await;
    for request in requests.iter().rev() {
        server
            .send(&Command::reply_to(request, request.code + 100))
            .await;
    }
    for (code, call) in (0..20).zip(calls) {
        assert_eq!(call.await.unwrap().unwrap().code, code + 100);
    }
}

#[tokio::test]
async fn a_closed_connection_fails_every_call_at_once() {
    let (client, mut server) = pair().await;
    let calls: Vec<_> = (0..5).map(|code| spawn_call(&client, code)).collect();
    for _ in 0..5 {
        server.request().await.unwrap();
    }
    assert!(!client.is_closed());
    drop(server);
    for call in calls {
        assert!(matches!(call.await.unwrap(), Err(CallError::Closed { .. })));
    }
    client.closed().await;
    assert!(client.is_closed());
    let late = client.call(Command::request(9), LONG).await;
    assert!(matches!(late, Err(CallError::Closed { code: 9, .. })));
}

#[tokio::test]
async fn no_reply_in_time_is_a_timeout_and_the_connection_goes_on() {
    let (client, mut server) = pair().await;
    let late = client
        .call(Command::request(1), Duration::from_millis(500))
        .await;
    let error = late.unwrap_err();
    assert!(matches!(error, CallError::Timeout { code: 1, .. }) && error.may_have_happened());
    let first = server.request().await.unwrap();
    let next = spawn_call(&client, 2);
    let second = server.request().await.unwrap();
    server.send(&Command::reply_to(&first, 77)).await;
    server.send(&Command::reply_to(&second, 0)).await;
    assert_eq!(next.await.unwrap().unwrap().code, 0);
}

#[tokio::test]
async fn calls_in_flight_are_bounded() {
    let (client, mut server) = pair_with(ClientOptions {
        max_in_flight: 2,
        ..ClientOptions::default()
    })
    .await;
    let calls: Vec<_> = (0..5).map(|code| spawn_call(&client, code)).collect();
    let mut answered = 0;
    let mut unanswered = vec![
        server.request().await.unwrap(),
        server.request().await.unwrap(),
    ];
    // Nothing may follow before a reply: the two turns are taken, whatever is already on its way.
    let more = timeout(Duration::from_millis(50), server.request()).await;
    assert!(more.is_err());
    while answered < 5 {
        let request = unanswered.remove(0);
        server.send(&Command::reply_to(&request, 0)).await;
        answered += 1;
        if answered + unanswered.len() < 5 {
            unanswered.push(server.request().await.unwrap());
        }
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn garbage_ends_the_connection_with_its_reason() {
    let (client, mut server) = pair().await;
    let call = spawn_call(&client, 1);
    server.request().await.unwrap();
    server
        .stream
        .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        .await
        .unwrap();
    let Err(CallError::Closed { reason, .. }) = call.await.unwrap() else {
        panic!("closed expected");
    };
    assert!(reason.contains("exceeds the limit"), "{reason}");
    assert!(server.request().await.is_none(), "our end is closed too");
}

#[tokio::test]
async fn one_way_requests_are_marked_and_written() {
    let (client, mut server) = pair().await;
    client.oneway(Command::request(34), LONG).await.unwrap();
    drop(client);
    let request = server.request().await.unwrap();
    assert!(request.is_oneway());
    assert!(
        server.request().await.is_none(),
        "the last client closes the connection"
    );
}

#[tokio::test]
async fn a_refusal_is_told_with_code_and_text() {
    let options = ClientOptions {
        credentials: Some(Credentials::new("ak", "sk")),
        ..ClientOptions::default()
    };
    let (client, mut server) = pair_with(options).await;
    let asking = tokio::spawn(async move { client.ask(&ProbeNameServer).await });
    let request = server.request().await.unwrap();
    assert_eq!(request.field("AccessKey"), Some("ak"));
    assert!(request.field("Signature").is_some());
    let mut reply = Command::reply_to(&request, 16);
    reply.remark = Some("who are you".to_owned());
    server.send(&reply).await;
    let error = asking.await.unwrap().unwrap_err();
    let (code, remark) = error.refusal().unwrap();
    assert_eq!((code.number(), remark), (16, "who are you"));
    assert!(!error.may_have_happened());
}

#[tokio::test]
async fn nobody_listening_is_a_connect_error() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr: SocketAddr = listener.local_addr().unwrap();
    drop(listener);
    let result = Client::connect(addr, &ClientOptions::default()).await;
    assert!(matches!(result, Err(CallError::Connect { .. })));
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_any_more_is_not_sent() {
    let (client, mut server) = pair().await;
    let soon = Duration::from_millis(50);
    // More than the sockets hold, so that it and everything after it waits until the server reads.
    let large = Command::request(1).with_body(vec![0; 15 << 20]);
    for request in [large, Command::request(2)] {
        let late = client.call(request, soon).await;
        assert!(matches!(late, Err(CallError::Timeout { .. })));
    }
    let wanted = spawn_call(&client, 3);
    assert_eq!(server.request().await.unwrap().code, 1);
    let request = server.request().await.unwrap();
    assert_eq!(request.code, 3);
    server.send(&Command::reply_to(&request, 0)).await;
    wanted.await.unwrap().unwrap();
}

/// The clock is not real: it jumps to the next deadline as soon as nothing else can happen.
#[tokio::test(start_paused = true)]
async fn a_server_that_takes_nothing_is_given_up() {
    let (client, server) = pair().await;
    let large = Command::request(1).with_body(vec![0; 15 << 20]);
    let Err(CallError::Closed { reason, .. }) = client.call(large, Duration::from_secs(60)).await
    else {
        panic!("closed expected");
    };
    assert!(reason.contains("took nothing"), "{reason}");
    drop(server);
}
