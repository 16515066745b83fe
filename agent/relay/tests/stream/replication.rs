//! The stream as it should be: catch up, park, resume, full history, window.

use crate::fakes::{FILE_SIZE, FakeSlave, history, stays, until};
use crate::rig::{ANY_PORT, MasterEnd, SlaveEnd, attach_orders, group, key, quick};
use relay::{ConnectionState, SlaveOrders, SlaveRelay, SlaveState};
use std::time::Duration;

#[test]
fn a_slave_catches_up_is_proved_and_acknowledges() {
    let log = history(900_000, 1);
    let (master, slave) = (MasterEnd::new(0, &log, 0), SlaveEnd::new(&log[..300_000]));
    slave.follow(&master);
    assert_eq!(slave.broker.bytes(), log);
    until("the master hears of it", || master.broker.told() == 900_000);

    master.broker.append(&history(50_000, 2));
    until("new bytes are acknowledged", || {
        master.broker.told() == 950_000
    });
    assert_eq!(slave.broker.bytes(), master.broker.bytes());

    let (here, there) = (slave.relay.status(), master.relay.status());
    assert_eq!((here.proved, here.bytes_total), (65_536, 650_000));
    assert_eq!(
        (here.reported, here.forwarded, here.master_min),
        (Some(950_000), Some(950_000), Some(0))
    );
    let [connection] = there.connections.as_slice() else {
        panic!("one connection expected: {there:?}")
    };
    assert_eq!(
        (connection.state, connection.acked, connection.lag),
        (ConnectionState::Streaming, Some(950_000), 0)
    );
    assert_eq!(
        (connection.forwarded_acks, connection.sent),
        (950_000, 950_000)
    );
    assert_eq!(slave.broker.refused_frames(), 0);
}

#[test]
fn the_statuses_survive_the_launchers_socket() {
    let log = history(10_000, 1);
    let (master, slave) = (MasterEnd::new(0, &log, 0), SlaveEnd::new(&log));
    slave.follow(&master);
    let (here, there) = (slave.relay.status(), master.relay.status());
    assert_eq!(
        serde_json::from_str::<relay::SlaveStatus>(&serde_json::to_string(&here).unwrap()).unwrap(),
        here
    );
    assert_eq!(
        serde_json::from_str::<relay::MasterStatus>(&serde_json::to_string(&there).unwrap())
            .unwrap(),
        there
    );
    let orders = Some(master.orders(1));
    assert_eq!(
        serde_json::from_str::<Option<relay::MasterOrders>>(
            &serde_json::to_string(&orders).unwrap()
        )
        .unwrap(),
        orders
    );
    let orders = SlaveOrders::Attach(Box::new(slave.attach_orders(master.relay.listen())));
    assert_eq!(
        serde_json::from_str::<SlaveOrders>(&serde_json::to_string(&orders).unwrap()).unwrap(),
        orders
    );
}

#[test]
fn a_parked_slave_keeps_its_connection_and_gets_no_bytes() {
    let log = history(400_000, 1);
    let (master, slave) = (MasterEnd::new(0, &log, 0), SlaveEnd::new(&log));
    slave.follow(&master);
    let end = slave.freeze();
    until("the master's side closes", || {
        master.relay.status().connections.is_empty()
    });
    let (heartbeats, connects) = (slave.broker.heartbeats(), slave.broker.connects());
    master.broker.append(&history(100_000, 2));
    until("heartbeats go on", || {
        slave.broker.heartbeats() > heartbeats + 3
    });
    assert_eq!(
        (slave.broker.end(), slave.broker.connects()),
        (end, connects)
    );

    slave.follow(&master);
    assert_eq!(slave.broker.connects(), connects);
    assert_eq!(slave.broker.bytes(), master.broker.bytes());
}

#[test]
fn parking_in_mid_stream_freezes_at_what_was_forwarded() {
    let log = history(40_000_000, 1);
    let (master, slave) = (MasterEnd::new(0, &log, 0), SlaveEnd::new(&log[..100_000]));
    slave.attach(master.relay.listen());
    until("bytes flow", || slave.broker.end() > 1_000_000);
    let end = slave.freeze();
    assert!(
        end < 40_000_000,
        "the whole log passed before it could be parked"
    );
    assert_eq!(slave.broker.end(), end);
    assert!(stays(Duration::from_millis(150), || slave.broker.end() == end));
    assert_eq!(slave.broker.bytes(), log[..end as usize]);
    assert_eq!(slave.broker.refused_frames(), 0);
}

#[test]
fn equal_orders_given_again_change_nothing() {
    let log = history(100_000, 1);
    let (master, slave) = (MasterEnd::new(0, &log, 0), SlaveEnd::new(&log));
    let orders = master.orders(0);
    slave.follow(&master);
    for _ in 0..5 {
        slave.attach(master.relay.listen());
        master.relay.order(Some(orders.clone()));
    }
    master.broker.append(&history(1000, 2));
    slave.catch_up(&master);
    assert_eq!(
        (slave.relay.status().attaches, master.broker.connections()),
        (1, 1)
    );
}

#[test]
fn an_empty_slave_gets_the_whole_history() {
    let log = history(3 * FILE_SIZE as usize + 1234, 1);
    let (master, slave) = (MasterEnd::new(0, &log, 0), SlaveEnd::new(&[]));
    slave.follow(&master);
    assert_eq!((slave.broker.min(), master.broker.last_request()), (0, 1));
    assert_eq!(slave.broker.bytes(), log);
}

#[test]
fn an_empty_slave_begins_where_the_master_begins() {
    let (min, log) = (5 * FILE_SIZE, history(2 * FILE_SIZE as usize + 77, 1));
    let (master, slave) = (MasterEnd::new(min, &log, 0), SlaveEnd::new(&[]));
    slave.follow(&master);
    assert_eq!(
        (slave.broker.min(), slave.relay.status().master_min),
        (min, Some(min))
    );
    assert_eq!(slave.broker.bytes(), log);
    until("its end is acknowledged", || {
        master.broker.told() == master.broker.end()
    });
    master.broker.append(&history(1000, 3));
    slave.catch_up(&master);
    assert_eq!(slave.broker.bytes(), master.broker.bytes());
}

#[test]
fn an_empty_master_and_an_empty_slave_grow_together() {
    let (master, slave) = (MasterEnd::new(0, &[], 0), SlaveEnd::new(&[]));
    slave.attach(master.relay.listen());
    until("the link is up", || {
        slave.relay.status().state == SlaveState::Streaming
    });
    master.broker.append(&history(5000, 1));
    slave.catch_up(&master);
    assert_eq!(slave.broker.bytes(), master.broker.bytes());
}

#[test]
fn a_frozen_slave_is_given_no_more_than_the_window() {
    let log = history(8_000_000, 1);
    let (master, slave) = (MasterEnd::new(0, &log, 0), SlaveEnd::new(&log[..100_000]));
    until("the slave has reported", || {
        slave.relay.status().reported == Some(100_000)
    });
    slave.broker.freeze(true);
    slave.attach(master.relay.listen());
    let window = quick().window;
    until("the window is full", || {
        slave.relay.status().forwarded.unwrap() > 100_000 + window - 33_000
    });
    assert!(stays(Duration::from_millis(200), || slave
        .relay
        .status()
        .forwarded
        .unwrap()
        <= 100_000 + window));
    slave.broker.freeze(false);
    slave.catch_up(&master);
    assert_eq!(slave.broker.bytes(), log);
}

#[test]
fn a_walked_end_opens_the_stream_before_the_first_report() {
    let log = history(600_000, 1);
    let master = MasterEnd::new(0, &log, 0);
    let relay = SlaveRelay::bind_tuned(ANY_PORT, group(), key(), quick()).unwrap();
    let broker =
        FakeSlave::slow_to_report(relay.local(), &log[..400_000], Duration::from_secs(3600));
    let mut orders = attach_orders("b", master.relay.listen(), broker.folder.path().to_owned());
    orders.end_hint = Some(400_000);
    relay.order(SlaveOrders::Attach(Box::new(orders)));
    until("it catches up without a first report", || {
        broker.end() == 600_000
    });
    assert_eq!(broker.bytes(), log);
    until("and acknowledges", || master.broker.told() == 600_000);
}

#[test]
fn a_wrong_walked_end_harms_nothing() {
    let log = history(600_000, 1);
    let master = MasterEnd::new(0, &log, 0);
    let relay = SlaveRelay::bind_tuned(ANY_PORT, group(), key(), quick()).unwrap();
    let broker =
        FakeSlave::slow_to_report(relay.local(), &log[..400_000], Duration::from_millis(100));
    let mut orders = attach_orders("b", master.relay.listen(), broker.folder.path().to_owned());
    orders.end_hint = Some(300_000);
    relay.order(SlaveOrders::Attach(Box::new(orders)));
    until("it catches up all the same", || broker.end() == 600_000);
    assert_eq!(broker.bytes(), log);
}
