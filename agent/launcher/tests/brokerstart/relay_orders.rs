//! The replication relay through brokerStart: which orders reach it, and that it outlives the agent.

use std::{fs, net::TcpListener};

use launcher::{
    client::{Client, ClientError},
    protocol::{ErrorKind, Op, RelayOrders, Role, StartOrder, Status},
};
use relay::{Attach, Instance, MasterOrders, Member, Session, SlaveOrders};

use crate::lab::{LIMIT, Lab, refused, wait_until};

fn relaying() -> Lab {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("key"),
        "0123456789abcdef0123456789abcdef\n",
    )
    .unwrap();
    fs::write(
        folder.path().join("broker.sh"),
        "echo $$ > pids.part; mv pids.part pids; exec sleep 1000\n",
    )
    .unwrap();
    let key = folder.path().join("key").display().to_string();
    let flags = [
        "--relay-listen",
        "127.0.0.1:0",
        "--relay-local",
        "127.0.0.1:0",
        "--group-key-file",
        &key,
        "--cluster",
        "c",
        "--broker-name",
        "b",
        "--member",
        "b-0",
    ];
    Lab::launch(folder, &["sh", "./broker.sh"], &flags)
}

fn master_orders(lab: &Lab, start: &StartOrder) -> MasterOrders {
    MasterOrders {
        member: Member::new("b-0"),
        instance: Instance::new(start.instance.clone()),
        term: start.term,
        start: 0,
        admit: Vec::new(),
        k: 0,
        ha: "127.0.0.1:1".parse().unwrap(),
        commitlog_dir: lab.path("commitlog"),
        local_ack: relay::LocalAck::Off,
    }
}

fn attach(lab: &Lab, instance: &str) -> Attach {
    // Nobody listens there.
    let upstream = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    Attach {
        upstream,
        term: launcher::protocol::Term { epoch: 9, nonce: 9 },
        holder_member: Member::new("b-1"),
        holder_instance: Instance::new("other"),
        member: Member::new("b-0"),
        session: Session::new("s"),
        instance: Instance::new(instance),
        commitlog_dir: lab.path("commitlog"),
        commitlog_file_size: 1 << 20,
        end_hint: Some(0),
    }
}

fn order(
    agent: &mut Client,
    master: Option<MasterOrders>,
    slave: SlaveOrders,
) -> Result<Status, ClientError> {
    agent.ask(Op::Relay(RelayOrders { master, slave }), LIMIT)
}

fn masters_term(status: &Status) -> Option<u64> {
    status
        .relay
        .master
        .as_ref()
        .unwrap()
        .term
        .map(|term| term.epoch)
}

#[test]
fn the_masters_relay_serves_the_master_that_runs_here_and_no_other() {
    let lab = relaying();
    let mut agent = lab.agent();
    let start = lab.order(3, 60_000);
    let orders = master_orders(&lab, &start);
    assert_eq!(
        refused(order(&mut agent, Some(orders.clone()), SlaveOrders::Park)),
        ErrorKind::Relay
    );
    lab.start_as(&mut agent, start.clone());
    let mut other = orders.clone();
    other.term.nonce += 1;
    assert_eq!(
        refused(order(&mut agent, Some(other), SlaveOrders::Park)),
        ErrorKind::Relay
    );
    let mut other = orders.clone();
    other.member = Member::new("b-1");
    assert_eq!(
        refused(order(&mut agent, Some(other), SlaveOrders::Park)),
        ErrorKind::Relay
    );

    let status = order(&mut agent, Some(orders.clone()), SlaveOrders::Park).unwrap();
    assert_eq!(masters_term(&status), Some(3));
    // The permit that the broker has, and every later one.
    assert_eq!(
        status.relay.master.unwrap().permit_until_ms,
        start.permit_until_ms
    );
    let status = agent
        .ask(lab.permit(&start, start.permit_until_ms + 500), LIMIT)
        .unwrap();
    assert_eq!(
        status.relay.master.unwrap().permit_until_ms,
        start.permit_until_ms + 500
    );
    // An agent that goes and comes again finds it as it was.
    drop(agent);
    let mut agent = lab.agent();
    assert_eq!(masters_term(&lab.status()), Some(3));
    let attach = SlaveOrders::Attach(Box::new(attach(&lab, &start.instance)));
    assert_eq!(
        refused(order(&mut agent, Some(orders), attach)),
        ErrorKind::Relay
    );

    let status = agent.ask(Op::Kill, LIMIT).unwrap();
    assert_eq!(masters_term(&status), None);
}

#[test]
fn a_master_that_dies_by_itself_serves_nobody() {
    let lab = relaying();
    let mut agent = lab.agent();
    let start = lab.order(3, 60_000);
    let tree = lab.start_as(&mut agent, start.clone());
    order(
        &mut agent,
        Some(master_orders(&lab, &start)),
        SlaveOrders::Park,
    )
    .unwrap();
    tree.signal(0, nix::sys::signal::Signal::SIGKILL);
    wait_until("the relay's silence", || {
        masters_term(&lab.status()).is_none()
    });
}

#[test]
fn a_slave_attaches_and_is_parked_before_a_master_starts() {
    let lab = relaying();
    let mut agent = lab.agent();
    let mut start = lab.order(9, 60_000);
    let wrong = SlaveOrders::Attach(Box::new(attach(&lab, "uid.0000000000000000")));
    assert_eq!(refused(order(&mut agent, None, wrong)), ErrorKind::Instance);
    let right = SlaveOrders::Attach(Box::new(attach(&lab, &start.instance)));
    order(&mut agent, None, right).unwrap();
    let parked = || lab.status().relay.slave.unwrap().state == relay::SlaveState::Parked;
    wait_until("the slave's relay to look for its master", || !parked());
    start.role = Role::Master;
    lab.start_as(&mut agent, start);
    wait_until("the slave's relay to park", parked);
}

#[test]
fn without_a_relay_its_orders_are_refused() {
    let lab = Lab::with_command(&["true"]);
    let mut agent = lab.agent();
    let instance = format!("uid.{}", lab.status().launcher_nonce);
    let attach = SlaveOrders::Attach(Box::new(attach(&lab, &instance)));
    assert_eq!(refused(order(&mut agent, None, attach)), ErrorKind::Relay);
    assert!(lab.status().relay.slave.is_none());
}
