//! Starts, stops and fences one RocketMQ broker on the orders of its agent. Also installed as `brokerStart.sh`: how it is
//! called does not matter. See `brokerStart --help`.

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    launcher::broker_start(env::args_os().skip(1))
}
