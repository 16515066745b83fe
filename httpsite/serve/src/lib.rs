//! The small hyper server behind every HTTP port of this project: the agent's admin and peer port, and httpSite.
//!
//! [`serve`] takes [`Arrivals`] of a bound listener, [`Limits`], a handler and a shutdown future, and speaks HTTP/1 until the future ends.
//! Its callers face networks they do not control, so everything a client can spend is bounded: connections, head, target,
//! body, and the time for each of them. A client that breaks a bound gets 400, 408, 413, 414 or 431, and its connection
//! is closed; it costs nobody else anything.
//!
//! - `limits` — the bounds and what they default to;
//! - [`Arrivals`] — connections as they come in, and the first look at each, which often is the only one;
//! - `server` — accept, connection cap, graceful drain under a deadline;
//! - `quick`, [`Prepared`] — the short way for plain requests whose answers are known beforehand;
//! - `head` — judges the head of a request; `gate` — shows hyper whole and sound heads only;
//! - `exchange` — one request: whole body, handler, deadline;
//! - [`Tls`] — the handshake, with a certificate that may change;
//! - `stall` — a stream that gives up on a client which does not read;
//! - [`answer`] — the answers that every handler needs.

#[cfg(test)]
mod agreement;
pub mod answer;
mod arrival;
mod clock;
mod exchange;
mod gate;
mod head;
mod limits;
mod prepared;
mod quick;
mod server;
mod stall;
mod tls;

pub use answer::Answer;
pub use arrival::Arrivals;
pub use limits::Limits;
pub use prepared::{Method, Prepared};
pub use quick::{Asked, Nothing, Quick};
pub use server::{Drained, Peer, serve, serve_quickly};
pub use tls::{Tls, Unsecured};
