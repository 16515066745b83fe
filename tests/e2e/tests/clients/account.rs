//! What must be true of all that the clients told, whatever happened to the brokers.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};

use crate::crowd::CONSUMERS;
use crate::heard::{Got, Heard, Place};

/// A broker's timer keeps whole seconds and rounds down.
const TIMER_PRECISION: u64 = 1000;

/// The books of one story.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Acknowledged messages that are nowhere, by producer.
    pub(crate) lost: BTreeMap<String, usize>,
    /// Messages that are stored more than once, by their names' first word.
    pub(crate) stored_twice: BTreeMap<String, usize>,
    /// Stored messages that a running consumer was never given, by consumer: it had already consumed lost messages with
    /// their very queue offsets.
    pub(crate) skipped: BTreeMap<String, usize>,
    /// Keys of which a consumer got an older message after a newer one for the first time, from different queues.
    pub(crate) out_of_order: usize,
}

/// Settles everything; `safe` tells of an acknowledged message, by its time, whether it must never be lost.
pub(crate) fn settle(
    heard: &Heard,
    safe: impl Fn(u64) -> bool,
    one_group: bool,
) -> Result<Account> {
    let stored: BTreeSet<&str> = heard
        .stored
        .iter()
        .map(|one| one.message.as_str())
        .collect();
    let mut account = Account::default();
    for sent in heard
        .sent
        .iter()
        .filter(|one| !one.message.contains("rollback-"))
    {
        if stored.contains(sent.message.as_str()) {
            continue;
        }
        ensure!(
            !safe(sent.at),
            "{} was acknowledged at {}, replicated, and is lost",
            sent.message,
            sent.at
        );
        *account.lost.entry(sent.kind.clone()).or_default() += 1;
    }
    let mut once = BTreeSet::new();
    for one in &heard.stored {
        if !once.insert(&one.message) {
            let first = one.message.split('-').next().unwrap_or_default();
            *account.stored_twice.entry(first.to_owned()).or_default() += 1;
        }
    }
    consumed(heard, &mut account)?;
    transactions(heard, safe)?;
    not_before_their_time(heard)?;
    account.out_of_order = order(heard, one_group)?;
    Ok(account)
}

/// Everything stored was given to every consumer of its topic.
fn consumed(heard: &Heard, account: &mut Account) -> Result<()> {
    for kind in CONSUMERS {
        let got: Vec<&Got> = heard.got.iter().filter(|one| one.kind == kind).collect();
        let messages: BTreeSet<&str> = got.iter().map(|one| one.message.as_str()).collect();
        let places: BTreeSet<&Place> = got.iter().map(|one| &one.place).collect();
        ensure!(!messages.is_empty(), "{kind} got nothing");
        for one in &heard.stored {
            if !of(kind, &one.message) || messages.contains(one.message.as_str()) {
                continue;
            }
            // It is there, and the consumer has already been where it is: with a message that was lost.
            ensure!(
                places.contains(&one.place),
                "{kind} never got {}, stored at {:?}",
                one.message,
                one.place
            );
            *account.skipped.entry(kind.to_owned()).or_default() += 1;
        }
    }
    Ok(())
}

/// Whether a consumer's topic is the message's.
fn of(kind: &str, message: &str) -> bool {
    let first = message.split('-').next().unwrap_or_default();
    match kind {
        "orderly" => first == "ordered",
        "delayed" => first == "level" || first == "timer",
        "transaction" => first == "commit" || first == "asked" || first == "rollback",
        _ => first == "sync" || first == "async",
    }
}

/// Rolled back: never seen. Left open: the broker asked, and heard the decision.
fn transactions(heard: &Heard, safe: impl Fn(u64) -> bool) -> Result<()> {
    let seen = heard.stored.iter().map(|one| &one.message);
    let seen = seen.chain(heard.got.iter().map(|one| &one.message));
    if let Some(rolled_back) = seen
        .into_iter()
        .find(|message| message.contains("rollback-"))
    {
        anyhow::bail!("{rolled_back} was rolled back, and is seen");
    }
    let decided = heard.checked.iter().filter(|one| one.state != "UNKNOW");
    let decided: BTreeSet<&str> = decided.map(|one| one.message.as_str()).collect();
    for sent in heard
        .sent
        .iter()
        .filter(|one| safe(one.at) && one.message.starts_with("asked-"))
    {
        ensure!(
            decided.contains(sent.message.as_str()),
            "nobody asked what became of {}",
            sent.message
        );
    }
    Ok(())
}

fn not_before_their_time(heard: &Heard) -> Result<()> {
    for got in heard.got.iter().filter(|one| one.kind == "delayed") {
        let (_, due) = got.message.split_once('@').context("find a due time")?;
        let due: u64 = due.parse().context("read a due time")?;
        let early = if got.message.starts_with("timer-") {
            TIMER_PRECISION
        } else {
            0
        };
        ensure!(got.at + early >= due, "{} came at {}", got.message, got.at);
    }
    Ok(())
}

/// In every queue, each key's messages come for the first time in the order in which they were sent. Returns in how many
/// cases that was not so across queues; with one group a key never changes its queue.
fn order(heard: &Heard, one_group: bool) -> Result<usize> {
    let mut newest: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut newest_of_all: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut seen, mut out) = (BTreeSet::new(), 0);
    for got in heard.got.iter().filter(|one| one.kind == "orderly") {
        let mut words = got.message.split('-').skip(1);
        let key = words.next().context("find a key")?;
        let number: u64 = words.next().context("find a number")?.parse()?;
        if !seen.insert(&got.message) {
            continue;
        }
        let last = newest.insert((key, &got.place.queue), number);
        ensure!(
            last.is_none_or(|last| last < number),
            "{} after {last:?} in queue {}",
            got.message,
            got.place.queue
        );
        let last = newest_of_all.entry(key).or_default();
        out += usize::from(*last > number);
        *last = number.max(*last);
    }
    ensure!(!one_group || out == 0, "{out} times out of order");
    Ok(out)
}
