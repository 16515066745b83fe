//! Our word about ourselves.

use super::Turn;
use crate::ids::Offset;
use crate::observation::{Extent, LeaseSeen, Volume};
use crate::record::FORMAT;
use crate::rejoin;
use crate::report::{Electable, LogReport, Report, Role};
use alloc::boxed::Box;

impl Turn<'_> {
    /// What peers and people are told. None until the volume has told who we are.
    pub(super) fn word(&self) -> Option<Box<Report>> {
        let volume = self.volume()?;
        let launcher = self.seen.launcher.last()?;
        let log = self.log(volume);
        let live = self.any_live();
        let me = &self.seen.me;
        Some(Box::new(Report {
            format: FORMAT,
            who: volume.who.clone(),
            instance: launcher.instance.clone(),
            zone: me.zone.clone(),
            priority: me.priority,
            role: live.map(|l| l.role),
            term: live.map(|l| l.term).or(volume.joined),
            joined: volume.joined.is_some()
                && live.is_none_or(|l| l.role == Role::Slave && volume.joined == Some(l.term)),
            log,
            last_epoch: volume
                .lineage
                .last_epoch(log.map_or(Offset::ZERO, |l| l.end)),
            highest_epoch: self.next.highest,
            blank: volume.lineage.is_empty() && log.is_some_and(|l| l.end <= l.min),
            frozen: volume.frozen.clone().filter(|_| volume.extent.is_some()),
            electable: self.electable(volume, log),
            addresses: me.addresses.clone(),
            version: me.version.clone(),
            lineage: Some(volume.lineage.clone()),
        }))
    }

    fn log(&self, volume: &Volume) -> Option<LogReport> {
        match (volume.extent, self.seen.broker.last()) {
            (Some(Extent { min, end }), _) => Some(LogReport { min, end }),
            (None, Some(broker)) => Some(LogReport {
                min: broker.min,
                end: broker.end,
            }),
            (None, None) => None,
        }
    }

    pub(super) fn electable(&self, volume: &Volume, log: Option<LogReport>) -> Electable {
        let Some(log) = log else {
            return Electable::Unexamined;
        };
        if self.seen.me.no_failover {
            return Electable::NoFailover;
        }
        if self.stopping() {
            return Electable::Stopping;
        }
        if self.next.backoff.is_some_and(|b| self.now.tick < b.until) {
            return Electable::BackedOff;
        }
        if volume.pending_cut.is_some() {
            return Electable::Volume;
        }
        if volume.seeding.is_some_and(|until| log.end < until) || self.lacks_history(log) {
            return Electable::Hollow;
        }
        Electable::Yes
    }

    /// The master still holds most of a history that we lack.
    fn lacks_history(&self, log: LogReport) -> bool {
        let Some(LeaseSeen::Record { record, .. }) = self.seen.lease.last() else {
            return false;
        };
        let own = record.term.master == self.seen.me.member;
        !own && rejoin::hollow(
            record.log_min,
            Extent {
                min: log.min,
                end: log.end,
            },
        )
    }
}
