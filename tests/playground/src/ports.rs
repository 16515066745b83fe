//! Free ports, in blocks, that no other run will take.
//!
//! A broker needs neighbours (listenPort−2, listenPort, HA port), and its ports must be known before it
//! starts, so "bind to 0" is no help. A block lies outside the kernel's ephemeral range, where an
//! outgoing connection could take a port at any moment; it is locked by a file in the cache for as long as
//! its handle lives, and every port of it is bound once to see that no stranger holds it.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use crate::cache::Cache;

/// Ports in a block.
pub const BLOCK_SIZE: u16 = 10;

/// Where the kernel tells its ephemeral range.
const EPHEMERAL: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Gives out blocks.
#[derive(Debug, Clone)]
pub struct Ports {
    locks: PathBuf,
}

impl Ports {
    /// Blocks locked in `cache`, which all runs of a user share.
    ///
    /// # Errors
    /// When the folder of the locks cannot be created.
    pub fn new(cache: &Cache) -> Result<Self> {
        let locks = cache.folder().join("ports");
        std::fs::create_dir_all(&locks)
            .with_context(|| format!("create folder {}", locks.display()))?;
        Ok(Self { locks })
    }

    /// A block of ten ports, free now and ours until the handle is dropped.
    ///
    /// # Errors
    /// When no block is free.
    pub fn block(&self) -> Result<PortBlock> {
        let range = usable(ephemeral_range());
        let blocks = (range.end - range.start) / BLOCK_SIZE;
        let start = random_below(blocks)?;
        for turn in 0..blocks {
            let index = (start + turn) % blocks;
            let first = range.start + index * BLOCK_SIZE;
            if let Some(lock) = self.lock(first)?
                && is_free(first)
            {
                return Ok(PortBlock {
                    first,
                    ip: Ipv4Addr::LOCALHOST,
                    _lock: lock,
                });
            }
        }
        bail!(
            "find {BLOCK_SIZE} free ports in a row between {} and {}: none is left; end other \
             programs that listen there",
            range.start,
            range.end
        )
    }

    fn lock(&self, first: u16) -> Result<Option<Flock<File>>> {
        let path = self.locks.join(format!("{first}.lock"));
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("open port lock {}", path.display()))?;
        Ok(Flock::lock(file, FlockArg::LockExclusiveNonblock).ok())
    }
}

/// Ten ports in a row.
#[derive(Debug)]
pub struct PortBlock {
    first: u16,
    ip: Ipv4Addr,
    _lock: Flock<File>,
}

impl PortBlock {
    /// The `index`-th port; indexes of [`BLOCK_SIZE`] and above wrap around inside the block.
    #[must_use]
    pub fn port(&self, index: u16) -> u16 {
        self.first + index % BLOCK_SIZE
    }

    /// The same ports on another address than loopback's.
    #[must_use]
    pub fn on(mut self, ip: Ipv4Addr) -> Self {
        self.set_ip(ip);
        self
    }

    /// The same ports, from now on on this address.
    pub fn set_ip(&mut self, ip: Ipv4Addr) {
        self.ip = ip;
    }

    /// The `index`-th port, on the loopback address if no other one was chosen.
    #[must_use]
    pub fn address(&self, index: u16) -> SocketAddr {
        (self.ip, self.port(index)).into()
    }
}

/// The larger part of 10000…65535 that the kernel does not give to outgoing connections; a machine that
/// left none gets 10000…20000.
fn usable(ephemeral: Range<u16>) -> Range<u16> {
    const LOWEST: u16 = 10_000;
    const HIGHEST: u16 = 65_500;
    let below = LOWEST..ephemeral.start.clamp(LOWEST, HIGHEST);
    let above = ephemeral.end.clamp(LOWEST, HIGHEST)..HIGHEST;
    let larger = if below.len() >= above.len() {
        below
    } else {
        above
    };
    if larger.len() < usize::from(BLOCK_SIZE) * 20 {
        return LOWEST..20_000;
    }
    larger
}

fn ephemeral_range() -> Range<u16> {
    // Linux's default, for machines that hide the file.
    const DEFAULT: Range<u16> = 32_768..61_000;
    let text = std::fs::read_to_string(EPHEMERAL).unwrap_or_default();
    let mut numbers = text.split_whitespace().map(str::parse::<u16>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(low)), Some(Ok(high))) if low < high => low..high,
        _ => DEFAULT,
    }
}

fn is_free(first: u16) -> bool {
    // Held together, so that a port given twice by mistake would show.
    let listeners: Result<Vec<TcpListener>, _> = (first..first + BLOCK_SIZE)
        .map(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
        .collect();
    listeners.is_ok()
}

pub(crate) fn random_below(limit: u16) -> Result<u16> {
    let mut bytes = [0_u8; 2];
    getrandom::fill(&mut bytes).context("read random bytes")?;
    Ok(u16::from_ne_bytes(bytes) % limit.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_dir::{Afterwards, RunDir};

    fn ports(run: &RunDir) -> Ports {
        Ports::new(&Cache::at(run.path()).unwrap()).unwrap()
    }

    #[test]
    fn blocks_of_parallel_runs_do_not_touch() {
        let run = RunDir::create(Afterwards::Remove).unwrap();
        // Two runs, each with its own handle on the same cache.
        let blocks: Vec<PortBlock> = (0..20).map(|_| ports(&run).block().unwrap()).collect();
        let mut all: Vec<u16> = blocks
            .iter()
            .flat_map(|block| (0..BLOCK_SIZE).map(|index| block.port(index)))
            .collect();
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn a_block_is_locked_until_it_is_dropped() {
        let run = RunDir::create(Afterwards::Remove).unwrap();
        let ports = ports(&run);
        let block = ports.block().unwrap();
        let first = block.port(0);
        assert!(ports.lock(first).unwrap().is_none());
        drop(block);
        assert!(ports.lock(first).unwrap().is_some());
    }

    #[test]
    fn a_block_with_a_stranger_in_it_is_not_free() {
        let run = RunDir::create(Afterwards::Remove).unwrap();
        let block = ports(&run).block().unwrap();
        assert!(is_free(block.port(0)));
        let _stranger = TcpListener::bind(block.address(7)).unwrap();
        assert!(!is_free(block.port(0)));
    }

    #[test]
    fn ports_of_outgoing_connections_are_avoided() {
        assert_eq!(usable(32_768..61_000), 10_000..32_768);
        assert_eq!(usable(10_000..30_000), 30_000..65_500);
        // A machine that gives away everything: any port is a gamble.
        assert_eq!(usable(1_024..65_535), 10_000..20_000);
    }
}
