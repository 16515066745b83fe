//! Nothing rests on the time of day.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use e2e::group::LIMIT;
use e2e::{Case, Shape, Trial, on_the_quickest};

on_the_quickest!(moved_by_hours);

/// The master's agent lives three hours ahead, then the slave's does, then the master is lost.
async fn moved_by_hours(case: &Case) -> Result<()> {
    let Some(library) = faketime() else {
        case.say("SKIPPED: libfaketime is not installed");
        return Ok(());
    };
    let mut trial = Trial::begin(case, Shape::default()).await?;
    let before = trial.group().lease().await?;
    let master = trial.group().index(&before.term.master)?;
    let slave = trial.group().other(master);
    trial.strike();
    for (index, hours) in [(master, "+3h"), (slave, "-5h")] {
        let member = trial.group_mut().member_mut(index);
        member.agent()?.kill().await?;
        member.agent_variable("LD_PRELOAD", library.display().to_string());
        member.agent_variable("FAKETIME", hours);
        member.agent_variable("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        member.start_agent()?;
        trial.producer().accept_more(100, LIMIT).await?;
    }
    let lease = trial.group().lease().await?;
    ensure!(lease.term == before.term, "{:?}", lease.term);
    trial.group_mut().member_mut(master).kill().await?;
    trial.group().serving_after(before.term.epoch).await?;
    trial.served().await?;
    trial.group_mut().member_mut(master).start()?;
    trial.end().await?;
    Ok(())
}

/// Where Debian's libfaketime is.
fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let mut files = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    files.find(|file| file.is_file())
}
