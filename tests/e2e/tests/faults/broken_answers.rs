//! Every way in which an API server, or what is between it and an agent, can answer badly, one after the other on one group.
//!
//! Four tables: faults that are shorter than a permit, faults that meet only some requests, and two of
//! faults that meet everything until the master has to give up. After each the group must be on its own what it was before. Of every row the price is
//! told: the longest time without an acknowledged message, and what the agents asked for meanwhile.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::group::{LIMIT, Way, in_ms};
use e2e::{Case, Shape, Trial, on_the_quickest};
use fault_proxy::{Fault, Method, Rule, When, Which};
use playground::ApiKind;
use playground::clock::now;
use playground::real_api::program::Found;

on_the_quickest!(
    for_less_than_a_permit,
    for_some_requests,
    refused_for_longer_than_a_permit,
    unheard_for_longer_than_a_permit,
    on_a_real_api,
);

/// Of these stories. A renewal comes every 0.8 s, a request may take 1 s.
const PERMIT: Duration = Duration::from_secs(4);
/// The gate is closed 1 s before the permit ends.
const SHORT: Duration = Duration::from_millis(1500);
/// Longer than the wait of a taker (6 s), after which a slave that is led to believe in silence would stand for election.
const LONG: Duration = Duration::from_secs(9);
/// What a row may make a group of two ask: everybody once more at its beginning, then ten times what it asks on a quiet day
/// (2 a second). A loop without a pause asks a thousand times a second.
const MOST_AT_FIRST: f64 = 40.0;
const MOST_A_SECOND: f64 = 20.0;

/// How long a fault lasts, and what may come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Span {
    /// This time; the master must go on.
    Felt(Duration),
    /// Until the master had to give up.
    UntilDead,
}

/// A fault with a name.
struct Row {
    name: &'static str,
    rules: Vec<Rule>,
    span: Span,
}

const REFUSALS: [(&str, u16, Option<u32>); 7] = [
    ("401", 401, None),
    ("403", 403, None),
    ("429", 429, None),
    ("429, Retry-After 30 s", 429, Some(30)),
    ("500", 500, None),
    ("503, Retry-After 30 s", 503, Some(30)),
    ("504", 504, None),
];

fn everything(fault: Fault) -> Vec<Rule> {
    vec![Rule::always(Which::default(), fault)]
}

fn times(which: Which, fault: Fault, times: u32) -> Vec<Rule> {
    let when = When::Times(times);
    vec![Rule { which, fault, when }]
}

fn flapping(fault: Fault, half: Duration) -> Vec<Rule> {
    let (which, when) = (Which::default(), When::Flapping(half));
    vec![Rule { which, fault, when }]
}

/// Writes of the group Lease.
fn renewals() -> Which {
    Which::of(Method::PUT, "/leases/")
}

/// Gets and lists.
fn reads() -> Which {
    Which {
        method: Some(Method::GET),
        part: None,
        without: Some("watch=true".to_owned()),
    }
}

const fn refuse((code, retry_after): (u16, Option<u32>)) -> Fault {
    Fault::Refuse { code, retry_after }
}

/// Everything is broken, but not for long.
fn short_ones() -> Vec<Row> {
    let row = |name, rules| Row {
        name,
        rules,
        span: Span::Felt(SHORT),
    };
    let mut rows: Vec<Row> = REFUSALS
        .map(|(name, code, after)| row(name, everything(refuse((code, after)))))
        .into();
    rows.extend([
        row("hang", everything(Fault::Hang)),
        row("reset", everything(Fault::Cut)),
        row("lost reply", everything(Fault::LoseReply)),
        row("truncated body", everything(Fault::Truncate(20))),
        row("empty body", everything(Fault::Truncate(0))),
        row(
            "409 after commit, twice",
            times(renewals(), Fault::RefuseAfterCommit(409), 2),
        ),
        row(
            "500 after commit, twice",
            times(renewals(), Fault::RefuseAfterCommit(500), 2),
        ),
    ]);
    rows
}

/// Only some requests are broken, or all of them by turns, for as long as one likes.
fn partial_ones() -> Vec<Row> {
    let row = |name, rules| Row {
        name,
        rules,
        span: Span::Felt(LONG),
    };
    let always = |which, fault| vec![Rule::always(which, fault)];
    let half = Duration::from_millis(700);
    vec![
        row("nothing at all", Vec::new()),
        row(
            "latency of 300 ms",
            everything(Fault::Delay(Duration::from_millis(300))),
        ),
        row("silent watches", always(Which::watches(), Fault::Silence)),
        row("hanging watches", always(Which::watches(), Fault::Hang)),
        row("watches with gaps", always(Which::watches(), Fault::Gap(4))),
        row(
            "watches that are cut short",
            always(Which::watches(), Fault::Truncate(700)),
        ),
        row("410 for watches", always(Which::watches(), Fault::Gone)),
        row(
            "500 for watches",
            always(Which::watches(), refuse((500, None))),
        ),
        row(
            "stale reads, silent watches",
            vec![
                Rule::always(reads(), Fault::Stale),
                Rule::always(Which::watches(), Fault::Silence),
            ],
        ),
        row("hanging reads", always(reads(), Fault::Hang)),
        row(
            "403 for reads and watches",
            always(Which::of(Method::GET, ""), refuse((403, None))),
        ),
        row(
            "500 for member Leases and Events",
            vec![
                Rule::always(Which::of(Method::PATCH, ""), refuse((500, None))),
                Rule::always(Which::of(Method::POST, ""), refuse((500, None))),
            ],
        ),
        row("503 by turns of 0.7 s", flapping(refuse((503, None)), half)),
        row("reset by turns of 0.7 s", flapping(Fault::Cut, half)),
        row(
            "lost reply by turns of 0.7 s",
            flapping(Fault::LoseReply, half),
        ),
    ]
}

/// Everything is refused until the master is dead; nobody else takes over either.
fn refused_for_long() -> Vec<Row> {
    let row = |(name, code, after)| Row {
        name,
        rules: everything(refuse((code, after))),
        span: Span::UntilDead,
    };
    REFUSALS.map(row).into()
}

/// The same with answers that come late, or never, or torn.
fn unheard_for_long() -> Vec<Row> {
    let row = |name, rules| Row {
        name,
        rules,
        span: Span::UntilDead,
    };
    let conflict = Fault::RefuseAfterCommit(409);
    vec![
        row(
            "latency of 3 s",
            everything(Fault::Delay(Duration::from_secs(3))),
        ),
        row("hang", everything(Fault::Hang)),
        row("reset", everything(Fault::Cut)),
        row("lost reply", everything(Fault::LoseReply)),
        row("truncated body", everything(Fault::Truncate(20))),
        row("409 after commit", vec![Rule::always(renewals(), conflict)]),
        row(
            "reset by turns of 6 s",
            flapping(Fault::Cut, Duration::from_secs(6)),
        ),
    ]
}

async fn for_less_than_a_permit(case: &Case) -> Result<()> {
    play(case, ApiKind::Memory, short_ones()).await
}

async fn for_some_requests(case: &Case) -> Result<()> {
    play(case, ApiKind::Memory, partial_ones()).await
}

async fn refused_for_longer_than_a_permit(case: &Case) -> Result<()> {
    play(case, ApiKind::Memory, refused_for_long()).await
}

async fn unheard_for_longer_than_a_permit(case: &Case) -> Result<()> {
    play(case, ApiKind::Memory, unheard_for_long()).await
}

/// A few of each.
async fn on_a_real_api(case: &Case) -> Result<()> {
    if let Found::NoGo(reason) = case.ground().real_api_program().await? {
        case.say(format!("SKIPPED: {reason}"));
        return Ok(());
    }
    let chosen = [
        (
            short_ones(),
            ["429, Retry-After 30 s", "hang", "409 after commit, twice"],
        ),
        (
            partial_ones(),
            [
                "silent watches",
                "410 for watches",
                "stale reads, silent watches",
            ],
        ),
        (
            unheard_for_long(),
            ["lost reply", "truncated body", "409 after commit"],
        ),
    ];
    let mut rows = Vec::new();
    for (table, names) in chosen {
        let all = rows.len() + names.len();
        rows.extend(table.into_iter().filter(|row| names.contains(&row.name)));
        ensure!(rows.len() == all, "a chosen row is not there: {names:?}");
    }
    play(case, ApiKind::Real, rows).await
}

/// Row by row. One that fails is told, and the next one is played all the same if the group is whole again.
async fn play(case: &Case, api: ApiKind, rows: Vec<Row>) -> Result<()> {
    let shape = Shape {
        api,
        way: Way::Proxied,
        ..Shape::default()
    };
    let mut trial = Trial::begin(case, shape).await?;
    trial.strike_on(api).await?;
    let mut failed = Vec::new();
    for row in rows {
        if let Err(error) = suffer(case, &trial, &row).await {
            case.say(format!("FAILED {}: {error:#}", row.name));
            failed.push(row.name);
        }
        trial.group().proxy()?.heal();
        trial
            .healed()
            .await
            .with_context(|| format!("heal after {:?}", row.name))?;
    }
    trial.end().await?;
    if !failed.is_empty() {
        bail!("rows that failed: {failed:?}");
    }
    Ok(())
}

async fn suffer(case: &Case, trial: &Trial<'_>, row: &Row) -> Result<()> {
    let group = trial.group();
    let before = group.lease().await?;
    // A fault that falls between two renewals is not always as long as it says.
    group.renewed(&before, 1).await?;
    let master = group.index(&before.term.master)?;
    let (begin, sent, at) = (now(), group.proxy()?.counted(), trial.producer().elapsed());
    for rule in &row.rules {
        group.proxy()?.break_with(rule.clone());
    }
    // Watches that are there would never meet a rule.
    group.proxy()?.cut();
    match row.span {
        Span::Felt(span) => tokio::time::sleep(span).await,
        Span::UntilDead => group.dead(master).await?,
    }
    let (lasted, asked) = (begin.elapsed(), group.proxy()?.counted().since(sent));
    group.proxy()?.heal();
    let requests = f64::from(u32::try_from(asked.all())?);
    let rate = requests / lasted.as_secs_f64();
    trial.healed().await?;
    let after = group.lease().await?;
    group.renewed(&after, 1).await?;
    let gap = trial.producer().ledger().largest_gap(at).length();
    case.say(format!(
        "ROW {}: {} ms, without master {} ms, {rate:.1} requests/s ({} reads, {} watches, {} writes), well after {}",
        row.name,
        lasted.as_millis(),
        gap.as_millis(),
        asked.reads,
        asked.watches,
        asked.writes,
        in_ms(begin),
    ));
    let most = MOST_AT_FIRST + MOST_A_SECOND * lasted.as_secs_f64();
    ensure!(requests <= most, "{requests} requests in {lasted:?}");
    match row.span {
        Span::Felt(_) => {
            ensure!(after.term == before.term, "a new term: {:?}", after.term);
            ensure!(gap < PERMIT, "no message for {gap:?}");
        }
        Span::UntilDead => ensure!(
            after.term.epoch > before.term.epoch,
            "no new term after a dead broker: {:?}",
            after.term
        ),
    }
    trial.producer().accept_more(1, LIMIT).await
}
