//! A wire between two processes that can be stalled, reset, or led elsewhere.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// For the way on.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// What happens to bytes and connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flow {
    /// Nothing goes on; connections stay open, new ones are taken.
    stalled: bool,
    /// How often all connections were reset.
    resets: u64,
    /// New connections lead here; none are taken without it.
    target: Option<SocketAddr>,
}

/// A wire. Dropped, all its connections end.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    flow: Arc<watch::Sender<Flow>>,
    taken: Arc<Mutex<u64>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A wire on loopback that leads to `target`.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("listen for a proxy")?;
        let address = listener.local_addr()?;
        let flow = Arc::new(watch::Sender::new(Flow {
            stalled: false,
            resets: 0,
            target: Some(target),
        }));
        let taken = Arc::default();
        let task = tokio::spawn(run(listener, Arc::clone(&flow), Arc::clone(&taken)));
        Ok(Self {
            address,
            flow,
            taken,
            task,
        })
    }

    /// Where it is reached.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections it took so far.
    #[must_use]
    pub fn taken(&self) -> u64 {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds every byte back, or lets them go on.
    pub fn stall(&self, stalled: bool) {
        self.flow.send_modify(|flow| flow.stalled = stalled);
    }

    /// Resets every connection that is open.
    pub fn reset(&self) {
        self.flow.send_modify(|flow| flow.resets += 1);
    }

    /// Leads new connections to another target, or to none: then they are reset at once.
    pub fn lead(&self, target: Option<SocketAddr>) {
        self.flow.send_modify(|flow| flow.target = target);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.reset();
        self.task.abort();
    }
}

async fn run(listener: TcpListener, flow: Arc<watch::Sender<Flow>>, taken: Arc<Mutex<u64>>) {
    while let Ok((near, _)) = listener.accept().await {
        *taken.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        tokio::spawn(link(near, flow.subscribe()));
    }
}

/// One connection, until one side ends it or it is reset.
async fn link(near: TcpStream, mut flow: watch::Receiver<Flow>) {
    // Whatever ends a link ends it with a reset: the worst that can happen to both sides.
    let _ = near.set_zero_linger();
    let begun = *flow.borrow_and_update();
    let Some(target) = begun.target else { return };
    let far = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(target)).await;
    let Ok(Ok(far)) = far else { return };
    let _ = (
        far.set_zero_linger(),
        far.set_nodelay(true),
        near.set_nodelay(true),
    );
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    let mut watch = flow.clone();
    tokio::select! {
        () = pump(near_read, far_write, flow.clone()) => {}
        () = pump(far_read, near_write, flow) => {}
        _ = watch.wait_for(|flow| flow.resets != begun.resets) => {}
    }
}

/// One direction.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut flow: watch::Receiver<Flow>) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let Ok(length @ 1..) = from.read(&mut bytes).await else {
            return;
        };
        if flow.wait_for(|flow| !flow.stalled).await.is_err() {
            return;
        }
        let read = bytes.get(..length).unwrap_or_default();
        if to.write_all(read).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);
    const SILENCE: Duration = Duration::from_millis(200);

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        address
    }

    async fn said(stream: &mut TcpStream) -> std::io::Result<u8> {
        stream.write_all(b"x").await?;
        tokio::time::timeout(LIMIT, stream.read_u8()).await.unwrap()
    }

    #[tokio::test]
    async fn it_passes_stalls_resets_and_leads_elsewhere() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(said(&mut stream).await.unwrap(), b'x');

        proxy.stall(true);
        stream.write_all(b"y").await.unwrap();
        let held = tokio::time::timeout(SILENCE, stream.read_u8()).await;
        held.unwrap_err();
        proxy.stall(false);
        let late = tokio::time::timeout(LIMIT, stream.read_u8()).await;
        assert_eq!(late.unwrap().unwrap(), b'y');

        proxy.reset();
        let reset = tokio::time::timeout(LIMIT, stream.read_u8()).await.unwrap();
        reset.unwrap_err();

        proxy.lead(None);
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        said(&mut stream).await.unwrap_err();
        assert_eq!(proxy.taken(), 2);
    }
}
