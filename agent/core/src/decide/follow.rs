//! Another member holds the Lease: prove our log, give up what the group does not share, follow (safety rules 1.5).

use super::Turn;
use crate::action::{Action, Event};
use crate::ids::Offset;
use crate::lease::Held as Seen;
use crate::observation::{Extent, Launcher, Process, Upstream, Volume};
use crate::reason::Reason;
use crate::record::{Qos, Stage, TermId};
use crate::rejoin::{self, MasterLog, Plan};
use crate::report::{Report, Role};

impl<'a> Turn<'a> {
    pub(super) fn follow(&mut self, seen: Seen<'_>) -> Reason {
        self.next.election = None;
        self.next.opening = None;
        self.next.wished = None;
        if self.next.pending.is_none() {
            self.next.held = None;
        }
        self.watch_expiry();
        let Some(launcher) = self.launcher() else {
            return Reason::LauncherUnknown;
        };
        if let Some(reason) = self.stopped() {
            return reason;
        }
        if seen.record.term.master == self.seen.me.member {
            // An earlier life of our own pod: a foreign Lease like any other (H1).
            return self.not_running(Reason::LeaseHeld);
        }
        if self.forked(seen) {
            return self.not_running(Reason::HistoryForked);
        }
        let term = seen.record.term.id;
        match &launcher.process {
            Process::Live {
                role: Role::Slave,
                term: running,
                ..
            } if *running == term => self.slave(seen, launcher),
            Process::Live { term: running, .. } => {
                self.kill(*running, Reason::TermChanged);
                Reason::TermChanged
            }
            Process::Idle | Process::Ended { .. } => self.rejoin(seen, launcher),
        }
    }

    /// Whether our history and the group's use one epoch for two terms, and nothing may be done about it now: they were
    /// written under two Leases, one of which came from a backup (H6). Only the word of who serves the other one makes
    /// ours the one that is given up; and where no acknowledged message may be lost, a person says so.
    fn forked(&self, seen: Seen<'_>) -> bool {
        let record = seen.record;
        let ours = self.volume().map(|v| &v.lineage);
        let forked = ours.is_some_and(|ours| ours.contradicts(&record.lineage));
        let promised = record.qos_enforced == Qos::NoneLost;
        forked && (promised || self.master_word(seen).is_none())
    }

    fn not_running(&mut self, why: Reason) -> Reason {
        if let Some(live) = self.any_live() {
            self.kill(live.term, why);
        }
        why
    }

    /// Looks again when the Lease could be free.
    fn watch_expiry(&mut self) {
        let Some(watch) = &self.next.watch else {
            return;
        };
        let at = watch
            .since
            .plus(self.policy.timing().take_wait)
            .minus(self.policy.collect);
        self.wake_at(at);
    }

    /// A running slave of this very term.
    fn slave(&mut self, seen: Seen<'_>, launcher: &Launcher) -> Reason {
        let term = seen.record.term.id;
        if self.hangs(seen.requests.paused) {
            self.kill(term, Reason::BrokerHung);
            return Reason::BrokerHung;
        }
        self.keep_slave();
        self.seeded();
        match launcher.upstream {
            Upstream::Diverged { term: of, .. } if of == term => {
                // The bytes themselves say what no history did: stop, and compare again from the start. The old proof is
                // void; while it stood, the broker would be started on this log again and again.
                if let Some(volume) = self.volume().filter(|v| v.joined.is_some())
                    && self.idle()
                {
                    self.persist(volume, volume.lineage.clone(), None, volume.seeding);
                }
                self.kill(term, Reason::Proving);
                return Reason::Proving;
            }
            Upstream::Connecting { term: of } | Upstream::Streaming { term: of } if of == term => {}
            Upstream::Parked
            | Upstream::Connecting { .. }
            | Upstream::Streaming { .. }
            | Upstream::Diverged { .. } => {
                let (holder, instance) =
                    (seen.record.term.master.clone(), seen.record.holder.clone());
                self.actions.push(Action::Attach {
                    term,
                    holder,
                    instance,
                });
            }
        }
        Reason::Following
    }

    /// A copy in the making is complete once the log reaches where the master's ended when it began.
    fn seeded(&mut self) {
        let Some(volume) = self.volume() else { return };
        let end = self.seen.broker.last().map(|b| b.end);
        if let (Some(until), Some(end)) = (volume.seeding, end)
            && end >= until
            && self.idle()
        {
            self.persist(volume, volume.lineage.clone(), volume.joined, None);
        }
    }

    fn persist(
        &mut self,
        volume: &Volume,
        lineage: crate::Lineage,
        joined: Option<TermId>,
        seeding: Option<Offset>,
    ) {
        let highest = self.next.highest.max(volume.highest_epoch);
        self.actions.push(Action::Persist {
            lineage,
            highest,
            joined,
            seeding,
        });
    }

    fn rejoin(&mut self, seen: Seen<'_>, launcher: &Launcher) -> Reason {
        let term = &seen.record.term;
        if !self.idle() {
            return Reason::JobRunning;
        }
        let examined = self.volume().and_then(|v| Some((v, v.extent?)));
        let Some((volume, extent)) = examined.filter(|(v, _)| v.pending_cut.is_none()) else {
            self.actions.push(Action::Examine);
            return Reason::VolumeUnknown;
        };
        if volume.joined == Some(term.id) {
            return self.start_slave(term.id, volume, extent, launcher);
        }
        match term.stage {
            Stage::Opening => return self.wait(volume, Reason::WaitingForMaster),
            Stage::Serving => {}
        }
        let Some(master) = self.master_word(seen) else {
            return self.wait(volume, Reason::WaitingForAnswer);
        };
        self.compare(seen, volume, extent, master)
    }

    /// Nothing to be done yet, but the epoch that the Lease shows is on the disk from here: after a restart of ours and a
    /// Lease out of a backup we would win it a second time (I2, H6).
    fn wait(&mut self, volume: &Volume, why: Reason) -> Reason {
        if self.next.highest > volume.highest_epoch {
            self.persist(
                volume,
                volume.lineage.clone(),
                volume.joined,
                volume.seeding,
            );
        }
        why
    }

    /// The holder's own word, authenticated, from the life and the term that the Lease names.
    fn master_word(&self, seen: Seen<'_>) -> Option<&'a Report> {
        let peer = self.seen.peers.get(&seen.record.term.master)?;
        let report = peer.answer.fresh(self.now.tick, self.policy.reading_age)?;
        let same =
            report.instance == seen.record.holder && report.term == Some(seen.record.term.id);
        let serves =
            report.role == Some(Role::Master) && report.log.is_some() && report.lineage.is_some();
        (same && serves).then_some(report)
    }

    fn compare(
        &mut self,
        seen: Seen<'_>,
        volume: &Volume,
        extent: Extent,
        master: &Report,
    ) -> Reason {
        let term = seen.record.term.id;
        let (Some(log), Some(lineage)) = (master.log, &master.lineage) else {
            return Reason::WaitingForAnswer;
        };
        let theirs = MasterLog {
            lineage,
            min: log.min,
            end: log.end,
        };
        match rejoin::plan(&volume.lineage, extent, theirs) {
            Plan::Empty => {
                let seeding = Some(log.end).filter(|end| *end > extent.end);
                self.join(volume, lineage.clone(), term, seeding)
            }
            Plan::Reseed => self.cut(seen, extent, Offset::ZERO, Reason::Reseed),
            Plan::Keep { keep, from } => {
                let proof = volume
                    .proof
                    .as_ref()
                    .filter(|p| p.term == term && p.upto == keep);
                let Some(proof) = proof else {
                    let holder = seen.record.term.master.clone();
                    self.actions.push(Action::Prove {
                        term,
                        holder,
                        from,
                        upto: keep,
                    });
                    return Reason::Proving;
                };
                if proof.equal <= extent.min.max(log.min) {
                    return self.cut(seen, extent, Offset::ZERO, Reason::Reseed);
                }
                if extent.end > proof.equal {
                    return self.cut(seen, extent, proof.equal, Reason::Cutting);
                }
                let seeding = volume.seeding.filter(|until| *until > extent.end);
                self.join(volume, lineage.clone(), term, seeding)
            }
        }
    }

    fn cut(&mut self, seen: Seen<'_>, extent: Extent, to: Offset, why: Reason) -> Reason {
        if seen.requests.paused {
            return Reason::Paused;
        }
        self.announce(Event::Diverged {
            keep: to,
            end: extent.end,
        });
        self.actions.push(Action::Cut {
            term: seen.record.term.id,
            to,
            end: extent.end,
        });
        why
    }

    /// The log is a prefix of the group's history: written down before anything is started.
    ///
    /// The whole of the master's history is taken over, also the terms that start above our end: our bytes will grow
    /// into them without another chance to note it (H29).
    fn join(
        &mut self,
        volume: &Volume,
        lineage: crate::Lineage,
        term: TermId,
        seeding: Option<Offset>,
    ) -> Reason {
        if let Some(until) = seeding.filter(|_| volume.seeding != seeding) {
            self.announce(Event::SlaveHollow { until });
        }
        self.persist(volume, lineage, Some(term), seeding);
        Reason::Joining
    }

    fn start_slave(
        &mut self,
        term: TermId,
        volume: &Volume,
        extent: Extent,
        launcher: &Launcher,
    ) -> Reason {
        if volume.repaired != Some(term) {
            // A torn tail left by a crash could come back to life after the next one (H27).
            self.actions.push(Action::Repair {
                term,
                end: extent.end,
            });
            return Reason::Repairing;
        }
        let permit = self.now.boot.plus(self.policy.slave_permit);
        let instance = launcher.instance.clone();
        self.actions.push(Action::Start {
            role: Role::Slave,
            term,
            instance,
            permit,
        });
        Reason::Joining
    }
}
