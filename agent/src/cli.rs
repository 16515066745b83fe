//! The command line.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing::error;

use crate::command;
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
    #[command(flatten)]
    Operator(Box<command::Command>),
}

/// Does what the command line says. The exit code is 0 for done and 1 for an error; 3 is explained in [`command`].
pub async fn execute(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Run(args) => match crate::run::run(*args).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                error!("{error:#}");
                ExitCode::FAILURE
            }
        },
        Command::Operator(wish) => match command::execute(&wish, &mut io::stdout()).await {
            Ok(outcome) => ExitCode::from(outcome.code()),
            Err(error) => {
                // Where not even that can be written, the exit code says it.
                let _ = writeln!(io::stderr(), "error: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }
}
