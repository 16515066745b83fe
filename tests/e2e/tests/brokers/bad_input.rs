//! Settings, files and objects that make no sense: one clear line, and a group that serves in the end.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::books::{Books, accepted};
use e2e::case;
use e2e::group::{LIMIT, counted, in_ms};
use e2e::leases::STATE;
use e2e::{Case, Group, Shape, on_the_quickest};
use playground::Version;
use playground::archive::Archives;
use playground::clock::now;
use playground::process::ProcessSpec;
use playground::wait::until;

on_the_quickest!(
    a_broken_base_conf_keeps_the_last_good_one,
    a_lease_edited_to_nonsense_is_restored,
);

#[test]
fn unsafe_lease_timing_is_refused() {
    case::play(
        "unsafe_lease_timing_is_refused",
        Version::NEWEST,
        unsafe_timing,
    );
}

const START_LIMIT: Duration = Duration::from_secs(20);

/// 5 s on a slow clock and 1 s to die are more than 6 s on a fast one.
async fn unsafe_timing(case: &Case) -> Result<()> {
    let ground = case.ground();
    let programs = ground.programs().await?;
    let output = ground.path().join("unsafe.log");
    let flags = [
        "run",
        "--base-conf=base.conf",
        "--conf-out=broker.conf",
        "--member=a",
        "--launcher-socket=launcher.sock",
        "--broker-ip=127.0.0.1",
        "--relay-address=127.0.0.1:1",
        "--relay-local=127.0.0.1:2",
        "--group-key-file=none.key",
        "--name-servers=127.0.0.1:9876",
        "--take-wait=6s",
        "--permit=5s",
        "--renew=800ms",
        "--request-timeout=1s",
    ];
    let spec = ProcessSpec::new("agent", &programs.agent, ground.path(), output.clone());
    let mut agent = ground.spawner().start(&spec.arguments(flags))?;
    let status = agent.wait_for_end(START_LIMIT).await?;
    let text = std::fs::read_to_string(&output).context("read what the agent said")?;
    ensure!(status.code() == Some(1), "{status}: {text}");
    let lines: Vec<&str> = text.lines().collect();
    let [line] = lines[..] else {
        anyhow::bail!("not one line: {text}");
    };
    for words in [
        "unsafe lease timing",
        "6556 ms",
        "5454 ms",
        "permit 5000 ms",
        "take-over wait 6000 ms",
        "shorten the permit or lengthen the take-over wait",
    ] {
        ensure!(line.contains(words), "{words:?} is not in {line}");
    }
    case.say(line);
    Ok(())
}

async fn a_broken_base_conf_keeps_the_last_good_one(case: &Case) -> Result<()> {
    let mut group = Group::form(case, Shape::default()).await?;
    let producer = group.producer(200)?;
    let consumer = group.consumer(&producer);
    producer.accept_more(100, LIMIT).await?;
    let (old, before) = (group.master().await?, group.lease().await?);
    let home = group.member(old).home().to_owned();
    let base = home.join("base.conf");
    let good = std::fs::read_to_string(&base).context("read the base")?;
    let bad_line = format!("base.conf:{}: ", good.lines().count() + 1);

    // While the agent runs: it says so, and goes on with what it has.
    std::fs::write(&base, format!("{good}listenPort=abc\n")).context("write the base")?;
    let word = said_once(
        &home,
        &["WARN", "ConfigRefused", "last good one", &bad_line],
    )
    .await?;
    case.say(short(&word));
    // A sound change waits for the broker's next start, and that is said, too.
    std::fs::write(&base, format!("{good}defaultTopicQueueNums=4\n")).context("write the base")?;
    let word = said_once(&home, &["ConfigRestartPending", "next start"]).await?;
    case.say(short(&word));
    std::fs::write(&base, format!("{good}listenPort=abc\n")).context("write the base")?;
    producer.accept_more(100, LIMIT).await?;
    let lease = group.lease().await?;
    ensure!(lease.term == before.term, "another term: {:?}", lease.term);

    // A new agent has no last good one: it does not start, its broker ends with its permit, and another one serves.
    case.expect_error(&bad_line);
    group.member_mut(old).agent()?.kill().await?;
    let replicated = accepted(&producer);
    group.replicated(old).await?;
    let gone = now();
    group.member_mut(old).start_agent()?;
    let end = group
        .member_mut(old)
        .agent()?
        .wait_for_end(START_LIMIT)
        .await?;
    ensure!(end.code() == Some(1), "the agent ended with {end}");
    said_once(&home, &["ERROR", &bad_line]).await?;
    let after = group.serving_after(before.term.epoch).await?;
    let new = group.index(&after.term.master)?;
    ensure!(new != old, "{:?}", after.term);
    producer.accept_more(1, LIMIT).await?;
    case.say(format!(
        "another member serves {} after its agent's end",
        in_ms(gone)
    ));

    std::fs::write(&base, good).context("write the base")?;
    group.member_mut(old).start_agent()?;
    group.follows(old).await?;
    producer.accept_more(100, LIMIT).await?;
    case.say(counted(&producer));
    let books = Books::close(&group, producer, consumer).await?;
    books.keeps(&replicated)?;
    books.lost_is_archived(&Archives::read(&group.member(old).store())?)?;
    group.logs_are_equal(new).await
}

async fn a_lease_edited_to_nonsense_is_restored(case: &Case) -> Result<()> {
    let group = Group::form(case, Shape::default()).await?;
    let producer = group.producer(200)?;
    let consumer = group.consumer(&producer);
    let probers = group.probers();
    producer.accept_more(100, LIMIT).await?;
    let (master, before) = (group.master().await?, group.lease().await?);
    let jvm = group.member(master).jvm_pid();

    let edited = now();
    group.annotate(STATE, Some("{garbage")).await?;
    for member in [master, group.other(master)] {
        let home = group.member(member).home();
        let word = said_once(home, &["WARN", "not sound", "is not JSON"]).await?;
        case.say(short(&word));
    }
    // The very term, and the very process.
    let after = group.serving_after(before.term.epoch - 1).await?;
    case.say(format!(
        "the holder's record is back {} after the edit",
        in_ms(edited)
    ));
    ensure!(
        after.term == before.term,
        "{:?} became {:?}",
        before.term,
        after.term
    );
    producer.accept_more(100, LIMIT).await?;
    group.follows(group.other(master)).await?;
    let now_jvm = group.member(master).jvm_pid();
    ensure!(
        jvm.is_some() && now_jvm == jvm,
        "the broker was {jvm:?} and is {now_jvm:?}"
    );
    case.say(counted(&producer));
    let books = Books::close(&group, producer, consumer).await?;
    books.nothing_lost()?;
    group.reigned(&probers, &[master])?;
    drop(probers);
    group.logs_are_equal(master).await
}

/// Waits for a line of the agent's with all these words; it must be the only one.
async fn said_once(home: &Path, words: &[&str]) -> Result<String> {
    let output = home.join("agent.out");
    let what = format!("a line with {words:?}");
    let line = until(&what, LIMIT, async || {
        matching(&output, words)?
            .into_iter()
            .next()
            .context("no such line yet")
    })
    .await?;
    let lines = matching(&output, words)?;
    ensure!(lines.len() == 1, "said {} times: {lines:?}", lines.len());
    Ok(line)
}

fn matching(output: &Path, words: &[&str]) -> Result<Vec<String>> {
    let text = std::fs::read(output).with_context(|| format!("read {}", output.display()))?;
    let text = String::from_utf8_lossy(&text);
    let lines = text
        .lines()
        .filter(|line| words.iter().all(|word| line.contains(word)));
    Ok(lines.map(str::to_owned).collect())
}

/// Without the time and the level.
fn short(line: &str) -> &str {
    line.split_once("agent::").map_or(line, |(_, rest)| rest)
}
