//! Who is refused, and that both sides say why.

use crate::fakes::{history, until};
use crate::rig::{ANY_PORT, FOREVER, MasterEnd, SlaveEnd, TERM, group, key, peer, quick};
use relay::{
    Attach, GroupKey, GroupName, Instance, MasterOrders, MasterRelay, Member, Refusal, Session,
    SlaveOrders, SlaveRelay, SlaveState, Term,
};

/// Both sides show `why` for a slave with these orders.
fn refused(master: &MasterEnd, slave: &SlaveEnd, orders: Attach, why: &Refusal) {
    let word = why.word().to_owned();
    slave.relay.order(SlaveOrders::Attach(Box::new(orders)));
    until("the slave shows the reason", || {
        slave.relay.status().state == SlaveState::Refused { why: why.clone() }
    });
    until("the master counts it", || {
        master
            .relay
            .status()
            .refused
            .get(&word)
            .is_some_and(|count| *count > 0)
    });
    assert!(master.relay.status().connections.is_empty());
    assert_eq!(master.broker.connections(), 0);
}

fn ends() -> (MasterEnd, SlaveEnd) {
    let log = history(200_000, 1);
    (MasterEnd::new(0, &log, 0), SlaveEnd::new(&log[..100_000]))
}

#[test]
fn who_is_not_in_the_orders_is_refused() {
    let (master, slave) = ends();
    let right = slave.attach_orders(master.relay.listen());
    let cases = [
        (
            Attach {
                member: Member::new("z"),
                ..right.clone()
            },
            Refusal::NotAdmitted,
        ),
        (
            Attach {
                session: Session::new("s0"),
                ..right.clone()
            },
            Refusal::NotAdmitted,
        ),
        (
            Attach {
                term: Term { epoch: 6, ..TERM },
                ..right.clone()
            },
            Refusal::OtherTerm { mine: TERM },
        ),
        (
            Attach {
                term: Term { nonce: 1, ..TERM },
                ..right.clone()
            },
            Refusal::OtherTerm { mine: TERM },
        ),
        (
            Attach {
                holder_instance: Instance::new("older"),
                ..right.clone()
            },
            Refusal::OtherHolder,
        ),
        (
            Attach {
                holder_member: Member::new("q"),
                ..right.clone()
            },
            Refusal::OtherHolder,
        ),
    ];
    for (orders, why) in cases {
        refused(&master, &slave, orders, &why);
    }
    slave.relay.order(SlaveOrders::Attach(Box::new(right)));
    slave.catch_up(&master);
}

#[test]
fn without_orders_or_permit_nobody_is_admitted() {
    let (master, slave) = ends();
    let orders = master.orders(0);
    master.relay.order(None);
    refused(
        &master,
        &slave,
        slave.attach_orders(master.relay.listen()),
        &Refusal::NoOrders,
    );

    let next = Term { epoch: 8, nonce: 1 };
    master.relay.order(Some(MasterOrders {
        term: next,
        ..orders
    }));
    let attach = Attach {
        term: next,
        ..slave.attach_orders(master.relay.listen())
    };
    refused(&master, &slave, attach.clone(), &Refusal::NoPermit);
    assert!(
        !master.relay.permit(TERM, FOREVER),
        "a permit of the last term"
    );
    assert!(master.relay.permit(next, 1), "a permit that is over");
    refused(&master, &slave, attach, &Refusal::NoPermit);
    assert!(master.relay.permit(next, FOREVER));
    slave.catch_up(&master);
}

#[test]
fn a_broker_that_is_away_is_named_and_tried_again() {
    let (master, slave) = ends();
    let orders = master.orders(0);
    let nobody = std::net::TcpListener::bind(ANY_PORT)
        .unwrap()
        .local_addr()
        .unwrap();
    master.relay.order(Some(MasterOrders {
        ha: nobody,
        ..orders.clone()
    }));
    refused(
        &master,
        &slave,
        slave.attach_orders(master.relay.listen()),
        &Refusal::BrokerAway,
    );
    master.relay.order(Some(MasterOrders {
        commitlog_dir: "not/there".into(),
        ..orders.clone()
    }));
    until("the missing log is named", || {
        slave.relay.status().state
            == SlaveState::Refused {
                why: Refusal::NoCommitLog,
            }
    });
    master.relay.order(Some(orders));
    slave.catch_up(&master);
}

#[test]
fn a_foreign_key_or_group_gets_nothing() {
    let (master, slave) = ends();
    let other_key = GroupKey::from_bytes(b"not the group's key at all").unwrap();
    let other_group = GroupName {
        broker: "another".into(),
        ..group()
    };
    for (group, key, why) in [
        (group(), other_key, Refusal::BadKey),
        (other_group, key(), Refusal::WrongGroup),
    ] {
        let relay = SlaveRelay::bind_tuned(ANY_PORT, group, key, quick()).unwrap();
        let broker = crate::fakes::FakeSlave::new(relay.local(), &history(100_000, 1));
        relay.order(SlaveOrders::Attach(Box::new(
            slave.attach_orders(master.relay.listen()),
        )));
        until("it is refused", || {
            relay.status().state == SlaveState::Refused { why: why.clone() }
        });
        assert_eq!((broker.end(), master.broker.connections()), (100_000, 0));
        until("it is counted", || {
            master.relay.status().refused.contains_key(why.word())
        });
    }
}

/// A slave that reaches another group's master with the same key and a reused address (H21).
#[test]
fn a_slave_does_not_take_a_foreign_masters_bytes() {
    let (master, slave) = ends();
    let foreign = MasterRelay::bind_tuned(
        ANY_PORT,
        GroupName {
            broker: "another".into(),
            ..group()
        },
        key(),
        quick(),
    )
    .unwrap();
    foreign.order(Some(master.orders(0)));
    assert!(foreign.permit(TERM, FOREVER));
    slave.attach(foreign.listen());
    until("it is refused", || {
        slave.relay.status().state
            == SlaveState::Refused {
                why: Refusal::WrongGroup,
            }
    });
    assert_eq!(slave.broker.end(), 100_000);
}

#[test]
fn orders_that_drop_a_slave_close_its_connection_at_once() {
    let log = history(200_000, 1);
    let (master, slave) = (MasterEnd::new(0, &log, 0), SlaveEnd::new(&log));
    let other = SlaveEnd::named("c", &log);
    let orders = master.orders(0);
    slave.follow(&master);
    other.follow(&master);
    master.relay.order(Some(MasterOrders {
        admit: vec![peer("c")],
        ..orders.clone()
    }));
    let members: Vec<_> = master
        .relay
        .status()
        .connections
        .iter()
        .map(|connection| connection.member.clone())
        .collect();
    assert_eq!(members, [Member::new("c")]);
    until("the slave hears why", || {
        slave.relay.status().state
            == SlaveState::Refused {
                why: Refusal::NotAdmitted,
            }
    });
    master.broker.append(&history(5000, 2));
    other.catch_up(&master);
    assert_eq!(
        (slave.broker.end(), other.relay.status().attaches),
        (200_000, 1)
    );

    master.relay.order(Some(MasterOrders {
        term: Term { epoch: 8, nonce: 3 },
        ..orders
    }));
    assert!(master.relay.status().connections.is_empty());
    until("the other hears of the new term", || {
        other.relay.status().state
            == SlaveState::Refused {
                why: Refusal::OtherTerm {
                    mine: Term { epoch: 8, nonce: 3 },
                },
            }
    });
}
