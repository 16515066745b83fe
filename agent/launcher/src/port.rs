//! Sees when a process group's listening port opens.
//!
//! Reading `/proc/net/tcp` makes the kernel walk its whole table of connections (3 ms and more), so the port is first tried
//! with a connection over loopback, which is refused at once while nobody listens; the table then tells whose port it is.
//! A broker that binds to another address only is found by the table alone, which is read once per second.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use crate::group::Group;

/// Loopback answers at once unless the listener's queue is full.
const CONNECT: Duration = Duration::from_millis(10);

/// How long a table is not read again when the port did not answer, in milliseconds.
const TABLE_MS: u64 = 1_000;

/// The same when the port answered and was somebody else's.
const FOREIGN_MS: u64 = 200;

/// Watches one port for one group until it is open.
#[derive(Debug)]
pub(crate) struct PortWatch {
    group: Group,
    port: u16,
    read_ms: Option<u64>,
}

impl PortWatch {
    pub(crate) fn new(group: Group, port: u16) -> Self {
        Self {
            group,
            port,
            read_ms: None,
        }
    }

    /// True when a process of the group listens on the port.
    pub(crate) fn look(&mut self, now_ms: u64) -> bool {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let answers = TcpStream::connect_timeout(&address, CONNECT).is_ok();
        let pause_ms = if answers { FOREIGN_MS } else { TABLE_MS };
        if self
            .read_ms
            .is_some_and(|at| now_ms.saturating_sub(at) < pause_ms)
        {
            return false;
        }
        self.read_ms = Some(now_ms);
        is_open(self.group, self.port)
    }
}

/// True when a process of `group` listens on `port` (any address). Where the kernel hides who owns a socket, any
/// listener on the port counts.
fn is_open(group: Group, port: u16) -> bool {
    let mut inodes = Vec::new();
    for table in ["/proc/net/tcp6", "/proc/net/tcp"] {
        // No such table (no IPv6), or unreadable: nothing seen.
        listeners(
            &fs::read_to_string(table).unwrap_or_default(),
            port,
            &mut inodes,
        );
    }
    !inodes.is_empty() && owns_one(group, &inodes)
}

/// Inodes of the sockets that listen on `port`, out of `/proc/net/tcp` or `tcp6`.
fn listeners(table: &str, port: u16, inodes: &mut Vec<u64>) {
    const LISTEN: &str = "0A";
    let suffix = format!(":{port:04X}");
    for line in table.lines().skip(1) {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let is_ours = fields.next().is_some_and(|local| local.ends_with(&suffix));
        if is_ours
            && fields.nth(1) == Some(LISTEN)
            && let Some(inode) = fields.nth(5).and_then(|text| text.parse().ok())
        {
            inodes.push(inode);
        }
    }
}

fn owns_one(group: Group, inodes: &[u64]) -> bool {
    let members = group.members();
    let mut could_read = members.is_empty();
    for member in members {
        let Ok(files) = fs::read_dir(format!("/proc/{}/fd", member.pid)) else {
            continue;
        };
        could_read = true;
        let owns = files
            .flatten()
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|target| {
                let inode = target.to_str().and_then(|text| {
                    text.strip_prefix("socket:[")?
                        .strip_suffix(']')?
                        .parse()
                        .ok()
                });
                inode.is_some_and(|inode: u64| inodes.contains(&inode))
            });
        if owns {
            return true;
        }
    }
    !could_read
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_own_listener_is_seen_and_a_foreign_one_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = Group::new(nix::unistd::getpgrp());
        assert!(PortWatch::new(own, port).look(5));
        let nobody = Group::new(nix::unistd::Pid::from_raw(4_194_303));
        assert!(!PortWatch::new(nobody, port).look(5));
        drop(listener);
        assert!(!PortWatch::new(own, port).look(5));
    }

    #[test]
    fn a_port_on_another_address_is_found_too() {
        let listener = TcpListener::bind("127.0.0.2:0").unwrap();
        let mut watch = PortWatch::new(
            Group::new(nix::unistd::getpgrp()),
            listener.local_addr().unwrap().port(),
        );
        watch.read_ms = Some(1_000);
        assert!(!watch.look(1_500));
        assert!(watch.look(2_000));
    }

    #[test]
    fn only_listening_lines_of_the_port_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 0100007F:2A9F 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 777 1 0 100 0\n   \
             1: 0100007F:2A9F 0100007F:1234 01 00000000:00000000 00:00000000 00000000     0        0 778 1 0 100 0\n   \
             2: 0100007F:2AA0 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 779 1 0 100 0\n";
        let mut inodes = Vec::new();
        listeners(table, 10911, &mut inodes);
        assert_eq!(inodes, [777]);
    }
}
