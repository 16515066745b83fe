//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing::error;

use crate::settings::RunArgs;

/// High availability for Apache RocketMQ's classic master/slave groups on Kubernetes.
#[derive(Parser)]
#[command(name = "rocketmq-ha", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Look after one broker: the sidecar itself
    Run(Box<RunArgs>),
}

/// Does what the command line says. The exit code is 0 for done and 1 for an error.
pub async fn execute(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Run(args) => match crate::run::run(*args).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                error!("{error:#}");
                ExitCode::FAILURE
            }
        },
    }
}
