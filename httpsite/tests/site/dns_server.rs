//! A DNS server over UDP and TCP on one port of loopback, made by hand from RFC 1035 so that it shares no mistake with the
//! resolver it is asked by.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// RFC 1035's limit of an answer over UDP; whoever wants more asks again over TCP.
const UDP_LIMIT: usize = 512;

const A: u16 = 1;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const AAAA: u16 = 28;
const SRV: u16 = 33;

/// Codes of RFC 1035 §4.1.1.
pub(crate) const SERVFAIL: u8 = 2;
pub(crate) const NXDOMAIN: u8 = 3;
pub(crate) const REFUSED: u8 = 5;

/// What is said when a name is asked for.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Those of its records that are of the asked kind, or point elsewhere; maybe none at all.
    Records(Vec<Record>),
    /// Nothing but this code.
    Code(u8),
    /// The same to one kind of question only: records to the others.
    CodeFor(Kind, u8, Vec<Record>),
    /// Nothing, ever.
    Silence,
    /// Nothing to the first question over UDP: the packet was lost.
    Lost(Vec<Record>),
    /// Bytes that are no answer.
    Garbage,
    /// An answer to another question than the one that was asked.
    Stranger,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    A,
    Aaaa,
}

#[derive(Clone, Debug)]
pub(crate) enum Record {
    Address(IpAddr),
    Alias(String),
    Service {
        priority: u16,
        weight: u16,
        port: u16,
        target: String,
    },
}

pub(crate) fn addresses(ips: &[&str]) -> Reply {
    let ips = ips.iter().map(|ip| Record::Address(ip.parse().unwrap()));
    Reply::Records(ips.collect())
}

#[derive(Debug, Default)]
struct Zone {
    names: BTreeMap<String, Reply>,
    asked: BTreeMap<(String, &'static str), usize>,
}

/// Runs until the test ends.
#[derive(Clone, Debug)]
pub(crate) struct DnsServer {
    pub(crate) address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

impl DnsServer {
    pub(crate) async fn start() -> Self {
        let (udp, tcp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            // The same number may be somebody else's over UDP.
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let server = Self {
            address: udp.local_addr().unwrap(),
            zone: Arc::default(),
        };
        tokio::spawn(server.clone().over_udp(udp));
        tokio::spawn(server.clone().over_tcp(tcp));
        server
    }

    pub(crate) fn set(&self, name: &str, reply: Reply) {
        let mut zone = self.zone.lock().unwrap_or_else(PoisonError::into_inner);
        zone.names.insert(name.to_owned(), reply);
    }

    /// How often it was asked for a name over `udp` or `tcp`.
    pub(crate) fn asked(&self, name: &str, over: &'static str) -> usize {
        let zone = self.zone.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = zone.asked.get(&(name.to_owned(), over));
        asked.copied().unwrap_or_default()
    }

    async fn over_udp(self, socket: UdpSocket) {
        let mut question = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut question).await {
            let Some(mut answer) = self.answer(&question[..length], "udp") else {
                continue;
            };
            if answer.len() > UDP_LIMIT {
                // TC, and as if there were no records.
                answer = empty(&question[..length], 0);
                answer[2] |= 0x02;
            }
            let _ = socket.send_to(&answer, from).await;
        }
    }

    async fn over_tcp(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(self.clone().conversation(stream));
        }
    }

    async fn conversation(self, mut stream: TcpStream) -> Option<()> {
        loop {
            let length = stream.read_u16().await.ok()?;
            let mut question = vec![0; usize::from(length)];
            stream.read_exact(&mut question).await.ok()?;
            let Some(answer) = self.answer(&question, "tcp") else {
                continue;
            };
            let length = u16::try_from(answer.len()).unwrap();
            let bytes = [&length.to_be_bytes()[..], &answer].concat();
            stream.write_all(&bytes).await.ok()?;
        }
    }

    fn answer(&self, question: &[u8], over: &'static str) -> Option<Vec<u8>> {
        let (name, kind) = asked_for(question);
        let mut zone = self.zone.lock().unwrap_or_else(PoisonError::into_inner);
        let times = zone.asked.entry((name.clone(), over)).or_default();
        *times += 1;
        let is_first = *times == 1;
        match zone.names.get(&name).cloned() {
            None => Some(empty(question, NXDOMAIN)),
            Some(Reply::Records(records)) => Some(whole(&zone, question, kind, &records)),
            Some(Reply::Code(code)) => Some(empty(question, code)),
            Some(Reply::CodeFor(of, code, records)) => {
                let matches = kind == if of == Kind::A { A } else { AAAA };
                Some(match matches {
                    true => empty(question, code),
                    false => whole(&zone, question, kind, &records),
                })
            }
            Some(Reply::Silence) => None,
            Some(Reply::Lost(_)) if is_first => None,
            Some(Reply::Lost(records)) => Some(whole(&zone, question, kind, &records)),
            Some(Reply::Garbage) => {
                // The right number, then nonsense with pointers into nowhere.
                let mut bytes = question[..2].to_vec();
                bytes.extend([0x81, 0x80, 0, 1, 0xff, 0xff, 0, 0, 0, 0]);
                bytes.extend([0xc0; 100]);
                Some(bytes)
            }
            Some(Reply::Stranger) => {
                let mut other = question.to_vec();
                // Another letter in the name.
                other[13] = if other[13] == b'x' { b'y' } else { b'x' };
                let records = [Record::Address([6, 6, 6, 6].into())];
                Some(whole(&zone, &other, kind, &records))
            }
        }
    }
}

/// The name in lower case without its last dot, and the kind.
fn asked_for(question: &[u8]) -> (String, u16) {
    let (mut labels, mut at) = (Vec::new(), 12);
    while question[at] != 0 {
        let length = usize::from(question[at]);
        let label = &question[at + 1..=at + length];
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        at += length + 1;
    }
    let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
    (labels.join("."), kind)
}

fn empty(question: &[u8], code: u8) -> Vec<u8> {
    let end = end_of(question);
    // Its number; an answer, recursion wished for and available; the code; one question, nothing else.
    let mut bytes = question[..2].to_vec();
    bytes.extend([0x81, 0x80 | code, 0, 1, 0, 0, 0, 0, 0, 0]);
    bytes.extend(&question[12..end]);
    if matches!(code, 0 | NXDOMAIN) {
        // RFC 2308: how long "there is none" lives, here a day, is in the zone's SOA.
        bytes[9] = 1;
        let mut facts = [name_of("ns.test"), name_of("op.test")].concat();
        for number in [1_u32, 86_400, 86_400, 86_400, 86_400] {
            facts.extend(number.to_be_bytes());
        }
        push(&mut bytes, &name_of("test"), SOA, 86_400, &facts);
    }
    bytes
}

/// The end of the only question.
fn end_of(question: &[u8]) -> usize {
    let zero = question[12..].iter().position(|byte| *byte == 0);
    12 + zero.unwrap() + 5
}

fn whole(zone: &Zone, question: &[u8], kind: u16, records: &[Record]) -> Vec<u8> {
    let mut bytes = question[..2].to_vec();
    bytes.extend([0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
    bytes.extend(&question[12..end_of(question)]);
    let (mut owner, mut records) = (vec![0xc0, 12], records.to_vec());
    let mut count: u16 = 0;
    // As a resolver's server does: the whole chain in one answer.
    while let Some(Record::Alias(target)) = records.first() {
        let target = target.clone();
        push(&mut bytes, &owner, CNAME, 1, &name_of(&target));
        owner = name_of(&target);
        count += 1;
        records = match zone.names.get(&target) {
            Some(Reply::Records(more)) if count < 20 => more.clone(),
            _ => Vec::new(),
        };
    }
    for record in &records {
        let (of, data) = match record {
            Record::Address(IpAddr::V4(ip)) => (A, ip.octets().to_vec()),
            Record::Address(IpAddr::V6(ip)) => (AAAA, ip.octets().to_vec()),
            Record::Alias(target) => (CNAME, name_of(target)),
            Record::Service {
                priority,
                weight,
                port,
                target,
            } => {
                let numbers = [priority, weight, port].map(|number| number.to_be_bytes());
                (SRV, [numbers.concat(), name_of(target)].concat())
            }
        };
        if of == kind {
            push(&mut bytes, &owner, of, 1, &data);
            count += 1;
        }
    }
    if count == 0 {
        return empty(question, 0);
    }
    bytes[6..8].copy_from_slice(&count.to_be_bytes());
    bytes
}

/// A record that lives so many seconds.
fn push(bytes: &mut Vec<u8>, owner: &[u8], kind: u16, seconds: u32, data: &[u8]) {
    bytes.extend(owner);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend(seconds.to_be_bytes());
    bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    bytes.extend(data);
}

fn name_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in text.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes
}
