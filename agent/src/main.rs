//! `rocketmq-ha`: the sidecar, and the operator's command line.

use std::io;
use std::process::ExitCode;

use agent::cli::{Cli, execute};
use clap::Parser as _;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter =
        EnvFilter::try_from_env("ROCKETMQ_HA_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false)
        .init();
    // One thread does all waiting: the work is in the broker, and memory counts.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(execute(cli)),
        Err(error) => {
            tracing::error!("start the runtime: {error}");
            ExitCode::FAILURE
        }
    }
}
