//! Which name servers there are.

mod host_port;

pub use host_port::{HostPort, HostPortError, MAX_SERVERS, parse_list};
