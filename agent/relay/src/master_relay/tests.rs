//! A slave that holds the key but not to the rules.

use super::*;
use crate::ha_stream::{FrameHeader, Report};
use crate::{Attach, Instance, Member, Peer, Session};
use std::io::{Read, Write};
use std::thread;

const TERM: Term = Term { epoch: 1, nonce: 2 };
const END: u64 = 100_000;
const REQUEST: u64 = END - 65_536;

fn group() -> GroupName {
    GroupName {
        cluster: "c".into(),
        broker: "b".into(),
    }
}

fn key() -> GroupKey {
    GroupKey::from_bytes(b"a key of the group under test").unwrap()
}

/// The relay, the slave's bare link after its handshake, and the JVM's end of the HA connection after the request.
fn admitted() -> (MasterRelay, TcpStream, TcpStream, tempfile::TempDir) {
    let jvm = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let relay = MasterRelay::bind("127.0.0.1:0".parse().unwrap(), group(), key()).unwrap();
    let (member, session) = (Member::new("b"), Session::new("s"));
    relay.order(Some(MasterOrders {
        member: Member::new("a"),
        instance: Instance::new("ia"),
        term: TERM,
        start: END,
        admit: vec![Peer {
            member: member.clone(),
            session: session.clone(),
        }],
        k: 1,
        ha: jvm.local_addr().unwrap(),
        commitlog_dir: folder.path().to_owned(),
        local_ack: crate::LocalAck::Off,
    }));
    assert!(relay.permit(TERM, u64::MAX - 1));
    let attach = Attach {
        upstream: relay.listen(),
        term: TERM,
        holder_member: Member::new("a"),
        holder_instance: Instance::new("ia"),
        member,
        session,
        instance: Instance::new("ib"),
        commitlog_dir: folder.path().to_owned(),
        commitlog_file_size: 1,
        end_hint: None,
    };
    let link = TcpStream::connect(relay.listen()).unwrap();
    let welcome = handshake::ask(
        &link,
        Duration::from_secs(3),
        &key(),
        &group(),
        &attach,
        END,
    );
    let from = Welcome {
        min: 0,
        from: REQUEST,
    };
    assert_eq!(welcome.unwrap(), from);
    let (mut jvm, _) = jvm.accept().unwrap();
    jvm.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    assert_eq!(report(&mut jvm), REQUEST);
    (relay, link, jvm, folder)
}

fn report(jvm: &mut TcpStream) -> u64 {
    let mut bytes = [0; 8];
    jvm.read_exact(&mut bytes).unwrap();
    u64::from_be_bytes(bytes)
}

fn acknowledge(link: &mut TcpStream, offset: u64) {
    link.write_all(&Report::End(offset).encode()).unwrap();
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

#[test]
fn an_acknowledgement_before_the_first_frame_waits_for_it() {
    let (relay, mut link, mut jvm, _folder) = admitted();
    // No honest stream can acknowledge more than the request yet, so straight into the ledger.
    let id = *relay.inner.ledger().ids().first().unwrap();
    relay.inner.ledger().acknowledge(id, REQUEST + 2);
    jvm.set_read_timeout(Some(Duration::from_millis(150)))
        .unwrap();
    assert!(jvm.read(&mut [0; 8]).is_err(), "the broker heard something");

    jvm.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let frame = FrameHeader {
        offset: REQUEST,
        size: 4,
    };
    jvm.write_all(&[&frame.encode()[..], b"abcd"].concat())
        .unwrap();
    let mut passed = [0; 16];
    link.read_exact(&mut passed).unwrap();
    assert_eq!(report(&mut jvm), REQUEST + 2);
    acknowledge(&mut link, REQUEST + 4);
    assert_eq!(report(&mut jvm), REQUEST + 4);
}

#[test]
fn an_acknowledgement_of_bytes_never_sent_ends_the_connection() {
    let (relay, mut link, mut jvm, _folder) = admitted();
    let alive = FrameHeader {
        offset: REQUEST,
        size: 0,
    };
    jvm.write_all(&alive.encode()).unwrap();
    link.read_exact(&mut [0; 12]).unwrap();
    acknowledge(&mut link, REQUEST + 1);
    until(|| relay.status().connections.is_empty());
    let mut heard = Vec::new();
    drop(jvm.read_to_end(&mut heard));
    assert!(heard.is_empty(), "the broker heard of it: {heard:?}");
}

#[test]
fn a_broker_that_jumps_or_babbles_ends_the_connection() {
    for bytes in [
        FrameHeader {
            offset: REQUEST + 1,
            size: 0,
        }
        .encode(),
        [0xff; 12],
        *b"HTTP/1.1 400",
    ] {
        let (relay, mut link, mut jvm, _folder) = admitted();
        jvm.write_all(&bytes).unwrap();
        until(|| relay.status().connections.is_empty());
        assert_eq!(
            link.read(&mut [0; 64]).unwrap_or(0),
            0,
            "the slave got some of it"
        );
    }
}
