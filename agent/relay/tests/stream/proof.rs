//! What a log that is no prefix of the master's may not do.

use crate::fakes::{FILE_SIZE, history, stays, until};
use crate::rig::{MasterEnd, SlaveEnd};
use relay::{Refusal, SlaveState};
use std::time::Duration;

#[test]
fn a_diverged_tail_stops_before_a_byte_or_an_acknowledgement_passes() {
    let log = history(800_000, 1);
    let mut forked = log[..500_000].to_vec();
    forked[480_123] ^= 1;
    let (master, slave) = (MasterEnd::new(0, &log, 0), SlaveEnd::new(&forked));
    slave.attach(master.relay.listen());
    until("the fork is found", || {
        slave.relay.status().state == SlaveState::Diverged { at: 480_123 }
    });
    assert!(master.broker.told() <= 500_000 - 65_536);
    let heartbeats = slave.broker.heartbeats();
    until("the slave is parked meanwhile", || {
        slave.broker.heartbeats() > heartbeats + 2
    });
    assert!(stays(Duration::from_millis(200), || slave
        .relay
        .status()
        .state
        == SlaveState::Diverged { at: 480_123 }));
    assert_eq!(
        (
            slave.broker.end(),
            slave.relay.status().bytes_total,
            master.broker.connections()
        ),
        (500_000, 0, 1)
    );

    slave.freeze();
    slave.broker.rewrite(480_000, &[]);
    slave.follow(&master);
    assert_eq!(slave.broker.bytes(), log);
}

#[test]
fn a_slave_ahead_of_the_term_is_not_believed() {
    let log = history(300_000, 1);
    let mut ahead = log.clone();
    ahead.extend(history(200_000, 9));
    let (master, slave) = (MasterEnd::new(0, &log, 0), SlaveEnd::new(&ahead));
    slave.attach(master.relay.listen());
    until("it is refused", || {
        slave.relay.status().state
            == SlaveState::Refused {
                why: Refusal::Ahead { at: 300_000 },
            }
    });
    assert!(
        master.broker.told() <= 300_000,
        "the master was told {}",
        master.broker.told()
    );

    master.broker.append(&history(400_000, 2));
    // Both continuations begin with a zero.
    let forked = || {
        matches!(
            slave.relay.status().state,
            SlaveState::Diverged {
                at: 300_001..300_010
            }
        )
    };
    until("the fork shows", forked);
    assert_eq!(
        (slave.broker.end(), slave.relay.status().bytes_total),
        (500_000, 0)
    );
}

#[test]
fn a_slave_below_the_masters_first_byte_is_told_so() {
    let master = MasterEnd::new(4 * FILE_SIZE, &history(100_000, 1), 0);
    let slave = SlaveEnd::new(&history(4 * FILE_SIZE as usize, 1));
    slave.attach(master.relay.listen());
    let refused = SlaveState::Refused {
        why: Refusal::BelowMin { min: 4 * FILE_SIZE },
    };
    until("it is refused", || slave.relay.status().state == refused);
    assert_eq!(master.broker.connections(), 0);
}

#[test]
fn the_proof_is_as_long_as_the_masters_log_allows() {
    let whole = history(2 * FILE_SIZE as usize + 50_000, 1);
    let min = 2 * FILE_SIZE;
    let master = MasterEnd::new(min, &whole[min as usize..], 0);
    let slave = SlaveEnd::new(&whole[..min as usize + 10_000]);
    slave.follow(&master);
    assert_eq!(
        (slave.relay.status().proved, master.broker.last_request()),
        (10_000, min)
    );
    assert_eq!(slave.broker.bytes(), whole);
}

#[test]
fn an_unreadable_log_proves_nothing() {
    let log = history(300_000, 1);
    let (master, slave) = (MasterEnd::new(0, &log, 0), SlaveEnd::new(&log));
    let mut orders = slave.attach_orders(master.relay.listen());
    orders.commitlog_dir = "does/not/exist".into();
    slave
        .relay
        .order(relay::SlaveOrders::Attach(Box::new(orders)));
    until("it fails", || slave.relay.status().failures > 1);
    let status = slave.relay.status();
    assert!(
        status
            .last_error
            .unwrap()
            .starts_with("read the own commit log")
    );
    assert_eq!(status.bytes_total, 0);
    assert!(master.broker.told() <= 300_000 - 65_536);
}
