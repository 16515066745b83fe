//! The local acker: what a synchronous master's broker hears while no slave need acknowledge, and where that ends.

use crate::fakes::{FakeMaster, history, stays, until};
use crate::rig::{FOREVER, MasterEnd, SlaveEnd, TERM};
use relay::clock::boottime_ms;
use relay::{LocalAck, LocalAckState, LocalAckStatus, MasterOrders, Term};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

const A_WHILE: Duration = Duration::from_millis(250);
const END: u64 = 300_000;

/// A master without slaves whose relay acknowledges everything itself.
fn alone() -> (MasterEnd, MasterOrders) {
    let master = MasterEnd::new(0, &history(300_000, 1), 0);
    let orders = MasterOrders {
        local_ack: LocalAck::On,
        ..master.orders(0)
    };
    master.relay.order(Some(orders.clone()));
    (master, orders)
}

/// Sets the flag when it is dropped.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

fn off(orders: &MasterOrders) -> MasterOrders {
    MasterOrders {
        local_ack: LocalAck::Off,
        ..orders.clone()
    }
}

fn status(master: &MasterEnd) -> LocalAckStatus {
    master.relay.status().local_ack.unwrap()
}

fn is_told(broker: &FakeMaster) -> bool {
    broker.told() == broker.end()
}

#[test]
fn without_a_slave_everything_is_acknowledged_at_once() {
    let (master, _) = alone();
    for seed in 2..6 {
        master.broker.append(&history(100_000, seed));
        until("all of it is told", || is_told(&master.broker));
    }
    let expected = LocalAckStatus {
        state: LocalAckState::Acking,
        up_to: 700_000,
        stopped_at: None,
    };
    assert_eq!(status(&master), expected);
    assert_eq!(master.broker.connections(), 1);
}

#[test]
fn an_older_agents_orders_and_an_older_launchers_status_are_understood() {
    let (master, orders) = alone();
    let mut text = serde_json::to_value(&orders).unwrap();
    assert_eq!(text["local_ack"], "on");
    text.as_object_mut().unwrap().remove("local_ack");
    assert_eq!(
        serde_json::from_value::<MasterOrders>(text).unwrap(),
        off(&orders)
    );
    let mut text = serde_json::to_value(master.relay.status()).unwrap();
    text.as_object_mut().unwrap().remove("local_ack");
    let status: relay::MasterStatus = serde_json::from_value(text).unwrap();
    assert_eq!(status.local_ack, None);
}

#[test]
fn stopped_it_says_where_and_the_next_byte_needs_a_slave() {
    let (master, orders) = alone();
    master.broker.append(&history(1000, 2));
    until("told", || is_told(&master.broker));
    master.relay.order(Some(off(&orders)));
    let stopped = LocalAckStatus {
        state: LocalAckState::Off,
        up_to: END + 1000,
        stopped_at: Some(END + 1000),
    };
    assert_eq!(status(&master), stopped);
    master.broker.append(&history(1, 3));
    assert!(stays(A_WHILE, || master.broker.told() == END + 1000));
    assert_eq!(status(&master), stopped);

    let slave = SlaveEnd::new(&master.broker.bytes()[..300_000]);
    slave.follow(&master);
    until("the slave's word counts", || is_told(&master.broker));
    // What the slave acknowledges does not move the border.
    assert_eq!(status(&master), stopped);
}

#[test]
fn under_load_nothing_above_the_border_is_ever_told() {
    let (master, orders) = alone();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        // Also when an assertion fails, or the scope would wait for ever.
        let _end = Ended(&done);
        scope.spawn(|| {
            let mut seed = 2;
            while !done.load(SeqCst) {
                master.broker.append(&history(300, seed));
                seed += 1;
                thread::park_timeout(Duration::from_millis(1));
            }
        });
        for _ in 0..20 {
            let before = status(&master).up_to;
            until("it acknowledges", || status(&master).up_to > before);
            master.relay.order(Some(off(&orders)));
            let border = status(&master).stopped_at.unwrap();
            let end = master.broker.end();
            until("the log grows on", || master.broker.end() > end);
            assert!(stays(Duration::from_millis(10), || master.broker.told() <= border));
            assert_eq!(status(&master).stopped_at, Some(border));
            master.relay.order(Some(orders.clone()));
        }
    });
    until("loosened, what waited is released", || {
        is_told(&master.broker)
    });
}

#[test]
fn the_end_of_the_permit_ends_it_and_a_longer_one_goes_on() {
    let (master, orders) = alone();
    let next = Term { epoch: 8, nonce: 1 };
    master.relay.order(Some(MasterOrders {
        term: next,
        ..orders
    }));
    assert!(stays(A_WHILE, || status(&master).state == LocalAckState::Waiting));
    let permit_end = boottime_ms() + 1_000;
    assert!(master.relay.permit(next, permit_end));
    master.broker.append(&history(1000, 2));
    until("acknowledged under the permit", || is_told(&master.broker));
    until("the permit ends", || boottime_ms() >= permit_end);
    master.broker.append(&history(1000, 3));
    assert!(stays(A_WHILE, || master.broker.told() == END + 1000));
    assert_eq!(
        (status(&master).state, status(&master).up_to),
        (LocalAckState::Waiting, END + 1000)
    );
    assert!(!master.relay.permit(TERM, FOREVER));
    assert!(stays(Duration::from_millis(50), || master.broker.told()
        == END + 1000));
    assert!(master.relay.permit(next, FOREVER));
    until("it goes on", || is_told(&master.broker));
}

#[test]
fn a_lost_connection_to_the_broker_is_opened_again() {
    let (master, _) = alone();
    until("it acknowledges", || {
        status(&master).state == LocalAckState::Acking
    });
    for seed in 2..5 {
        let connections = master.broker.connections();
        master.broker.cut();
        master.broker.append(&history(200_000, seed));
        until("all of it is told", || is_told(&master.broker));
        until("by a new connection", || {
            master.broker.connections() > connections
                && status(&master).state == LocalAckState::Acking
        });
    }
    // The new request begins where the log was known to reach: never above it.
    assert!(master.broker.last_request() >= END);
}

#[test]
fn where_slaves_must_acknowledge_it_stays_off() {
    let (master, orders) = alone();
    until("it acknowledges", || {
        status(&master).state == LocalAckState::Acking
    });
    master.relay.order(Some(MasterOrders { k: 1, ..orders }));
    assert_eq!(status(&master).state, LocalAckState::Off);
    let border = status(&master).stopped_at.unwrap();
    master.broker.append(&history(1000, 2));
    assert!(stays(A_WHILE, || master.broker.told() <= border));
}

#[test]
fn without_orders_it_is_silent() {
    let (master, orders) = alone();
    until("it acknowledges", || {
        status(&master).state == LocalAckState::Acking
    });
    master.relay.order(None);
    assert_eq!(master.relay.status().local_ack, None);
    master.broker.append(&history(1000, 2));
    assert!(stays(A_WHILE, || master.broker.told() == END));
    master.relay.order(Some(orders));
    until("it goes on", || is_told(&master.broker));
}

#[test]
fn slaves_keep_their_connections_when_it_comes_and_goes() {
    let (master, orders) = alone();
    let slave = SlaveEnd::new(&history(300_000, 1));
    slave.follow(&master);
    for seed in 2..5 {
        master.relay.order(Some(off(&orders)));
        master.broker.append(&history(1000, seed));
        until("by the slave", || is_told(&master.broker));
        master.relay.order(Some(orders.clone()));
        master.broker.append(&history(1000, seed + 10));
        until("by either", || is_told(&master.broker));
    }
    slave.catch_up(&master);
    assert_eq!(master.relay.status().admitted_total, 1);
    assert_eq!(slave.broker.bytes(), master.broker.bytes());
}

/// The k-rule's border too: what fewer slaves acknowledged under a smaller k lies at or below it.
#[test]
fn a_larger_k_moves_the_border_to_what_was_told_before() {
    let (master, orders) = alone();
    master.relay.order(Some(off(&orders)));
    let (one, other) = (
        SlaveEnd::named("b", &history(300_000, 1)),
        SlaveEnd::named("c", &history(300_000, 1)),
    );
    one.follow(&master);
    other.follow(&master);
    other.broker.freeze(true);
    master.broker.append(&history(1000, 2));
    until("one is enough", || is_told(&master.broker));
    master.relay.order(Some(MasterOrders {
        k: 2,
        ..off(&orders)
    }));
    assert_eq!(status(&master).stopped_at, Some(END + 1000));
    master.broker.append(&history(1000, 3));
    assert!(stays(A_WHILE, || master.broker.told() == END + 1000));
    other.broker.freeze(false);
    until("both have it", || is_told(&master.broker));
}
