//! `httpsite`: the name-server list by HTTP.

use std::env;
use std::io;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use httpsite::run::run;
use httpsite::settings::Args;
use tracing::error;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{fmt, registry};

/// What is logged: a level, or levels by module.
const LOG_VARIABLE: &str = "ROCKETMQ_HTTPSITE_LOG";

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = match log_filter() {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("httpsite: {error:#}");
            return ExitCode::from(2);
        }
    };
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(false);
    registry().with(filter).with(lines).init();
    // One thread: an answer is two system calls, and memory counts.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(args)),
        Err(error) => Err(anyhow::Error::new(error).context("start the runtime")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
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
        format!("read {LOG_VARIABLE}={text}: give a level (info), or levels by module (info,httpsite=debug)")
    })
}
