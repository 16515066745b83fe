//! More than two members, more than one fault, more than one start.

use anyhow::{Result, ensure};
use e2e::group::LIMIT;
use e2e::{Case, Shape, Trial, on_the_newest, on_the_quickest};
use playground::clock::now;

on_the_newest!(two_of_three_dead);
on_the_quickest!(started_in_any_order, two_groups_of_one_name);

fn three() -> Shape {
    Shape {
        members: 3,
        ..Shape::default()
    }
}

/// The last one goes on alone, and takes both back.
async fn two_of_three_dead(case: &Case) -> Result<()> {
    let mut trial = Trial::begin(case, three()).await?;
    let before = trial.group().lease().await?;
    let master = trial.group().index(&before.term.master)?;
    let others = trial.group().others(master);
    let [gone, _last] = others[..] else {
        anyhow::bail!("not two slaves: {others:?}");
    };
    trial.strike();
    trial.group_mut().member_mut(gone).kill().await?;
    trial.group_mut().member_mut(master).kill().await?;
    trial.group().serving_after(before.term.epoch).await?;
    trial.producer().accept_more(100, LIMIT).await?;
    trial.group_mut().member_mut(master).start()?;
    trial.group_mut().member_mut(gone).start()?;
    trial.end().await?;
    Ok(())
}

/// Whoever comes first, and whatever of it: agent before launcher, launcher before agent, one member long before the other.
async fn started_in_any_order(case: &Case) -> Result<()> {
    let mut trial = Trial::begin(case, Shape::default()).await?;
    trial.strike();
    // Every order of agent and launcher of two members in which each member's parts keep apart.
    let orders: [[(usize, bool); 4]; 6] = [
        [(0, true), (1, true), (0, false), (1, false)],
        [(1, false), (0, false), (1, true), (0, true)],
        [(0, true), (0, false), (1, false), (1, true)],
        [(1, true), (1, false), (0, true), (0, false)],
        [(1, false), (1, true), (0, false), (0, true)],
        [(0, false), (1, true), (1, false), (0, true)],
    ];
    for order in orders {
        let before = trial.group().lease().await?;
        for index in trial.group().indexes() {
            trial.group_mut().member_mut(index).kill().await?;
        }
        for (index, agent) in order {
            let member = trial.group_mut().member_mut(index);
            if agent {
                member.start_agent()?;
            } else {
                member.start_launcher()?;
            }
        }
        trial.group().serving_after(before.term.epoch).await?;
        trial.healed().await?;
    }
    trial.end().await?;
    Ok(())
}

/// In two namespaces of one API server, as two clusters are; each fails over by itself.
async fn two_groups_of_one_name(case: &Case) -> Result<()> {
    let begin = now();
    let trial = Trial::begin(case, Shape::default()).await?;
    let mut beside = trial.group().beside().await?;
    for index in beside.indexes() {
        beside.member_mut(index).start()?;
    }
    beside.formed(begin).await?;
    let mut beside = Trial::with(beside).await?;
    let (ours, theirs) = (trial.group().lease().await?, beside.group().lease().await?);
    let master = beside.group().index(&theirs.term.master)?;
    beside.strike();
    beside.group_mut().member_mut(master).kill().await?;
    beside.group().serving_after(theirs.term.epoch).await?;
    beside.group_mut().member_mut(master).start()?;
    beside.end().await?;
    let after = trial.group().lease().await?;
    ensure!(after.term == ours.term, "{:?}, {:?}", after.term, ours.term);
    trial.end().await?;
    Ok(())
}
