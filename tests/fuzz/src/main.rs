//! `cargo fuzz-ha`: millions of inputs by seed.
#![allow(clippy::print_stdout)]

use anyhow::{Context, bail};
use clap::Parser;
use fuzz::{Order, TARGETS, Target, Told, run};
use std::fs;

/// Hostile bytes for everything that reads bytes from outside.
#[derive(Debug, Parser)]
struct Cli {
    /// Which: a name, or all.
    #[arg(long, default_value = "all")]
    target: String,
    /// Inputs for each.
    #[arg(long, default_value_t = 1_000_000)]
    inputs: u64,
    /// What they are made from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stop after so many findings.
    #[arg(long, default_value_t = 5)]
    enough: usize,
    /// Put up to so many inputs with new outcomes into the corpus, the shortest first.
    #[arg(long, default_value_t = 0)]
    keep: usize,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let chosen: Vec<&'static Target> = match cli.target.as_str() {
        "all" => TARGETS.to_vec(),
        name => {
            let names: Vec<&str> = TARGETS.iter().map(|t| t.name).collect();
            let target = Target::of(name);
            vec![
                target
                    .with_context(|| format!("no target {name}: there are {}", names.join(", ")))?,
            ]
        }
    };
    let mut wrong = 0;
    println!("target      inputs  seconds  per second  kinds  most memory  slowest  findings");
    for target in chosen {
        let told = run(Order {
            target,
            inputs: cli.inputs,
            seed: cli.seed,
            enough: cli.enough,
        })
        .map_err(anyhow::Error::msg)?;
        tell(target, &told);
        wrong += told.findings.len();
        keep(target, &told, cli.keep)?;
    }
    if wrong > 0 {
        bail!("{wrong} findings");
    }
    Ok(())
}

fn tell(target: &Target, told: &Told) {
    let seconds = told.took.as_secs_f64();
    let inputs = u32::try_from(told.inputs).map_or(f64::INFINITY, f64::from);
    println!(
        "{:<10} {:>8} {seconds:>8.1} {:>11.0} {:>6} {:>12} {:>7.1?} {:>9}",
        target.name,
        told.inputs,
        inputs / seconds.max(0.001),
        told.shapes,
        told.memory,
        told.slowest,
        told.findings.len()
    );
    for finding in &told.findings {
        println!(
            "  input {}: {}\n  {}",
            finding.number,
            finding.wrong,
            finding.input.escape_ascii()
        );
    }
}

fn keep(target: &Target, told: &Told, most: usize) -> anyhow::Result<()> {
    if most == 0 {
        return Ok(());
    }
    let folder = target.corpus();
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let mut news: Vec<&Vec<u8>> = told.news.iter().filter(|n| n.len() <= 2_000).collect();
    news.sort_by_key(|n| n.len());
    let step = (news.len() / most).max(1);
    for (n, input) in news.into_iter().step_by(step).take(most).enumerate() {
        let path = folder.join(format!("{n:03}"));
        fs::write(&path, input).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}
