//! Seeds that once broke a law, and some that nobody ran before.

#![allow(clippy::unwrap_used)]

use sim::campaign::campaign;
use sim::{Settings, run};
use std::fs;
use std::path::Path;
use std::thread;

/// One file of `regressions/`: lines of `key value`.
struct Regression {
    seed: u64,
    leaps: bool,
    why: String,
}

fn read(path: &Path) -> Regression {
    let text = fs::read_to_string(path).unwrap();
    let value = |key: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(key));
        line.map(str::trim)
            .unwrap_or_else(|| panic!("{}: no line of {key}", path.display()))
    };
    Regression {
        seed: value("seed ").parse().unwrap(),
        leaps: value("leaps ").parse().unwrap(),
        why: value("why ").to_owned(),
    }
}

#[test]
fn seeds_that_once_broke_a_law_keep_them_now() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut told = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "txt") {
            continue;
        }
        let old = read(&path);
        let outcome = run(old.seed, Settings { leaps: old.leaps }, false);
        assert_eq!(outcome.wrong, None, "seed {}: {}", old.seed, old.why);
        told += 1;
    }
    assert!(told > 0, "no regression was read");
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    let settings = Settings::default();
    let (one, two) = (run(7, settings, true), run(7, settings, true));
    assert!(one.story.len() > 20);
    assert_eq!(one.story, two.story);
}

#[test]
fn fresh_seeds_keep_every_law() {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let found = campaign(1_000_000, 200, cores, 5, Settings::default());
    assert!(found.wrong.is_empty(), "{:?}", found.wrong);
    assert!(found.counts.terms > found.seeds && found.counts.faults > 5 * found.seeds);
}
