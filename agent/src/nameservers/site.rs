//! One look-up at an httpSite: the contract of facts §7, from the side of the asker.

use super::host_port::{HostPort, HostPortError, parse_list};
use bytes::Bytes;
use futures::future::{Either, select};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, ETAG, HOST};
use hyper::{Request, Response, StatusCode, Uri, body::Incoming};
use hyper_util::rt::TokioIo;
use std::fmt;
use std::pin::pin;
use std::str::FromStr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long one look-up may take, from the name's resolution to the last byte. RocketMQ's own clients wait as long.
pub const FETCH_DEADLINE: Duration = Duration::from_secs(3);

/// How long an httpSite of ours may keep an asker waiting that knows the newest list.
const LONG_POLL: Duration = Duration::from_secs(30);

/// Room for the longest list that is taken, several times over.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Where every RocketMQ client looks by default (facts §7.1).
const DEFAULT_PATH: &str = "/rocketmq/nsaddr";

/// The URL of an httpSite, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    host: String,
    port: u16,
    /// What goes into the `Host` header.
    authority: String,
    path: String,
}

/// Why a look-up brought no list. The message names the URL and a remedy.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The URL itself cannot be used.
    #[error(
        "{url:?} is no URL of an httpSite: {reason}; write it like http://httpsite:8080/rocketmq/nsaddr"
    )]
    Url {
        /// The text that was given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No whole answer within [`FETCH_DEADLINE`].
    #[error(
        "fetch name servers from {url}: no answer within {FETCH_DEADLINE:?}; does the httpSite run, does a network policy stop us?"
    )]
    TimedOut {
        /// The URL.
        url: String,
    },
    /// No connection.
    #[error(
        "fetch name servers from {url}: no connection; check the name, the port and whether the httpSite runs"
    )]
    Connect {
        /// The URL.
        url: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Something that is no HTTP, or half an answer.
    #[error(
        "fetch name servers from {url}: the answer is no whole HTTP; is the port the httpSite's?"
    )]
    Http {
        /// The URL.
        url: String,
        /// What was wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Any status but 200.
    #[error(
        "fetch name servers from {url}: status {status}; a 503 means that the httpSite knows no name server, a 404 that the path is wrong"
    )]
    Status {
        /// The URL.
        url: String,
        /// The status.
        status: StatusCode,
    },
    /// A body that is no list.
    #[error(
        "fetch name servers from {url}: more than {MAX_BODY_BYTES} bytes came; is the path the httpSite's?"
    )]
    TooLong {
        /// The URL.
        url: String,
    },
    /// A first line that is no list.
    #[error(
        "fetch name servers from {url}: the first line is no list of host:port; is the path the httpSite's?"
    )]
    NoList {
        /// The URL.
        url: String,
        /// What is wrong with it.
        source: HostPortError,
    },
}

/// The name under which an httpSite of ours knows a list: what it can be asked to wait with until there is another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index(String);

impl Index {
    /// Sixteen hex digits in an `ETag`. What other web servers put there looks different, and they cannot wait.
    fn of(response: &Response<Incoming>) -> Option<Self> {
        let tag = response.headers().get(ETAG)?.to_str().ok()?;
        let index = tag.strip_prefix('"')?.strip_suffix('"')?;
        let digits = index
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        (index.len() == 16 && digits).then(|| Self(index.to_owned()))
    }
}

/// What a look-up brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The servers, in the site's order.
    pub servers: Vec<HostPort>,
    /// What to ask with next; none where the site cannot wait.
    pub index: Option<Index>,
}

impl Site {
    /// Asks once. With an index the site answers when it has another list, or after 30 s.
    pub async fn fetch(&self, known: Option<&Index>) -> Result<Found, FetchError> {
        let limit = FETCH_DEADLINE + known.map_or(Duration::ZERO, |_| LONG_POLL);
        match timeout(limit, self.ask(known)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(self.timed_out()),
        }
    }

    fn timed_out(&self) -> FetchError {
        FetchError::TimedOut {
            url: self.to_string(),
        }
    }

    async fn ask(&self, known: Option<&Index>) -> Result<Found, FetchError> {
        let address = (self.host.as_str(), self.port);
        let stream = timeout(FETCH_DEADLINE, TcpStream::connect(address)).await;
        let stream = stream.map_err(|_elapsed| self.timed_out())?;
        let stream = stream.map_err(|source| FetchError::Connect {
            url: self.to_string(),
            source,
        })?;
        let (mut requests, connection) = http1::Builder::new()
            .max_buf_size(MAX_BODY_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.http(error))?;
        let request = self.request(known)?;
        let answer = pin!(async {
            let response = requests
                .send_request(request)
                .await
                .map_err(|error| self.http(error))?;
            self.read(response).await
        });
        // The connection has to be driven, and may end before the answer was read to its end.
        match select(answer, pin!(connection)).await {
            Either::Left((answer, _)) => answer,
            Either::Right((_, answer)) => answer.await,
        }
    }

    fn request(&self, known: Option<&Index>) -> Result<Request<Empty<Bytes>>, FetchError> {
        let path = match known {
            Some(Index(index)) => {
                let joint = if self.path.contains('?') { '&' } else { '?' };
                let wait = LONG_POLL.as_secs();
                format!("{}{joint}wait={wait}s&index={index}", self.path)
            }
            None => self.path.clone(),
        };
        let request = Request::get(path)
            .header(HOST, &self.authority)
            .header(CONNECTION, "close");
        request.body(Empty::new()).map_err(|error| self.http(error))
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Found, FetchError> {
        let status = response.status();
        if status != StatusCode::OK {
            return Err(FetchError::Status {
                url: self.to_string(),
                status,
            });
        }
        let index = Index::of(&response);
        let body = Limited::new(response.into_body(), MAX_BODY_BYTES)
            .collect()
            .await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => FetchError::TooLong {
                url: self.to_string(),
            },
            false => self.http(error),
        })?;
        let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        let servers = parse_list(first_line(&text)).map_err(|source| FetchError::NoList {
            url: self.to_string(),
            source,
        })?;
        Ok(Found { servers, index })
    }

    fn http(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> FetchError {
        FetchError::Http {
            url: self.to_string(),
            source: error.into(),
        }
    }
}

/// Trimmed first, then cut at the first line end, as the Java client does.
fn first_line(body: &str) -> &str {
    body.trim().split(['\r', '\n']).next().unwrap_or_default()
}

impl FromStr for Site {
    type Err = FetchError;

    fn from_str(url: &str) -> Result<Self, FetchError> {
        let refuse = |reason| FetchError::Url {
            url: url.chars().take(200).collect(),
            reason,
        };
        let uri: Uri = url
            .parse()
            .map_err(|_| refuse("it has characters that no URL has"))?;
        if uri.scheme_str() != Some("http") {
            return Err(refuse(
                "it must begin with http:// (RocketMQ's look-up knows no https)",
            ));
        }
        let authority = uri.authority().ok_or_else(|| refuse("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("it has a user in it"));
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        let port = match authority.port() {
            Some(port) => port
                .as_str()
                .parse()
                .ok()
                .filter(|&port| port != 0)
                .ok_or_else(|| refuse("its port is no port"))?,
            None if authority.as_str() == authority.host() => 80,
            None => return Err(refuse("its port is no port")),
        };
        if host.is_empty() {
            return Err(refuse("it names no host"));
        }
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        let path = if matches!(path, "" | "/") {
            DEFAULT_PATH
        } else {
            path
        };
        Ok(Self {
            host: host.to_owned(),
            port,
            authority: authority.as_str().to_owned(),
            path: path.to_owned(),
        })
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::watch;
    use tokio::time::Instant;

    #[tokio::test]
    async fn a_site_that_can_wait_is_asked_to_and_no_other() {
        for (tag, asked) in [
            ("\"0123456789abcdef\"", "?wait=30s&index=0123456789abcdef"),
            ("W/\"0123456789abcdef\"", ""),
            ("\"5f3a-2c\"", ""),
            ("\"0123456789ABCDEF\"", ""),
        ] {
            let answer = format!("HTTP/1.1 200 OK\r\nETag: {tag}\r\nContent-Length: 3\r\n\r\na:1");
            let server = Answers::start(&[&answer]).await;
            let site = server.url().parse::<Site>().unwrap();
            let found = site.fetch(None).await.unwrap();
            let request = site.request(found.index.as_ref()).unwrap();
            assert_eq!(request.uri(), &*format!("/rocketmq/nsaddr{asked}"), "{tag}");
            assert!(site.fetch(found.index.as_ref()).await.is_ok());
        }
    }

    /// A server that gives one of its answers again and again, until it is told to go on to the next.
    pub(in crate::nameservers) struct Answers {
        address: SocketAddr,
        /// Which answer, and how often it was given.
        given: watch::Sender<(usize, usize)>,
        task: tokio::task::JoinHandle<()>,
    }

    impl Answers {
        pub(in crate::nameservers) async fn start(answers: &[&str]) -> Self {
            let answers: Vec<String> = answers.iter().map(|&answer| answer.to_owned()).collect();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let given = watch::Sender::new((0, 0));
            let counter = given.clone();
            let task = tokio::spawn(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        request.push(stream.read_u8().await.unwrap());
                    }
                    assert!(request.starts_with(b"GET /rocketmq/nsaddr"));
                    let (number, _) = *counter.borrow();
                    // The asker may have heard enough before the end.
                    let _ = stream.write_all(answers[number].as_bytes()).await;
                    counter.send_if_modified(|(now, times)| {
                        *times += usize::from(*now == number);
                        *now == number
                    });
                }
            });
            Self {
                address,
                given,
                task,
            }
        }

        pub(in crate::nameservers) fn url(&self) -> String {
            format!("http://{}/", self.address)
        }

        /// Waits until the asker has taken the answer: it asked again after it.
        pub(in crate::nameservers) async fn taken(&self) {
            let mut given = self.given.subscribe();
            let twice = given.wait_for(|&(_, times)| times >= 2);
            timeout(Duration::from_secs(8), twice)
                .await
                .expect("nobody asks")
                .unwrap();
        }

        /// Goes on to the next answer, and waits until it was taken.
        pub(in crate::nameservers) async fn next(&self) {
            self.given
                .send_modify(|(number, times)| (*number, *times) = (*number + 1, 0));
            self.taken().await;
        }
    }

    impl Drop for Answers {
        fn drop(&mut self) {
            self.task.abort();
        }
    }

    async fn fetch(answer: &str) -> Result<String, FetchError> {
        let server = Answers::start(&[answer]).await;
        let site = server.url().parse::<Site>().unwrap();
        let found = site.fetch(None).await?;
        Ok(found
            .servers
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(";"))
    }

    #[tokio::test]
    async fn takes_the_first_line_whatever_follows_and_however_it_is_sent() {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n\na:1;b:2;\r\nc:3\nmore..",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\na:1;\r\n4\r\nb:2\n\r\n0\r\n\r\n",
            "HTTP/1.0 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\na:1;b:2",
        ] {
            assert_eq!(fetch(answer).await.unwrap(), "a:1;b:2");
        }
    }

    #[tokio::test]
    async fn says_what_is_wrong_with_an_answer() {
        let wrong = async |answer: &'static str| fetch(answer).await.unwrap_err();
        let error = wrong("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
        assert!(
            matches!(
                error,
                FetchError::Status {
                    status: StatusCode::NOT_FOUND,
                    ..
                }
            ),
            "{error}"
        );
        assert!(error.to_string().contains("http://127.0.0.1:"), "{error}");
        let error = wrong("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n \n").await;
        assert!(
            matches!(
                error,
                FetchError::NoList {
                    source: HostPortError::Empty,
                    ..
                }
            ),
            "{error}"
        );
        let error = wrong("HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>").await;
        assert!(matches!(error, FetchError::NoList { .. }), "{error}");
        let error = wrong("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\na:1").await;
        assert!(
            matches!(error, FetchError::TooLong { .. } | FetchError::Http { .. }),
            "{error}"
        );
        let error = wrong("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na:1").await;
        assert!(
            matches!(error, FetchError::Http { .. }),
            "half an answer is none: {error}"
        );
        let error = wrong("SSH-2.0-OpenSSH\r\n").await;
        assert!(matches!(error, FetchError::Http { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_long_body_is_not_read_to_its_end() {
        let long = format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}",
            "a:1;".repeat(MAX_BODY_BYTES)
        );
        let error = fetch(&long).await.unwrap_err();
        assert!(matches!(error, FetchError::TooLong { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_refused_connection_names_the_url() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        drop(listener);
        let error = url.parse::<Site>().unwrap().fetch(None).await.unwrap_err();
        assert!(
            matches!(error, FetchError::Connect { .. }) && error.to_string().contains(&url),
            "{error}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_site_costs_its_deadline_and_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let site: Site = format!("http://{}", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let start = Instant::now();
        let answer = timeout(2 * FETCH_DEADLINE, site.fetch(None)).await;
        let error = answer.expect("no deadline").unwrap_err();
        assert!(matches!(error, FetchError::TimedOut { .. }), "{error}");
        assert!(start.elapsed() < FETCH_DEADLINE + Duration::from_millis(10));
    }

    #[test]
    fn reads_urls_and_refuses_others_with_the_reason() {
        let parse = |url: &str| url.parse::<Site>();
        assert_eq!(
            parse("http://h:8080").unwrap().to_string(),
            "http://h:8080/rocketmq/nsaddr"
        );
        assert_eq!(
            parse("http://[::1]/rocketmq/nsaddr-dr?nofix=1")
                .unwrap()
                .host,
            "::1"
        );
        assert_eq!(parse("http://h").unwrap().port, 80);
        for (url, said) in [
            ("https://h/", "begin with http://"),
            ("h:8080", "begin with http://"),
            ("/rocketmq/nsaddr", "begin with http://"),
            ("http://a b/", "characters"),
            ("http://u@h/", "a user"),
            ("http://h:0/", "port"),
            ("http://h:99999/", "port"),
        ] {
            let error = parse(url).unwrap_err().to_string();
            assert!(
                error.contains(said) && error.contains(url),
                "{url}: {error}"
            );
        }
    }
}
