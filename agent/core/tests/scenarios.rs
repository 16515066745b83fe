//! Runs every story in `agent/core/scenarios`: given, at, expect. See the README there for the words.

#[allow(
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::or_fun_call
)]
mod scenario;

use scenario::story;
use std::fs;
use std::path::PathBuf;

#[test]
fn every_story_ends_as_told() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "txt"));
    files.sort();
    let mut steps = 0;
    let mut wrong = Vec::new();
    for path in &files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match story::run(&fs::read_to_string(path).unwrap()) {
            Ok(told) => steps += told,
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    println!("{} stories, {steps} steps", files.len());
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n\n"));
    assert!(
        files.len() >= 10 && steps >= 60,
        "{} stories, {steps} steps",
        files.len()
    );
}
