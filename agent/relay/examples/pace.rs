//! How fast the relay is: the same stream between two bare sockets, once direct and once through both hops.
//!
//! `pace [sends=20000] [megabytes=1000] [rounds=3]` prints, side by side, the time from a 1 KiB frame to its
//! acknowledgement and the rate of a catch-up, each with the processor time of the whole process (both ends included).

#![allow(clippy::print_stdout, reason = "a program for a terminal")]

use nix::time::{ClockId, clock_gettime};
use relay::clock::boottime_ms;
use relay::ha_stream::{FrameBuffer, FrameHeader};
use relay::{
    Attach, GroupKey, GroupName, Instance, MasterOrders, MasterRelay, Member, Peer, Session,
    SlaveOrders, SlaveRelay, Term,
};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

type Failure = Box<dyn std::error::Error>;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const TERM: Term = Term { epoch: 1, nonce: 1 };
/// A stock master's batch.
const BATCH: usize = 32 * 1024;

fn main() -> Result<(), Failure> {
    let number = |name: &str, default: usize| {
        let value = std::env::args().find_map(|word| word.strip_prefix(name)?.parse().ok());
        value.unwrap_or(default)
    };
    let (sends, megabytes) = (number("sends=", 20_000), number("megabytes=", 1000));
    for _ in 0..number("rounds=", 3) {
        measure("direct", sends, megabytes, |ha| {
            Ok((TcpStream::connect(ha)?, None))
        })?;
        measure("relayed", sends, megabytes, relayed)?;
    }
    Ok(())
}

/// The relays in between; they end when dropped.
type Between = Option<(MasterRelay, SlaveRelay, tempfile::TempDir)>;

/// The slave's socket, and what lies between it and `ha`.
fn relayed(ha: SocketAddr) -> Result<(TcpStream, Between), Failure> {
    let key = GroupKey::from_bytes(b"for measurements only")?;
    let group = GroupName {
        cluster: "c".into(),
        broker: "b".into(),
    };
    let folder = tempfile::tempdir()?;
    let (member, session) = (Member::new("b"), Session::new("s"));
    let master = MasterRelay::bind(ANY, group.clone(), key.clone())?;
    master.order(Some(MasterOrders {
        member: Member::new("a"),
        instance: Instance::new("a"),
        term: TERM,
        start: 0,
        admit: vec![Peer {
            member: member.clone(),
            session: session.clone(),
        }],
        k: 1,
        ha,
        commitlog_dir: folder.path().to_owned(),
        local_ack: relay::LocalAck::Off,
    }));
    if !master.permit(TERM, u64::MAX - 1) {
        return Err("the permit was not taken".into());
    }
    let slave = SlaveRelay::bind(ANY, group, key)?;
    slave.order(SlaveOrders::Attach(Box::new(Attach {
        upstream: master.listen(),
        term: TERM,
        holder_member: Member::new("a"),
        holder_instance: Instance::new("a"),
        member,
        session,
        instance: Instance::new("b"),
        commitlog_dir: folder.path().to_owned(),
        commitlog_file_size: 1 << 30,
        end_hint: None,
    })));
    let stream = TcpStream::connect(slave.local())?;
    Ok((stream, Some((master, slave, folder))))
}

fn measure(
    name: &str,
    sends: usize,
    megabytes: usize,
    connect: impl FnOnce(SocketAddr) -> Result<(TcpStream, Between), Failure>,
) -> Result<(), Failure> {
    let listener = TcpListener::bind(ANY)?;
    let (slave, between) = connect(listener.local_addr()?)?;
    let slave = std::thread::spawn(move || drop(be_slave(slave)));
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let mut request = [0; 8];
    stream.read_exact(&mut request)?;
    let mut at = u64::from_be_bytes(request).max(1);

    let (mut times, before) = (Vec::with_capacity(sends), now());
    let cpu_before = cpu();
    for _ in 0..sends {
        let begun = now();
        at = send(&mut stream, at, 1024)?;
        await_acknowledgement(&mut stream, at)?;
        times.push(now().saturating_sub(begun));
    }
    times.sort_unstable();
    let at_percent = |percent: usize| {
        times
            .get(sends * percent / 100)
            .copied()
            .unwrap_or_default()
    };
    println!(
        "{name:8} sends: median {:>6.1?}  p10 {:>6.1?}  p99 {:>7.1?}  {:>6.0}/s  cpu {:.1?} each",
        at_percent(50),
        at_percent(10),
        at_percent(99),
        sends as f64 / now().saturating_sub(before).as_secs_f64(),
        cpu().saturating_sub(cpu_before) / u32::try_from(sends)?,
    );

    let end = at + (megabytes * 1_000_000) as u64;
    let (before, cpu_before) = (now(), cpu());
    let mut acknowledging = stream.try_clone()?;
    let waiter = std::thread::spawn(move || await_acknowledgement(&mut acknowledging, end).is_ok());
    while at < end {
        let size = usize::try_from(end - at)?.min(BATCH);
        at = send(&mut stream, at, size)?;
    }
    let all = waiter.join().unwrap_or(false);
    let (took, cpu) = (
        now().saturating_sub(before),
        cpu().saturating_sub(cpu_before),
    );
    println!(
        "{name:8} bulk:  {:.0} MB/s, cpu {:.2} s per GB{}",
        megabytes as f64 / took.as_secs_f64(),
        cpu.as_secs_f64() / megabytes as f64 * 1000.0,
        if all { "" } else { ": NOT ALL ARRIVED" },
    );
    drop((stream, between));
    drop(slave.join());
    Ok(())
}

fn send(stream: &mut TcpStream, at: u64, size: usize) -> Result<u64, Failure> {
    let header = FrameHeader {
        offset: at,
        size: u32::try_from(size)?,
    };
    let mut frame = header.encode().to_vec();
    frame.resize(frame.len() + size, 7);
    stream.write_all(&frame)?;
    Ok(header.end())
}

/// Reads reports until one reaches `end`.
fn await_acknowledgement(stream: &mut TcpStream, end: u64) -> std::io::Result<()> {
    let mut report = [0; 8];
    while u64::from_be_bytes(report) < end {
        stream.read_exact(&mut report)?;
    }
    Ok(())
}

/// An empty slave that takes everything and reports each frame, as a stock one does.
fn be_slave(mut stream: TcpStream) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    stream.write_all(&0_u64.to_be_bytes())?;
    let mut buffer = FrameBuffer::default();
    loop {
        let count = stream.read(buffer.room()?)?;
        if count == 0 {
            return Ok(());
        }
        buffer.filled(count);
        while let Some(frame) = buffer.peek()? {
            buffer.consume(&frame);
            if frame.header.size > 0 {
                stream.write_all(&frame.header.end().to_be_bytes())?;
            }
        }
    }
}

fn now() -> Duration {
    read(ClockId::CLOCK_BOOTTIME)
}

fn cpu() -> Duration {
    read(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

fn read(clock: ClockId) -> Duration {
    clock_gettime(clock).map_or_else(|_| Duration::from_millis(boottime_ms()), Duration::from)
}
