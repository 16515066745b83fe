//! One story: its playground, its time limit, and what everybody said last when it fails.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use playground::clock::now;
use playground::{Afterwards, Options, Playground, Timeline, Version};

/// Set to anything: the folders of all stories stay, for people to look at.
pub const KEEP_VARIABLE: &str = "ROCKETMQ_HA_KEEP";

/// No story may take longer, on whatever machine.
const STORY_LIMIT: Duration = Duration::from_secs(400);

/// Lines shown of each process of a failed story.
const LAST_WORDS: usize = 25;

/// A story under way.
#[derive(Debug)]
pub struct Case {
    name: String,
    story: String,
    ground: Playground,
    expected: Mutex<Vec<String>>,
}

impl Case {
    /// The story's name, without the version.
    #[must_use]
    pub fn story(&self) -> &str {
        &self.story
    }

    /// Where processes are made.
    #[must_use]
    pub fn ground(&self) -> &Playground {
        &self.ground
    }

    /// The story provokes an error: log lines with these words are no complaint.
    pub fn expect_error(&self, words: impl Into<String>) {
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        expected.push(words.into());
    }

    /// Tells a measured figure, or another fact worth a line.
    pub fn say(&self, what: impl Display) {
        self.ground.timeline().say(&self.name, what);
    }

    /// No process of ours may log an error or panic in a story that ends well: an ERROR means that a person must act.
    fn no_complaints(&self) -> Result<()> {
        let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        for output in outputs(self.ground.path()) {
            let text = std::fs::read(&output);
            let text = text.with_context(|| format!("read {}", output.display()))?;
            let text = String::from_utf8_lossy(&text);
            let complaint = text
                .lines()
                .filter(|line| line.contains(" ERROR ") || line.contains("panicked at"))
                .find(|line| !expected.iter().any(|words| line.contains(words)));
            if let Some(line) = complaint {
                bail!("{} says: {line}", output.display());
            }
        }
        Ok(())
    }
}

/// Plays `story` on a fresh playground with this version of RocketMQ. Panics when it fails: only for tests.
///
/// # Panics
/// When the story fails, takes too long, or a process of ours complained; after telling the processes' last words.
pub fn play<S>(name: &str, version: Version, story: S)
where
    S: AsyncFnOnce(&Case) -> Result<()>,
{
    play_for(name, version, STORY_LIMIT, story);
}

/// [`play`] with another time limit, for measurements that take as long as people want.
///
/// # Panics
/// As [`play`].
pub fn play_for<S>(name: &str, version: Version, limit: Duration, story: S)
where
    S: AsyncFnOnce(&Case) -> Result<()>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let outcome = runtime
        .context("start the runtime")
        .and_then(|runtime| runtime.block_on(told(name, version, limit, story)));
    if let Err(error) = outcome {
        panic!("{name} on RocketMQ {version}: {error:#}");
    }
}

async fn told<S>(name: &str, version: Version, limit: Duration, story: S) -> Result<()>
where
    S: AsyncFnOnce(&Case) -> Result<()>,
{
    let begin = now();
    let mut options = Options::for_tests(version);
    if std::env::var_os(KEEP_VARIABLE).is_some() {
        options.afterwards = Afterwards::Keep;
    }
    let timeline = Timeline::new(Box::new(std::io::stderr()));
    let case = Case {
        name: format!("{name} {version}"),
        story: name.to_owned(),
        ground: Playground::set_up(options, timeline).await?,
        expected: Mutex::default(),
    };
    let outcome = match tokio::time::timeout(limit, story(&case)).await {
        Ok(outcome) => outcome,
        Err(_) => bail_at_limit(limit),
    };
    let outcome = outcome.and_then(|()| case.no_complaints());
    case.say(format!(
        "took {:.0} s in all",
        begin.elapsed().as_secs_f64()
    ));
    if outcome.is_err() {
        for output in outputs(case.ground.path()) {
            case.ground.timeline().show(last_words(&output));
        }
    }
    outcome
}

fn bail_at_limit(limit: Duration) -> Result<()> {
    bail!("play the story: not at its end after {limit:?}")
}

/// The outputs of all agents and launchers.
fn outputs(folder: &Path) -> Vec<PathBuf> {
    let members = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut outputs: Vec<PathBuf> = members
        .flat_map(|member| ["agent.out", "launcher.out"].map(|name| member.path().join(name)))
        .filter(|output| output.is_file())
        .collect();
    outputs.sort();
    outputs
}

fn last_words(output: &Path) -> String {
    let text = std::fs::read(output).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.len().saturating_sub(LAST_WORDS);
    let kept = lines.get(last..).unwrap_or_default().join("\n");
    format!("---- the end of {}\n{kept}\n", output.display())
}

/// Makes a test `story::on_5_5_0` (and so on) of a story. A story is an `async fn(&Case) -> anyhow::Result<()>`.
#[macro_export]
macro_rules! on_versions {
    ($story:ident: $($test:ident = $version:ident),+ $(,)?) => {
        mod $story {
            $(
                #[test]
                fn $test() {
                    let version = playground::Version::$version;
                    $crate::case::play(stringify!($story), version, super::$story);
                }
            )+
        }
    };
}

/// Tells each story on the newest RocketMQ and on 4.9: `story::on_5_5_0` and `story::on_4_9_7`.
#[macro_export]
macro_rules! on_each_version {
    ($($story:ident),+ $(,)?) => {
        $($crate::on_versions!($story: on_5_5_0 = V5_5_0, on_4_9_7 = V4_9_7);)+
    };
}

/// Tells each story on the newest RocketMQ, on 4.9 and on the 5.x between: what every member's life hangs on.
#[macro_export]
macro_rules! on_three_versions {
    ($($story:ident),+ $(,)?) => {
        $($crate::on_versions!(
            $story: on_5_5_0 = V5_5_0, on_5_1_4 = V5_1_4, on_4_9_7 = V4_9_7
        );)+
    };
}

/// Tells a story on every version that is known.
#[macro_export]
macro_rules! on_every_version {
    ($story:ident $(,)?) => {
        $crate::on_versions!(
            $story: on_5_5_0 = V5_5_0, on_5_3_3 = V5_3_3, on_5_1_4 = V5_1_4, on_4_9_7 = V4_9_7
        );
    };
}

/// Tells a story on the newest RocketMQ only.
#[macro_export]
macro_rules! on_the_newest {
    ($story:ident $(,)?) => {
        $crate::on_versions!($story: on_5_5_0 = V5_5_0);
    };
}

/// Tells stories that do not depend on the broker on 4.9 only: a group of it forms in half the time, since its slaves ask
/// for their log at once (5.x asks every 5 s).
#[macro_export]
macro_rules! on_the_quickest {
    ($($story:ident),+ $(,)?) => {
        $($crate::on_versions!($story: on_4_9_7 = V4_9_7);)+
    };
}
