//! What it costs. Figures are printed with their median and range, never asserted: machines differ.
#![allow(clippy::print_stdout, reason = "a program for people")]

mod api_side;
mod cost;
mod crowd;
mod endurance;
mod failover;
mod fake_broker;
mod fence;
mod figures;
mod holdings;
mod launched;
mod log_lines;
mod relayed;
mod scrape;
mod site;
mod steady;
mod walk;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use playground::{ApiKind, Version};

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
        /// How often a member is lost, and how often a switchover is asked for
        #[arg(long, default_value_t = 7)]
        runs: u32,
        /// How often the JVM alone is killed and started again in place
        #[arg(long, default_value_t = 7)]
        in_place: u32,
    },
    /// Fail-overs in a row: nobody stuck, nothing lost silently, nothing that grows
    Endurance {
        /// RocketMQ's version
        #[arg(long, default_value_t = Version::NEWEST)]
        version: Version,
        /// How many; one takes some 12 s
        #[arg(long, default_value_t = 200)]
        times: u32,
        /// A step of a fail-over that takes longer ends the run: more than 90 only on a machine with other work
        #[arg(long, default_value_t = 90)]
        step_seconds: u32,
    },
    /// Many agents on one real API server, with brokers that hold no messages: renewals, requests, memory. Needs Go
    Crowd {
        /// How many agents, in groups of two
        #[arg(long, default_value_t = 100)]
        agents: u32,
        /// For how long it is measured, once all groups have formed
        #[arg(long, default_value_t = 150)]
        seconds: u32,
    },
    /// From a master's last good renewal to the end of its broker. Needs root, for network namespaces
    Fence {
        /// RocketMQ's version
        #[arg(long, default_value_t = Version::NEWEST)]
        version: Version,
        /// How often for each way to lose the API server
        #[arg(long, default_value_t = 5)]
        runs: u32,
    },
    /// The broker of `crowd`
    #[command(hide = true)]
    FakeBroker {
        /// broker.conf
        #[arg(short)]
        conf: PathBuf,
    },
    /// Memory, processor time and API writes of agents and launchers with nothing going on
    Steady {
        /// RocketMQ's version
        #[arg(long, default_value_t = Version::NEWEST)]
        version: Version,
        /// For how long
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Whose requests are counted: with `real` the API server's own figures are told, too
        #[arg(long, default_value = "memory")]
        api: ApiKind,
    },
    /// What the way through the replication relay costs: synchronous sends and a bulk catch-up, direct and relayed
    Relay {
        /// RocketMQ's version
        #[arg(long, default_value_t = Version::NEWEST)]
        version: Version,
        /// How often direct and relayed are measured in turn
        #[arg(long, default_value_t = 5)]
        rounds: u32,
        /// Size of the log of the catch-up, at most 1400
        #[arg(long, default_value_t = 1100)]
        mib: u32,
    },
    /// The page with the name servers beside nginx with the same line in a file. Needs nginx, wrk and taskset
    Site {
        /// Interleaved pairs
        #[arg(long, default_value_t = 10)]
        pairs: u32,
        /// Seconds of each load
        #[arg(long, default_value_t = 3)]
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
        What::Failover {
            version,
            runs,
            in_place,
        } => {
            failover::measure(version, runs, in_place);
            Ok(())
        }
        What::Endurance {
            version,
            times,
            step_seconds,
        } => {
            endurance::measure(version, times, step_seconds);
            Ok(())
        }
        What::Crowd { agents, seconds } => {
            crowd::measure(agents, seconds);
            Ok(())
        }
        What::Fence { version, runs } => {
            fence::measure(version, runs);
            Ok(())
        }
        What::FakeBroker { conf } => fake_broker::run(&conf),
        What::Steady {
            version,
            seconds,
            api,
        } => {
            steady::measure(version, seconds, api);
            Ok(())
        }
        What::Relay {
            version,
            rounds,
            mib,
        } => {
            relayed::measure(version, rounds, mib);
            Ok(())
        }
        What::Site { pairs, seconds } => site::measure(pairs, seconds),
        What::Walk { mib, runs } => walk::measure(mib, runs),
    }
}
