//! `cargo model`: everything that can happen within bounds.
#![allow(clippy::print_stdout)]

use anyhow::bail;
use clap::Parser;
use model::{Bounds, walk};

/// The election, model-checked.
#[derive(Debug, Parser)]
struct Cli {
    /// Members of the group.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=3))]
    members: u8,
    /// Faults at most.
    #[arg(long, default_value_t = 1)]
    faults: u32,
    /// Terms at most, the first among them.
    #[arg(long, default_value_t = 3)]
    terms: u32,
    /// Begin with blank volumes.
    #[arg(long)]
    blank: bool,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let bounds = Bounds {
        members: usize::from(cli.members),
        faults: cli.faults,
        terms: cli.terms,
        blank: cli.blank,
    };
    println!("{bounds} …");
    let found = walk::walk(bounds)?;
    println!("{found}");
    if !found.broken.is_empty() || !found.unmet.is_empty() {
        bail!(
            "{} laws were broken, {} things never met",
            found.broken.len(),
            found.unmet.len()
        );
    }
    Ok(())
}
