//! Tells whether the broker of this container is alive. Also installed as `brokerAliveTest.sh`: how it is called does not
//! matter. See `brokerAliveTest --help`.

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    launcher::alive::broker_alive_test(env::args_os().skip(1))
}
