//! A short run of every target; longer ones: `cargo fuzz-ha`.
#![allow(clippy::print_stdout)]

use fuzz::{Order, TARGETS, Target, run};

fn holds(name: &str, inputs: u64) {
    let target = Target::of(name).expect("a known target");
    for seed in [1, 2] {
        let told = run(Order {
            target,
            inputs,
            seed,
            enough: 1,
        })
        .expect("no input hangs");
        println!(
            "{name}: {} inputs, {} kinds of outcome",
            told.inputs, told.shapes
        );
        if let Some(found) = told.findings.first() {
            panic!(
                "{name}, seed {seed}, input {}: {}\n{}",
                found.number,
                found.wrong,
                found.input.escape_ascii()
            );
        }
        assert!(told.shapes > 3, "{name}: everything has the same outcome");
    }
}

/// One after the other: memory is counted for the whole process.
#[test]
fn every_target() {
    for target in TARGETS {
        holds(
            target.name,
            if target.name == "walk" { 2_000 } else { 8_000 },
        );
    }
}
