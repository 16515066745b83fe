//! All kinds of producers in one process, all kinds of consumers in another.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::Case;
use e2e::group::LIMIT;
use e2e::stock::Stock;
use playground::wait::until;

use crate::heard::{Heard, Reader};

/// The JVMs compile their programs first, and the machine may be busy.
const START_LIMIT: Duration = Duration::from_secs(90);

/// Producers, by what they print.
pub(crate) const PRODUCERS: [&str; 5] = ["sync", "async", "ordered", "delayed", "transaction"];

/// Consumers, by what they print.
pub(crate) const CONSUMERS: [&str; 7] = [
    "push",
    "broadcast",
    "lite",
    "pull",
    "orderly",
    "delayed",
    "transaction",
];

/// The clients at work.
#[derive(Debug)]
pub(crate) struct Crowd {
    producers: (Stock, Reader),
    consumers: (Stock, Reader),
    folder: PathBuf,
    audit_folder: PathBuf,
    heard: Heard,
}

impl Crowd {
    /// Started, and at work.
    pub(crate) async fn start(case: &Case, names: &str, timer: bool, tuned: bool) -> Result<Self> {
        // Name servers are told by the program's argument: no page is asked for them.
        let start = |name: &str, program: &str, arguments: &[&str]| -> Result<(Stock, Reader)> {
            let stock = Stock::java(case, name, program, "127.0.0.1:1", arguments)?;
            let reader = Reader::new(stock.output());
            Ok((stock, reader))
        };
        let tuned = if tuned { "tuned" } else { "default" };
        let timer = if timer { "timer" } else { "no-timer" };
        let mut crowd = Self {
            consumers: start("consumers", "Consumers.java", &[names, tuned])?,
            producers: start("producers", "Producers.java", &[names, timer, tuned])?,
            folder: case.ground().folder("producers")?,
            audit_folder: case.ground().folder("consumers")?,
            heard: Heard::default(),
        };
        crowd
            .see("clients to start", START_LIMIT, |heard| {
                ensure!(heard.started == 2, "{} of 2 started", heard.started);
                Ok(())
            })
            .await?;
        Ok(crowd)
    }

    /// What they told so far.
    pub(crate) fn heard(&mut self) -> Result<&Heard> {
        for (stock, reader) in [&mut self.producers, &mut self.consumers] {
            reader
                .read(&mut self.heard)
                .with_context(|| format!("hear the {}", stock.name()))?;
        }
        Ok(&self.heard)
    }

    /// Waits until what they told is enough.
    pub(crate) async fn see(
        &mut self,
        what: &str,
        limit: Duration,
        look: impl Fn(&Heard) -> Result<()>,
    ) -> Result<()> {
        until(what, limit, async || {
            self.consumers.0.runs()?;
            look(self.heard()?)
        })
        .await
    }

    /// Waits until every producer had `count` messages acknowledged after `since`, and every consumer got that many that
    /// this member stored after it.
    pub(crate) async fn at_work(&mut self, since: u64, member: &str, count: usize) -> Result<()> {
        let what = format!("every client to work with {member}");
        self.see(&what, LIMIT, |heard| {
            for kind in PRODUCERS {
                let on_it = |one: &&crate::heard::Sent| {
                    one.kind == kind
                        && one.at > since
                        && (one.member == member || one.member == "-")
                };
                let sent = heard.sent.iter().filter(on_it).count();
                ensure!(sent >= count, "{kind} sent {sent} of {count}");
            }
            for kind in CONSUMERS {
                let from_it = |one: &&crate::heard::Got| {
                    one.kind == kind && one.at > since && one.member == member
                };
                let got = heard.got.iter().filter(from_it).count();
                ensure!(got >= count, "{kind} got {got} of {count}");
            }
            Ok(())
        })
        .await
    }

    /// Gives the producers an order.
    pub(crate) fn order(&self, what: &str) -> Result<()> {
        std::fs::write(self.folder.join(what), "").with_context(|| format!("order {what}"))
    }

    /// No more messages.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        self.order("stop")?;
        self.see("the producers to end", LIMIT, |heard| {
            ensure!(heard.ended == 1, "they go on");
            Ok(())
        })
        .await
    }

    /// All that can be read now is in [`Heard::stored`] afterwards.
    pub(crate) async fn audit(&mut self) -> Result<()> {
        let number = self.heard()?.audits;
        self.heard.stored.clear();
        self.heard.unaudited = None;
        let file = self.audit_folder.join(format!("audit-{number}"));
        std::fs::write(&file, "").context("order an audit")?;
        self.see("an audit", LIMIT, |heard| {
            ensure!(heard.audits > number, "not at its end");
            Ok(())
        })
        .await?;
        if let Some(why) = &self.heard.unaudited {
            anyhow::bail!("audit {number}: {why}");
        }
        Ok(())
    }
}
