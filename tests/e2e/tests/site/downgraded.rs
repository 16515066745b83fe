//! How long stock clients take to follow the downgrade switch: a measurement, for people who wait for it.
//!
//! `cargo test -p e2e --test site -- downgraded --ignored --nocapture`: some 7 minutes for each version.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use e2e::Case;
use e2e::case::play_for;
use e2e::group::LIMIT;
use playground::wait::until;
use playground::{Broker, HttpSite, NameServer, Version};

use crate::clients::{CLIENT_LIMIT, TOPIC, list_file, master, name_servers, registered, serving};
use e2e::stock::Stock;

/// Far more than two times all of it takes.
const STORY_LIMIT: Duration = Duration::from_secs(1500);

/// A client reads its list every 120 s, asks for routes every 30 s, and a consumer shares out queues every 20 s (facts
/// §6.7, §7.3); and the machine may be busy.
const OVER_LIMIT: Duration = Duration::from_secs(300);

/// So many producers, started this long after one another: their ticks are spread over the 120 s.
const PRODUCERS: usize = 5;
const APART: Duration = Duration::from_secs(24);

/// Longer than the story, so that nobody ends by himself.
const SECONDS: &str = "1500";
const PAUSE_MS: &str = "200";

/// The brokers' groups: where the clients belong, and their partner.
const HERE: &str = "here";
const THERE: &str = "there";

/// The list that is downgraded, and the unit whose clients ask for it.
const SWITCHED: &str = "nsaddr-u1";
const UNIT: &str = "u1";

#[test]
#[ignore = "takes 7 minutes: stock clients read their list every 120 s"]
fn on_5_5_0() {
    play_for("downgraded", Version::V5_5_0, STORY_LIMIT, story);
}

#[test]
#[ignore = "takes 7 minutes: stock clients read their list every 120 s"]
fn on_4_9_7() {
    play_for("downgraded", Version::V4_9_7, STORY_LIMIT, story);
}

/// Two clusters of one name server and one broker; producers and consumers of a unit. The first cluster freezes, the unit
/// is downgraded to the other one's list; then the first is back and the switch is taken back. Fails when any of them does
/// not come over, either way.
async fn story(case: &Case) -> Result<()> {
    let mut servers = name_servers(case, 2).await?;
    let [here, there] = [servers[0].address(), servers[1].address()];
    let mut brokers = [
        master(case, HERE, &[here], &[])?,
        master(case, THERE, &[there], &[])?,
    ];
    serving(&mut brokers[0], &[here]).await?;
    serving(&mut brokers[1], &[there]).await?;

    let desk = case.ground().folder("desk")?.join("orders");
    let flags = [
        format!("--list={SWITCHED}=static:{here}"),
        // Of producers that stay where they are.
        format!("--list=nsaddr-stay=static:{here}"),
        format!("--partner={SWITCHED}=nsaddr"),
        format!("--desk=file:{}", desk.display()),
    ];
    let file = list_file(case, "there")?;
    let site = case.ground().http_site_with("site", &file, &flags).await?;
    site.name(&[there])?;
    site.shows(&[there], LIMIT).await?;
    gives(&site, &here.to_string()).await?;

    let clients = Clients::start(case, &site).await?;
    clients.are_at(HERE, 0).await?;

    servers[0].process().freeze()?;
    brokers[0].process()?.freeze()?;
    let ordered = order(
        &desk,
        &format!("downgrade.{SWITCHED}=ann: {HERE} is dark\n"),
    )?;
    gives(&site, &there.to_string()).await?;
    clients.are_at(THERE, ordered).await?;
    clients.report(case, "away from a frozen cluster", THERE, ordered)?;

    servers[0].process().thaw()?;
    brokers[0].process()?.thaw()?;
    is_back(&mut servers[0], &mut brokers[0]).await?;
    let ordered = order(&desk, "")?;
    gives(&site, &here.to_string()).await?;
    clients.are_at(HERE, ordered).await?;
    clients.report(case, "back, both clusters alive", HERE, ordered)?;
    clients.end().await
}

async fn gives(site: &HttpSite, wanted: &str) -> Result<()> {
    until("the page to give the list", LIMIT, async || {
        let given = site.list_of(SWITCHED).await?;
        ensure!(given == wanted, "it gives {given}");
        Ok(())
    })
    .await
}

async fn is_back(server: &mut NameServer, broker: &mut Broker) -> Result<()> {
    server.ready(LIMIT).await?;
    broker.ready(LIMIT).await?;
    registered(broker, server.address(), LIMIT, true).await
}

/// Lays the orders on the desk as `mv` does it; when that was, in milliseconds since the epoch as the clients count.
fn order(desk: &Path, text: &str) -> Result<u64> {
    let fresh = desk.with_extension("fresh");
    std::fs::write(&fresh, text).with_context(|| format!("write {}", fresh.display()))?;
    let written = std::fs::metadata(&fresh).and_then(|facts| facts.modified());
    let written = written.with_context(|| format!("read when {} was written", fresh.display()))?;
    std::fs::rename(&fresh, desk).with_context(|| format!("rename {}", fresh.display()))?;
    Ok(u64::try_from(
        written.duration_since(UNIX_EPOCH)?.as_millis(),
    )?)
}

/// Those of the unit, and one producer at each cluster that gives the consumers something to receive.
struct Clients {
    producers: Vec<Stock>,
    consumers: Vec<Stock>,
    staying: Vec<Stock>,
}

impl Clients {
    async fn start(case: &Case, site: &HttpSite) -> Result<Self> {
        let domain = site.address().to_string();
        let java = |name: &str, program: &str, arguments: &[&str]| {
            Stock::java(case, name, program, &domain, arguments)
        };
        let mut clients = Self {
            producers: Vec::new(),
            consumers: Vec::new(),
            staying: Vec::new(),
        };
        let fixed = [("stays-here", &["stay"][..]), ("stays-there", &[])];
        for (name, unit) in fixed {
            let arguments = [&[TOPIC, name, SECONDS, PAUSE_MS], unit].concat();
            clients
                .staying
                .push(java(name, "Produce.java", &arguments)?);
        }
        for client in &mut clients.staying {
            client.tells(1, "sent", CLIENT_LIMIT).await?;
        }
        for number in 0..PRODUCERS {
            if number > 0 {
                // What is measured depends on when a client was started, and on nothing else.
                tokio::time::sleep(APART).await;
            }
            let name = format!("producer-{number}");
            let arguments = [TOPIC, &*name, SECONDS, PAUSE_MS, UNIT];
            let mut client = java(&name, "Produce.java", &arguments)?;
            client.tells(1, "sent", CLIENT_LIMIT).await?;
            clients.producers.push(client);
            // Of two of the moments a consumer, too.
            if number % 2 == 1 {
                let name = format!("consumer-{number}");
                let arguments = [TOPIC, &*name, SECONDS, UNIT];
                let mut client = java(&name, "Consume.java", &arguments)?;
                client.tells(1, "received", CLIENT_LIMIT).await?;
                clients.consumers.push(client);
            }
        }
        Ok(clients)
    }

    /// Each with the event that shows where it is.
    fn all(&self) -> impl Iterator<Item = (&Stock, &'static str)> {
        let producers = self.producers.iter().map(|client| (client, "sent"));
        producers.chain(self.consumers.iter().map(|client| (client, "received")))
    }

    /// Waits until each has reached this broker since then.
    async fn are_at(&self, broker: &str, since: u64) -> Result<()> {
        until(&format!("all to be at {broker}"), OVER_LIMIT, async || {
            // Their outputs grow long: seldom is often enough, the clients themselves take the time.
            tokio::time::sleep(Duration::from_secs(1)).await;
            for (client, event) in self.all() {
                reached(client, event, broker, since)?
                    .with_context(|| format!("{} is not", client.name()))?;
            }
            anyhow::Ok(())
        })
        .await
    }

    fn report(&self, case: &Case, way: &str, broker: &str, since: u64) -> Result<()> {
        let mut spans: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for (client, event) in self.all() {
            let first = |times: Vec<(u64, String)>| times.into_iter().find(|(at, _)| *at >= since);
            let listed = first(client.timed("names")?).context("no new list")?.0 - since;
            let there = reached(client, event, broker, since)?.context("not there")? - since;
            case.say(format!(
                "{way}: {} has the list after {:.1} s, first {event} at {broker} after {:.1} s",
                client.name(),
                seconds(listed),
                seconds(there),
            ));
            spans.entry("has the list").or_default().push(listed);
            spans.entry(event).or_default().push(there);
        }
        for (what, mut spans) in spans {
            spans.sort_unstable();
            let at = |index: usize| spans.get(index).copied().unwrap_or_default();
            let middle = u64::midpoint(at((spans.len() - 1) / 2), at(spans.len() / 2));
            let (least, most) = (spans.first(), spans.last());
            case.say(format!(
                "{way}: {what}: {:.1} s in the middle, {:.1} to {:.1} s, {} clients",
                seconds(middle),
                seconds(least.copied().unwrap_or_default()),
                seconds(most.copied().unwrap_or_default()),
                spans.len()
            ));
        }
        Ok(())
    }

    async fn end(self) -> Result<()> {
        for mut client in [self.producers, self.consumers, self.staying]
            .into_iter()
            .flatten()
        {
            client.kill().await?;
        }
        Ok(())
    }
}

/// When a client first told of this broker since then.
fn reached(client: &Stock, event: &str, broker: &str, since: u64) -> Result<Option<u64>> {
    let told = client.timed(event)?;
    let first = told
        .into_iter()
        .find(|(at, text)| *at >= since && text.split(' ').next_back() == Some(broker));
    Ok(first.map(|(at, _)| at))
}

#[allow(
    clippy::cast_precision_loss,
    reason = "minutes in milliseconds, for people"
)]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}
