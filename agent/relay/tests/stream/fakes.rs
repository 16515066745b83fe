//! A master's and a slave's broker as far as the HA protocol goes, with the habits that were seen on real ones
//! (facts §4.1, §4.4; rmq/RELAY R1, R7): bulk reads of reports, request 0 = last file, a first report that may be
//! late, frames refused unless they continue the log.

use relay::clock::boottime_ms;
use relay::ha_stream::{FrameHeader, HEADER_BYTES};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

pub(crate) const FILE_SIZE: u64 = 256 * 1024;
const BATCH: usize = 32 * 1024;
const HEARTBEAT: Duration = Duration::from_millis(100);

/// Waits for a condition; panics with `what` if it does not come true in 8 s.
pub(crate) fn until(what: &str, condition: impl Fn() -> bool) {
    let limit = boottime_ms() + 8_000;
    while !condition() {
        assert!(boottime_ms() < limit, "did not happen in time: {what}");
        thread::park_timeout(Duration::from_millis(2));
    }
}

/// Whether a condition stays true for a while; only for what must *not* happen.
pub(crate) fn stays(limit: Duration, condition: impl Fn() -> bool) -> bool {
    let end = boottime_ms() + u64::try_from(limit.as_millis()).unwrap();
    while boottime_ms() < end {
        if !condition() {
            return false;
        }
        thread::park_timeout(Duration::from_millis(2));
    }
    true
}

/// Log bytes that differ everywhere; byte 0 is 0 as in a real log.
pub(crate) fn history(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    bytes.truncate(length);
    bytes.first_mut().into_iter().for_each(|first| *first = 0);
    bytes
}

/// A master broker's HA port over a log that the test appends to.
pub(crate) struct FakeMaster {
    shared: Arc<Master>,
    pub(crate) address: SocketAddr,
    pub(crate) folder: tempfile::TempDir,
}

#[derive(Default)]
struct Master {
    log: Mutex<MasterLog>,
    grew: Condvar,
    /// Like `push2SlaveMaxOffset` of 4.9: the highest report of any connection, request offsets included.
    told: AtomicU64,
    connections: AtomicU64,
    last_request: AtomicU64,
    /// Send nothing on a new connection until this is cleared.
    mute: AtomicBool,
    stop: AtomicBool,
    open: Mutex<BTreeMap<u64, TcpStream>>,
}

#[derive(Default)]
struct MasterLog {
    min: u64,
    bytes: Vec<u8>,
}

impl FakeMaster {
    /// Serves `bytes` from offset `min` on.
    pub(crate) fn new(min: u64, bytes: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(format!("{min:020}")), b"").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Master {
            log: Mutex::new(MasterLog {
                min,
                bytes: bytes.to_vec(),
            }),
            ..Master::default()
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accepting.accept(&listener));
        Self {
            shared,
            address,
            folder,
        }
    }

    pub(crate) fn append(&self, bytes: &[u8]) {
        self.shared
            .log
            .lock()
            .unwrap()
            .bytes
            .extend_from_slice(bytes);
        self.shared.grew.notify_all();
    }

    pub(crate) fn end(&self) -> u64 {
        self.shared.log.lock().unwrap().end()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.shared.log.lock().unwrap().bytes.clone()
    }

    /// The highest offset it believes replicated.
    pub(crate) fn told(&self) -> u64 {
        self.shared.told.load(SeqCst)
    }

    pub(crate) fn connections(&self) -> u64 {
        self.shared.connections.load(SeqCst)
    }

    pub(crate) fn last_request(&self) -> u64 {
        self.shared.last_request.load(SeqCst)
    }

    pub(crate) fn mute(&self, mute: bool) {
        self.shared.mute.store(mute, SeqCst);
    }

    /// Breaks all HA connections, as the death of the process would.
    pub(crate) fn cut(&self) {
        for stream in self.shared.open.lock().unwrap().values() {
            drop(stream.shutdown(std::net::Shutdown::Both));
        }
    }
}

impl Drop for FakeMaster {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        self.shared.grew.notify_all();
        self.cut();
        drop(TcpStream::connect(self.address));
    }
}

impl MasterLog {
    fn end(&self) -> u64 {
        self.min + self.bytes.len() as u64
    }

    /// The batch at `offset`, never across a file.
    fn batch(&self, offset: u64) -> Vec<u8> {
        if offset < self.min || offset >= self.end() {
            return Vec::new();
        }
        let start = usize::try_from(offset - self.min).unwrap();
        let file_left = usize::try_from(FILE_SIZE - offset % FILE_SIZE).unwrap();
        let stop = self.bytes.len().min(start + BATCH.min(file_left));
        self.bytes[start..stop].to_vec()
    }
}

impl Master {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        while let Ok((stream, _)) = listener.accept() {
            if self.stop.load(SeqCst) {
                return;
            }
            let id = self.connections.fetch_add(1, SeqCst);
            self.open
                .lock()
                .unwrap()
                .insert(id, stream.try_clone().unwrap());
            let serving = Arc::clone(self);
            thread::spawn(move || {
                serving.serve(stream);
                serving.open.lock().unwrap().remove(&id);
            });
        }
    }

    fn serve(self: &Arc<Self>, mut stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        // A real master reads what is there and takes the last whole report of it; give several a chance to meet.
        thread::park_timeout(Duration::from_millis(10));
        let mut bytes = [0_u8; 4096];
        let mut held = 0;
        while held < 8 {
            match stream.read(&mut bytes[held..]) {
                Ok(count) if count > 0 => held += count,
                _ => return,
            }
        }
        let last = (held / 8 - 1) * 8;
        let request = u64::from_be_bytes(bytes[last..last + 8].try_into().unwrap());
        self.last_request.store(request, SeqCst);
        self.told.fetch_max(request, SeqCst);
        let mut reading = stream.try_clone().unwrap();
        let noting = Arc::clone(self);
        thread::spawn(move || {
            let mut report = [0_u8; 8];
            while reading.read_exact(&mut report).is_ok() {
                noting.told.fetch_max(u64::from_be_bytes(report), SeqCst);
            }
        });
        drop(self.send(&mut stream, request));
    }

    fn send(&self, stream: &mut TcpStream, request: u64) -> std::io::Result<()> {
        while self.mute.load(SeqCst) && !self.stop.load(SeqCst) {
            thread::park_timeout(Duration::from_millis(2));
        }
        let mut next = if request == 0 {
            self.log.lock().unwrap().end() / FILE_SIZE * FILE_SIZE
        } else {
            request
        };
        while !self.stop.load(SeqCst) {
            let mut log = self.log.lock().unwrap();
            if log.batch(next).is_empty() {
                log = self.grew.wait_timeout(log, HEARTBEAT).unwrap().0;
            }
            let body = log.batch(next);
            drop(log);
            let header = FrameHeader {
                offset: next,
                size: u32::try_from(body.len()).unwrap(),
            };
            stream.write_all(&[&header.encode()[..], &body].concat())?;
            next += body.len() as u64;
        }
        Ok(())
    }
}

/// A slave broker: a log in real files, an HA client that connects again by itself.
pub(crate) struct FakeSlave {
    shared: Arc<Slave>,
    pub(crate) folder: tempfile::TempDir,
}

struct Slave {
    relay: SocketAddr,
    folder: PathBuf,
    min: AtomicU64,
    end: AtomicU64,
    /// Reads nothing, reports nothing: SIGSTOP.
    frozen: AtomicBool,
    still: AtomicBool,
    /// Appends, but does not report for so long after a connection, as a real one may for 5 s.
    first_report_after: Duration,
    stop: AtomicBool,
    connects: AtomicU64,
    heartbeats: AtomicU64,
    refused_frames: AtomicU64,
    stream: Mutex<Option<TcpStream>>,
}

impl FakeSlave {
    /// A slave whose log holds `bytes`, connected to `relay`.
    pub(crate) fn new(relay: SocketAddr, bytes: &[u8]) -> Self {
        Self::slow_to_report(relay, bytes, Duration::ZERO)
    }

    pub(crate) fn slow_to_report(
        relay: SocketAddr,
        bytes: &[u8],
        first_report_after: Duration,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shared = Arc::new(Slave {
            relay,
            folder: folder.path().to_owned(),
            min: AtomicU64::new(0),
            end: AtomicU64::new(0),
            frozen: AtomicBool::new(false),
            still: AtomicBool::new(false),
            first_report_after,
            stop: AtomicBool::new(false),
            connects: AtomicU64::new(0),
            heartbeats: AtomicU64::new(0),
            refused_frames: AtomicU64::new(0),
            stream: Mutex::new(None),
        });
        shared.append(0, bytes);
        let running = Arc::clone(&shared);
        thread::spawn(move || running.run());
        Self { shared, folder }
    }

    pub(crate) fn end(&self) -> u64 {
        self.shared.end.load(SeqCst)
    }

    pub(crate) fn min(&self) -> u64 {
        self.shared.min.load(SeqCst)
    }

    pub(crate) fn connects(&self) -> u64 {
        self.shared.connects.load(SeqCst)
    }

    pub(crate) fn heartbeats(&self) -> u64 {
        self.shared.heartbeats.load(SeqCst)
    }

    /// Frames that a real slave would have closed the connection for.
    pub(crate) fn refused_frames(&self) -> u64 {
        self.shared.refused_frames.load(SeqCst)
    }

    /// Freezes it (true from when this returns) or thaws it.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.shared.frozen.store(frozen, SeqCst);
        until("it stands still", || {
            self.shared.still.load(SeqCst) == frozen
        });
    }

    /// The log's bytes from its first offset on.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let (min, end) = (self.min(), self.end());
        let mut bytes = Vec::new();
        let mut at = min;
        while at < end {
            let first = at / FILE_SIZE * FILE_SIZE;
            let count = usize::try_from((first + FILE_SIZE).min(end) - at).unwrap();
            let mut part = vec![0; count];
            let file =
                std::fs::File::open(self.shared.folder.join(format!("{first:020}"))).unwrap();
            file.read_exact_at(&mut part, at - first).unwrap();
            bytes.extend(part);
            at += count as u64;
        }
        bytes
    }

    /// Cuts the log and puts other bytes there, as an offline repair would; the connection breaks.
    pub(crate) fn rewrite(&self, from: u64, bytes: &[u8]) {
        self.cut();
        self.shared.end.store(from, SeqCst);
        self.shared.append(from, bytes);
    }

    /// Breaks the connection; the slave connects again.
    pub(crate) fn cut(&self) {
        if let Some(stream) = self.shared.stream.lock().unwrap().take() {
            drop(stream.shutdown(std::net::Shutdown::Both));
        }
    }

    /// Says something on the slave's connection that its broker never would.
    pub(crate) fn blurt(&self, bytes: &[u8]) {
        if let Some(stream) = self.shared.stream.lock().unwrap().as_mut() {
            drop(stream.write_all(bytes));
        }
    }
}

impl Drop for FakeSlave {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        self.cut();
    }
}

impl Slave {
    fn append(&self, offset: u64, bytes: &[u8]) {
        if self.end.load(SeqCst) == 0 {
            self.min.store(offset, SeqCst);
        }
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let first = at / FILE_SIZE * FILE_SIZE;
            let (now, later) = rest.split_at(
                rest.len()
                    .min(usize::try_from(first + FILE_SIZE - at).unwrap()),
            );
            let path = self.folder.join(format!("{first:020}"));
            let file = std::fs::OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(path)
                .unwrap();
            file.set_len(FILE_SIZE).unwrap();
            file.write_all_at(now, at - first).unwrap();
            at += now.len() as u64;
            rest = later;
        }
        self.end.store(at, SeqCst);
    }

    fn run(&self) {
        while !self.stop.load(SeqCst) {
            if let Ok(stream) = TcpStream::connect(self.relay) {
                self.connects.fetch_add(1, SeqCst);
                *self.stream.lock().unwrap() = Some(stream.try_clone().unwrap());
                drop(self.talk(stream));
            }
            thread::park_timeout(Duration::from_millis(20));
        }
    }

    fn talk(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_millis(20)))?;
        let begun = boottime_ms();
        let mut reported_ms = None;
        let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
        let mut reported = self.end.load(SeqCst);
        while !self.stop.load(SeqCst) {
            self.still.store(self.frozen.load(SeqCst), SeqCst);
            if self.still.load(SeqCst) {
                thread::park_timeout(Duration::from_millis(2));
                continue;
            }
            let quiet = reported_ms.map_or_else(
                || u128::from(boottime_ms() - begun) >= self.first_report_after.as_millis(),
                |at| boottime_ms() - at >= 100,
            );
            if quiet {
                stream.write_all(&reported.to_be_bytes())?;
                reported_ms = Some(boottime_ms());
            }
            match stream.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => bytes.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
            while let Some((header, body)) = whole_frame(&bytes) {
                let end = self.end.load(SeqCst);
                if end != 0 && header.offset != end {
                    self.refused_frames.fetch_add(1, SeqCst);
                    return Ok(());
                }
                if body.is_empty() {
                    self.heartbeats.fetch_add(1, SeqCst);
                } else {
                    self.append(header.offset, &body);
                }
                bytes.drain(..HEADER_BYTES + body.len());
                let end = self.end.load(SeqCst);
                if end > reported {
                    reported = end;
                    stream.write_all(&reported.to_be_bytes())?;
                    reported_ms = Some(boottime_ms());
                }
            }
        }
        Ok(())
    }
}

fn whole_frame(bytes: &[u8]) -> Option<(FrameHeader, Vec<u8>)> {
    let header = FrameHeader::decode(*bytes.first_chunk::<HEADER_BYTES>()?).unwrap();
    let body = bytes.get(HEADER_BYTES..HEADER_BYTES + usize::try_from(header.size).unwrap())?;
    Some((header, body.to_vec()))
}
