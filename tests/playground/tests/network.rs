//! Hosts of a network, with real connections.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use playground::network::{Cut, lacking};
use playground::process::ProcessSpec;
use playground::run_dir::{Afterwards, RunDir};
use playground::{Guard, Network, process::Spawner};
use tokio::net::TcpListener;
use tokio::time::timeout;

/// A host that connects, connects, which is seen here or not.
const CALLER: &str = "i=0; while [ $i -lt 300 ]; do timeout 0.2 bash -c \"echo > /dev/tcp/$0/$1\"; sleep 0.05; i=$((i+1)); done";

const LIMIT: Duration = Duration::from_secs(20);

/// Longer than some of the caller's turns.
const SILENCE: Duration = Duration::from_millis(900);

async fn hears(listener: &TcpListener) -> Result<SocketAddr> {
    let heard = timeout(LIMIT, listener.accept()).await;
    Ok(heard.context("wait for a caller")??.1)
}

async fn hears_nothing(listener: &TcpListener) -> Result<()> {
    // What was on its way before the cut.
    while timeout(Duration::from_millis(250), listener.accept())
        .await
        .is_ok()
    {}
    match timeout(SILENCE, listener.accept()).await {
        Err(_) => Ok(()),
        Ok(heard) => bail!("heard {:?}", heard?.1),
    }
}

async fn story() -> Result<()> {
    let run = RunDir::create(Afterwards::Remove)?;
    let spawner = Spawner::new(Guard::for_tests())?;
    let network = Network::new(&spawner, run.folder("network")?).await?;
    let host = network.host("a").await?;
    let ours = TcpListener::bind((network.clients(), 0)).await?;
    let (ip, port) = (network.clients(), ours.local_addr()?.port());
    let shell = std::path::Path::new("/bin/sh");
    let spec = ProcessSpec::new("caller", shell, run.path(), run.path().join("caller"));
    let spec = spec.arguments(["-c", CALLER, &ip.to_string(), &port.to_string()]);
    let _caller = spawner.start(&host.enter(spec))?;
    assert_eq!(hears(&ours).await?.ip(), host.ip());

    let cut = Cut::between(host.ip(), ip);
    for cut in [cut, cut.at(port), cut.one_way()] {
        network.cut(cut)?;
        hears_nothing(&ours)
            .await
            .with_context(|| format!("{cut:?}"))?;
        network.mend(cut)?;
        hears(&ours).await?;
    }
    // Another port's cut concerns nobody here.
    network.cut(cut.at(1))?;
    hears(&ours).await?;
    network.unplug(&host)?;
    hears_nothing(&ours).await.context("unplugged")?;
    network.plug(&host)?;
    hears(&ours).await?;
    Ok(())
}

#[tokio::test]
async fn what_is_cut_is_silent_until_it_is_mended() {
    if let Some(why) = lacking() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    story().await.unwrap();
}
