//! The operator's commands: what they ask of the API server, and of the agents where those are reached.
//!
//! The objects of a group say everything that matters; an agent's `/status` only makes it newer and adds reasons. None of
//! the commands decides anything: they set a request that the holder of the Lease takes up.
//!
//! Exit codes: 0 done, 1 an error, 2 wrong usage, 3 asked and answered, but not what was wished (a group that nobody
//! serves, a switchover that was turned down or did not finish in time).

pub mod desk;
pub mod events;
pub mod explain;
pub mod group;
pub mod history;
pub mod pause;
pub mod status;
pub mod switchover;

mod agent;
mod table;

use std::io::Write;
#[cfg(feature = "kubeconfig")]
use std::path::PathBuf;

use clap::{Args, Subcommand};
use kube_access::AccessArgs;
use serde::Serialize;

use self::desk::Desk;

/// What an operator may ask.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Show the groups of a namespace: masters, offsets, lags, who may be elected
    Status(status::StatusArgs),
    /// Ask the master to hand over to a slave, without loss
    Switchover(switchover::SwitchoverArgs),
    /// Let elections, switchovers and cuts of a group rest; renewals and fences go on
    Pause(pause::PauseArgs),
    /// End a pause
    Resume(pause::PauseArgs),
    /// Show which member wrote what, and the recent changes
    History(history::HistoryArgs),
    /// Show why the agents decided as they did
    Explain(explain::ExplainArgs),
}

/// Which cluster and namespace.
#[derive(Args, Clone, Debug, Default)]
pub struct Place {
    /// A kubeconfig; without it KUBECONFIG, ~/.kube/config, or the pod's own service account
    #[cfg(feature = "kubeconfig")]
    #[arg(
        long,
        env = "ROCKETMQ_HA_KUBECONFIG",
        value_name = "PATH",
        conflicts_with = "kube_url"
    )]
    pub kubeconfig: Option<PathBuf>,
    /// How the API server is reached without one.
    #[command(flatten)]
    pub access: AccessArgs,
    /// The namespace; without it the kubeconfig's or the pod's own
    #[arg(long, short, env = "ROCKETMQ_HA_NAMESPACE", value_name = "NS")]
    pub namespace: Option<String>,
}

/// Which groups of the namespace.
#[derive(Args, Clone, Debug, Default)]
pub struct Which {
    /// Only groups of this brokerClusterName
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Only the group of this brokerName
    #[arg(long, value_name = "NAME")]
    pub broker_name: Option<String>,
}

/// How the answer is written.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Form {
    /// Write JSON, one value per line
    #[arg(long)]
    pub json: bool,
}

/// How a command ended that met no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As wished.
    Done,
    /// Not as wished; the output says why.
    NotDone,
}

impl Outcome {
    /// The exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::NotDone => 3,
        }
    }
}

/// Carries a command out.
///
/// # Errors
/// What could not be asked or written; one line that names what, where and the remedy.
pub async fn execute(command: &Command, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    match command {
        Command::Status(args) => status::status(&Desk::open(&args.place).await?, args, out).await,
        Command::Switchover(args) => {
            switchover::switchover(&Desk::open(&args.place).await?, args, out).await
        }
        Command::Pause(args) => {
            pause::pause(
                &Desk::open(&args.place).await?,
                args,
                pause::Wish::Rest,
                out,
            )
            .await
        }
        Command::Resume(args) => {
            pause::pause(
                &Desk::open(&args.place).await?,
                args,
                pause::Wish::GoOn,
                out,
            )
            .await
        }
        Command::History(args) => {
            history::history(&Desk::open(&args.place).await?, args, out).await
        }
        Command::Explain(args) => explain::execute(args, out).await,
    }
}

fn line_of_json(out: &mut dyn Write, value: &impl Serialize) -> anyhow::Result<()> {
    writeln!(out, "{}", serde_json::to_string(value)?)?;
    Ok(())
}
