//! A volume without room: on the master, on the slave, while the master is cut off.
//!
//! A broker writes its log through a memory mapping of a sparse file. Where the volume has not a page left, the JVM drops
//! such a write and may go on as if it had been done: what it acknowledges until it looks at its disk (every 10 s) was
//! never anywhere. A broker that is given its file's pages beforehand (`warmMapedFileEnable=true`) does not.

use anyhow::{Context, Result, ensure};
use e2e::group::LIMIT;
use e2e::{Case, Group, Place, Shape, Trial, on_each_version};
use playground::clock::now;
use playground::network::Cut;
use playground::volume::{self, Volume};
use playground::wait::until;
use playground::{http, network};

on_each_version!(
    nearly_full_on_the_master,
    full_on_the_master,
    full_on_the_slave,
    full_while_cut_off
);

/// What a member's store has. A log file takes 16 MiB when it is full.
const VOLUME: u64 = 96 << 20;

/// Every member's store on a volume of its own. The volumes must outlive the members.
async fn on_volumes(case: &Case, place: Place) -> Result<Option<(Vec<Volume>, Trial<'_>)>> {
    let lacking = volume::lacking().or_else(|| match place {
        Place::Loopback => None,
        Place::Hosts => network::lacking(),
    });
    if let Some(why) = lacking {
        case.say(format!("SKIPPED: {why}"));
        return Ok(None);
    }
    let begin = now();
    let shape = Shape {
        place,
        ..Shape::default()
    };
    let mut group = Group::prepare(case, shape).await?;
    let mut volumes = Vec::new();
    for index in group.indexes() {
        volumes.push(Volume::mount(&group.member(index).store(), VOLUME)?);
        group.member_mut(index).start()?;
    }
    group.formed(begin).await?;
    Ok(Some((volumes, Trial::with(group).await?)))
}

/// Beyond 90 % a broker refuses messages.
async fn nearly_full_on_the_master(case: &Case) -> Result<()> {
    master_without_room(case, VOLUME / 20).await
}

/// Not a page is left, neither for the broker nor for the agent.
async fn full_on_the_master(case: &Case) -> Result<()> {
    master_without_room(case, 0).await
}

/// It stays master: it serves what it has, loses nothing, and takes messages again when there is room. Its slaves hold the
/// same log: moving would most likely lead to a disk that is as full. An operator who knows better may switch over.
async fn master_without_room(case: &Case, room: u64) -> Result<()> {
    let Some((volumes, mut trial)) = on_volumes(case, Place::Loopback).await? else {
        return Ok(());
    };
    let before = trial.group().lease().await?;
    let master = trial.group().index(&before.term.master)?;
    trial.strike();
    volumes[master].fill(room)?;
    if room == 0 {
        trial.forgets();
    }
    trial
        .group()
        .announced("DiskFull", "give the volume room")
        .await?;
    refused(&trial).await?;
    trial.group().renewed(&before, 10).await?;
    volumes[master].make_room()?;
    // The file system itself takes seconds to give freed pages out again.
    trial.group().announced("DiskHasRoom", "").await?;
    trial.remembers();
    let costs = trial.end().await?;
    ensure!(costs.reigns.len() == 1, "{costs}");
    ensure!(room == 0 || costs.lost == 0, "{costs}");
    Ok(())
}

async fn full_on_the_slave(case: &Case) -> Result<()> {
    let Some((volumes, mut trial)) = on_volumes(case, Place::Loopback).await? else {
        return Ok(());
    };
    let before = trial.group().lease().await?;
    let slave = trial
        .group()
        .other(trial.group().index(&before.term.master)?);
    trial.strike();
    volumes[slave].fill(0)?;
    trial.producer().accept_more(2_000, LIMIT).await?;
    case.say(format!(
        "the slave's broker is {:?}",
        alive(trial.group(), slave).await
    ));
    trial.group().renewed(&before, 10).await?;
    volumes[slave].make_room()?;
    let costs = trial.end().await?;
    ensure!(costs.reigns.len() == 1 && costs.lost == 0, "{costs}");
    Ok(())
}

/// It can neither renew nor write: the other one takes over.
async fn full_while_cut_off(case: &Case) -> Result<()> {
    let Some((volumes, mut trial)) = on_volumes(case, Place::Hosts).await? else {
        return Ok(());
    };
    let before = trial.group().lease().await?;
    let master = trial.group().index(&before.term.master)?;
    let (host, api) = (
        trial.group().host(master)?.ip(),
        trial.group().network()?.api(),
    );
    let cut = Cut::between(host, api);
    trial.strike();
    volumes[master].fill(0)?;
    trial.forgets();
    trial.group().network()?.cut(cut)?;
    let after = trial.group().serving_after(before.term.epoch).await?;
    trial.remembers();
    ensure!(after.term.master != before.term.master, "{:?}", after.term);
    trial.served().await?;
    trial.group().network()?.mend(cut)?;
    trial.producer().accept_more(1_000, LIMIT).await?;
    volumes[master].make_room()?;
    trial.end().await?;
    Ok(())
}

/// Waits until the producer is refused.
async fn refused(trial: &Trial<'_>) -> Result<()> {
    until("a refused message", LIMIT, async || {
        let refused = trial
            .producer()
            .ledger()
            .count(playground::traffic::Outcome::Refused);
        ensure!(refused > 10, "{refused} were refused");
        Ok(())
    })
    .await
}

/// What the agent says of its broker's health.
async fn alive(group: &Group<'_>, index: usize) -> Result<String> {
    let answer = http::get(group.member(index).admin(), "/brokerAliveTest").await?;
    answer
        .body
        .lines()
        .next()
        .map(str::to_owned)
        .context("read how the broker is")
}
