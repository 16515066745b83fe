//! How two relays show each other who they are before a byte of the log flows.
//!
//! ```text
//! slave                                  master
//!   Hello{names, term, nonce}        ─►
//!                                    ◄─  Challenge{nonce}          or Refused
//!   Proof{end} + tag "slave"         ─►
//!                                    ◄─  Welcome{min, from} + tag "master"   or Refused
//! ```
//! Each tag is an HMAC with the group key over all bytes so far, both ways, this message included. Both nonces are
//! fresh, so nothing can be replayed; the two purposes differ, so nothing can be reflected. The slave shows the key
//! first: who has not the key learns no more than "no". A refusal is unsigned, a hint.

use crate::clock::boottime_ms;
use crate::{Attach, GroupKey, GroupName, Instance, Member, Peer, Refusal, Session, Term};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::net::TcpStream;
use std::time::Duration;

pub(crate) mod message;

use message::{Kind, MessageError, Transcript, VERSION};

const SLAVE_SHOWS: &str = "rocketmq-ha relay: slave";
const MASTER_SHOWS: &str = "rocketmq-ha relay: master";

/// Who the slave is, and whom it wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) group: GroupName,
    pub(crate) term: Term,
    pub(crate) holder_member: Member,
    pub(crate) holder_instance: Instance,
    pub(crate) member: Member,
    pub(crate) session: Session,
    pub(crate) instance: Instance,
    nonce: String,
}

impl Hello {
    pub(crate) fn peer(&self) -> Peer {
        Peer {
            member: self.member.clone(),
            session: self.session.clone(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Challenge {
    nonce: String,
}

#[derive(Serialize, Deserialize)]
struct Proof {
    end: u64,
}

/// What the master answers to an admitted slave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Welcome {
    /// The first offset the master has.
    pub(crate) min: u64,
    /// The offset of the first byte it will send.
    pub(crate) from: u64,
}

/// Why no link came about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("open the peer link")]
    Refused(#[source] Refusal),
    #[error("exchange the peer link's handshake")]
    Io(#[from] io::Error),
    #[error("read the peer link's handshake")]
    Message(#[from] MessageError),
    #[error("draw a nonce")]
    Random,
}

/// One side's view of a running handshake: the socket, the deadline, everything said so far.
struct Talk<'a> {
    stream: &'a TcpStream,
    until_ms: u64,
    said: Transcript,
}

impl<'a> Talk<'a> {
    fn new(stream: &'a TcpStream, limit: Duration) -> Self {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        Self {
            stream,
            until_ms: boottime_ms().saturating_add(limit),
            said: Transcript::default(),
        }
    }

    /// What is left of the deadline, never zero (zero would mean "for ever" to a socket).
    fn left(&self) -> io::Result<Duration> {
        match self.until_ms.saturating_sub(boottime_ms()) {
            0 => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Duration::from_millis(left)),
        }
    }

    fn send(
        &mut self,
        kind: Kind,
        body: &impl Serialize,
        sign: Option<(&GroupKey, &str)>,
    ) -> Result<(), HandshakeError> {
        let bytes = self.said.compose(kind, body, sign)?;
        self.stream.set_write_timeout(Some(self.left()?))?;
        let mut stream = self.stream;
        stream.write_all(&bytes)?;
        Ok(())
    }

    /// Reads exactly `into.len()` bytes before the deadline, however slowly they drip.
    fn fill(&self, into: &mut [u8]) -> Result<(), HandshakeError> {
        let mut rest = into;
        while !rest.is_empty() {
            self.stream.set_read_timeout(Some(self.left()?))?;
            match crate::socket::read(self.stream, rest)? {
                crate::socket::Got::Bytes(count) => {
                    rest = rest.get_mut(count..).unwrap_or_default()
                }
                crate::socket::Got::Nothing => {}
                crate::socket::Got::End => {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<message::Received, HandshakeError> {
        let mut head = [0; message::HEAD_BYTES];
        self.fill(&mut head)?;
        let head = message::Head::decode(head)?;
        let mut rest = vec![0; head.rest_bytes()];
        self.fill(&mut rest)?;
        Ok(self.said.note(head, rest)?)
    }

    fn refuse(&mut self, refusal: Refusal) -> HandshakeError {
        // The refusal is a courtesy: if it does not arrive, the closed socket says enough.
        let _unused = self.send(Kind::Refused, &refusal, None);
        HandshakeError::Refused(refusal)
    }
}

fn nonce() -> Result<String, HandshakeError> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|_| HandshakeError::Random)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The slave's side: asks for the log from somewhere below `end`.
pub(crate) fn ask(
    stream: &TcpStream,
    limit: Duration,
    key: &GroupKey,
    group: &GroupName,
    attach: &Attach,
    end: u64,
) -> Result<Welcome, HandshakeError> {
    let mut talk = Talk::new(stream, limit);
    let hello = Hello {
        group: group.clone(),
        term: attach.term,
        holder_member: attach.holder_member.clone(),
        holder_instance: attach.holder_instance.clone(),
        member: attach.member.clone(),
        session: attach.session.clone(),
        instance: attach.instance.clone(),
        nonce: nonce()?,
    };
    talk.send(Kind::Hello, &hello, None)?;
    let challenge = talk.receive()?.not_refused()?;
    let _fresh: Challenge = challenge.parse(Kind::Challenge)?;
    talk.send(Kind::Proof, &Proof { end }, Some((key, SLAVE_SHOWS)))?;
    let welcome = talk.receive()?.not_refused()?;
    let answer = welcome.parse(Kind::Welcome)?;
    if !talk.said.verify(key, MASTER_SHOWS, &welcome) {
        return Err(HandshakeError::Refused(Refusal::BadKey));
    }
    Ok(answer)
}

/// The master's side. `admit` sees who asks, already known to hold the key, and the end of its log; it answers with the
/// welcome and whatever goes with it.
pub(crate) fn answer<T>(
    stream: &TcpStream,
    limit: Duration,
    key: &GroupKey,
    group: &GroupName,
    admit: impl FnOnce(&Hello, u64) -> Result<(Welcome, T), Refusal>,
) -> Result<T, HandshakeError> {
    let mut talk = Talk::new(stream, limit);
    let hello: Hello = match talk
        .receive()
        .and_then(|first| Ok(first.parse(Kind::Hello)?))
    {
        Ok(hello) => hello,
        Err(HandshakeError::Message(MessageError::Version(_))) => {
            return Err(talk.refuse(Refusal::Version { mine: VERSION }));
        }
        Err(other) => return Err(other),
    };
    if hello.group != *group {
        return Err(talk.refuse(Refusal::WrongGroup));
    }
    talk.send(Kind::Challenge, &Challenge { nonce: nonce()? }, None)?;
    let shown = talk.receive()?;
    if !talk.said.verify(key, SLAVE_SHOWS, &shown) {
        return Err(talk.refuse(Refusal::BadKey));
    }
    let proof: Proof = shown.parse(Kind::Proof)?;
    match admit(&hello, proof.end) {
        Ok((welcome, with)) => {
            talk.send(Kind::Welcome, &welcome, Some((key, MASTER_SHOWS)))?;
            Ok(with)
        }
        Err(refusal) => Err(talk.refuse(refusal)),
    }
}

#[cfg(test)]
mod tests;
