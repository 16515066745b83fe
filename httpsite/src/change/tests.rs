//! Every rule of the order of change, and what holds whatever happens.

use super::*;
use crate::name_server::HostNames;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

const RULES: Rules = Rules {
    overlap: Duration::from_secs(150),
    hold: Duration::from_secs(600),
    first_wait: Duration::from_secs(2),
};

fn at(seconds: u64) -> Tick {
    Tick::from_millis(seconds * 1000)
}

fn server(n: u8) -> NameServer {
    NameServer::parse(&format!("10.0.0.{n}:9876"), HostNames::Refused).unwrap()
}

fn set(numbers: &[u8]) -> ServerSet {
    numbers.iter().copied().map(server).collect()
}

fn says(numbers: &[u8]) -> Seen {
    Seen {
        words: vec![Word {
            servers: Some(set(numbers)),
            fault: None,
        }],
        ..Seen::default()
    }
}

fn with_health(mut seen: Seen, health: Health, numbers: &[u8]) -> Seen {
    seen.health
        .extend(numbers.iter().map(|n| (server(*n), health)));
    seen
}

fn shown(outcome: &Outcome) -> Vec<u8> {
    let servers = outcome.list.iter().flat_map(List::servers);
    servers
        .map(|server| (1..=250).find(|n| *server == self::server(*n)).unwrap())
        .collect()
}

fn change() -> Change {
    Change::new(RULES, None, at(0))
}

#[test]
fn rule_1_sources_add_up_and_a_failing_one_keeps_its_last_word() {
    let mut change = change();
    let mut seen = says(&[1]);
    seen.words.push(Word {
        servers: Some(set(&[2])),
        fault: Some("gone".to_owned()),
    });
    let outcome = change.step(&seen, at(0));
    assert_eq!(shown(&outcome), [1, 2]);
    assert!(!outcome.stale);
    seen.words[0].fault = Some("gone too".to_owned());
    let outcome = change.step(&seen, at(9_999));
    assert_eq!(shown(&outcome), [1, 2]);
    assert!(outcome.stale);
}

#[test]
fn rule_2_the_first_list_waits_for_all_sources_but_not_for_ever() {
    let mut change = change();
    let mut seen = says(&[1]);
    seen.words.push(Word::default());
    let outcome = change.step(&seen, at(1));
    assert_eq!(
        (outcome.list.is_none(), outcome.wake_at),
        (true, Some(at(2)))
    );
    assert_eq!(shown(&change.step(&seen, at(2))), [1]);
    let mut silent = Seen::default();
    silent.words.push(Word::default());
    let outcome = Change::new(RULES, None, at(0)).step(&silent, at(99));
    assert!(outcome.list.is_none() && outcome.stale);
}

#[test]
fn rule_3_additions_are_listed_at_once() {
    let mut change = change();
    change.step(&says(&[1]), at(0));
    assert_eq!(shown(&change.step(&says(&[1, 2, 3]), at(1))), [1, 2, 3]);
}

#[test]
fn rule_4_one_that_leaves_stays_for_the_overlap_while_it_answers() {
    let mut change = change();
    change.step(&says(&[1, 2, 3]), at(0));
    let outcome = change.step(&says(&[1, 3]), at(10));
    assert_eq!(shown(&outcome), [1, 2, 3]);
    assert_eq!(outcome.standing[&server(2)], Standing::Leaving);
    assert_eq!(outcome.wake_at, Some(at(160)));
    assert_eq!(shown(&change.step(&says(&[1, 3]), at(159))), [1, 2, 3]);
    assert_eq!(shown(&change.step(&says(&[1, 3]), at(160))), [1, 3]);
}

#[test]
fn rule_4_one_that_leaves_and_does_not_answer_goes_at_once() {
    let mut change = change();
    change.step(&says(&[1, 2, 3]), at(0));
    let seen = with_health(says(&[1, 3]), Health::Dead, &[2]);
    assert_eq!(shown(&change.step(&seen, at(10))), [1, 3]);
}

#[test]
fn rule_4_one_that_comes_back_leaves_no_more() {
    let mut change = change();
    change.step(&says(&[1, 2, 3]), at(0));
    change.step(&says(&[1, 3]), at(10));
    change.step(&says(&[1, 2, 3]), at(20));
    let outcome = change.step(&says(&[1, 2, 3]), at(999));
    assert_eq!(shown(&outcome), [1, 2, 3]);
    assert_eq!(outcome.standing[&server(2)], Standing::Wanted);
}

#[test]
fn rule_4_one_that_flaps_is_listed_all_the_time() {
    let mut change = change();
    change.step(&says(&[1, 2, 3]), at(0));
    for second in 1..1000 {
        let named: &[u8] = if second % 2 == 0 { &[1, 2, 3] } else { &[1, 3] };
        assert_eq!(shown(&change.step(&says(named), at(second))), [1, 2, 3]);
    }
}

#[test]
fn rule_5_a_suspicious_loss_is_held() {
    for left in [&[1_u8][..], &[]] {
        let mut change = change();
        change.step(&says(&[1, 2, 3]), at(0));
        let outcome = change.step(&says(left), at(10));
        assert_eq!(shown(&outcome), [1, 2, 3]);
        assert_eq!(outcome.standing[&server(2)], Standing::Held);
        assert_eq!(shown(&change.step(&says(left), at(609))), [1, 2, 3]);
        let after = change.step(&says(left), at(610));
        let wanted: &[u8] = if left.is_empty() { &[1, 2, 3] } else { left };
        assert_eq!(shown(&after), wanted, "never empty");
        assert_eq!(after.stale, left.is_empty());
    }
}

#[test]
fn rule_5_a_move_to_new_servers_and_a_step_from_two_to_one_are_not_suspicious() {
    let mut change = change();
    change.step(&says(&[1, 2, 3]), at(0));
    assert_eq!(shown(&change.step(&says(&[4, 5]), at(10))), [1, 2, 3, 4, 5]);
    assert_eq!(shown(&change.step(&says(&[4, 5]), at(160))), [4, 5]);
    assert_eq!(shown(&change.step(&says(&[4]), at(200))), [4, 5]);
    assert_eq!(shown(&change.step(&says(&[4]), at(350))), [4]);
}

#[test]
fn rule_6_one_that_fails_its_probe_is_left_out_and_comes_back() {
    let mut change = change();
    change.step(&says(&[1, 2]), at(0));
    let outcome = change.step(&with_health(says(&[1, 2]), Health::Dead, &[2]), at(1));
    assert_eq!(shown(&outcome), [1]);
    assert_eq!(outcome.standing[&server(2)], Standing::Dead);
    assert_eq!(shown(&change.step(&says(&[1, 2]), at(2))), [1, 2]);
}

#[test]
fn rule_7_where_all_are_dead_all_wanted_ones_are_listed() {
    let mut change = change();
    change.step(&says(&[1, 2, 3]), at(0));
    let seen = with_health(says(&[1, 2]), Health::Dead, &[1, 2, 3]);
    assert_eq!(shown(&change.step(&seen, at(10))), [1, 2]);
    let seen = with_health(says(&[]), Health::Dead, &[1, 2, 3]);
    assert!(!shown(&change.step(&seen, at(11))).is_empty());
}

#[test]
fn rule_7_a_leaving_one_that_answers_is_better_than_dead_ones() {
    let mut change = change();
    change.step(&says(&[1, 2]), at(0));
    let seen = with_health(says(&[2]), Health::Dead, &[2]);
    assert_eq!(shown(&change.step(&seen, at(10))), [1]);
    // Its time is over, and the one that is left is better than nothing.
    assert_eq!(shown(&change.step(&seen, at(160))), [2]);
}

#[test]
fn rule_8_the_override_is_exact_and_at_once() {
    let mut change = change();
    change.step(&says(&[1, 2, 3]), at(0));
    let mut seen = with_health(says(&[1, 2, 3]), Health::Dead, &[9]);
    seen.overriding = Some(set(&[9]));
    let outcome = change.step(&seen, at(1));
    assert_eq!(
        (shown(&outcome), outcome.origin),
        (vec![9], Origin::Override)
    );
    assert_eq!(shown(&change.step(&says(&[1, 2]), at(2))), [1, 2, 3]);
    // An empty one is none.
    let mut seen = says(&[1, 2]);
    seen.overriding = Some(ServerSet::new());
    assert_eq!(change.step(&seen, at(999)).origin, Origin::Sources);
}

#[test]
fn rule_9_a_list_from_disk_is_used_until_the_sources_have_spoken() {
    let kept = List::new(set(&[1, 2])).map(|list| Memory {
        list,
        exits: Exits::new(),
    });
    let mut change = Change::new(RULES, kept, at(0));
    let silent = Seen {
        words: vec![Word::default()],
        ..Seen::default()
    };
    for now in [0, 1, 99] {
        let outcome = change.step(&silent, at(now));
        assert_eq!(
            (shown(&outcome), outcome.origin),
            (vec![1, 2], Origin::Disk)
        );
        assert!(outcome.stale);
    }
    let outcome = change.step(&says(&[2, 3]), at(100));
    assert_eq!(
        (shown(&outcome), outcome.origin),
        (vec![1, 2, 3], Origin::Sources)
    );
}

fn seens() -> impl Strategy<Value = Seen> {
    let numbers = || btree_set(1_u8..6, 0..5);
    let word = (
        proptest::option::of(numbers()),
        proptest::option::of(Just("x".to_owned())),
    );
    let health = vec(
        prop_oneof![
            Just(Health::Alive),
            Just(Health::Dead),
            Just(Health::Unknown)
        ],
        5,
    );
    (
        vec(word, 1..3),
        proptest::option::weighted(0.1, numbers()),
        health,
    )
        .prop_map(|(words, overriding, health)| Seen {
            words: words
                .into_iter()
                .map(|(servers, fault)| Word {
                    servers: servers.map(|s| s.into_iter().map(server).collect()),
                    fault,
                })
                .collect(),
            overriding: overriding.map(|s| s.into_iter().map(server).collect()),
            health: (1..6).map(server).zip(health).collect(),
        })
}

proptest! {
    #[test]
    fn whatever_happens(steps in vec((seens(), 0_u64..300), 1..40)) {
        let mut change = change();
        let (mut now, mut had) = (0, false);
        for (seen, pause) in steps {
            now += pause;
            let outcome = change.step(&seen, at(now));
            // Once there is a list there always is one, and it is never empty.
            prop_assert!(!had || outcome.list.is_some());
            had |= outcome.list.is_some();
            if let Some(list) = &outcome.list {
                prop_assert!(!list.servers().is_empty());
                prop_assert!(list.servers().iter().all(|s| outcome.standing.contains_key(s)));
                // Every override is exact.
                if let Some(wish) = seen.overriding.as_ref().filter(|wish| !wish.is_empty()) {
                    prop_assert_eq!(list.servers(), wish);
                } else if outcome.origin == Origin::Sources {
                    // Rule 3: nothing that is wanted and not dead is missing.
                    let named = named(&seen.words).unwrap();
                    for server in named {
                        let dead = seen.health.get(&server) == Some(&Health::Dead);
                        prop_assert!(dead || list.has(&server), "{server} is missing");
                    }
                    // Rule 7: a dead one is listed only where all are dead.
                    let dead = |s: &NameServer| seen.health.get(s) == Some(&Health::Dead);
                    let listed = list.servers();
                    prop_assert!(listed.iter().all(|s| !dead(s)) || listed.iter().all(dead));
                }
            }
            // The same look at the same time changes nothing.
            prop_assert_eq!(change.step(&seen, at(now)), outcome.clone());
            prop_assert!(outcome.wake_at.is_none_or(|wake| wake > at(now)));
        }
    }
}
