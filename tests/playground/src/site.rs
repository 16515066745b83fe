//! A page with the list of name servers, as RocketMQ's clients read one (facts §7).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::broker::name_server_list;

/// Where every client looks by default.
const PATH: &str = "/rocketmq/nsaddr";

/// For one visitor: a slow one gets no more.
const VISIT_LIMIT: Duration = Duration::from_secs(3);

/// A request's head is some 200 bytes.
const LONGEST_HEAD: usize = 8 * 1024;

/// The running page. Dropped, nobody answers any more.
#[derive(Debug)]
pub struct Site {
    address: SocketAddr,
    list: Arc<Mutex<String>>,
    task: JoinHandle<()>,
}

impl Site {
    /// Starts it with this list on a free port of loopback.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(servers: &[SocketAddr]) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.context("listen for the page with the name servers")?;
        let list = Arc::new(Mutex::new(name_server_list(servers)));
        Ok(Self {
            address: listener.local_addr().context("read the page's port")?,
            task: tokio::spawn(serve(listener, Arc::clone(&list))),
            list,
        })
    }

    /// Shows another list from now on; an empty one is answered with 503, as a good page does.
    pub fn show(&self, servers: &[SocketAddr]) {
        *self.list.lock().unwrap_or_else(PoisonError::into_inner) = name_server_list(servers);
    }

    /// `http://127.0.0.1:…/rocketmq/nsaddr`
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, list: Arc<Mutex<String>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        let list = list.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // A visitor that breaks off asks again.
        let _ = tokio::time::timeout(VISIT_LIMIT, answer(stream, &list)).await;
    }
}

async fn answer(mut stream: TcpStream, list: &str) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < LONGEST_HEAD {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    stream.write_all(page(&head, list).as_bytes()).await?;
    stream.shutdown().await
}

fn page(head: &[u8], list: &str) -> String {
    let line = String::from_utf8_lossy(head);
    let path = line.split_whitespace().nth(1).unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let (status, body) = match (path == PATH, list) {
        (false, _) => ("404 Not Found", "no such page\n".to_owned()),
        (true, "") => (
            "503 Service Unavailable",
            "no name server is ready\n".to_owned(),
        ),
        (true, list) => ("200 OK", format!("{list}\n")),
    };
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http;

    #[tokio::test]
    async fn it_shows_the_list_that_was_given_last() {
        let one: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let two: SocketAddr = "127.0.0.1:2".parse().unwrap();
        let site = Site::start(&[one]).await.unwrap();
        let answer = http::get(site.address, PATH).await.unwrap();
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "127.0.0.1:1\n")
        );
        site.show(&[one, two]);
        let answer = http::get(site.address, &format!("{PATH}?nofix=1")).await;
        assert_eq!(answer.unwrap().body, "127.0.0.1:1;127.0.0.1:2\n");
        site.show(&[]);
        assert_eq!(http::get(site.address, PATH).await.unwrap().status, 503);
        assert_eq!(http::get(site.address, "/").await.unwrap().status, 404);
    }
}
