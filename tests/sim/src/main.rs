//! `cargo sim`: seeds by number or by the hundred thousand.
#![allow(clippy::print_stdout)]

use anyhow::bail;
use clap::{Parser, Subcommand};
use sim::campaign::campaign;
use sim::shrink::shrink;
use sim::{Settings, run};
use std::path::Path;
use std::thread;

/// A group under random faults, by seed.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    task: Option<Task>,
    /// Run this one seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Tell the story of the seed.
    #[arg(long)]
    trace: bool,
    /// Run so many seeds on all cores.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Stop after so many broken seeds.
    #[arg(long, default_value_t = 20)]
    enough: usize,
    /// Threads; all cores if not given.
    #[arg(long)]
    threads: Option<usize>,
    /// Simulate rest, too, instead of leaping over it.
    #[arg(long)]
    no_leaps: bool,
    /// Lines of the story told of a broken seed.
    #[arg(long, default_value_t = 60)]
    lines: usize,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Put deliberate defects into a copy of the core, and see which are caught.
    Mutants {
        /// Seeds to try for each.
        #[arg(long, default_value_t = 5_000)]
        seeds: u64,
        /// Only those whose name contains this.
        #[arg(long, default_value = "")]
        only: String,
    },
}

fn mutants(seeds: u64, only: &str) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    println!("{:<36} {:>6}  law", "defect", "seeds");
    let all = sim::mutants::check(&root, only, seeds, |caught| match &caught.by {
        Some((seeds, law)) => println!("{:<36} {seeds:>6}  {law:.90}", caught.name),
        None => println!("{:<36} {:>6}  not caught", caught.name, "-"),
    })?;
    let free = all.iter().filter(|c| c.by.is_none()).count();
    println!("{} of {} caught", all.len() - free, all.len());
    if free > 0 {
        bail!("{free} defects were not caught in {seeds} seeds");
    }
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let settings = Settings {
        leaps: !cli.no_leaps,
    };
    if let Some(Task::Mutants { seeds, only }) = &cli.task {
        return mutants(*seeds, only);
    }
    if let Some(seed) = cli.seed {
        return one(seed, &cli, settings);
    }
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = cli.threads.unwrap_or(cores);
    let found = campaign(cli.first, cli.seeds, threads, cli.enough, settings);
    let c = found.counts;
    println!(
        "{} seeds in {:.1} s on {threads} threads: {:.0} in an hour",
        found.seeds,
        found.seconds,
        found.per_hour()
    );
    println!(
        "{} faults, {} terms, {} decisions, {} events, {} Lease writes, {} bytes lost by fail-overs, {} h simulated ({} h of them leapt over)",
        c.faults,
        c.terms,
        c.decisions,
        c.events,
        c.writes,
        c.lost,
        found.seeds / 2,
        c.leapt / 3_600_000
    );
    for (seed, wrong) in &found.wrong {
        println!("seed {seed}: {wrong}");
    }
    let Some((seed, _)) = found.wrong.first() else {
        return Ok(());
    };
    println!("{}", shrink(*seed, settings).text(*seed, cli.lines));
    bail!("{} of {} seeds broke a law", found.wrong.len(), found.seeds)
}

fn one(seed: u64, cli: &Cli, settings: Settings) -> anyhow::Result<()> {
    let outcome = run(seed, settings, cli.trace);
    for line in &outcome.story {
        println!("{line}");
    }
    println!("{:?}", outcome.counts);
    let Some(wrong) = outcome.wrong else {
        println!("seed {seed}: every law kept");
        return Ok(());
    };
    println!("{}", shrink(seed, settings).text(seed, cli.lines));
    bail!("seed {seed}: {wrong}")
}
