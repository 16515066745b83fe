//! Where the API server is, whom we trust there, and what proves who we are: a pod's service account, or what the
//! operator names instead.
//!
//! The sidecar needs no more of Kubernetes' client configuration than this. Kubeconfigs, with their YAML, plugins and
//! templates, are for people and stay out of the image (feature `kubeconfig`): they were an eighth of the program.

use std::env;
use std::fs;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use clap::Args;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue, InvalidHeaderValue};
use hyper::http::uri::{Authority, Scheme};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::Body;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::time::Instant;
use tower_service::Service;
use tracing::warn;

/// Where the kubelet puts a pod's service account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// A token is read again after this time; the kubelet replaces it long before it ends.
const TOKEN_AGE: Duration = Duration::from_secs(30);
/// Far more than any token: what is longer is not one.
const TOKEN_LIMIT: u64 = 64 * 1024;
/// A connection of which nothing is heard for so long is asked whether it still lives.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// How the API server is reached where a pod's own service account is not meant.
#[derive(Args, Clone, Debug, Default)]
pub struct AccessArgs {
    /// The API server's URL; without it that of the cluster whose pod this is
    #[arg(long, env = "ROCKETMQ_HA_KUBE_URL", value_name = "URL")]
    pub kube_url: Option<String>,
    /// A file with the certificates (PEM) that the API server is trusted by; without it the service account's
    #[arg(long, env = "ROCKETMQ_HA_KUBE_CA_FILE", value_name = "PATH")]
    pub kube_ca_file: Option<PathBuf>,
    /// A file with the token that proves who we are, read again as it changes; without it the service account's
    #[arg(long, env = "ROCKETMQ_HA_KUBE_TOKEN_FILE", value_name = "PATH")]
    pub kube_token_file: Option<PathBuf>,
}

/// Why the API server cannot be reached as wished.
#[derive(Debug, Error)]
pub enum AccessError {
    /// No URL, and no pod.
    #[error(
        "find the API server: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set, so this is no pod; give --kube-url"
    )]
    NoPod,
    /// Not a URL.
    #[error("use --kube-url {url:?}: give it as https://host:port, without a path")]
    Url {
        /// What was given.
        url: String,
    },
    /// A URL that needs certificates to trust.
    #[error("use --kube-url {url}: https needs certificates to trust; give --kube-ca-file")]
    NoCertificates {
        /// Which URL.
        url: String,
    },
    /// A file that cannot be read.
    #[error("read {what} {}: {source}", path.display())]
    File {
        /// What it holds.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file without a certificate in it.
    #[error("read --kube-ca-file {}: no usable certificate in it; give a PEM file", path.display())]
    Certificates {
        /// Which file.
        path: PathBuf,
    },
    /// The library turned the certificates down.
    #[error("prepare TLS")]
    Tls(#[from] rustls::Error),
    /// A file that holds no token.
    #[error("use the token in {}: it is empty, longer than 64 KiB, or has characters that no header may have", path.display())]
    Token {
        /// Which file.
        path: PathBuf,
    },
}

/// Where the API server is and how we show who we are.
#[derive(Clone, Debug)]
pub struct Access {
    scheme: Scheme,
    authority: Authority,
    ca: Option<PathBuf>,
    token: Option<PathBuf>,
}

impl Access {
    /// What the flags say; where they are silent, the pod's service account.
    ///
    /// # Errors
    /// [`AccessError`]: no server is named and this is no pod, or the URL is none.
    pub fn new(args: AccessArgs) -> Result<Self, AccessError> {
        let account = |name: &str| Some(Path::new(ACCOUNT).join(name)).filter(|path| path.exists());
        let url = match args.kube_url {
            Some(url) => url,
            None => pods_server()?,
        };
        let (scheme, authority) = server(&url)?;
        // Over plain HTTP everybody on the way reads the token: it is only sent where the operator says so.
        let https = scheme == Scheme::HTTPS;
        let ca = args.kube_ca_file.or_else(|| account("ca.crt"));
        if https && ca.is_none() {
            return Err(AccessError::NoCertificates { url });
        }
        let token = args
            .kube_token_file
            .or_else(|| account("token").filter(|_| https));
        Ok(Self {
            scheme,
            authority,
            ca,
            token,
        })
    }

    /// A client. Connecting, with TLS, may take `limit`.
    ///
    /// # Errors
    /// [`AccessError`]: the certificates or the token cannot be used.
    pub fn client(&self, namespace: &str, limit: Duration) -> Result<kube::Client, AccessError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(limit));
        tcp.set_keepalive(Some(KEEPALIVE));
        let tls = HttpsConnectorBuilder::new()
            .with_tls_config(tls(self.ca.as_deref())?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let mut connector = TimeoutConnector::new(tls);
        connector.set_connect_timeout(Some(limit));
        let token = self.token.as_deref().map(TokenFile::open).transpose()?;
        let door = Door {
            scheme: self.scheme.clone(),
            authority: self.authority.clone(),
            token: token.map(Arc::new),
            http: HttpClient::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .build(connector),
        };
        Ok(kube::Client::new(door, namespace.to_owned()))
    }
}

/// The namespace of the pod that this is.
#[must_use]
pub fn pods_namespace() -> Option<String> {
    let text = fs::read_to_string(Path::new(ACCOUNT).join("namespace")).ok()?;
    Some(text.trim().to_owned()).filter(|namespace| !namespace.is_empty())
}

fn pods_server() -> Result<String, AccessError> {
    let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let host = variable("KUBERNETES_SERVICE_HOST").ok_or(AccessError::NoPod)?;
    let port = variable("KUBERNETES_SERVICE_PORT").ok_or(AccessError::NoPod)?;
    if host.contains(':') {
        return Ok(format!("https://[{host}]:{port}"));
    }
    Ok(format!("https://{host}:{port}"))
}

fn server(url: &str) -> Result<(Scheme, Authority), AccessError> {
    let wrong = || AccessError::Url {
        url: url.to_owned(),
    };
    let parts = url.trim().parse::<Uri>().map_err(|_| wrong())?.into_parts();
    let bare = parts.path_and_query.is_none_or(|path| path.as_str() == "/");
    match (parts.scheme, parts.authority) {
        (Some(scheme), Some(authority))
            if bare && (scheme == Scheme::HTTP || scheme == Scheme::HTTPS) =>
        {
            Ok((scheme, authority))
        }
        _ => Err(wrong()),
    }
}

fn tls(ca: Option<&Path>) -> Result<ClientConfig, AccessError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca {
        let pem = fs::read(path).map_err(|source| AccessError::File {
            what: "--kube-ca-file",
            path: path.to_owned(),
            source,
        })?;
        let certificates = CertificateDer::pem_slice_iter(&pem).flatten();
        let (usable, _) = roots.add_parsable_certificates(certificates);
        if usable == 0 {
            return Err(AccessError::Certificates {
                path: path.to_owned(),
            });
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// A token on disk, as last read.
#[derive(Debug)]
struct TokenFile {
    path: PathBuf,
    read: Mutex<Token>,
}

#[derive(Debug)]
struct Token {
    header: HeaderValue,
    /// When it was read; none where it is to be read again.
    at: Option<Instant>,
}

impl TokenFile {
    fn open(path: &Path) -> Result<Self, AccessError> {
        let header = header(path)?;
        Ok(Self {
            path: path.to_owned(),
            read: Mutex::new(Token {
                header,
                at: Some(Instant::now()),
            }),
        })
    }

    /// The newest token. One that cannot be read again is used on: the server knows best how long it lasts.
    fn header(&self) -> HeaderValue {
        let mut token = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if token
            .at
            .is_none_or(|at| now.duration_since(at) >= TOKEN_AGE)
        {
            token.at = Some(now);
            match header(&self.path) {
                Ok(header) => token.header = header,
                Err(error) => warn!("{error}; the one read before is used on"),
            }
        }
        token.header.clone()
    }

    /// The server did not know it: it is read again before the next request.
    fn doubt(&self) {
        let mut token = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        token.at = None;
    }
}

/// A token file lies in memory (the kubelet mounts a tmpfs): reading it does not block for long.
fn header(path: &Path) -> Result<HeaderValue, AccessError> {
    let failed = |source| AccessError::File {
        what: "the token",
        path: path.to_owned(),
        source,
    };
    let useless = || AccessError::Token {
        path: path.to_owned(),
    };
    if fs::metadata(path).map_err(failed)?.len() > TOKEN_LIMIT {
        return Err(useless());
    }
    let token = fs::read_to_string(path).map_err(failed)?;
    let token = token.trim();
    if token.is_empty() {
        return Err(useless());
    }
    bearer(token).map_err(|_| useless())
}

fn bearer(token: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut header = HeaderValue::from_str(&format!("Bearer {token}"))?;
    header.set_sensitive(true);
    Ok(header)
}

/// Every request of ours goes through here: it gets the server's address and our token.
#[derive(Clone)]
struct Door {
    scheme: Scheme,
    authority: Authority,
    token: Option<Arc<TokenFile>>,
    http: HttpClient<TimeoutConnector<HttpsConnector<HttpConnector>>, Body>,
}

type Answer = Result<Response<Incoming>, hyper_util::client::legacy::Error>;

impl Service<Request<Body>> for Door {
    type Response = Response<Incoming>;
    type Error = hyper_util::client::legacy::Error;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let mut uri = std::mem::take(request.uri_mut()).into_parts();
        uri.scheme = Some(self.scheme.clone());
        uri.authority = Some(self.authority.clone());
        // A path with scheme and authority always is a URI; if it were not, the client would refuse the empty one.
        *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        if let Some(token) = &self.token {
            request.headers_mut().insert(AUTHORIZATION, token.header());
        }
        let (answer, token) = (self.http.request(request), self.token.clone());
        Box::pin(async move {
            let answer = answer.await?;
            if let Some(token) = token.filter(|_| answer.status() == StatusCode::UNAUTHORIZED) {
                token.doubt();
            }
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(url: &str) -> AccessArgs {
        AccessArgs {
            kube_url: Some(url.to_owned()),
            ..AccessArgs::default()
        }
    }

    #[test]
    fn a_url_is_a_scheme_and_an_address() {
        for good in [
            "http://127.0.0.1:8001",
            "http://127.0.0.1:8001/",
            " http://[::1]:8001",
        ] {
            assert!(Access::new(args(good)).is_ok(), "{good}");
        }
        for bad in [
            "127.0.0.1:8001",
            "ftp://a:1",
            "http://a:1/api",
            "http://a:1?x",
            "",
            "http://",
        ] {
            let error = Access::new(args(bad)).unwrap_err();
            assert!(matches!(error, AccessError::Url { .. }), "{bad}: {error}");
        }
    }

    #[test]
    fn https_without_certificates_is_refused() {
        let error = Access::new(args("https://127.0.0.1:6443")).unwrap_err();
        assert!(error.to_string().contains("--kube-ca-file"), "{error}");
    }

    #[test]
    fn a_file_without_a_certificate_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.crt");
        fs::write(&path, "no certificate").unwrap();
        let access = Access::new(AccessArgs {
            kube_ca_file: Some(path),
            ..args("https://127.0.0.1:6443")
        });
        let error = access.unwrap().client("default", TOKEN_AGE).err().unwrap();
        assert!(error.to_string().contains("ca.crt"), "{error}");
    }

    #[test]
    fn a_token_is_read_again_when_the_server_did_not_know_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "first\n").unwrap();
        let file = TokenFile::open(&path).unwrap();
        fs::write(&path, "second").unwrap();
        assert_eq!(file.header(), "Bearer first");
        file.doubt();
        assert_eq!(file.header(), "Bearer second");
        fs::write(&path, "").unwrap();
        file.doubt();
        assert_eq!(file.header(), "Bearer second", "an empty file is no token");
    }
}
