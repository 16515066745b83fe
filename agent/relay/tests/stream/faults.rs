//! Either side dies in mid-stream: replication resumes, logs end up byte-equal.

use crate::fakes::{FakeMaster, history, stays, until};
use crate::rig::{ANY_PORT, FOREVER, MasterEnd, SlaveEnd, TERM, group, key, quick};
use relay::{MasterRelay, SlaveState};
use std::time::Duration;

const LENGTH: usize = 30_000_000;

/// A slave in the middle of a long catch-up.
fn mid_stream() -> (MasterEnd, SlaveEnd, Vec<u8>) {
    let log = history(LENGTH, 1);
    let (master, slave) = (MasterEnd::new(0, &log, 0), SlaveEnd::new(&log[..50_000]));
    slave.attach(master.relay.listen());
    until("bytes flow", || slave.broker.end() > 500_000);
    (master, slave, log)
}

fn ends_equal(master: &MasterEnd, slave: &SlaveEnd) {
    slave.catch_up(master);
    assert!(
        slave.broker.bytes() == master.broker.bytes(),
        "the logs differ"
    );
    assert_eq!(slave.broker.refused_frames(), 0);
    until("all is acknowledged", || {
        master.broker.told() == master.broker.end()
    });
}

#[test]
fn the_slaves_broker_connects_again() {
    let (master, slave, _log) = mid_stream();
    for _ in 0..3 {
        let (connects, end) = (slave.broker.connects(), slave.broker.end());
        slave.broker.cut();
        until("it goes on", || {
            slave.broker.connects() > connects
                && (slave.broker.end() > end || end == master.broker.end())
        });
    }
    ends_equal(&master, &slave);
}

#[test]
fn the_masters_broker_breaks_its_connections() {
    let (master, slave, _log) = mid_stream();
    for _ in 0..3 {
        let connections = master.broker.connections();
        master.broker.cut();
        until("it is asked again", || {
            master.broker.connections() > connections
        });
    }
    ends_equal(&master, &slave);
    assert_eq!(slave.broker.connects(), 1, "the slave's broker noticed");
}

#[test]
fn the_masters_relay_is_replaced() {
    let (mut master, slave, _log) = mid_stream();
    let orders = master.orders(0);
    let relay = MasterRelay::bind_tuned(ANY_PORT, group(), key(), quick()).unwrap();
    let old = std::mem::replace(&mut master.relay, relay);
    drop(old);
    until("the loss is noticed", || {
        slave.relay.status().state != SlaveState::Streaming
    });
    master.relay.order(Some(orders));
    assert!(master.relay.permit(TERM, FOREVER));
    slave.attach(master.relay.listen());
    ends_equal(&master, &slave);
}

#[test]
fn the_slaves_relay_and_broker_are_replaced() {
    let (master, slave, log) = mid_stream();
    let end = slave.freeze();
    drop(slave);
    let slave = SlaveEnd::new(&log[..end as usize]);
    slave.attach(master.relay.listen());
    ends_equal(&master, &slave);
}

#[test]
fn another_master_takes_over_in_a_new_term() {
    let (master, slave, log) = mid_stream();
    let end = slave.freeze() as usize;
    drop(master);
    // The new master has a little less than the slave had: the slave is cut to it first.
    let mut history_of_the_new = log[..end - 7000].to_vec();
    let mut next = MasterEnd::new(0, &history_of_the_new, 0);
    slave.broker.rewrite(end as u64 - 7000, &[]);
    history_of_the_new.extend(history(90_000, 5));
    next.broker.append(&history(90_000, 5));
    slave.attach(next.relay.listen());
    ends_equal(&next, &slave);
    assert!(next.broker.bytes() == history_of_the_new);
    next.broker = FakeMaster::new(0, &[]);
}

/// What was written to the JVM and not yet appended is in no file: comparing it would look like a fork.
#[test]
fn a_link_lost_while_bytes_are_in_flight_waits_for_them() {
    let log = history(2_000_000, 1);
    let (master, slave) = (MasterEnd::new(0, &log, 0), SlaveEnd::new(&log[..100_000]));
    until("the slave has reported", || {
        slave.relay.status().reported == Some(100_000)
    });
    slave.broker.freeze(true);
    slave.attach(master.relay.listen());
    until("bytes are in flight", || {
        slave.relay.status().forwarded > Some(180_000)
    });
    master.broker.cut();
    until("the link is lost", || {
        slave.relay.status().state == SlaveState::Connecting
    });
    let waits = || slave.relay.status().state == SlaveState::Connecting;
    assert!(stays(Duration::from_millis(150), waits));
    assert_eq!(slave.relay.status().attaches, 1);
    slave.broker.freeze(false);
    ends_equal(&master, &slave);
}
