//! One name server's address: an IP literal and a port; a host name only where the operator allows it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use serde::{Serialize, Serializer};
use thiserror::Error;

/// The longest list that is taken. Every broker and client keeps a connection to each.
pub const MAX_SERVERS: usize = 64;

/// The longest name DNS allows, in bytes.
const MAX_HOST_BYTES: usize = 253;

/// A set of name servers, in the canonical order: IPv4, then IPv6, then host names, each by address and port.
pub type ServerSet = BTreeSet<NameServer>;

/// An address that clients are given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameServer {
    // The derived order is the canonical one: hosts before ports, and see `Host`.
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Host {
    /// IPv4 sorts before IPv6.
    Ip(IpAddr),
    Name(String),
}

/// Whether host names are taken. The Go client refuses a list that has one (facts §7.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostNames {
    /// As `--allow-host-names` says.
    Allowed,
    /// The default.
    Refused,
}

/// Why a text is no name server, or no list of them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ServerError {
    /// No colon, or nothing before or after it.
    #[error("{0:?} is not ip:port; write it like 10.0.0.1:9876 or [fd00::1]:9876")]
    NotHostPort(String),
    /// A name where only addresses are allowed.
    #[error(
        "{0:?} is a host name: Go clients refuse the whole list; give an address, or --allow-host-names"
    )]
    HostName(String),
    /// Neither name nor address.
    #[error("{0:?} is no address that a client could connect to")]
    Host(String),
    /// Not a number from 1 to 65535.
    #[error("{0:?} is no port; use 1 to 65535")]
    Port(String),
    /// More than [`MAX_SERVERS`].
    #[error("{0} name servers are listed, at most {MAX_SERVERS} are taken")]
    TooMany(usize),
}

impl NameServer {
    /// An address and a port.
    ///
    /// # Errors
    /// Port 0, or an address that nobody can connect to (unspecified, multicast).
    pub fn new(ip: IpAddr, port: u16) -> Result<Self, ServerError> {
        // ::ffff:10.0.0.1 is 10.0.0.1, and only in that form every client understands it.
        let ip = ip.to_canonical();
        if ip.is_unspecified() || ip.is_multicast() {
            return Err(ServerError::Host(ip.to_string()));
        }
        Self::with_port(Host::Ip(ip), port)
    }

    /// Reads `10.0.0.1:9876`, `[fd00::1]:9876` or, where allowed, `ns-0.ns:9876`.
    ///
    /// # Errors
    /// [`ServerError`], which quotes the text.
    pub fn parse(text: &str, names: HostNames) -> Result<Self, ServerError> {
        let (host, port) = text
            .rsplit_once(':')
            .filter(|(host, port)| !host.is_empty() && !port.is_empty())
            .ok_or_else(|| ServerError::NotHostPort(shown(text)))?;
        let number = Some(port)
            .filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|port| port.parse().ok())
            .ok_or_else(|| ServerError::Port(shown(port)))?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        if let Some(inner) = bracketed {
            let ip: Ipv6Addr = inner.parse().map_err(|_| ServerError::Host(shown(host)))?;
            return Self::new(ip.into(), number);
        }
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Self::new(ip, number);
        }
        if !is_name(host) {
            return Err(ServerError::Host(shown(host)));
        }
        match names {
            HostNames::Allowed => Self::with_port(Host::Name(host.to_ascii_lowercase()), number),
            HostNames::Refused => Err(ServerError::HostName(shown(host))),
        }
    }

    fn with_port(host: Host, port: u16) -> Result<Self, ServerError> {
        if port == 0 {
            return Err(ServerError::Port("0".to_owned()));
        }
        Ok(Self { host, port })
    }

    /// Where to connect; none for a host name, which is to be looked up first.
    pub fn socket(&self) -> Option<SocketAddr> {
        match &self.host {
            Host::Ip(ip) => Some(SocketAddr::new(*ip, self.port)),
            Host::Name(_) => None,
        }
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl Serialize for NameServer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}:{}", self.port),
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// Reads `a:1;b:2`, as files and ConfigMaps have it: `;`, `,` and white space separate, `#` begins a comment, and an empty
/// text is an empty list. One wrong item makes the whole text wrong.
///
/// # Errors
/// [`ServerError`].
pub fn parse_servers(text: &str, names: HostNames) -> Result<ServerSet, ServerError> {
    let mut servers = ServerSet::new();
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or(""));
    let items = lines.flat_map(|line| {
        line.split(|c: char| c == ';' || c == ',' || c.is_whitespace())
            .filter(|item| !item.is_empty())
    });
    for item in items {
        servers.insert(NameServer::parse(item, names)?);
    }
    if servers.len() > MAX_SERVERS {
        return Err(ServerError::TooMany(servers.len()));
    }
    Ok(servers)
}

/// A text whose last label is a number is a mistyped address, not a name.
fn is_name(host: &str) -> bool {
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or("");
    host.len() <= MAX_HOST_BYTES
        && host.split('.').all(|label| label.len() <= 63)
        && host.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !last.bytes().all(|byte| byte.is_ascii_digit())
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// What is quoted in an error: a web page may have come instead of a list.
fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> String {
        let set = parse_servers(text, HostNames::Refused).unwrap();
        let shown: Vec<_> = set.iter().map(ToString::to_string).collect();
        shown.join(";")
    }

    #[test]
    fn the_order_is_by_address_and_ipv4_is_before_ipv6() {
        assert_eq!(
            read("[fd00::2]:1; 10.0.0.10:9876,10.0.0.9:9876\n10.0.0.9:9875 # old\n[fd00::1]:9"),
            "10.0.0.9:9875;10.0.0.9:9876;10.0.0.10:9876;[fd00::1]:9;[fd00::2]:1"
        );
        assert_eq!(read("[::ffff:10.0.0.1]:1;10.0.0.1:1"), "10.0.0.1:1");
        assert_eq!(read(" \n# nobody\n"), "");
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_reason() {
        let refused = |text: &str| parse_servers(text, HostNames::Refused).unwrap_err();
        for text in ["10.0.0.1", ":1", "a:", "<html>"] {
            assert_eq!(refused(text), ServerError::NotHostPort(text.to_owned()));
        }
        for port in ["0", "65536", "+1", "x"] {
            assert_eq!(
                refused(&format!("10.0.0.1:{port}")),
                ServerError::Port(port.to_owned())
            );
        }
        for host in [
            "10.0.0.300",
            "0.0.0.0",
            "224.0.0.1",
            "[::]",
            "[10.0.0.1]",
            "1.2.3",
            "-x",
            "a/b",
        ] {
            let error = refused(&format!("{host}:1"));
            assert!(matches!(error, ServerError::Host(_)), "{host}: {error}");
        }
        assert!(matches!(refused("ns-0.ns:1"), ServerError::HostName(_)));
        let many: String = (1..=65).map(|port| format!("10.0.0.1:{port};")).collect();
        assert_eq!(refused(&many), ServerError::TooMany(65));
    }

    #[test]
    fn names_are_taken_where_they_are_allowed() {
        let set = parse_servers("NS-0.ns:1;10.0.0.1:2", HostNames::Allowed).unwrap();
        let shown: Vec<_> = set.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["10.0.0.1:2", "ns-0.ns:1"]);
    }

    proptest! {
        #[test]
        fn every_address_survives_its_text(ip: IpAddr, port: u16) {
            if let Ok(server) = NameServer::new(ip, port) {
                let text = server.to_string();
                prop_assert_eq!(NameServer::parse(&text, HostNames::Refused), Ok(server));
            }
        }

        #[test]
        fn no_text_is_more_than_an_error(text in ".{0,200}") {
            let _ = parse_servers(&text, HostNames::Allowed);
        }
    }
}
