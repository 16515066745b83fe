//! What people and other programs do to Leases.

use anyhow::{Result, ensure};
use e2e::leases::{Kind, STATE};
use e2e::{Case, Shape, Trial, on_each_version, on_the_quickest};
use serde_json::json;

on_each_version!(group_lease_deleted);
on_the_quickest!(
    group_lease_edited_to_nonsense,
    group_lease_taken_by_a_stranger,
    member_lease_deleted,
);

/// The holder makes it again; nobody stops serving.
async fn group_lease_deleted(case: &Case) -> Result<()> {
    let mut trial = Trial::begin(case, Shape::default()).await?;
    let before = trial.group().lease().await?;
    trial.strike();
    trial.group().delete_lease(Kind::Group).await?;
    trial.group().serving_after(before.term.epoch - 1).await?;
    let after = trial.group().lease().await?;
    ensure!(
        after.term == before.term,
        "{:?}, before {:?}",
        after.term,
        before.term
    );
    stays(trial).await
}

async fn group_lease_edited_to_nonsense(case: &Case) -> Result<()> {
    for nonsense in ["", "{", "{\"term\":7}", "null"] {
        case.say(format!("the record becomes {nonsense:?}"));
    }
    let mut trial = Trial::begin(case, Shape::default()).await?;
    let before = trial.group().lease().await?;
    trial.strike();
    for nonsense in ["", "{", "{\"term\":7}", "null"] {
        trial.group().annotate(STATE, Some(nonsense)).await?;
        let restored = trial.group().serving_after(before.term.epoch - 1).await?;
        ensure!(restored.term == before.term, "{:?}", restored.term);
    }
    stays(trial).await
}

/// Somebody writes a holder of its own into the spec; the record is what counts, and the holder restores the rest.
async fn group_lease_taken_by_a_stranger(case: &Case) -> Result<()> {
    let mut trial = Trial::begin(case, Shape::default()).await?;
    let before = trial.group().lease().await?;
    trial.strike();
    let stranger = json!({"spec": {"holderIdentity": "a-stranger", "leaseTransitions": 77}});
    trial.group().patch_lease(Kind::Group, &stranger).await?;
    let restored = trial.group().held_by(before.holder.clone()).await?;
    ensure!(restored.term == before.term, "{:?}", restored.term);
    stays(trial).await
}

/// It is made again, and nobody is taken for dead.
async fn member_lease_deleted(case: &Case) -> Result<()> {
    let mut trial = Trial::begin(case, Shape::default()).await?;
    trial.strike();
    trial.group().delete_lease(Kind::Member).await?;
    trial.group().lease_is_there(Kind::Member).await?;
    stays(trial).await
}

/// One reign, nothing lost.
async fn stays(trial: Trial<'_>) -> Result<()> {
    let costs = trial.end().await?;
    ensure!(costs.reigns.len() == 1 && costs.lost == 0, "{costs}");
    Ok(())
}
