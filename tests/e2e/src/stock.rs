//! Stock clients as processes: they print a line per event, and end by themselves.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::case::Case;
use anyhow::{Context, Result, bail, ensure};
use playground::process::{Process, ProcessSpec};
use playground::wait::until;

/// The programs of `tests/clients`.
pub const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../clients");

/// A running client.
#[derive(Debug)]
pub struct Stock {
    name: String,
    output: PathBuf,
    process: Process,
}

impl Stock {
    /// A Java program of `tests/clients/java` on the client of the playground's RocketMQ, told of `domain` alone.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn java(
        case: &Case,
        name: &str,
        program: &str,
        domain: &str,
        arguments: &[&str],
    ) -> Result<Self> {
        let ground = case.ground();
        let home = ground.folder(name)?;
        let jvm = ground.jvm();
        let mut classpath = jvm.rocketmq.jars.clone().into_os_string();
        classpath.push("/*");
        let mut user_home = OsString::from("-Duser.home=");
        user_home.push(&home);
        let spec = ProcessSpec::new(name, &jvm.java.program, &home, home.join("out"))
            .arguments([
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-Xmx128m",
                "-cp",
            ])
            .arguments([classpath, user_home])
            .arguments([format!("-Drocketmq.namesrv.domain={domain}")])
            .arguments([Path::new(CLIENTS).join("java").join(program)])
            .arguments(arguments);
        Self::start(case, &spec)
    }

    /// Any program that prints such lines.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(case: &Case, spec: &ProcessSpec) -> Result<Self> {
        Ok(Self {
            name: spec.name.clone(),
            output: spec.output.clone(),
            process: case.ground().spawner().start(spec)?,
        })
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it told of an event so far, oldest first.
    ///
    /// # Errors
    /// When its output cannot be read.
    pub fn told(&self, event: &str) -> Result<Vec<String>> {
        let told = self.timed(event)?;
        Ok(told.into_iter().map(|(_, text)| text).collect())
    }

    /// The same, each with its time: milliseconds since the epoch.
    ///
    /// # Errors
    /// When its output cannot be read.
    pub fn timed(&self, event: &str) -> Result<Vec<(u64, String)>> {
        let text = std::fs::read(&self.output);
        let text = text.with_context(|| format!("read {}", self.output.display()))?;
        let text = String::from_utf8_lossy(&text);
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let events = whole.lines().filter_map(|line| {
            let mut words = line.splitn(3, ' ');
            let time = words.next()?.parse().ok()?;
            (words.next()? == event).then(|| (time, words.next().unwrap_or_default().to_owned()))
        });
        Ok(events.collect())
    }

    /// The messages of these events: the first word of what was told.
    ///
    /// # Errors
    /// When its output cannot be read.
    pub fn messages(&self, event: &str) -> Result<BTreeSet<String>> {
        let told = self.told(event)?;
        let first = |text: &String| text.split(' ').next().map(str::to_owned);
        Ok(told.iter().filter_map(first).collect())
    }

    /// Where its lines are.
    #[must_use]
    pub fn output(&self) -> &Path {
        &self.output
    }

    /// Fails when it has ended, with its last words.
    ///
    /// # Errors
    /// In that case.
    pub fn runs(&mut self) -> Result<()> {
        ensure!(self.process.is_running(), self.process.describe_end());
        Ok(())
    }

    /// Waits for `count` more of an event.
    ///
    /// # Errors
    /// When they do not come in time, or it ends.
    pub async fn tells(&mut self, count: usize, event: &str, limit: Duration) -> Result<()> {
        let wanted = self.told(event).unwrap_or_default().len() + count;
        self.told_so(&format!("{count} times {event}"), limit, |stock| {
            let told = stock.told(event)?.len();
            ensure!(told >= wanted, "told {told} times, wanted {wanted}");
            Ok(())
        })
        .await
    }

    /// Waits until the name servers it told of last are these.
    ///
    /// # Errors
    /// When they are not in time, or it ends.
    pub async fn knows(&mut self, list: &str, limit: Duration) -> Result<()> {
        self.told_so(&format!("the name servers {list}"), limit, |stock| {
            let told = stock.told("names")?;
            ensure!(
                told.last().is_some_and(|last| last == list),
                "told {told:?}"
            );
            Ok(())
        })
        .await
    }

    /// Waits until it ended by itself.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn ends(&mut self, limit: Duration) -> Result<()> {
        self.process.wait_for_end(limit).await.map(drop)
    }

    /// Ends it at once.
    ///
    /// # Errors
    /// When it does not go.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await.map(drop)
    }

    async fn told_so(
        &mut self,
        what: &str,
        limit: Duration,
        look: impl Fn(&Self) -> Result<()>,
    ) -> Result<()> {
        let what = format!("{} to tell {what}", self.name);
        let seen = until(&what, limit, async || {
            let running = self.process.is_running();
            match look(self) {
                Err(_) if !running => Ok(false),
                other => other.map(|()| true),
            }
        });
        if seen.await? {
            return Ok(());
        }
        bail!("{what}: {}", self.process.describe_end())
    }
}

/// Everything that was acknowledged is received.
///
/// # Errors
/// When it is not in time, or nothing was sent.
pub async fn nothing_lost(
    producers: &[&Stock],
    consumer: &Stock,
    limit: Duration,
) -> Result<usize> {
    let mut sent = BTreeSet::new();
    for producer in producers {
        sent.extend(producer.messages("sent")?);
    }
    ensure!(!sent.is_empty(), "nothing was sent");
    until("everything to be received", limit, async || {
        let received = consumer.messages("received")?;
        let missing: Vec<&String> = sent.difference(&received).take(5).collect();
        ensure!(
            missing.is_empty(),
            "of {} lost e.g. {missing:?}",
            sent.len()
        );
        Ok(())
    })
    .await?;
    Ok(sent.len())
}
