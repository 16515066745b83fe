//! The list in force: never empty, in canonical order, with its one line, its ETag and its index.

use std::fmt;

use crate::name_server::{NameServer, ServerSet};

/// A list that clients are given. Equal content has equal line and index on every replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    servers: ServerSet,
    line: String,
    index: Index,
}

/// The content's hash: what a long-poll names as known, and the ETag.
///
/// It says nothing about order in time, so that replicas side by side, and one that was restarted, mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index(u64);

impl List {
    /// None if there is no server: an empty list is never given to anybody.
    pub fn new(servers: ServerSet) -> Option<Self> {
        if servers.is_empty() {
            return None;
        }
        let items: Vec<String> = servers.iter().map(ToString::to_string).collect();
        let line = items.join(";") + "\n";
        let index = Index::of(line.as_bytes());
        Some(Self {
            servers,
            line,
            index,
        })
    }

    /// The servers.
    pub const fn servers(&self) -> &ServerSet {
        &self.servers
    }

    /// `ip:port;ip:port\n`
    pub fn line(&self) -> &str {
        &self.line
    }

    /// The content's hash.
    pub const fn index(&self) -> Index {
        self.index
    }

    /// Whether this server is on it.
    pub fn has(&self, server: &NameServer) -> bool {
        self.servers.contains(server)
    }
}

impl Index {
    /// FNV-1a of 64 bits: stable over versions of ours, and nobody gains by a collision of his own list.
    fn of(bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }

    /// Reads what [`Display`](fmt::Display) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        plain
            .then(|| u64::from_str_radix(text, 16).ok())
            .flatten()
            .map(Self)
    }

    /// The entity tag.
    pub fn etag(self) -> String {
        format!("\"{self}\"")
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name_server::{HostNames, parse_servers};

    fn list(text: &str) -> List {
        List::new(parse_servers(text, HostNames::Refused).unwrap()).unwrap()
    }

    #[test]
    fn one_line_no_trailing_semicolon_and_never_empty() {
        assert_eq!(
            list("10.0.0.2:9876;10.0.0.1:9876").line(),
            "10.0.0.1:9876;10.0.0.2:9876\n"
        );
        assert_eq!(List::new(ServerSet::new()), None);
    }

    #[test]
    fn the_index_is_the_contents() {
        let one = list("10.0.0.2:9876;10.0.0.1:9876").index();
        assert_eq!(one, list("10.0.0.1:9876 10.0.0.2:9876").index());
        assert_ne!(one, list("10.0.0.1:9876").index());
        assert_eq!(Index::parse(&one.to_string()), Some(one));
        for bad in ["", "7", "+23456789abcdef0", "xyz", "0123456789abcdef0"] {
            assert_eq!(Index::parse(bad), None, "{bad}");
        }
    }
}
