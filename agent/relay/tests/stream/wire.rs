//! What comes over the network that is no honest relay: replays, garbage, silence, floods.

use crate::fakes::{history, stays, until};
use crate::rig::{ANY_PORT, MasterEnd, SlaveEnd};
use relay::clock::boottime_ms;
use relay::{Refusal, SlaveState};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Stands between the relays: records what the slave says, and can swallow everything.
struct Wire {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    upward: Mutex<Vec<u8>>,
    black_hole: AtomicBool,
}

impl Wire {
    fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(ANY_PORT).unwrap();
        let wire = Self {
            address: listener.local_addr().unwrap(),
            shared: Arc::default(),
        };
        let shared = Arc::clone(&wire.shared);
        thread::spawn(move || {
            while let Ok((slave, _)) = listener.accept() {
                let Ok(master) = TcpStream::connect(target) else {
                    return;
                };
                shared.upward.lock().unwrap().clear();
                let (up, down) = (Arc::clone(&shared), Arc::clone(&shared));
                let (from, to) = (slave.try_clone().unwrap(), master.try_clone().unwrap());
                thread::spawn(move || up.carry(from, to, true));
                thread::spawn(move || down.carry(master, slave, false));
            }
        });
        wire
    }

    fn said_by_slave(&self) -> Vec<u8> {
        self.shared.upward.lock().unwrap().clone()
    }

    fn swallow(&self, on: bool) {
        self.shared.black_hole.store(on, SeqCst);
    }
}

impl Shared {
    fn carry(&self, mut from: TcpStream, mut to: TcpStream, record: bool) {
        let mut bytes = vec![0; 65_536];
        while let Ok(count) = from.read(&mut bytes) {
            if count == 0 {
                break;
            }
            if record {
                self.upward
                    .lock()
                    .unwrap()
                    .extend_from_slice(&bytes[..count]);
            }
            if !self.black_hole.load(SeqCst) && to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        if !self.black_hole.load(SeqCst) {
            drop(to.shutdown(Shutdown::Both));
        }
    }
}

fn ends() -> (MasterEnd, SlaveEnd) {
    let log = history(200_000, 1);
    (MasterEnd::new(0, &log, 0), SlaveEnd::new(&log[..100_000]))
}

#[test]
fn a_recorded_handshake_opens_nothing() {
    let (master, slave) = ends();
    let wire = Wire::to(master.relay.listen());
    slave.attach(wire.address);
    slave.catch_up(&master);
    let recorded = wire.said_by_slave();
    slave.freeze();
    until("the true slave is gone", || {
        master.relay.status().connections.is_empty()
    });

    let mut replay = TcpStream::connect(master.relay.listen()).unwrap();
    replay.write_all(&recorded).unwrap();
    let mut answer = Vec::new();
    drop(replay.read_to_end(&mut answer));
    assert!(
        String::from_utf8_lossy(&answer).contains("bad_key"),
        "{:?}",
        String::from_utf8_lossy(&answer)
    );
    until("it is counted", || {
        master.relay.status().refused.contains_key("bad_key")
    });
    assert_eq!(
        (
            master.relay.status().admitted_total,
            master.broker.connections()
        ),
        (1, 1)
    );
}

#[test]
fn garbage_and_floods_leave_the_master_working() {
    let (master, slave) = ends();
    let mut callers: Vec<TcpStream> = Vec::new();
    for text in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\0\0\0\0\0\0\0\0",
        b"RHA\x01\x01\x10\x00{}",
        b"RHA\x01\x03\x00\x02{}",
        b"",
    ] {
        let mut caller = TcpStream::connect(master.relay.listen()).unwrap();
        caller.write_all(text).unwrap();
        callers.push(caller);
    }
    for _ in 0..40 {
        callers.push(TcpStream::connect(master.relay.listen()).unwrap());
    }
    until("too many at once are turned away", || {
        master
            .relay
            .status()
            .refused
            .get("busy")
            .is_some_and(|count| *count > 30)
    });
    assert!(master.relay.status().half_open <= 4);
    until("the rest runs into its deadline", || {
        master.relay.status().half_open == 0
    });
    slave.follow(&master);
    assert!(master.relay.status().refused["garbage"] > 3);
}

#[test]
fn a_link_that_falls_silent_is_noticed_on_both_sides() {
    let (master, slave) = ends();
    let wire = Wire::to(master.relay.listen());
    slave.attach(wire.address);
    slave.catch_up(&master);
    wire.swallow(true);
    let begun = boottime_ms();
    until("the master notices", || {
        master.relay.status().connections.is_empty()
    });
    until("the slave notices", || {
        slave.relay.status().state != SlaveState::Streaming
    });
    assert!(boottime_ms() - begun < 3000);
    until("and says so", || slave.relay.status().last_error.is_some());
    wire.swallow(false);
    master.broker.append(&history(1000, 2));
    slave.catch_up(&master);
    assert_eq!(slave.broker.connects(), 1);
}

#[test]
fn a_mute_or_babbling_upstream_gets_the_slave_nowhere() {
    let (_master, slave) = ends();
    let mute = TcpListener::bind(ANY_PORT).unwrap();
    slave.attach(mute.local_addr().unwrap());
    until("the deadline passes", || slave.relay.status().failures > 1);

    let babble = TcpListener::bind(ANY_PORT).unwrap();
    let address = babble.local_addr().unwrap();
    let (talking, tries) = (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(0)));
    let (talks, counts) = (Arc::clone(&talking), Arc::clone(&tries));
    let talker = thread::spawn(move || {
        while let Ok((mut stream, _)) = babble.accept() {
            if !talks.load(SeqCst) {
                return;
            }
            *counts.lock().unwrap() += 1;
            drop(stream.write_all(&history(50_000, 3)));
        }
    });
    slave.attach(address);
    until("it was tried", || *tries.lock().unwrap() > 2);
    let before = *tries.lock().unwrap();
    assert!(
        stays(Duration::from_millis(300), || *tries.lock().unwrap()
            < before + 60),
        "it spins"
    );
    assert_eq!(
        (slave.broker.end(), slave.relay.status().bytes_total),
        (100_000, 0)
    );
    let heartbeats = slave.broker.heartbeats();
    until("the broker is kept parked", || {
        slave.broker.heartbeats() > heartbeats
    });

    slave.freeze();
    talking.store(false, SeqCst);
    drop(TcpStream::connect(address));
    talker.join().unwrap();
}

#[test]
fn an_upstream_nobody_listens_on_is_tried_with_pauses() {
    let (_master, slave) = ends();
    let nobody = TcpListener::bind(ANY_PORT).unwrap().local_addr().unwrap();
    slave.attach(nobody);
    until("it was tried", || slave.relay.status().failures > 3);
    let before = slave.relay.status().failures;
    assert!(
        stays(Duration::from_millis(300), || slave.relay.status().failures
            < before + 30),
        "it spins"
    );
    assert!(slave.relay.status().last_error.is_some());
}

#[test]
fn a_broker_that_reports_nonsense_is_cut_off_and_comes_back() {
    let (master, slave) = ends();
    slave.follow(&master);
    for nonsense in [
        (-1_i64).to_be_bytes(),
        (-77_i64).to_be_bytes(),
        i64::MAX.to_be_bytes(),
        5_i64.to_be_bytes(),
    ] {
        let connects = slave.broker.connects();
        slave.broker.blurt(&nonsense);
        until("it is cut off", || slave.broker.connects() > connects);
        until("the link is up again", || {
            slave.relay.status().state == SlaveState::Streaming
        });
        assert!(master.broker.told() <= master.broker.end());
    }
    master.broker.append(&history(1000, 2));
    slave.catch_up(&master);
    assert!(
        matches!(slave.relay.status().state, SlaveState::Streaming),
        "{:?}",
        Refusal::Garbage
    );
}
