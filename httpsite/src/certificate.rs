//! The certificate and key of the TLS port: read at the start, and again whenever their files change.
//!
//! A bad pair at the start is an error; one that has expired is not: the plain port serves clients that ask for no
//! certificate, and a restart at the wrong time must not end that. Later a bad or expired pair changes nothing: the pair in use stays, one line says why, and
//! `rocketmq_httpsite_tls_reload_failures_total` counts. Certificate and key may be written one after the other; between
//! the two they do not match, which is one such failure and then over.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{Error, ServerConfig};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::hints::{Hints, Look};
use crate::metrics::Metrics;
use crate::source::file;
use crate::validity::not_after;

/// Where they are, both in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The certificate, and those between it and the root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Both files' texts. Not to be shown: one of them is secret.
#[derive(Clone, PartialEq, Eq)]
struct Texts {
    cert: String,
    key: String,
}

/// A sound pair, ready for use.
pub struct Certificate {
    /// For the port.
    pub config: Arc<ServerConfig>,
    /// When clients stop to trust it; none if that cannot be read.
    pub expires: Option<Timestamp>,
    texts: Texts,
}

impl Pair {
    /// Reads and checks both. An expired one is said, and taken.
    ///
    /// # Errors
    /// One line that names the file, what is wrong with it and what would be right.
    pub fn read(&self, now: Timestamp) -> Result<Certificate, String> {
        let read = self.judge(self.texts()?)?;
        if let Err(fault) = self.is_valid(&read, now) {
            warn!(fault, "TLS clients will turn away until there is a new one");
        }
        Ok(read)
    }

    /// A pair that may take the place of the one in use.
    fn successor(&self, texts: Texts, now: Timestamp) -> Result<Certificate, String> {
        let new = self.judge(texts)?;
        self.is_valid(&new, now)?;
        Ok(new)
    }

    fn is_valid(&self, read: &Certificate, now: Timestamp) -> Result<(), String> {
        match read.expires {
            Some(expires) if expires <= now => {
                let cert = self.cert.display();
                Err(format!(
                    "use --tls-cert {cert}: it expired at {expires}; renew it"
                ))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn texts(&self) -> Result<Texts, String> {
        let read = |flag: &str, path: &Path| {
            file::read(path)
                .map_err(|error| format!("use {flag}: {error}; give a readable file in PEM"))
        };
        Ok(Texts {
            cert: read("--tls-cert", &self.cert)?,
            key: read("--tls-key", &self.key)?,
        })
    }

    fn judge(&self, texts: Texts) -> Result<Certificate, String> {
        let (cert, key) = (self.cert.display(), self.key.display());
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(texts.cert.as_bytes()).collect();
        let chain = chain
            .ok()
            .filter(|chain| !chain.is_empty())
            .ok_or_else(|| {
                format!("use --tls-cert {cert}: it has no certificate in PEM; it must hold -----BEGIN CERTIFICATE-----")
            })?;
        let secret = PrivateKeyDer::from_pem_slice(texts.key.as_bytes()).map_err(|_| {
            format!("use --tls-key {key}: it has no private key in PEM; give one that is not encrypted (-----BEGIN PRIVATE KEY-----)")
        })?;
        let expires = chain.first().and_then(|leaf| not_after(leaf));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
            .map_err(|error| match error {
                Error::InconsistentKeys(_) => format!(
                    "use --tls-key {key}: it does not belong to the certificate in {cert}; give the pair that was made together"
                ),
                error => format!(
                    "use --tls-cert {cert} and --tls-key {key}: {error}; give an RSA (2048 bits and more), ECDSA or Ed25519 pair"
                ),
            })?;
        Ok(Certificate {
            config: Arc::new(config),
            expires,
            texts,
        })
    }
}

/// Keeps `configs` at the newest sound pair, for ever. `first` is the pair in use.
pub async fn follow(
    pair: Pair,
    first: Certificate,
    configs: watch::Sender<Arc<ServerConfig>>,
    metrics: Metrics,
    clock: Clock,
) {
    metrics.tls_expires(&pair.cert, first.expires);
    let mut hints = Hints::new(vec![pair.cert.clone(), pair.key.clone()]);
    let mut last = Ok(first.texts);
    loop {
        let from = pair.clone();
        if let Ok(texts) = tokio::task::spawn_blocking(move || from.texts()).await
            && texts != last
        {
            last.clone_from(&texts);
            match texts.and_then(|texts| pair.successor(texts, clock.wall())) {
                Ok(new) => {
                    info!(cert = %pair.cert.display(), expires = ?new.expires, "took the new certificate");
                    metrics.tls_expires(&pair.cert, new.expires);
                    configs.send_replace(new.config);
                }
                Err(fault) => {
                    metrics.tls_reload_failed();
                    warn!(
                        fault,
                        "the new certificate is not taken; the one in use stays"
                    );
                }
            }
        }
        let look = match last {
            Ok(_) => Look::Sound,
            Err(_) => Look::Failed,
        };
        hints.next(look).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_wrong_with_a_pair_is_named_with_its_file_and_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let made = || rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap();
        let (one, two) = (made(), made());
        fs::write(at("cert"), one.cert.pem()).unwrap();
        fs::write(at("key"), one.signing_key.serialize_pem()).unwrap();
        fs::write(at("other"), two.signing_key.serialize_pem()).unwrap();
        fs::write(at("text"), "hello").unwrap();
        let broken = one.signing_key.serialize_pem().replace("MI", "AA");
        fs::write(at("broken"), broken).unwrap();
        let read = |cert: &str, key: &str, now: &str| {
            let pair = Pair {
                cert: at(cert),
                key: at(key),
            };
            pair.read(now.parse().unwrap())
        };
        let now = "2026-01-01T00:00:00Z";
        let sound = read("cert", "key", now).unwrap_or_else(|error| panic!("{error}"));
        assert!(sound.expires.is_some());
        for (cert, key, now, named) in [
            ("none", "key", now, ["--tls-cert", "/none", "No such file"]),
            ("cert", "none", now, ["--tls-key", "/none", "No such file"]),
            (
                "text",
                "key",
                now,
                ["--tls-cert", "/text", "BEGIN CERTIFICATE"],
            ),
            (
                "cert",
                "text",
                now,
                ["--tls-key", "/text", "BEGIN PRIVATE KEY"],
            ),
            (
                "cert",
                "other",
                now,
                ["--tls-key", "/other", "does not belong"],
            ),
            (
                "cert",
                "broken",
                now,
                ["--tls-key", "/broken", "give an RSA"],
            ),
        ] {
            let error = read(cert, key, now).err().unwrap();
            assert!(named.iter().all(|word| error.contains(word)), "{error}");
        }
    }
}
