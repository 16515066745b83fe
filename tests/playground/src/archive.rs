//! What a cut removed: the archives beside a member's store.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::traffic::{Number, Stamp};

/// The archives of one member.
#[derive(Debug, Clone, Default)]
pub struct Archives {
    /// One per cut: `ha/lost+found/<epoch>-<offset>/`.
    pub folders: Vec<PathBuf>,
    /// The keys of all listed messages.
    keys: Vec<String>,
    /// How many messages are listed.
    pub messages: usize,
}

/// The part of a listing's line that is read here; garbage has no topic.
#[derive(Deserialize)]
struct Line {
    topic: Option<String>,
    keys: Option<String>,
}

impl Archives {
    /// Reads all archives under a store (`storePathRootDir`); none is fine.
    ///
    /// # Errors
    /// When one is there but cannot be read.
    pub fn read(store: &Path) -> Result<Self> {
        let mut found = Self::default();
        let entries = std::fs::read_dir(store.join("ha/lost+found"));
        for entry in entries.into_iter().flatten().flatten() {
            let listing = entry.path().join("messages.jsonl");
            let text = std::fs::read_to_string(&listing)
                .with_context(|| format!("read archive {}", listing.display()))?;
            for line in text.lines() {
                let line: Line = serde_json::from_str(line)
                    .with_context(|| format!("read a line of {}", listing.display()))?;
                found.messages += usize::from(line.topic.is_some());
                found.keys.extend(line.keys);
            }
            found.folders.push(entry.path());
        }
        Ok(found)
    }

    /// Takes another member's archives in.
    pub fn add(&mut self, other: Self) {
        self.folders.extend(other.folders);
        self.keys.extend(other.keys);
        self.messages += other.messages;
    }

    /// The listed messages of one producer.
    #[must_use]
    pub fn numbers(&self, stamp: &Stamp) -> Vec<Number> {
        let keys = self.keys.iter();
        keys.filter_map(|key| stamp.number(key.as_bytes()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_dir::{Afterwards, RunDir};

    #[test]
    fn the_producers_messages_are_found_among_others() {
        let run = RunDir::create(Afterwards::Remove).unwrap();
        let stamp = Stamp::random().unwrap();
        let folder = run.folder("ha/lost+found/2-300").unwrap();
        let key = stamp.key(7.into());
        let listing = format!(
            "{{\"topic\":\"a\",\"keys\":\"{key}\",\"offset\":300}}\n{{\"topic\":\"b\"}}\n{{\"garbage_bytes\":3}}\n"
        );
        std::fs::write(folder.join("messages.jsonl"), listing).unwrap();
        let found = Archives::read(run.path()).unwrap();
        assert_eq!((found.folders.len(), found.messages), (1, 2));
        assert_eq!(found.numbers(&stamp), vec![Number::new(7)]);
    }

    #[test]
    fn no_archive_is_no_error() {
        let run = RunDir::create(Afterwards::Remove).unwrap();
        assert_eq!(Archives::read(run.path()).unwrap().messages, 0);
    }
}
