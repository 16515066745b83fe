//! A small HTTP client for admin ports and the in-memory API: one request, whole answer, bounded.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(3);
const LONGEST: u64 = 4 << 20;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 200 and so on.
    pub status: u16,
    /// The body as text.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// When the status is not 200 or 201, or the body is no JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        if !matches!(self.status, 200 | 201) {
            bail!("answered {}: {}", self.status, self.body);
        }
        serde_json::from_str(&self.body).context("read the answer as JSON")
    }
}

/// `GET path`, over HTTP/1.0.
///
/// # Errors
/// When nobody answers within 3 s, or the answer is no HTTP.
pub async fn get(address: SocketAddr, path: &str) -> Result<Answer> {
    send(address, "GET", path, "").await
}

/// `DELETE path`, over HTTP/1.0.
///
/// # Errors
/// When nobody answers within 3 s, or the answer is no HTTP.
pub async fn delete(address: SocketAddr, path: &str) -> Result<Answer> {
    send(address, "DELETE", path, "").await
}

/// `PATCH path` with a merge patch, over HTTP/1.0.
///
/// # Errors
/// When nobody answers within 3 s, or the answer is no HTTP.
pub async fn merge_patch(
    address: SocketAddr,
    path: &str,
    patch: &serde_json::Value,
) -> Result<Answer> {
    send(address, "PATCH", path, &patch.to_string()).await
}

/// `POST path` with JSON, over HTTP/1.0.
///
/// # Errors
/// When nobody answers within 3 s, or the answer is no HTTP.
pub async fn post(address: SocketAddr, path: &str, body: &serde_json::Value) -> Result<Answer> {
    send(address, "POST", path, &body.to_string()).await
}

async fn send(address: SocketAddr, method: &str, path: &str, body: &str) -> Result<Answer> {
    let what = || format!("{method} http://{address}{path}");
    let answer = tokio::time::timeout(LIMIT, exchange(address, method, path, body)).await;
    let bytes = answer
        .with_context(|| format!("{}: no answer within {LIMIT:?}", what()))?
        .with_context(what)?;
    parse(&String::from_utf8_lossy(&bytes))
        .with_context(|| format!("read the answer to {}", what()))
}

async fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/merge-patch+json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).await?;
    Ok(answer)
}

fn parse(text: &str) -> Result<Answer> {
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        bail!("no end of the header in {} bytes", text.len());
    };
    let mut words = head.split_whitespace();
    match (words.next(), words.next().map(str::parse)) {
        (Some(version), Some(Ok(status))) if version.starts_with("HTTP/1.") => Ok(Answer {
            status,
            body: body.to_owned(),
        }),
        _ => bail!("not HTTP: {:?}", head.lines().next().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_body_are_told_apart() {
        let answer =
            parse("HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\nnot\r\n\r\nyet").unwrap();
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (503, "not\r\n\r\nyet")
        );
        assert!(answer.json().is_err());
    }

    #[test]
    fn anything_else_is_an_error() {
        for text in [
            "",
            "HTTP/1.1 200 OK",
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 x\r\n\r\n",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
