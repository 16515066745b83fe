//! Threads and descriptors return to what they were. Alone in its process, so that they can be counted.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#[path = "../stream/fakes.rs"]
#[allow(dead_code, reason = "shared with the larger test")]
mod fakes;
#[path = "../stream/rig.rs"]
#[allow(dead_code, reason = "shared with the larger test")]
mod rig;

use fakes::{history, until};
use relay::{MasterRelay, SlaveOrders, SlaveRelay, SlaveState};
use rig::{ANY_PORT, MasterEnd, SlaveEnd, group, key, quick};
use std::net::TcpStream;

fn count(what: &str) -> usize {
    std::fs::read_dir(format!("/proc/self/{what}"))
        .unwrap()
        .count()
}

/// What the relays' threads are called.
fn relay_threads() -> usize {
    let names = std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("relay-")).count()
}

#[test]
fn nothing_is_left_behind() {
    let before = (count("task"), count("fd"));
    {
        let log = history(3_000_000, 1);
        let (master, slave) = (MasterEnd::new(0, &log, 0), SlaveEnd::new(&log[..100_000]));
        slave.follow(&master);
        until(
            "two threads on the slave\'s side, one and two on the master\'s, one for the local acker",
            || relay_threads() == 6,
        );
        let connected = count("fd");
        for _ in 0..20 {
            slave.freeze();
            until("the link is gone on the master's side", || {
                relay_threads() == 4
            });
            slave.follow(&master);
        }
        for _ in 0..10 {
            slave.broker.cut();
            until("it is back", || {
                slave.relay.status().state == SlaveState::Streaming
                    && slave.relay.status().reported == Some(3_000_000)
            });
        }
        until("no descriptor more than before", || {
            count("fd") <= connected
        });
        // Callers in mid-handshake and a slave in mid-try when both end.
        let _callers: Vec<_> = (0..4)
            .map(|_| TcpStream::connect(master.relay.listen()).unwrap())
            .collect();
        until("they are being answered", || {
            master.relay.status().half_open == 4
        });
        drop(master.relay);
        until("the slave tries in vain", || {
            slave.relay.status().failures > 1
        });
        drop(slave.relay);
        until("all relay threads have ended", || relay_threads() == 0);
    }
    let idle = (
        MasterRelay::bind_tuned(ANY_PORT, group(), key(), quick()).unwrap(),
        SlaveRelay::bind_tuned(ANY_PORT, group(), key(), quick()).unwrap(),
    );
    idle.1.order(SlaveOrders::Park);
    until("only the idle threads run", || relay_threads() == 4);
    drop(idle);
    until("all threads and descriptors are gone", || {
        (count("task"), count("fd")) == before
    });
}
