//! TLS in front of a port: the handshake under a deadline, with the certificate of the moment.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{Error, ServerConfig};
use tokio_rustls::server::TlsStream;

/// From the accepted connection to the end of its handshake: round trips, of which even a slow network needs but few.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How the connections of a port are secured.
#[derive(Clone, Debug)]
pub struct Tls {
    configs: watch::Receiver<Arc<ServerConfig>>,
    handshake: Duration,
}

/// Why a connection is not secured, and was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsecured {
    /// The client speaks something else, such as plain HTTP.
    NotTls,
    /// The handshake was not over within its deadline.
    Late,
    /// The client left, or both do not understand or trust each other.
    Failed,
}

impl Unsecured {
    /// The word used in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotTls => "not_tls",
            Self::Late => "late",
            Self::Failed => "failed",
        }
    }
}

impl Tls {
    /// Every connection begins with the newest of `configs`; those that are open go on with theirs.
    pub const fn new(configs: watch::Receiver<Arc<ServerConfig>>) -> Self {
        Self {
            configs,
            handshake: HANDSHAKE,
        }
    }

    /// With another deadline for the handshake than 10 s.
    #[must_use]
    pub const fn within(mut self, handshake: Duration) -> Self {
        self.handshake = handshake;
        self
    }

    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Unsecured> {
        let config = Arc::clone(&self.configs.borrow());
        let accepted = timeout(self.handshake, TlsAcceptor::from(config).accept(stream)).await;
        accepted
            .map_err(|_| Unsecured::Late)?
            .map_err(|error| judged(&error))
    }
}

fn judged(error: &io::Error) -> Unsecured {
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(Error::InvalidMessage(_)) => Unsecured::NotTls,
        Some(_) | None => Unsecured::Failed,
    }
}
