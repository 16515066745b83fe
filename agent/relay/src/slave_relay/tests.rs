//! A master that holds the key but not to the rules.

use super::*;
use crate::ha_stream::FrameHeader;
use crate::handshake::{self, Welcome};
use crate::{Attach, Instance, Member, Refusal, Session, Term};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

const END: u64 = 100_000;
const PROVED: u64 = END - 65_536;
const LIMIT: Duration = Duration::from_secs(3);

fn group() -> GroupName {
    GroupName {
        cluster: "c".into(),
        broker: "b".into(),
    }
}

fn key() -> GroupKey {
    GroupKey::from_bytes(b"a key of the group under test").unwrap()
}

fn until(condition: impl Fn() -> bool) {
    let limit = crate::clock::boottime_ms() + 5_000;
    while !condition() {
        assert!(
            crate::clock::boottime_ms() < limit,
            "did not happen in time"
        );
        thread::park_timeout(Duration::from_millis(2));
    }
}

/// A slave whose log is `END` zeros, attached to a master that welcomes it with `welcome`: the relay, the JVM's socket,
/// the master's end of the link.
fn welcomed(welcome: Welcome) -> (SlaveRelay, TcpStream, TcpStream, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(format!("{:020}", 0)), vec![0; 100_000]).unwrap();
    let master = TcpListener::bind("127.0.0.1:0").unwrap();
    let relay = SlaveRelay::bind("127.0.0.1:0".parse().unwrap(), group(), key()).unwrap();
    let mut jvm = TcpStream::connect(relay.local()).unwrap();
    jvm.write_all(&END.to_be_bytes()).unwrap();
    relay.order(SlaveOrders::Attach(Box::new(Attach {
        upstream: master.local_addr().unwrap(),
        term: Term { epoch: 1, nonce: 1 },
        holder_member: Member::new("a"),
        holder_instance: Instance::new("ia"),
        member: Member::new("b"),
        session: Session::new("s"),
        instance: Instance::new("ib"),
        commitlog_dir: folder.path().to_owned(),
        commitlog_file_size: 1 << 20,
        end_hint: None,
    })));
    let (link, _) = master.accept().unwrap();
    let answered = handshake::answer(&link, LIMIT, &key(), &group(), |_, end| Ok((welcome, end)));
    assert_eq!(answered.unwrap(), END);
    (relay, jvm, link, folder)
}

fn frame(offset: u64, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len()).unwrap();
    [&FrameHeader { offset, size }.encode()[..], body].concat()
}

/// Nothing but heartbeats at its end reached the JVM, and nothing was acknowledged.
fn unharmed(relay: &SlaveRelay, mut link: &TcpStream) {
    let status = relay.status();
    assert_eq!((status.bytes_total, status.forwarded), (0, Some(END)));
    let mut said = Vec::new();
    link.set_read_timeout(Some(LIMIT)).unwrap();
    drop(link.read_to_end(&mut said));
    assert!(
        said.chunks(8)
            .all(|report| report == [0xff; 8] || report == END.to_be_bytes()),
        "{said:?}"
    );
}

#[test]
fn a_gap_in_the_stream_ends_the_link() {
    let (relay, _jvm, mut link, _folder) = welcomed(Welcome {
        min: 0,
        from: PROVED,
    });
    link.write_all(&frame(PROVED, &[0; 65_536])).unwrap();
    until(|| relay.status().state == SlaveState::Streaming);
    link.write_all(&frame(END + 1, b"later")).unwrap();
    until(|| relay.status().failures > 0);
    assert!(
        relay
            .status()
            .last_error
            .unwrap()
            .contains("begins at 100001 instead of 100000")
    );
    unharmed(&relay, &link);
}

#[test]
fn a_proof_that_was_cut_short_is_not_accepted() {
    for welcome in [
        Welcome { min: 0, from: END },
        Welcome {
            min: 0,
            from: PROVED + 1,
        },
        Welcome {
            min: END,
            from: END,
        },
        Welcome {
            min: 0,
            from: END + 1,
        },
    ] {
        let (relay, _jvm, link, _folder) = welcomed(welcome);
        let refused = SlaveState::Refused {
            why: Refusal::Garbage,
        };
        until(|| relay.status().state == refused);
        unharmed(&relay, &link);
    }
}

#[test]
fn an_oversized_or_negative_frame_ends_the_link() {
    for header in [
        [0xff; 12],
        [0, 0, 0, 0, 0, 0, 0x86, 0xa0, 0x7f, 0xff, 0xff, 0xff],
    ] {
        let (relay, _jvm, mut link, _folder) = welcomed(Welcome {
            min: 0,
            from: PROVED,
        });
        link.write_all(&header).unwrap();
        until(|| relay.status().failures > 0);
        unharmed(&relay, &link);
    }
}
