//! The Apache Go client finds its name servers by the page's URL.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::group::LIMIT;
use e2e::{Case, on_the_quickest};
use playground::process::ProcessSpec;
use playground::{HttpSite, NameServer};

use crate::clients::{CLIENT_LIMIT, TOPIC, list_file, master, name_servers, serving};
use e2e::stock::{CLIENTS, Stock, nothing_lost};

on_the_quickest!(go_clients_read_the_page);

/// With its modules to fetch.
const BUILD_LIMIT: Duration = Duration::from_secs(180);

/// Producer and consumer find the broker by the page alone; a consumer that starts while the page has no list is refused,
/// unless the client remembers one. Fails when the page says anything the Go client cannot read: it is the strictest of
/// all (facts §7.5).
async fn go_clients_read_the_page(case: &Case) -> Result<()> {
    let Some(program) = built(case).await? else {
        case.say("SKIPPED: there is no Go toolchain in PATH");
        return Ok(());
    };
    let mut site = case
        .ground()
        .http_site("site", &list_file(case, "site")?)
        .await?;
    let url = site.url();
    // Of an earlier run with the same port; and nothing of this one shall stay.
    forget(case, &program, &url).await?;
    let told = read(case, &program, &mut site).await;
    forget(case, &program, &url).await?;
    told
}

async fn read(case: &Case, program: &Path, site: &mut HttpSite) -> Result<()> {
    let servers = name_servers(case, 2).await?;
    let addresses: Vec<_> = servers.iter().map(NameServer::address).collect();
    let url = site.url();
    ensure!(site.answers().await? == 503, "no list yet");
    let mut early = go(
        case,
        program,
        "early",
        &["produce", &url, TOPIC, "early", "1", "100"],
    )?;
    early.ends(CLIENT_LIMIT).await?;
    let refused = early.told("refused")?;
    ensure!(refused.len() == 1, "started without a list: {refused:?}");
    case.say(format!("503: {refused:?}"));

    site.name(&addresses)?;
    let mut broker = master(case, "served", &addresses, &[])?;
    serving(&mut broker, &addresses).await?;
    let mut producer = go(
        case,
        program,
        "producer",
        &["produce", &url, TOPIC, "go", "4", "10"],
    )?;
    let mut consumer = go(
        case,
        program,
        "consumer",
        &["consume", &url, TOPIC, "readers", "60"],
    )?;
    producer.tells(50, "sent", CLIENT_LIMIT).await?;
    producer.ends(LIMIT).await?;
    let sent = nothing_lost(&[&producer], &consumer, LIMIT).await?;
    consumer.kill().await?;
    let failed = producer.told("failed")?;
    case.say(format!(
        "{sent} acknowledged, none lost, {} failed",
        failed.len()
    ));
    ensure!(failed.is_empty(), "{failed:?}");

    // The same client again, page dead: it remembers.
    site.process().kill().await?;
    let again = ["produce", &url, TOPIC, "again", "2", "10"];
    let mut producer = go(case, program, "producer", &again)?;
    producer.tells(10, "sent", CLIENT_LIMIT).await?;
    case.say("page dead: a client that was started before starts again");
    producer.kill().await
}

async fn forget(case: &Case, program: &Path, url: &str) -> Result<()> {
    let mut client = go(case, program, "forget", &["forget", url])?;
    client.ends(CLIENT_LIMIT).await?;
    let refused = client.told("refused")?;
    ensure!(refused.is_empty(), "{refused:?}");
    Ok(())
}

/// A client with its output in a folder of this name.
fn go(case: &Case, program: &Path, home: &str, arguments: &[&str]) -> Result<Stock> {
    let home = case.ground().folder(home)?;
    let output = home.join(format!("{}.out", arguments.get(3).unwrap_or(&"client")));
    let spec = ProcessSpec::new("go client", program, &home, output).arguments(arguments);
    Stock::start(case, &spec)
}

/// None where there is no Go.
async fn built(case: &Case) -> Result<Option<PathBuf>> {
    let Some(go) = in_path("go") else {
        return Ok(None);
    };
    let folder = case.ground().folder("go-build")?;
    let program = folder.join("clients");
    let source = Path::new(CLIENTS).join("go");
    let spec = ProcessSpec::new("go build", &go, &source, folder.join("out"))
        .arguments(["build", "-mod=readonly", "-o"])
        .arguments([&program]);
    let mut build = case.ground().spawner().start(&spec)?;
    let status = build.wait_for_end(BUILD_LIMIT).await?;
    ensure!(
        status.success(),
        "build the Go client: {}",
        build.describe_end()
    );
    Ok(Some(program))
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").context("read PATH").ok()?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}
