//! Two ends over loopback, and what must not pass.

use super::*;
use std::net::TcpListener;
use std::thread;

const LIMIT: Duration = Duration::from_secs(2);

fn key() -> GroupKey {
    GroupKey::from_bytes(b"a key of the group under test").unwrap()
}

fn group() -> GroupName {
    GroupName {
        cluster: "c".into(),
        broker: "b".into(),
    }
}

fn attach(upstream: std::net::SocketAddr) -> Attach {
    Attach {
        upstream,
        term: Term { epoch: 3, nonce: 9 },
        holder_member: Member::new("a"),
        holder_instance: Instance::new("ia"),
        member: Member::new("b"),
        session: Session::new("s1"),
        instance: Instance::new("ib"),
        commitlog_dir: "unused".into(),
        commitlog_file_size: 1,
        end_hint: None,
    }
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

type Admitted = Result<u64, HandshakeError>;

/// Runs both sides; the master admits everybody and welcomes with {min 5, from 6}.
fn shake(
    slave_key: &GroupKey,
    slave_group: &GroupName,
) -> (Result<Welcome, HandshakeError>, Admitted) {
    let (slave, master) = pair();
    let answering = thread::spawn(move || {
        answer(&master, LIMIT, &key(), &group(), |_, end| {
            Ok((Welcome { min: 5, from: 6 }, end))
        })
    });
    let asked = ask(
        &slave,
        LIMIT,
        slave_key,
        slave_group,
        &attach(slave.peer_addr().unwrap()),
        77,
    );
    drop(slave);
    (asked, answering.join().unwrap())
}

#[test]
fn both_sides_meet() {
    let (asked, answered) = shake(&key(), &group());
    assert_eq!(asked.unwrap(), Welcome { min: 5, from: 6 });
    assert_eq!(answered.unwrap(), 77);
}

#[test]
fn another_key_or_group_is_refused_with_its_reason_on_both_sides() {
    let (asked, answered) = shake(
        &GroupKey::from_bytes(b"another key, long enough").unwrap(),
        &group(),
    );
    assert!(matches!(
        asked,
        Err(HandshakeError::Refused(Refusal::BadKey))
    ));
    assert!(matches!(
        answered,
        Err(HandshakeError::Refused(Refusal::BadKey))
    ));

    let foreign = GroupName {
        broker: "other".into(),
        ..group()
    };
    let (asked, answered) = shake(&key(), &foreign);
    assert!(matches!(
        asked,
        Err(HandshakeError::Refused(Refusal::WrongGroup))
    ));
    assert!(matches!(
        answered,
        Err(HandshakeError::Refused(Refusal::WrongGroup))
    ));
}

#[test]
fn a_master_without_the_key_is_not_believed() {
    let (slave, mut master) = pair();
    let rogue = thread::spawn(move || {
        let other = GroupKey::from_bytes(b"the rogue has its own key").unwrap();
        let mut talk = Talk::new(&master, LIMIT);
        talk.receive().unwrap();
        talk.send(Kind::Challenge, &Challenge { nonce: "n".into() }, None)
            .unwrap();
        let shown = talk.receive().unwrap();
        assert!(!talk.said.verify(&other, SLAVE_SHOWS, &shown));
        talk.send(
            Kind::Welcome,
            &Welcome { min: 0, from: 1 },
            Some((&other, MASTER_SHOWS)),
        )
        .unwrap();
        master.flush().unwrap();
        master
    });
    let asked = ask(
        &slave,
        LIMIT,
        &key(),
        &group(),
        &attach(slave.peer_addr().unwrap()),
        0,
    );
    assert!(matches!(
        asked,
        Err(HandshakeError::Refused(Refusal::BadKey))
    ));
    drop(rogue.join().unwrap());
}

/// The master's own tag must not open a master: no reflection.
#[test]
fn a_tag_of_the_other_role_is_refused() {
    let (slave, master) = pair();
    let answering = thread::spawn(move || {
        answer(&master, LIMIT, &key(), &group(), |_, _| {
            Ok((Welcome { min: 0, from: 1 }, ()))
        })
    });
    let mut talk = Talk::new(&slave, LIMIT);
    let hello = Hello {
        group: group(),
        term: Term { epoch: 1, nonce: 1 },
        holder_member: Member::new("a"),
        holder_instance: Instance::new("ia"),
        member: Member::new("b"),
        session: Session::new("s"),
        instance: Instance::new("ib"),
        nonce: nonce().unwrap(),
    };
    talk.send(Kind::Hello, &hello, None).unwrap();
    talk.receive().unwrap();
    talk.send(Kind::Proof, &Proof { end: 0 }, Some((&key(), MASTER_SHOWS)))
        .unwrap();
    assert!(matches!(
        answering.join().unwrap(),
        Err(HandshakeError::Refused(Refusal::BadKey))
    ));
}

#[test]
fn drip_fed_bytes_do_not_outlive_the_deadline() {
    let (slave, master) = pair();
    let short = Duration::from_millis(300);
    let answering = thread::spawn(move || {
        let begun = boottime_ms();
        let answered = answer(&master, short, &key(), &group(), |_, _| {
            Ok((Welcome { min: 0, from: 1 }, ()))
        });
        (answered.is_err(), boottime_ms() - begun)
    });
    for byte in b"RHA\x01\x01\x0f\xff"
        .iter()
        .chain(std::iter::repeat_n(&b'{', 100))
    {
        if (&slave).write_all(&[*byte]).is_err() || answering.is_finished() {
            break;
        }
        thread::park_timeout(Duration::from_millis(20));
    }
    let (failed, took) = answering.join().unwrap();
    assert!(failed && took < 1500, "took {took} ms");
}

#[test]
fn another_version_is_named() {
    let (slave, master) = pair();
    let answering = thread::spawn(move || {
        answer(&master, LIMIT, &key(), &group(), |_, _| {
            Ok((Welcome { min: 0, from: 1 }, ()))
        })
    });
    (&slave).write_all(b"RHA\x09\x01\x00\x00").unwrap();
    let told = Talk::new(&slave, LIMIT).receive().unwrap().not_refused();
    assert!(matches!(
        told,
        Err(HandshakeError::Refused(Refusal::Version { mine: VERSION }))
    ));
    assert!(matches!(
        answering.join().unwrap(),
        Err(HandshakeError::Refused(Refusal::Version { .. }))
    ));
}
