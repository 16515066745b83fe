//! What must hold for every input.
#![allow(clippy::unwrap_used)] // proptest's generators are not seen as tests by the lint

use agent_core::observation::Extent;
use agent_core::rank::Rank;
use agent_core::record::{Qos, TermId};
use agent_core::rejoin::{MasterLog, Plan, plan};
use agent_core::{
    Epoch, Lineage, LineageEntry, Member, Nonce, Offset, Policy, State, Timing, Zone, decide,
};
use proptest::prelude::*;
use std::cmp::Ordering;

/// Small numbers collide, extreme ones overflow: both matter.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..6u64,
        Just(u64::MAX),
        Just(u64::MAX - 1),
        Just(1 << 31),
        Just((1 << 63) + 1),
        any::<u64>()
    ]
}

#[derive(Clone, Debug)]
struct Log {
    epoch: u64,
    end: u64,
    priority: i32,
    zone: Zone,
    member: Member,
}

fn log() -> impl Strategy<Value = Log> {
    (
        number(),
        number(),
        prop_oneof![Just(0), Just(i32::MIN), Just(i32::MAX), any::<i32>()],
        "[ab]?",
        "[a-c]",
    )
        .prop_map(|(epoch, end, priority, zone, member)| Log {
            epoch,
            end,
            priority,
            zone: Zone::new(zone),
            member: Member::new(member),
        })
}

fn rank(log: &Log) -> Rank<'_> {
    Rank {
        last_epoch: Epoch::new(log.epoch),
        end: Offset::new(log.end),
        priority: log.priority,
        zone: &log.zone,
        member: &log.member,
    }
}

prop_compose! {
    fn lineage()(mut epochs in prop::collection::btree_set(1..9u64, 0..6), nonces in prop::collection::vec(0..2u64, 6),
                 mut starts in prop::collection::vec(prop_oneof![0..5u64, number()], 6)) -> Lineage {
        starts.sort_unstable();
        let mut entries = Vec::new();
        for (i, epoch) in std::mem::take(&mut epochs).into_iter().enumerate() {
            let (epoch, nonce) = (Epoch::new(epoch), Nonce::new(nonces[i]));
            entries.push(LineageEntry { epoch, nonce, start: Offset::new(starts[i]), master: "a".into() });
        }
        Lineage::new(entries).unwrap()
    }
}

proptest! {
    #[test]
    fn rank_is_a_total_order(a in log(), b in log(), c in log()) {
        let (x, y, z) = (rank(&a), rank(&b), rank(&c));
        prop_assert_eq!(x.cmp(&y), y.cmp(&x).reverse());
        if x.cmp(&y) != Ordering::Greater && y.cmp(&z) != Ordering::Greater {
            prop_assert_ne!(x.cmp(&z), Ordering::Greater);
        }
        if x.cmp(&y) == Ordering::Equal {
            prop_assert_eq!(x, y);
        }
    }

    #[test]
    fn every_member_sees_the_same_order(logs in prop::collection::vec(log(), 1..5), seed in any::<usize>()) {
        let sorted = |mut logs: Vec<Log>| {
            logs.sort_by(|a, b| rank(a).cmp(&rank(b)));
            logs.iter().map(|l| (l.epoch, l.end, l.priority, l.zone.clone(), l.member.clone())).collect::<Vec<_>>()
        };
        let mut turned = logs.clone();
        turned.rotate_left(seed % logs.len());
        prop_assert_eq!(sorted(logs), sorted(turned));
    }

    /// Upstream elected the older replica when the gap passed 2 GiB (apache/rocketmq#10578).
    #[test]
    fn p10_the_longer_log_wins_at_any_distance(end in any::<u64>(), gap in 1..u64::MAX) {
        prop_assume!(end.checked_add(gap).is_some());
        let short = Log { epoch: 1, end, priority: i32::MAX, zone: "".into(), member: "a".into() };
        let long = Log { end: end + gap, priority: i32::MIN, member: "z".into(), ..short.clone() };
        prop_assert!(rank(&long) < rank(&short));
    }

    #[test]
    fn the_common_prefix_is_symmetric(a in lineage(), b in lineage(), end_a in number(), end_b in number()) {
        let (end_a, end_b) = (Offset::new(end_a), Offset::new(end_b));
        let there = a.common_prefix(end_a, &b, end_b);
        let back = b.common_prefix(end_b, &a, end_a);
        prop_assert_eq!(&there.1, &back.1);
        prop_assert!(there.1 <= end_a && there.1 <= end_b);
    }

    #[test]
    fn a_log_is_its_own_prefix(a in lineage(), end in number()) {
        let end = Offset::new(end);
        prop_assert_eq!(a.common_prefix(end, &a, end).1, end);
    }

    #[test]
    fn what_is_kept_lies_in_both_logs(a in lineage(), b in lineage(), ours in (number(), number()), theirs in (number(), number())) {
        let ours = Extent { min: Offset::new(ours.0.min(ours.1)), end: Offset::new(ours.0.max(ours.1)) };
        let (min, end) = (Offset::new(theirs.0.min(theirs.1)), Offset::new(theirs.0.max(theirs.1)));
        if let Plan::Keep { keep, from } = plan(&a, ours, MasterLog { lineage: &b, min, end }) {
            prop_assert!(keep <= ours.end && keep <= end && from < keep && from >= ours.min && from >= min);
        }
    }

    #[test]
    fn epochs_only_rise(a in lineage(), end in number(), epoch in number()) {
        let entry = LineageEntry { epoch: Epoch::new(epoch), nonce: Nonce::new(9), start: Offset::new(end), master: "b".into() };
        let next = a.extended(Offset::new(end), entry.clone());
        prop_assert!(Lineage::new(next.entries().to_vec()).is_ok());
        prop_assert_eq!(next.last(), Some(&entry));
        prop_assert!(Epoch::new(epoch).next() > Epoch::new(epoch) || epoch == u64::MAX);
        let thousand = Epoch::new(epoch).next_thousand();
        prop_assert!(thousand > Epoch::new(epoch) || epoch >= u64::MAX - 1000);
    }

    #[test]
    fn a_policy_is_safe_or_refused(wait in 0..60_000u64, permit in 0..60_000u64, kill in 0..10_000u64, drift in 0..600u32) {
        use std::time::Duration;
        let ms = Duration::from_millis;
        let timing = Timing { take_wait: ms(wait), permit: ms(permit), kill: ms(kill), drift_permille: drift, ..Timing::default() };
        if let Ok(policy) = Policy::new(timing, Qos::Async) {
            let t = policy.timing();
            let rho = f64::from(t.drift_permille) / 1000.0;
            prop_assert!(t.permit.as_secs_f64() / (1.0 - rho) + t.kill.as_secs_f64() < t.take_wait.as_secs_f64() / (1.0 + rho));
        }
    }
}

/// Unknown never enables anything (I7): with nothing read, nothing is done.
#[test]
fn nothing_seen_nothing_done() {
    use agent_core::observation::{Job, Me, Observation, Reading, Stopping};
    let me = Me {
        member: "a".into(),
        zone: "".into(),
        priority: 0,
        expected: ["a".into()].into(),
        no_failover: false,
        containers: Vec::new(),
        addresses: Default::default(),
        version: String::new(),
    };
    let seen = Observation {
        me,
        lease: Reading::Unknown,
        write: None,
        volume: Reading::Unknown,
        launcher: Reading::Unknown,
        broker: Reading::Unknown,
        hung: None,
        peers: Default::default(),
        job: Job::Idle,
        stopping: Stopping::No,
        nonce: Nonce::new(1),
    };
    let policy = Policy::new(Timing::default(), Qos::Async).unwrap();
    let decision = decide(&State::default(), &seen, Default::default(), &policy);
    assert_eq!(decision.actions, Vec::new());
    assert_eq!(TermId::default().epoch, Epoch::new(0));
}
