//! Reading an admin port: one GET, whole answer, bounded.

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

/// `GET path` over HTTP/1.0.
///
/// # Errors
/// When nobody answers within 3 s, or the answer is no HTTP.
pub async fn get(address: SocketAddr, path: &str) -> Result<Answer> {
    let answer = tokio::time::timeout(LIMIT, exchange(address, path)).await;
    let bytes = answer
        .with_context(|| format!("get http://{address}{path}: no answer within {LIMIT:?}"))?
        .with_context(|| format!("get http://{address}{path}"))?;
    parse(&String::from_utf8_lossy(&bytes))
        .with_context(|| format!("read the answer of http://{address}{path}"))
}

async fn exchange(address: SocketAddr, path: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
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
