//! Raw sockets: the C++ client's request, and replicas side by side.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::group::LIMIT;
use e2e::{Case, on_the_quickest};
use playground::clock::Deadline;
use playground::process::Process;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::clients::list_file;

on_the_quickest!(one_read_is_enough, a_dead_replica_costs_nobody_an_answer);

/// One visit; clients allow 3 s.
const VISIT_LIMIT: Duration = Duration::from_secs(3);

/// A page that was asked so often has shown its habits.
const VISITS: usize = 500;

/// The C++ client keeps only what its first read brings (facts §7.6). Fails when the answer comes in pieces, lacks its
/// length, or the connection stays open.
async fn one_read_is_enough(case: &Case) -> Result<()> {
    let servers = addresses();
    let site = case
        .ground()
        .http_site("site", &list_file(case, "site")?)
        .await?;
    site.name(&servers)?;
    site.shows(&servers, LIMIT).await?;
    for visit in 0..VISITS {
        // With and without a unit's query: the C++ client drops it.
        let request = "GET /rocketmq/nsaddr HTTP/1.0\r\nHost: 127.0.0.1\r\nAccept: */*\r\nConnection: close\r\n\r\n";
        let mut stream = TcpStream::connect(site.address()).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut buffer = vec![0; 16 * 1024];
        let read = timeout(VISIT_LIMIT, stream.read(&mut buffer)).await??;
        let first = std::str::from_utf8(&buffer[..read])?;
        let (head, body) = first
            .split_once("\r\n\r\n")
            .context("a whole head in one read")?;
        ensure!(
            head.starts_with("HTTP/1.") && head.contains(" 200 "),
            "{head}"
        );
        ensure!(
            body == "127.0.0.1:9876;127.0.0.1:9877\n",
            "visit {visit}: {body:?}"
        );
        let length = format!("content-length: {}", body.len());
        ensure!(head.to_ascii_lowercase().contains(&length), "{head}");
        let rest = timeout(VISIT_LIMIT, stream.read(&mut buffer)).await?;
        ensure!(
            matches!(rest, Ok(0)),
            "visit {visit}: not closed but {rest:?}"
        );
    }
    case.say(format!(
        "{VISITS} visits, each answered in one read and closed"
    ));
    Ok(())
}

/// Two replicas of one source say the same, to the byte. Visitors that keep their connection, and on a failure connect
/// anew to whoever is left (as the JDK's client does, and a Service lets it), lose nothing when one replica is killed, nor
/// when one is told to stop. Fails when one says something else, or refuses while it could answer.
async fn a_dead_replica_costs_nobody_an_answer(case: &Case) -> Result<()> {
    let servers = addresses();
    let file = list_file(case, "shared")?;
    let mut left = case.ground().http_site("left", &file).await?;
    let right = case.ground().http_site("right", &file).await?;
    left.name(&servers)?;
    for site in [&left, &right] {
        site.shows(&servers, LIMIT).await?;
    }
    let pages = [left.address(), right.address()];
    let mut visitors = Visitors::start(pages);
    visitors.more(VISITS).await?;
    left.process().kill().await?;
    visitors.more(VISITS).await?;
    let (visits, repeated) = visitors.stop().await?;
    case.say(format!(
        "killed: {visits} visits, {repeated} repeated once, all answered alike"
    ));
    ensure!(repeated > 0, "nobody noticed: nothing was tried");

    left.restart_as("nsaddr", &file)?;
    left.shows(&servers, LIMIT).await?;
    let mut visitors = Visitors::start(pages);
    visitors.more(VISITS).await?;
    ends_in_order(left.process()).await?;
    visitors.more(VISITS).await?;
    let (visits, repeated) = visitors.stop().await?;
    case.say(format!(
        "stopped: {visits} visits, {repeated} repeated once, all answered alike"
    ));
    Ok(())
}

async fn ends_in_order(process: &mut Process) -> Result<()> {
    let status = process.terminate(LIMIT).await?;
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}

fn addresses() -> Vec<SocketAddr> {
    vec![([127, 0, 0, 1], 9876).into(), ([127, 0, 0, 1], 9877).into()]
}

/// Visitors at once.
const VISITORS: usize = 8;

/// Two of each keep asking until they are told to stop.
struct Visitors {
    tasks: Vec<tokio::task::JoinHandle<Result<usize>>>,
    visits: std::sync::Arc<std::sync::atomic::AtomicUsize>,
    stop: tokio::sync::watch::Sender<bool>,
}

impl Visitors {
    fn start(pages: [SocketAddr; 2]) -> Self {
        let (stop, told) = tokio::sync::watch::channel(false);
        let visits = std::sync::Arc::default();
        let tasks = (0..VISITORS).map(|number| {
            let (told, visits) = (told.clone(), std::sync::Arc::clone(&visits));
            tokio::spawn(async move { visit(pages, number, told, &visits).await })
        });
        Self {
            tasks: tasks.collect(),
            visits,
            stop,
        }
    }

    async fn more(&mut self, count: usize) -> Result<()> {
        let so_far = || self.visits.load(std::sync::atomic::Ordering::Relaxed);
        let wanted = so_far() + count;
        let deadline = Deadline::after(LIMIT);
        while so_far() < wanted {
            if let Some(ended) = self.tasks.iter_mut().position(|task| task.is_finished()) {
                return self.tasks.swap_remove(ended).await?.map(drop);
            }
            ensure!(!deadline.is_over(), "only {} visits", so_far());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Visits, and how many had to be repeated.
    async fn stop(self) -> Result<(usize, usize)> {
        self.stop.send_replace(true);
        let mut repeated = 0;
        for task in self.tasks {
            repeated += task.await??;
        }
        Ok((
            self.visits.load(std::sync::atomic::Ordering::Relaxed),
            repeated,
        ))
    }
}

async fn visit(
    pages: [SocketAddr; 2],
    number: usize,
    told: tokio::sync::watch::Receiver<bool>,
    visits: &std::sync::atomic::AtomicUsize,
) -> Result<usize> {
    let (mut page, mut repeated) = (number % 2, 0);
    let mut connection = None;
    while !*told.borrow() {
        if let Err(error) = once(&mut connection, pages[page]).await {
            // Once more, on a connection of its own, where a Service would send it now.
            (connection, page, repeated) = (None, 1 - page, repeated + 1);
            if let Err(again) = once(&mut connection, pages[page]).await {
                bail!("no answer from either replica: {error:#}; {again:#}");
            }
        }
        visits.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    Ok(repeated)
}

const ASKED: &str = "GET /rocketmq/nsaddr HTTP/1.1\r\nHost: page\r\nUser-Agent: Java/17\r\n\
    Accept: text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2\r\nConnection: keep-alive\r\n\r\n";

async fn once(connection: &mut Option<TcpStream>, page: SocketAddr) -> Result<()> {
    let stream = match connection {
        Some(stream) => stream,
        None => connection.insert(timeout(VISIT_LIMIT, TcpStream::connect(page)).await??),
    };
    stream.write_all(ASKED.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"127.0.0.1:9876;127.0.0.1:9877\n") {
        let read = timeout(VISIT_LIMIT, stream.read_buf(&mut answer)).await??;
        ensure!(read > 0, "closed after {} bytes", answer.len());
        ensure!(answer.len() < 4096, "{}", String::from_utf8_lossy(&answer));
    }
    ensure!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    if String::from_utf8_lossy(&answer)
        .to_ascii_lowercase()
        .contains("connection: close")
    {
        *connection = None;
    }
    Ok(())
}
