//! Hostile bytes for everything that reads bytes from outside: no panic, no hang, no more memory than stated, and what is
//! written is read back as it was.
//!
//! Inputs are made from a seed alone ([`mutate`]): a sound or once interesting one (`corpus/`), changed in a few places. An
//! input with an outcome not seen before joins the pool, so that one step leads to the next without any instrumentation of the
//! code: this runs on a stable compiler. Every number of every input can be made again ([`run`]).

mod chance;
mod clock;
mod commit_log;
mod conf;
mod ha;
mod handshake;
mod heap;
mod http;
mod launcher_line;
mod lease;
mod mutate;
mod remoting_frame;
pub mod run;
mod shape;
mod target;
mod walk;

pub use run::{Order, Told, run};
pub use target::{TARGETS, Target};

// The very sources that the product compiles, where it keeps them to itself.
#[allow(dead_code, unreachable_pub)]
#[path = "../../../httpsite/serve/src/answer.rs"]
mod answer;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../httpsite/serve/src/head.rs"]
mod head;

use relay::{GroupKey, Tag};
use serve::Limits;
