//! A running httpSite for a test, and plain sockets at it.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser as _;
use httpsite::run::{Ports, serve_until};
use httpsite::settings::{Args, Settings};
use serve::Arrivals;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Ends every wait that would otherwise hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Site {
    pub(crate) clients: SocketAddr,
    pub(crate) secure: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<anyhow::Result<()>>,
}

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// Starts with these flags; no probe and no drain delay unless they say so.
pub(crate) async fn start(flags: &[&str]) -> Site {
    let arrivals = || async { Arrivals::bind(([127, 0, 0, 1], 0).into()).await.unwrap() };
    let (clients, secure, admin) = (arrivals().await, arrivals().await, arrivals().await);
    let mut all = vec!["httpsite"];
    for (flag, value) in [("--probe-period-ms", "0"), ("--drain-delay-ms", "0")] {
        if !flags.contains(&flag) {
            all.extend([flag, value]);
        }
    }
    all.extend(flags);
    let settings = Settings::new(Args::parse_from(all)).unwrap();
    let (stop, stopped) = oneshot::channel();
    let at = |port: &Arrivals| port.local_addr().unwrap();
    let stopped = async { drop(stopped.await) };
    Site {
        clients: at(&clients),
        secure: at(&secure),
        admin: at(&admin),
        stop: Some(stop),
        ended: tokio::spawn(serve_until(
            settings,
            Ports {
                clients,
                secure: Some(secure),
                admin,
            },
            stopped,
        )),
    }
}

/// Why it does not start with these flags.
pub(crate) async fn ended_early(flags: &[&str]) -> String {
    let site = start(flags).await;
    let ended = timeout(PATIENCE, site.ended).await;
    format!("{:#}", ended.expect("an end").unwrap().unwrap_err())
}

impl Site {
    pub(crate) fn stop(&mut self) {
        self.stop.take();
    }

    pub(crate) async fn ended(mut self) {
        self.stop();
        timeout(PATIENCE, self.ended)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }

    /// GET on the port for clients, with further header lines.
    pub(crate) async fn get(&self, target: &str, headers: &str) -> Got {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\r\n");
        ask(self.clients, &request).await
    }

    /// The list's line, trimmed; empty while there is none.
    pub(crate) async fn line(&self, list: &str) -> String {
        let got = self.get(&format!("/rocketmq/{list}"), "").await;
        match got.status {
            200 => got.body.trim_end().to_owned(),
            _ => String::new(),
        }
    }

    /// Waits until the list is this one.
    pub(crate) async fn until_line(&self, list: &str, wanted: &str) {
        let mut last = String::new();
        let wait = async {
            loop {
                last = self.line(list).await;
                if last == wanted {
                    return;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        let done = timeout(PATIENCE, wait).await;
        assert!(done.is_ok(), "{list} is {last:?}, not {wanted:?}");
    }
}

/// Sends `request` and reads until the server closes.
pub(crate) async fn ask(to: SocketAddr, request: &str) -> Got {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    let _ = read.expect("the server answers and closes");
    taken_apart(&bytes)
}

pub(crate) fn taken_apart(bytes: &[u8]) -> Got {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").expect("a whole head");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Got {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    }
}
