//! What producer and consumer saw, settled against what can be read at the end.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use playground::archive::Archives;
use playground::traffic::{
    Consumer, Ledger, Number, Outcome, Producer, Settlement, Stamp, read_all,
};
use playground::wait::until;

use crate::group::{Group, LIMIT, TOPIC};

/// The finished books of a story.
#[derive(Debug)]
pub struct Books {
    /// Marks the producer's messages.
    pub stamp: Stamp,
    /// Every message's fate.
    pub ledger: Ledger,
    /// All that can be read from the master.
    pub readable: BTreeSet<Number>,
    /// The one against the other.
    pub settled: Settlement,
}

impl Books {
    /// Stops the producer, reads everything from the present master, and waits until the consumer has seen all of it.
    ///
    /// # Errors
    /// When the master does not give what it has, or the consumer does not get there.
    pub async fn close(group: &Group<'_>, producer: Producer, consumer: Consumer) -> Result<Self> {
        let stamp = producer.stamp().clone();
        let ledger = producer.stop().await?;
        let master = until("the master's route", LIMIT, async || {
            group.names().master(TOPIC).await
        })
        .await?;
        let all = read_all(master.address, TOPIC, master.queues, &stamp).await?;
        let mut settled = ledger.settle(all.iter().copied());
        let different = settled.readable;
        until("the consumer to see everything", LIMIT, async || {
            let seen = consumer.consumed().different;
            ensure!(seen >= different, "{seen} of {different} messages seen");
            Ok(())
        })
        .await?;
        settled.consumed = Some(consumer.stop().await?);
        ensure!(
            settled.duplicated.is_empty(),
            "messages sent once are there twice: {:?}",
            settled.duplicated
        );
        ensure!(
            settled.refused_stored.is_empty(),
            "messages that were refused are there: {:?}",
            settled.refused_stored
        );
        Ok(Self {
            stamp,
            ledger,
            readable: all.into_iter().collect(),
            settled,
        })
    }

    /// Fails when an acknowledged message is lost.
    ///
    /// # Errors
    /// When one is.
    pub fn nothing_lost(&self) -> Result<()> {
        let lost = &self.settled.lost;
        ensure!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        Ok(())
    }

    /// Fails when one of these is lost: messages that were acknowledged and replicated.
    ///
    /// # Errors
    /// When one is.
    pub fn keeps(&self, replicated: &[Number]) -> Result<()> {
        let gone: Vec<_> = replicated
            .iter()
            .filter(|number| !self.readable.contains(number))
            .collect();
        ensure!(gone.is_empty(), "replicated and lost: {gone:?}");
        Ok(())
    }

    /// Fails when an acknowledged message is neither readable nor in one of these archives.
    ///
    /// # Errors
    /// When one is.
    pub fn lost_is_archived(&self, archives: &Archives) -> Result<()> {
        self.lost_is_archived_or(archives, |_| false)
    }

    /// [`Self::lost_is_archived`], save for messages sent at a time that is `forgotten` (by the ledger's clock).
    ///
    /// # Errors
    /// When one is.
    pub fn lost_is_archived_or(
        &self,
        archives: &Archives,
        forgotten: impl Fn(Duration) -> bool,
    ) -> Result<()> {
        let archived: BTreeSet<Number> = archives.numbers(&self.stamp).into_iter().collect();
        let lost: BTreeSet<Number> = self.settled.lost.iter().copied().collect();
        let gone: Vec<_> = self
            .ledger
            .attempts()
            .iter()
            .filter(|one| lost.contains(&one.number) && !archived.contains(&one.number))
            .filter(|one| !forgotten(one.sent))
            .map(|one| (one.number, one.sent))
            .collect();
        ensure!(
            gone.is_empty(),
            "acknowledged, lost and not archived: {gone:?}"
        );
        Ok(())
    }
}

/// The messages that were acknowledged so far.
#[must_use]
pub fn accepted(producer: &Producer) -> Vec<Number> {
    let ledger = producer.ledger();
    let attempts = ledger.attempts().iter();
    let accepted = attempts.filter(|one| one.outcome == Outcome::Accepted);
    accepted.map(|one| one.number).collect()
}
