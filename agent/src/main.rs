//! `rocketmq-ha`: the sidecar, and the operator's command line.

use std::env;
use std::io;
use std::process::ExitCode;

use agent::cli::{Cli, execute};
use anyhow::Context as _;
use clap::Parser as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{fmt, registry};

/// What is logged: a level, or levels by module.
const LOG_VARIABLE: &str = "ROCKETMQ_HA_LOG";

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = match log_filter() {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("rocketmq-ha: {error:#}");
            return ExitCode::from(2);
        }
    };
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(false);
    registry().with(filter).with(lines).init();
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

fn log_filter() -> anyhow::Result<Targets> {
    let Some(text) = env::var_os(LOG_VARIABLE) else {
        return Ok(Targets::new().with_default(LevelFilter::INFO));
    };
    let text = text.to_string_lossy();
    text.parse().with_context(|| {
        format!("read {LOG_VARIABLE}={text}: give a level (info), or levels by module (info,agent=debug)")
    })
}
