//! Which acknowledgements the master's broker hears.

use crate::fakes::{history, stays, until};
use crate::rig::{FOREVER, MasterEnd, SlaveEnd, TERM, peer};
use relay::clock::boottime_ms;
use relay::{ConnectionState, MasterOrders, Peer, Session, Term};
use std::time::Duration;

const A_WHILE: Duration = Duration::from_millis(250);

/// A master that needs `k` of two level slaves.
fn three(k: u32) -> (MasterEnd, SlaveEnd, SlaveEnd) {
    let log = history(300_000, 1);
    let master = MasterEnd::new(0, &log, k);
    let (one, other) = (SlaveEnd::named("b", &log), SlaveEnd::named("c", &log));
    one.follow(&master);
    other.follow(&master);
    until("both are level", || level(&master, 300_000) == 2);
    (master, one, other)
}

/// How many slaves have acknowledged up to `offset`.
fn level(master: &MasterEnd, offset: u64) -> usize {
    master
        .relay
        .status()
        .connections
        .iter()
        .filter(|connection| connection.acked == Some(offset))
        .count()
}

#[test]
fn at_k_1_one_slave_is_enough() {
    let (master, _one, other) = three(1);
    other.broker.freeze(true);
    master.broker.append(&history(1000, 2));
    until("the first slave's word counts", || {
        master.broker.told() == 301_000
    });
}

#[test]
fn at_k_2_both_must_have_it() {
    let (master, one, other) = three(2);
    until("what both have is told", || master.broker.told() == 300_000);
    other.broker.freeze(true);
    master.broker.append(&history(1000, 2));
    until("one has it", || level(&master, 301_000) == 1);
    assert!(stays(A_WHILE, || master.broker.told() == 300_000));
    other.broker.freeze(false);
    until("both have it", || master.broker.told() == 301_000);
    drop(one);
}

/// A first report is an acknowledgement too (rmq/RELAY R4).
#[test]
fn a_slave_that_connects_again_in_a_waiting_send_acknowledges_nothing_by_it() {
    let (master, one, other) = three(2);
    until("what both have is told", || master.broker.told() == 300_000);
    other.broker.freeze(true);
    // More than the length of a proof, so that only the cap can hold the request back.
    master.broker.append(&history(100_000, 2));
    until("one has it", || {
        one.broker.end() == 400_000 && level(&master, 400_000) == 1
    });
    let connections = master.broker.connections();
    one.broker.cut();
    until("it is back", || {
        master.broker.connections() > connections && level(&master, 400_000) == 1
    });
    assert_eq!(master.broker.last_request(), 300_000);
    assert!(stays(A_WHILE, || master.broker.told() == 300_000));
    other.broker.freeze(false);
    until("both have it", || master.broker.told() == 400_000);
    assert_eq!(one.broker.bytes(), master.broker.bytes());
}

#[test]
fn at_k_2_a_single_slave_is_not_enough() {
    let log = history(300_000, 1);
    let (master, slave) = (MasterEnd::new(0, &log, 2), SlaveEnd::new(&log));
    slave.follow(&master);
    master.broker.append(&history(1000, 2));
    slave.catch_up(&master);
    until("its word has arrived", || level(&master, 301_000) == 1);
    assert!(stays(A_WHILE, || master.broker.told() <= 300_000));
    master.relay.order(Some(MasterOrders {
        k: 1,
        start: 300_000,
        ..master.orders(1)
    }));
    until("a lower k releases it", || master.broker.told() == 301_000);
}

#[test]
fn the_end_of_the_permit_ends_the_acknowledgements_not_the_stream() {
    let log = history(300_000, 1);
    let (master, slave) = (MasterEnd::new(0, &log, 1), SlaveEnd::new(&log));
    let next = Term { epoch: 8, nonce: 1 };
    master.relay.order(Some(MasterOrders {
        term: next,
        ..master.orders(1)
    }));
    let permit_end = boottime_ms() + 400;
    assert!(master.relay.permit(next, permit_end));
    let attach = relay::Attach {
        term: next,
        ..slave.attach_orders(master.relay.listen())
    };
    slave
        .relay
        .order(relay::SlaveOrders::Attach(Box::new(attach)));
    slave.catch_up(&master);
    master.broker.append(&history(1000, 2));
    until("acknowledged under the permit", || {
        master.broker.told() == 301_000
    });
    until("the permit ends", || boottime_ms() >= permit_end);
    master.broker.append(&history(1000, 3));
    until("the bytes still arrive", || level(&master, 302_000) == 1);
    assert!(stays(A_WHILE, || master.broker.told() == 301_000));
    assert!(
        master.relay.permit(next, permit_end - 100),
        "an earlier end is no error, and no permit"
    );
    assert!(stays(Duration::from_millis(50), || master.broker.told()
        == 301_000));
    assert!(master.relay.permit(next, FOREVER));
    until("a longer permit releases what waited", || {
        master.broker.told() == 302_000
    });
    assert!(!master.relay.permit(TERM, FOREVER));
}

/// The broker takes the last report of one read as the request (rmq/RELAY R1, trap 2).
#[test]
fn nothing_follows_the_request_before_the_first_frame() {
    let log = history(300_000, 1);
    let (master, slave) = (MasterEnd::new(0, &log, 0), SlaveEnd::new(&log));
    master.broker.mute(true);
    slave.attach(master.relay.listen());
    until("the request is out", || master.broker.last_request() > 0);
    let waiting = || {
        master
            .relay
            .status()
            .connections
            .first()
            .is_some_and(|connection| connection.state == ConnectionState::Requested)
    };
    assert!(stays(A_WHILE, || master.broker.told() == 300_000 - 65_536
        && waiting()));
    master.broker.mute(false);
    until("then it is acknowledged", || {
        master.broker.told() == 300_000
    });
}

#[test]
fn after_the_orders_are_withdrawn_the_broker_hears_nothing() {
    let log = history(300_000, 1);
    let (master, slave) = (MasterEnd::new(0, &log, 0), SlaveEnd::new(&log));
    let orders = master.orders(0);
    slave.follow(&master);
    until("level", || master.broker.told() == 300_000);
    master.relay.order(None);
    master.broker.append(&history(1000, 2));
    assert!(stays(A_WHILE, || master.broker.told() == 300_000
        && slave.broker.end() == 300_000));
    // The term's permit is remembered.
    master.relay.order(Some(orders));
    until("it goes on", || master.broker.told() == 301_000);
}

/// Safety H16: a slave that is connected but not of K never makes up the number, and is not connected for long.
#[test]
fn h16_a_slave_outside_k_does_not_count() {
    let (master, one, other) = three(1);
    one.broker.freeze(true);
    master.relay.order(Some(MasterOrders {
        admit: vec![peer("b")],
        start: 300_000,
        ..master.orders(1)
    }));
    let left = master.relay.status().connections;
    assert!(left.iter().all(|connection| connection.peer() == peer("b")));
    master.broker.append(&history(1000, 2));
    assert!(stays(A_WHILE, || master.broker.told() == 300_000));
    assert_eq!(other.broker.end(), 300_000, "it still gets the log");
    one.broker.freeze(false);
    until("the admitted one counts", || {
        master.broker.told() == 301_000
    });
}

/// Safety H17: with two in K and k = 2 a 4.9 broker, which any one slave satisfies, hears nothing of one alone.
#[test]
fn h17_any_one_slave_is_not_all_of_k() {
    let (master, one, other) = three(2);
    until("what both have is told", || master.broker.told() == 300_000);
    other.freeze();
    master.broker.append(&history(1000, 2));
    until("one has it", || level(&master, 301_000) == 1);
    assert!(stays(A_WHILE, || master.broker.told() == 300_000));
    drop(one);
}

/// Safety H25: a renewed session is another peer. The old one's acknowledgements are gone with its connection.
#[test]
fn h25_a_new_session_must_be_admitted_anew() {
    let (master, one, other) = three(2);
    let renewed = Peer {
        session: Session::new("s2"),
        ..peer("c")
    };
    master.relay.order(Some(MasterOrders {
        admit: vec![peer("b"), renewed],
        start: 300_000,
        ..master.orders(2)
    }));
    master.broker.append(&history(1000, 2));
    until("one has it", || level(&master, 301_000) == 1);
    assert!(stays(A_WHILE, || master.broker.told() == 300_000));
    until("the old life is refused", || {
        master.relay.status().refused.contains_key("not_admitted")
    });
    drop((one, other));
}

/// Safety H42, as far as the relay goes: K and k shrink by orders only. A member that is gone holds acknowledgements up
/// until the holder leaves it out.
#[test]
fn h42_a_lost_member_counts_until_it_is_left_out() {
    let (master, one, other) = three(2);
    until("what both have is told", || master.broker.told() == 300_000);
    drop(other);
    until("its connection is gone", || {
        master.relay.status().connections.len() == 1
    });
    master.broker.append(&history(1000, 2));
    until("one has it", || level(&master, 301_000) == 1);
    assert!(stays(A_WHILE, || master.broker.told() == 300_000));
    master.relay.order(Some(MasterOrders {
        admit: vec![peer("b")],
        start: 300_000,
        ..master.orders(1)
    }));
    until("the smaller K is enough", || {
        master.broker.told() == 301_000
    });
    drop(one);
}

#[test]
fn more_acknowledgements_than_members_are_never_there() {
    let (master, one, other) = three(3);
    master.broker.append(&history(1000, 2));
    until("both have it", || level(&master, 301_000) == 2);
    assert!(stays(A_WHILE, || master.broker.told() <= 300_000));
    drop((one, other));
}
