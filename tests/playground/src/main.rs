//! `cargo demo`: see `demo.rs` for the story it plays, `unattended.rs` for the one without agents.

mod demo;
mod unattended;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use playground::guard::{GUARD_WORD, become_guarded};
use playground::report::Report;
use playground::{Afterwards, ApiKind, Guard, Options, Timeline, Version};
use tokio::signal::unix::{SignalKind, signal};

/// Shows a group of real RocketMQ brokers losing its master, on this machine, without root.
#[derive(Debug, Parser)]
#[command(name = "demo", version = None)]
struct Arguments {
    /// RocketMQ's version: 4.9.7, 5.1.4, 5.3.3 or 5.5.0.
    #[arg(long = "version", value_name = "VERSION", default_value_t = Version::NEWEST)]
    rocketmq: Version,
    /// Brokers of the group.
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=5))]
    members: u8,
    /// The Kubernetes API: in this process, or a real one, which needs Go and some minutes when it is built first.
    #[arg(long, value_enum, value_name = "KIND", default_value_t = ApiKind::Memory)]
    api: ApiKind,
    /// Play the story without our agents: a dead master, and nobody takes over.
    #[arg(long)]
    without_agents: bool,
    /// At the end leave everything running until Ctrl-C, and the files for ever.
    #[arg(long)]
    keep: bool,
    /// Also write the report here, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let outcome = match words.split_first() {
        Some((word, rest)) if word == GUARD_WORD => {
            become_guarded(rest).map(|never| match never {})
        }
        _ => play(Arguments::parse()),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("demo: {error:#}");
        ExitCode::FAILURE
    })
}

fn play(arguments: Arguments) -> Result<ExitCode> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(async {
        let interrupted = interruption()?;
        tokio::select! {
            // All handles live in the story: dropped half-way it ends its processes and removes its files.
            report = story(arguments) => report,
            signal = interrupted => {
                eprintln!("demo: {signal}, everything is ended");
                Ok(ExitCode::from(130))
            }
        }
    })
}

/// What to play.
struct Story {
    options: Options,
    /// Brokers of the group.
    members: u8,
    /// What the agents' Kubernetes is.
    api: ApiKind,
    /// Where the report goes beside the screen.
    json: Option<PathBuf>,
}

impl Story {
    /// Shows the finished report.
    fn tell(&self, report: &mut Report, timeline: &Timeline) -> Result<()> {
        report.timeline = timeline.entries();
        timeline.show(&report);
        self.json
            .as_ref()
            .map_or(Ok(()), |file| report.write_json(file))
    }
}

async fn story(arguments: Arguments) -> Result<ExitCode> {
    let timeline = Timeline::new(Box::new(std::io::stdout()));
    let afterwards = if arguments.keep {
        Afterwards::Keep
    } else {
        Afterwards::Remove
    };
    let options = Options {
        version: arguments.rocketmq,
        afterwards,
        guard: Guard::own_program(),
    };
    let story = Story {
        options,
        members: arguments.members,
        api: arguments.api,
        json: arguments.json,
    };
    let report = if arguments.without_agents {
        unattended::play(story, timeline).await?
    } else {
        demo::play(story, timeline).await?
    };
    Ok(if report.all_held() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Resolves on Ctrl-C or SIGTERM with its name. The handlers are in place when this returns.
fn interruption() -> Result<impl Future<Output = &'static str>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("handle Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("handle SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("handle a closed terminal")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => "interrupted",
            _ = terminate.recv() => "terminated",
            _ = hangup.recv() => "terminal closed",
        }
    })
}
