//! httpsite beside nginx that serves the same line from a file: one worker each on core 0, the load on core 1.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use playground::cache::Cache;
use playground::clock::now;
use playground::ports::{PortBlock, Ports};
use playground::process::{Process, ProcessSpec, Spawner};
use playground::run_dir::RunDir;
use playground::wait::until;
use playground::{Afterwards, Guard, Timeline, http, programs};
use tokio::net::TcpStream;

use crate::cost::{Cost, cost_of_family};
use crate::figures::{Figures, median};

/// What both serve.
const LINE: &str = "10.0.0.1:9876;10.0.0.2:9876;10.0.0.3:9876";
const PATH: &str = "/rocketmq/nsaddr";

/// Debian's nginx is in sbin, which is not in everybody's `PATH`.
const SBIN: &str = "/usr/sbin";

const READY_LIMIT: Duration = Duration::from_secs(10);
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// Connections that send nothing.
const IDLE: usize = 5_000;

/// Of the load: few enough that the load's one core is not what is measured, many enough to keep the worker busy.
const CONNECTIONS: &str = "64";

pub(crate) fn measure(pairs: u32, seconds: u32) -> Result<()> {
    let Some(tools) = Tools::find() else {
        println!("skipped: install nginx-light, wrk and util-linux (taskset), and have two cores");
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(story(&tools, pairs, seconds))
}

async fn story(tools: &Tools, pairs: u32, seconds: u32) -> Result<()> {
    let run = RunDir::create(Afterwards::Remove)?;
    let spawner = Spawner::new(Guard::for_tests())?;
    let timeline = Timeline::new(Box::new(std::io::stderr()));
    let ports = Ports::new(&Cache::of_user()?)?;
    let ours = programs::httpsite(&spawner, run.path(), &timeline).await?;
    let bench = Bench {
        tools,
        run: &run,
        spawner,
        block: ports.block()?,
        ours,
    };
    let mut figures = Figures::default();
    let mut ratios = Ratios::default();
    for pair in 0..pairs {
        // Whoever comes first finds a warmer or colder machine: in turn.
        let order = if pair % 2 == 0 {
            [Who::Ours, Who::Nginx]
        } else {
            [Who::Nginx, Who::Ours]
        };
        for who in order {
            for (name, figure) in bench.measured(who, seconds).await? {
                figures.add(&format!("{name}, {}", who.name()), figure);
                ratios.add(name, who, figure);
            }
        }
        timeline.say("bench", format!("pair {} of {pairs}", pair + 1));
    }
    figures.print(&format!(
        "{pairs} pairs, {seconds} s a load, {CONNECTIONS} connections, the worker on core 0, wrk with one thread on core 1"
    ));
    ratios.print();
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Ours,
    Nginx,
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "httpsite",
            Self::Nginx => "nginx",
        }
    }
}

/// The programs of others.
struct Tools {
    nginx: PathBuf,
    wrk: PathBuf,
    taskset: PathBuf,
}

impl Tools {
    fn find() -> Option<Self> {
        let cores = std::thread::available_parallelism().ok()?;
        if cores.get() < 2 {
            return None;
        }
        Some(Self {
            nginx: in_path("nginx")?,
            wrk: in_path("wrk")?,
            taskset: in_path("taskset")?,
        })
    }
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain([PathBuf::from(SBIN)])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

struct Bench<'a> {
    tools: &'a Tools,
    run: &'a RunDir,
    spawner: Spawner,
    block: PortBlock,
    ours: PathBuf,
}

impl Bench<'_> {
    /// One life of one of them.
    async fn measured(&self, who: Who, seconds: u32) -> Result<Vec<(&'static str, f64)>> {
        let address = self.block.address(if who == Who::Ours { 0 } else { 2 });
        let spec = match who {
            Who::Ours => self.ours(address)?,
            Who::Nginx => self.nginx(address)?,
        };
        let begin = now();
        let mut process = self.spawner.start(&spec)?;
        answers(address, &mut process).await?;
        let start = begin.elapsed().as_secs_f64() * 1000.0;
        // nginx is two processes.
        let idle = cost_of_family(process.pid())?;
        let kept = self.load(address, seconds, true).await?;
        let after_kept = cost_of_family(process.pid())?;
        let fresh = self.load(address, seconds, false).await?;
        let after_fresh = cost_of_family(process.pid())?;
        let crowd = crowd(address).await?;
        let crowded = cost_of_family(process.pid())?.rss_mib;
        drop(crowd);
        process.terminate(STOP_LIMIT).await?;
        Ok(vec![
            ("keep-alive, requests/s", kept.per_second),
            ("keep-alive, p50 ms", kept.median_ms),
            ("keep-alive, p99 ms", kept.slowest_ms),
            (
                "keep-alive, its processor us/request",
                kept.each_us(idle, after_kept),
            ),
            ("a connection each, requests/s", fresh.per_second),
            ("a connection each, p50 ms", fresh.median_ms),
            ("a connection each, p99 ms", fresh.slowest_ms),
            (
                "a connection each, its processor us/request",
                fresh.each_us(after_kept, after_fresh),
            ),
            ("RSS idle, MiB", idle.rss_mib),
            (
                "RSS with 5,000 idle connections after the loads, MiB",
                crowded,
            ),
            ("start to first answer, ms", start),
        ])
    }

    fn ours(&self, address: SocketAddr) -> Result<ProcessSpec> {
        let home = self.run.folder("ours")?;
        let admin = self.block.address(1);
        Ok(self.pinned("httpsite", &self.ours, &home).arguments([
            format!("--list=nsaddr=static:{LINE}"),
            format!("--listen={address}"),
            format!("--admin-listen={admin}"),
            // The name servers are not there.
            "--probe-period-ms=0".to_owned(),
            "--drain-delay-ms=0".to_owned(),
        ]))
    }

    fn nginx(&self, address: SocketAddr) -> Result<ProcessSpec> {
        let home = self.run.folder("nginx")?;
        let page = self.run.folder("nginx/root/rocketmq")?;
        let page = page.join("nsaddr");
        fs::write(&page, format!("{LINE}\n")).context("write nginx's page")?;
        let conf = home.join("nginx.conf");
        fs::write(&conf, nginx_conf(&home, address)).context("write nginx's conf")?;
        let spec = self.pinned("nginx", &self.tools.nginx, &home);
        Ok(spec.arguments([Path::new("-p"), &home, Path::new("-c"), &conf]))
    }

    /// On core 0; the limit on open files is for the crowd.
    fn pinned(&self, name: &str, program: &Path, home: &Path) -> ProcessSpec {
        let script = "ulimit -n 20000; exec \"$@\"";
        ProcessSpec::new(name, Path::new("/bin/sh"), home, home.join("out"))
            .arguments(["-c", script, "sh"])
            .arguments([&self.tools.taskset])
            .arguments(["-c", "0"])
            .arguments([program])
    }

    /// Off the runtime's thread there is nothing to do: wrk is simply waited for.
    async fn load(&self, address: SocketAddr, seconds: u32, keep: bool) -> Result<Load> {
        let mut command = Command::new(&self.tools.taskset);
        command.args(["-c", "1"]).arg(&self.tools.wrk);
        command.args(["-t1", "-c", CONNECTIONS, "--latency"]);
        command.arg(format!("-d{seconds}s"));
        if !keep {
            command.args(["-H", "Connection: close"]);
        }
        command.arg(format!("http://{address}{PATH}"));
        let output = tokio::task::spawn_blocking(move || command.output())
            .await?
            .context("run wrk")?;
        let text = String::from_utf8_lossy(&output.stdout);
        Load::read(&text).with_context(|| format!("read wrk's output:\n{text}"))
    }
}

fn nginx_conf(home: &Path, address: SocketAddr) -> String {
    let home = home.display();
    let user = if nix_is_root() { "user root;\n" } else { "" };
    format!(
        "{user}daemon off;\nworker_processes 1;\npid {home}/pid;\nerror_log {home}/error.log;\n\
         worker_rlimit_nofile 20000;\nevents {{ worker_connections 12000; }}\nhttp {{\n\
         access_log off;\nkeepalive_requests 1000000000;\nopen_file_cache max=16;\ndefault_type text/plain;\n\
         client_body_temp_path {home}/b;\nproxy_temp_path {home}/p;\nfastcgi_temp_path {home}/f;\n\
         uwsgi_temp_path {home}/u;\nscgi_temp_path {home}/s;\n\
         server {{ listen {address} backlog=4096; root {home}/root; }}\n}}\n"
    )
}

/// nginx's worker would become nobody, who cannot read the run's folder.
fn nix_is_root() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("\nUid:\t0\t"))
}

async fn answers(address: SocketAddr, process: &mut Process) -> Result<()> {
    until("the first answer", READY_LIMIT, async || {
        if !process.is_running() {
            return Ok(Err(process.describe_end()));
        }
        let answer = http::get(address, PATH).await?;
        ensure!(
            answer.status == 200 && answer.body.trim_end() == LINE,
            "{answer:?}"
        );
        Ok(Ok(()))
    })
    .await?
    .or_else(|end| bail!(end))
}

/// Connections that are open and silent.
async fn crowd(address: SocketAddr) -> Result<Vec<TcpStream>> {
    let mut crowd = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        let limit = Duration::from_secs(5);
        let stream = tokio::time::timeout(limit, TcpStream::connect(address)).await;
        crowd.push(stream?.context("connect; is the limit on open files above 5,100?")?);
    }
    // All are accepted once the newest is served.
    let answer = http::get(address, PATH).await?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(crowd)
}

/// What wrk says.
#[derive(Debug, PartialEq)]
struct Load {
    requests: f64,
    per_second: f64,
    median_ms: f64,
    slowest_ms: f64,
}

impl Load {
    fn read(text: &str) -> Result<Self> {
        let after = |word: &str| -> Result<&str> {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(word));
            Ok(line.with_context(|| format!("find {word}"))?.trim())
        };
        // Only answers other than 2xx make wrk say so.
        ensure!(!text.contains("Non-2xx"), "not every answer was 200");
        let all = text.lines().find(|line| line.contains(" requests in "));
        let all = all.and_then(|line| line.split_whitespace().next());
        Ok(Self {
            requests: all.context("find how many requests")?.parse()?,
            per_second: after("Requests/sec:")?.parse()?,
            median_ms: in_ms(after("50%")?)?,
            slowest_ms: in_ms(after("99%")?)?,
        })
    }

    /// What a request cost the server. Unlike requests/s this tells the two apart where the load's own core is the limit.
    fn each_us(&self, before: Cost, after: Cost) -> f64 {
        (after.cpu - before.cpu) * 1e6 / self.requests
    }
}

/// `812.00us`, `1.20ms`, `1.01s`.
fn in_ms(text: &str) -> Result<f64> {
    let end = text.find(|c: char| c.is_ascii_alphabetic());
    let (number, unit) = text.split_at(end.context("find a unit")?);
    let factor = match unit {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        _ => bail!("read {text:?}: unknown unit"),
    };
    Ok(number.parse::<f64>()? * factor)
}

/// httpsite's figure over nginx's, pair by pair.
#[derive(Default)]
struct Ratios {
    names: Vec<&'static str>,
    samples: Vec<[Vec<f64>; 2]>,
}

impl Ratios {
    fn add(&mut self, name: &'static str, who: Who, figure: f64) {
        let at = self.names.iter().position(|known| *known == name);
        let at = at.unwrap_or_else(|| {
            self.names.push(name);
            self.samples.push(Default::default());
            self.names.len() - 1
        });
        if let Some(samples) = self.samples.get_mut(at) {
            samples[usize::from(who == Who::Nginx)].push(figure);
        }
    }

    fn print(&self) {
        println!("\nhttpsite / nginx, median of the pairs' ratios (range)");
        for (name, [ours, theirs]) in self.names.iter().zip(&self.samples) {
            let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a / b).collect();
            let low = ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let high = ratios.iter().copied().fold(0.0, f64::max);
            println!("{name:<58} {:>6.2}   ({low:.2}-{high:.2})", median(&ratios));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_wrk_are_read() {
        let text = "  Latency Distribution\n     50%  812.00us\n     75%    1.00ms\n     99%    1.20ms\n\
                    \x20 210370 requests in 3.00s, 36.90MB read\n\
                    Requests/sec:  70123.45\nTransfer/sec:     12.3MB\n";
        let load = Load::read(text).unwrap();
        assert_eq!(
            (load.requests, load.per_second, load.slowest_ms),
            (210_370.0, 70123.45, 1.2)
        );
        assert!((load.median_ms - 0.812).abs() < 1e-9);
        assert!(Load::read("  Non-2xx or 3xx responses: 3\n").is_err());
    }
}
