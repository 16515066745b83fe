//! Who may stand, and in which order (safety rules 1.3, step 3).

use crate::ids::{Epoch, Member};
use crate::observation::Extent;
use crate::rank::Rank;
use crate::reason::Reason;
use crate::record::{GroupRecord, MemberSession, Qos, Replication};
use crate::report::{Electable, Report};
use crate::{Lineage, Offset, VolumeId, Zone, rejoin};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// A member's frozen answer for one vacancy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who, in which life, on which volume.
    pub who: MemberSession,
    /// Its zone.
    pub zone: Zone,
    /// Set by its operator.
    pub priority: i32,
    /// May it stand.
    pub electable: Electable,
    /// The last term that wrote into its log.
    pub last_epoch: Epoch,
    /// Its log.
    pub log: Extent,
    /// A new volume: no byte, no term.
    pub blank: bool,
    /// The terms it knows.
    pub lineage: Lineage,
}

impl Answer {
    /// A peer's report as an answer, if it is frozen for this vacancy and complete.
    pub fn of(report: &Report, vacancy: &crate::record::Tuple) -> Option<Self> {
        let frozen = report.frozen.as_ref().filter(|f| f.vacancy == *vacancy)?;
        let log = report.log?;
        Some(Self {
            who: report.who.clone(),
            zone: report.zone.clone(),
            priority: report.priority,
            electable: report.electable,
            last_epoch: frozen.last_epoch,
            log: Extent {
                min: log.min,
                end: frozen.end,
            },
            blank: report.blank,
            lineage: report.lineage.clone().unwrap_or_default(),
        })
    }

    fn rank(&self) -> Rank<'_> {
        Rank {
            last_epoch: self.last_epoch,
            end: self.log.end,
            priority: self.priority,
            zone: &self.zone,
            member: &self.who.member,
        }
    }

    fn may_stand(&self, floor: Offset) -> bool {
        self.electable == Electable::Yes && !rejoin::hollow(floor, self.log)
    }
}

/// What an election is decided on.
#[derive(Debug)]
pub struct Ballot<'a> {
    /// The record of the vacancy; absent where the Lease is absent or gives no rights.
    pub record: Option<&'a GroupRecord>,
    /// In force.
    pub qos: Qos,
    /// Everybody who belongs to the group.
    pub members: &'a BTreeSet<Member>,
    /// Who answered, frozen for this vacancy.
    pub answers: &'a BTreeMap<Member, Answer>,
    /// Whether any member, present or not, is known to have had a term.
    pub history: bool,
}

impl Ballot<'_> {
    /// The first offset that anybody is known to hold.
    fn floor(&self) -> Offset {
        let held = self
            .answers
            .values()
            .filter(|a| !a.log.is_empty())
            .map(|a| a.log.min);
        held.chain(self.record.map(|r| r.log_min))
            .min()
            .unwrap_or_default()
    }
}

/// How an election stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// These may stand, best first.
    Order {
        /// Members, best first.
        order: Vec<Member>,
        /// Nothing that is still missing could change it; otherwise the collect time is waited out (H33).
        sure: bool,
        /// Acknowledged messages may be missing from the first one.
        loss: bool,
    },
    /// Nobody may stand now.
    Nobody(Reason),
    /// The Lease is gone and members are missing: these may stand after a long wait.
    Missing(Vec<Member>),
}

/// Judges the answers.
pub fn judge(ballot: &Ballot<'_>) -> Verdict {
    let complete = ballot
        .members
        .iter()
        .all(|m| ballot.answers.contains_key(m));
    let Some(record) = ballot.record else {
        return without_record(ballot, complete);
    };
    let Some(replication) = &record.replication else {
        return before_first_term(ballot, complete);
    };
    let entitled = entitled(replication, ballot);
    if ballot.qos == Qos::NoneLost {
        return strict(entitled, replication, ballot);
    }
    let by_right = !entitled.is_empty();
    let mut order = entitled;
    let others = ranked(ballot, |a| !a.blank && !order.contains(&a.who.member));
    order.extend(others);
    if order.is_empty() {
        return Verdict::Nobody(Reason::NoCandidate);
    }
    Verdict::Order {
        order,
        sure: by_right || complete,
        loss: !by_right,
    }
}

/// Who is known to hold every acknowledged message, best first: the last serving master with its life unbroken, or
/// the best of a quorum of K (H16 to H18). A winner below the confirmed offset, or that does not know the record's
/// term, is refused (H25).
fn entitled(r: &Replication, ballot: &Ballot<'_>) -> Vec<Member> {
    let (answers, floor) = (ballot.answers, ballot.floor());
    let knows = |a: &Answer| a.log.end >= r.confirmed && a.lineage.has_term(r.term);
    if let Some(master) = answers.get(&r.master.member)
        && master.who == r.master
        && master.may_stand(floor)
        && knows(master)
    {
        return [r.master.member.clone()].into();
    }
    let mut quorum: Vec<&Answer> = answers
        .values()
        .filter(|a| r.members.contains(&a.who))
        .collect();
    let acks = usize::try_from(r.acks).unwrap_or(usize::MAX);
    // |frozen∩K| ≥ |K|−k+1. With k = 0 nobody in K needs to have anything, and the quorum cannot be met.
    if acks == 0 || quorum.len().saturating_add(acks) <= r.members.len() {
        return Vec::new();
    }
    quorum.sort_by(|a, b| a.rank().cmp(&b.rank()));
    if acks < r.members.len() {
        quorum.truncate(1);
    }
    quorum
        .into_iter()
        .filter(|a| a.may_stand(floor) && knows(a))
        .map(|a| a.who.member.clone())
        .collect()
}

/// QoS 2: only who is entitled; or, when everybody the record names is back with the volume it names and nobody's
/// life is unbroken, the best of all (H26).
fn strict(entitled: Vec<Member>, r: &Replication, ballot: &Ballot<'_>) -> Verdict {
    if !entitled.is_empty() {
        return Verdict::Order {
            order: entitled,
            sure: true,
            loss: false,
        };
    }
    let named = core::iter::once(&r.master).chain(&r.members);
    let back = |m: &MemberSession| {
        let volume: Option<&VolumeId> = ballot.answers.get(&m.member).map(|a| &a.who.volume);
        volume == Some(&m.volume)
    };
    if !named.clone().all(back) {
        return Verdict::Nobody(Reason::NoCandidate);
    }
    let order = ranked(ballot, |a| !a.blank);
    if order.is_empty() {
        return Verdict::Nobody(Reason::NoCandidate);
    }
    Verdict::Order {
        order,
        sure: true,
        loss: true,
    }
}

/// No Lease, or one that gives no rights: a group is founded only when everybody answered and nobody has anything
/// (H7); with data, the best log of all. A blank member never wins over data.
fn without_record(ballot: &Ballot<'_>, complete: bool) -> Verdict {
    let data = ballot.history || ballot.answers.values().any(|a| !a.blank);
    if !data {
        return before_first_term(ballot, complete);
    }
    let order = ranked(ballot, |a| !a.blank);
    if order.is_empty() || (!complete && ballot.qos == Qos::NoneLost) {
        return Verdict::Nobody(Reason::MembersMissing);
    }
    if complete {
        Verdict::Order {
            order,
            sure: true,
            loss: false,
        }
    } else {
        Verdict::Missing(order)
    }
}

/// Nothing was ever served: nobody can lose anything, but a member that is missing may know better.
fn before_first_term(ballot: &Ballot<'_>, complete: bool) -> Verdict {
    if !complete {
        return Verdict::Nobody(Reason::MembersMissing);
    }
    let order = ranked(ballot, |_| true);
    if order.is_empty() {
        return Verdict::Nobody(Reason::NoCandidate);
    }
    Verdict::Order {
        order,
        sure: true,
        loss: false,
    }
}

fn ranked(ballot: &Ballot<'_>, fits: impl Fn(&Answer) -> bool) -> Vec<Member> {
    let floor = ballot.floor();
    let mut fit: Vec<&Answer> = ballot
        .answers
        .values()
        .filter(|a| a.may_stand(floor) && fits(a))
        .collect();
    fit.sort_by(|a, b| a.rank().cmp(&b.rank()));
    fit.into_iter().map(|a| a.who.member.clone()).collect()
}
