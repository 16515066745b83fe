//! The TLS port: what it answers, whom it turns away, and how its certificate changes.

use std::fs;
use std::future::pending;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::StatusCode;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serve::{Answer, Arrivals, Asked, Limits, Prepared, Quick, Tls, Unsecured, serve_quickly};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::ground::{Got, PATIENCE, Site, ask, ended_early, start, taken_apart};

const LIST: &str = "nsaddr=static:10.0.0.1:9876";
const LINE: &str = "10.0.0.1:9876\n";
const GET: &str = "GET /rocketmq/nsaddr HTTP/1.1\r\nHost: localhost\r\n\r\n";
const LAST: &str = "GET /rocketmq/nsaddr HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const METRICS: &str = "GET /metrics HTTP/1.0\r\n\r\n";

/// A certificate and its key, as files hold them.
struct Made {
    cert: String,
    key: String,
    der: CertificateDer<'static>,
}

fn made(until: i32) -> Made {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap();
    Made {
        cert: cert.pem(),
        key: key.serialize_pem(),
        der: cert.der().clone(),
    }
}

/// A mounted Secret: two files, swapped together by one link.
struct Secret(tempfile::TempDir);

impl Secret {
    fn with(first: &Made) -> Self {
        let secret = Self(tempfile::tempdir().unwrap());
        secret.swap("..1", &first.cert, &first.key);
        for name in ["cert", "key"] {
            symlink(format!("..data/{name}"), secret.at(name)).unwrap();
        }
        secret
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn swap(&self, version: &str, cert: &str, key: &str) {
        fs::create_dir(self.at(version)).unwrap();
        fs::write(self.at(version).join("cert"), cert).unwrap();
        fs::write(self.at(version).join("key"), key).unwrap();
        symlink(version, self.at("..data_tmp")).unwrap();
        fs::rename(self.at("..data_tmp"), self.at("..data")).unwrap();
    }

    async fn site(&self) -> Site {
        start(&flags(&self.at("cert"), &self.at("key"))).await
    }
}

fn flags<'a>(cert: &'a Path, key: &'a Path) -> [&'a str; 6] {
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    ["--list", LIST, "--tls-cert", cert, "--tls-key", key]
}

/// A client that trusts these.
fn trusting(all: &[&Made]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for made in all {
        roots.add(made.der.clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

type Secured = TlsStream<TcpStream>;

async fn connect(to: std::net::SocketAddr, by: &TlsConnector) -> std::io::Result<Secured> {
    let stream = TcpStream::connect(to).await?;
    let name = ServerName::try_from("localhost").unwrap();
    timeout(PATIENCE, by.connect(name, stream)).await.unwrap()
}

/// Whose certificate this connection has.
fn shown(stream: &Secured) -> CertificateDer<'static> {
    let all = stream.get_ref().1.peer_certificates().unwrap();
    all[0].clone().into_owned()
}

async fn to_end(stream: &mut Secured, request: &str) -> Got {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    // rustls tells an end without a farewell from a whole one.
    read.unwrap().unwrap();
    taken_apart(&bytes)
}

async fn one_line(stream: &mut Secured) {
    stream.write_all(GET.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    while !bytes.ends_with(LINE.as_bytes()) {
        let read = timeout(PATIENCE, stream.read_buf(&mut bytes)).await;
        assert_ne!(read.unwrap().unwrap(), 0);
    }
}

async fn until_counted(site: &Site, line: &str) {
    let mut last = String::new();
    let wait = async {
        while !last.lines().any(|found| found == line) {
            last = ask(site.admin, METRICS).await.body;
        }
    };
    assert!(timeout(PATIENCE, wait).await.is_ok(), "{line}: {last}");
}

#[tokio::test]
async fn the_list_is_given_by_tls_and_beside_it_in_plain() {
    let made = made(2100);
    let secret = Secret::with(&made);
    let site = secret.site().await;
    let mut stream = connect(site.secure, &trusting(&[&made])).await.unwrap();
    one_line(&mut stream).await;
    let got = to_end(&mut stream, LAST).await;
    assert_eq!((got.status, got.body.as_str()), (200, LINE));
    assert_eq!(ask(site.clients, LAST).await.body, LINE);
    let mut stream = connect(site.secure, &trusting(&[&made])).await.unwrap();
    let refused = to_end(&mut stream, "GET / HTTP/1.1\r\nbad\r\n\r\n").await;
    assert_eq!((refused.status, refused.body.is_empty()), (400, false));
    let metrics = ask(site.admin, METRICS).await.body;
    let expires = format!(
        "rocketmq_httpsite_tls_expires_timestamp_seconds{{certificate=\"{}\"}} 4102444800",
        secret.at("cert").display()
    );
    assert!(metrics.contains(&expires), "{metrics}");
    for line in ["{code=\"200\"} 3", "{code=\"400\"} 1"] {
        let line = format!("rocketmq_httpsite_requests_total{line}");
        assert!(metrics.contains(&line), "{metrics}");
    }
    site.ended().await;
}

#[tokio::test]
async fn who_speaks_no_tls_or_trusts_us_not_is_closed_and_counted() {
    let (ours, other) = (made(2100), made(2100));
    let secret = Secret::with(&ours);
    let site = secret.site().await;
    let mut plain = TcpStream::connect(site.secure).await.unwrap();
    plain.write_all(GET.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, plain.read_to_end(&mut bytes)).await;
    let _ = read.expect("an end");
    assert!(!bytes.starts_with(b"HTTP"));
    assert!(connect(site.secure, &trusting(&[&other])).await.is_err());
    let name = "rocketmq_httpsite_tls_handshake_failures_total";
    until_counted(&site, &format!("{name}{{reason=\"not_tls\"}} 1")).await;
    until_counted(&site, &format!("{name}{{reason=\"failed\"}} 1")).await;
    site.ended().await;
}

#[tokio::test]
async fn a_new_certificate_comes_without_a_failed_request() {
    let (old, new) = (made(2100), made(2101));
    let secret = Secret::with(&old);
    let site = secret.site().await;
    let by = trusting(&[&old, &new]);
    let mut kept = connect(site.secure, &by).await.unwrap();
    one_line(&mut kept).await;
    let mut after = 0;
    let swaps = async {
        secret.swap("..2", &new.cert, &new.key);
    };
    let asks = async {
        while after < 20 {
            let mut stream = connect(site.secure, &by).await.unwrap();
            let is_new = shown(&stream) == new.der;
            assert!(is_new || after == 0, "back to the old one");
            after += i32::from(is_new);
            assert_eq!(to_end(&mut stream, LAST).await.body, LINE);
        }
    };
    let both = async { tokio::join!(asks, swaps) };
    timeout(PATIENCE, both).await.expect("the new certificate");
    one_line(&mut kept).await;
    site.ended().await;
}

#[tokio::test]
async fn a_bad_pair_changes_nothing_and_the_next_good_one_does() {
    let (old, new) = (made(2100), made(2101));
    let secret = Secret::with(&old);
    let site = secret.site().await;
    let by = trusting(&[&old, &new]);
    // It has begun with the first pair.
    one_line(&mut connect(site.secure, &by).await.unwrap()).await;
    let failures = "rocketmq_httpsite_tls_reload_failures_total";
    let expired = made(2001);
    for (at, (cert, key)) in [
        (new.cert.as_str(), old.key.as_str()),
        ("", ""),
        (&expired.cert, &expired.key),
    ]
    .into_iter()
    .enumerate()
    {
        secret.swap(&format!("..bad{at}"), cert, key);
        until_counted(&site, &format!("{failures} {}", at + 1)).await;
        let mut stream = connect(site.secure, &by).await.unwrap();
        assert_eq!(shown(&stream), old.der);
        assert_eq!(to_end(&mut stream, LAST).await.body, LINE);
    }
    secret.swap("..good", &new.cert, &new.key);
    let wait = async {
        while shown(&connect(site.secure, &by).await.unwrap()) != new.der {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("the new certificate");
    until_counted(&site, &format!("{failures} 3")).await;
    site.ended().await;
}

#[tokio::test]
async fn it_does_not_start_with_a_bad_pair() {
    let (one, two) = (made(2100), made(2100));
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("cert"), &one.cert).unwrap();
    fs::write(at("key"), &two.key).unwrap();
    let error = ended_early(&flags(&at("cert"), &at("key"))).await;
    let named = "does not belong to the certificate";
    assert!(error.contains(named), "{error}");
}

#[tokio::test]
async fn an_expired_pair_keeps_no_plain_client_waiting_and_gives_way_to_a_good_one() {
    let (expired, new) = (made(2001), made(2100));
    let secret = Secret::with(&expired);
    let site = secret.site().await;
    let trust = trusting(&[&expired, &new]);
    assert!(connect(site.secure, &trust).await.is_err());
    secret.swap("..good", &new.cert, &new.key);
    let wait = async {
        while connect(site.secure, &trust).await.is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("the new certificate");
    site.ended().await;
}

/// Nothing prepared; remembers who was turned away.
#[derive(Clone, Default)]
struct Turned(Arc<Mutex<Vec<Unsecured>>>);

impl Quick for Turned {
    fn find(&self, _: &Asked<'_>) -> Option<Arc<Prepared>> {
        None
    }

    fn unsecured(&self, why: Unsecured) {
        self.0.lock().unwrap().push(why);
    }
}

#[tokio::test]
async fn a_handshake_has_a_slot_and_a_deadline() {
    let made = made(2100);
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("cert"), &made.cert).unwrap();
    fs::write(at("key"), &made.key).unwrap();
    let pair = httpsite::certificate::Pair {
        cert: at("cert"),
        key: at("key"),
    };
    let first = pair.read("2026-01-01T00:00:00Z".parse().unwrap());
    let first = first.unwrap_or_else(|error| panic!("{error}"));
    let (_configs, seen) = watch::channel(first.config);
    let arrivals = Arrivals::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let to = arrivals.local_addr().unwrap();
    let limits = Limits {
        max_connections: 1,
        ..Limits::default()
    };
    let turned = Turned::default();
    let tls = Tls::new(seen).within(Duration::from_millis(150));
    let handler = |_| async { answered() };
    tokio::spawn(serve_quickly(
        arrivals,
        limits,
        Some(tls),
        turned.clone(),
        handler,
        pending(),
    ));
    let mut silent = TcpStream::connect(to).await.unwrap();
    let mut honest = connect(to, &trusting(&[&made])).await.unwrap();
    // Only when the silent one had lost the only slot.
    assert_eq!(*turned.0.lock().unwrap(), [Unsecured::Late]);
    assert_eq!(to_end(&mut honest, LAST).await.status, 200);
    let end = timeout(PATIENCE, silent.read(&mut [0; 1])).await;
    assert_eq!(end.unwrap().unwrap_or(0), 0);
}

fn answered() -> Answer {
    serve::answer::text(StatusCode::OK, LINE)
}
