//! What is fuzzed.

use crate::{commit_log, conf, ha, handshake, http, launcher_line, lease, remoting_frame, walk};
use std::fs;
use std::path::PathBuf;

/// Something that reads bytes from outside.
#[derive(Debug)]
pub struct Target {
    /// What it is called, and its folder in `corpus/`.
    pub name: &'static str,
    /// Sound inputs to begin with.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
    /// Words that it knows.
    pub(crate) words: &'static [&'static str],
    /// The longest input, bytes.
    pub(crate) longest: usize,
    /// Memory that an input of this length may ask for in all, bytes.
    pub(crate) memory: fn(usize) -> usize,
    /// Reads an input: the kind of outcome, or what is wrong.
    pub(crate) check: fn(&[u8]) -> Result<u64, String>,
}

/// All of them.
pub const TARGETS: &[&Target] = &[
    &remoting_frame::TARGET,
    &conf::TARGET,
    &lease::TARGET,
    &commit_log::TARGET,
    &walk::TARGET,
    &launcher_line::TARGET,
    &ha::TARGET,
    &handshake::TARGET,
    &http::TARGET,
];

impl Target {
    /// The target of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<&'static Self> {
        TARGETS.iter().copied().find(|t| t.name == name)
    }

    /// Where its corpus is kept.
    #[must_use]
    pub fn corpus(&self) -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus")).join(self.name)
    }

    /// Seeds and corpus, in an order that does not change.
    pub(crate) fn pool(&self) -> Vec<Vec<u8>> {
        let mut pool = (self.seeds)();
        let mut files: Vec<PathBuf> = fs::read_dir(self.corpus())
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok().map(|e| e.path()))
            .collect();
        files.sort();
        pool.extend(files.into_iter().filter_map(|path| fs::read(path).ok()));
        pool
    }
}
