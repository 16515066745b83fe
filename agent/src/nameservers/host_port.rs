//! `host:port`, and lists of it as every RocketMQ program writes them: `a:9876;b:9876`.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// The longest list that is taken. Every broker and client keeps a connection to each.
pub const MAX_SERVERS: usize = 64;

/// The longest name DNS allows, in bytes.
const MAX_HOST_BYTES: usize = 253;

/// A name or an address, and a port that is not 0. IPv6 addresses are kept without brackets and shown with them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    host: String,
    port: u16,
}

/// Why a text is no list of `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostPortError {
    /// Nothing before or after the last colon, or no colon at all.
    #[error("{0:?} is not host:port; write it like 10.0.0.1:9876")]
    NotHostPort(String),
    /// The host has characters that no name and no address has, or is too long.
    #[error("{0:?} is no host name or address")]
    Host(String),
    /// Not a number from 1 to 65535.
    #[error("{0:?} is no port; use 1 to 65535")]
    Port(String),
    /// More than [`MAX_SERVERS`].
    #[error("{0} name servers are listed, at most {MAX_SERVERS} are taken")]
    TooMany(usize),
    /// No item at all.
    #[error("the list is empty; write it like 10.0.0.1:9876;10.0.0.2:9876")]
    Empty,
}

impl HostPort {
    /// The name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, from 1.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for HostPort {
    type Err = HostPortError;

    /// Java splits at the last colon (`RemotingHelper#string2SocketAddress`), and so do we.
    fn from_str(text: &str) -> Result<Self, HostPortError> {
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| HostPortError::NotHostPort(shown(text)))?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        if bare.is_empty() || port.is_empty() {
            return Err(HostPortError::NotHostPort(shown(text)));
        }
        if !is_host(bare) || (bare.len() != host.len() && !is_ipv6(bare)) {
            return Err(HostPortError::Host(shown(host)));
        }
        let number = Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
        match number.and_then(|port| port.parse().ok()) {
            Some(number) if number != 0 => Ok(Self {
                host: bare.to_owned(),
                port: number,
            }),
            _ => Err(HostPortError::Port(shown(port))),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Parses `a:1;b:2`. Blanks around items and empty items (a trailing `;`) are forgiven, repeated items dropped; one
/// wrong item makes the whole list wrong.
pub fn parse_list(text: &str) -> Result<Vec<HostPort>, HostPortError> {
    let items: Vec<_> = text
        .split(';')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .collect();
    if items.is_empty() {
        return Err(HostPortError::Empty);
    }
    if items.len() > MAX_SERVERS {
        return Err(HostPortError::TooMany(items.len()));
    }
    let mut servers = Vec::with_capacity(items.len());
    for item in items {
        let server = item.parse()?;
        if !servers.contains(&server) {
            servers.push(server);
        }
    }
    Ok(servers)
}

fn is_host(host: &str) -> bool {
    if host.contains(':') {
        return is_ipv6(host);
    }
    host.len() <= MAX_HOST_BYTES
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// An IPv6 address, with or without a scope such as `%eth0`.
fn is_ipv6(host: &str) -> bool {
    let (address, scope) = host.split_once('%').unwrap_or((host, ""));
    address.parse::<Ipv6Addr>().is_ok() && scope.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// What is quoted in an error: a web page may have come instead of a list.
fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown_list(text: &str) -> String {
        let list: Vec<_> = parse_list(text)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        list.join(";")
    }

    #[test]
    fn reads_names_and_both_kinds_of_addresses() {
        assert_eq!(
            shown_list("10.0.0.1:9876; ns-0.ns:9877 ;"),
            "10.0.0.1:9876;ns-0.ns:9877"
        );
        assert_eq!(
            shown_list("[fe80::1]:1;fe80::1:1;fe80::2%eth0:2"),
            "[fe80::1]:1;[fe80::2%eth0]:2"
        );
        let server: HostPort = "[::1]:9876".parse().unwrap();
        assert_eq!((server.host(), server.port()), ("::1", 9876));
    }

    #[test]
    fn refuses_what_is_no_list_and_says_why() {
        let not_host_port = |text: &str| HostPortError::NotHostPort(text.to_owned());
        for text in ["10.0.0.1", ":9876", "a:"] {
            assert_eq!(parse_list(text), Err(not_host_port(text)));
        }
        for port in ["0", "65536", "+1", "x"] {
            assert_eq!(
                parse_list(&format!("a:{port}")),
                Err(HostPortError::Port(port.to_owned()))
            );
        }
        for host in ["a b", "<html>", "[a]", "::x"] {
            assert_eq!(
                parse_list(&format!("{host}:1")),
                Err(HostPortError::Host(host.to_owned()))
            );
        }
        assert_eq!(parse_list(" ; "), Err(HostPortError::Empty));
        assert_eq!(
            parse_list(&"a:1;".repeat(65)),
            Err(HostPortError::TooMany(65))
        );
    }
}
