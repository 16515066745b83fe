//! What it costs. Figures are printed with their median and range, never asserted: machines differ.
#![allow(clippy::print_stdout, reason = "a program for people")]

mod failover;
mod figures;
mod log_lines;
mod steady;
mod walk;

use clap::{Parser, Subcommand};
use playground::Version;

/// Measures rocketmq-ha on this machine. Build it with --release.
#[derive(Debug, Parser)]
#[command(name = "bench", version = None)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Fail-over, restart in place and switchover on real brokers, stage by stage
    Failover {
        /// RocketMQ's version
        #[arg(long, default_value_t = Version::NEWEST)]
        version: Version,
        /// How often each
        #[arg(long, default_value_t = 5)]
        runs: u32,
    },
    /// Memory, processor time and API writes of agents and launchers with nothing going on
    Steady {
        /// RocketMQ's version
        #[arg(long, default_value_t = Version::NEWEST)]
        version: Version,
        /// For how long
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// How fast a stopped commit log is walked
    Walk {
        /// Size of the log
        #[arg(long, default_value_t = 1024)]
        mib: u32,
        /// How often
        #[arg(long, default_value_t = 5)]
        runs: u32,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().what {
        What::Failover { version, runs } => {
            failover::measure(version, runs);
            Ok(())
        }
        What::Steady { version, seconds } => {
            steady::measure(version, seconds);
            Ok(())
        }
        What::Walk { mib, runs } => walk::measure(mib, runs),
    }
}
