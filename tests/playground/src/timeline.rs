//! The live timeline: one line per thing that happened, for people.

use std::fmt::Display;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::clock::now;

/// More lines than this are still shown, but no longer kept for the report.
const KEPT_LINES: usize = 10_000;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Milliseconds since the start of the run.
    pub at_ms: u64,
    /// Who did it or to whom it happened: `broker a`.
    pub who: String,
    /// What happened.
    pub what: String,
}

/// Cheap to clone; every clone writes to the same place.
#[derive(Clone)]
pub struct Timeline {
    start: Instant,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    sink: Box<dyn Write + Send>,
    entries: Vec<Entry>,
}

impl Timeline {
    /// Starts now, and shows its lines on `sink` as they come.
    #[must_use]
    pub fn new(sink: Box<dyn Write + Send>) -> Self {
        let shared = Shared {
            sink,
            entries: Vec::new(),
        };
        Self {
            start: now(),
            shared: Arc::new(Mutex::new(shared)),
        }
    }

    /// Keeps its lines, shows none: for tests.
    #[must_use]
    pub fn silent() -> Self {
        Self::new(Box::new(std::io::sink()))
    }

    /// Adds a line.
    pub fn say(&self, who: impl Display, what: impl Display) {
        let entry = Entry {
            at_ms: whole_ms(self.start.elapsed()),
            who: who.to_string(),
            what: what.to_string(),
        };
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        // A reader that went away (a closed pipe) must not end the run.
        let _ = shared
            .sink
            .write_all(line(&entry).as_bytes())
            .and_then(|()| shared.sink.flush());
        if shared.entries.len() < KEPT_LINES {
            shared.entries.push(entry);
        }
    }

    /// Shows a text as it is; the report at the end.
    pub fn show(&self, text: impl Display) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = write!(shared.sink, "{text}").and_then(|()| shared.sink.flush());
    }

    /// When it started: times of other records are shown relative to it.
    #[must_use]
    pub fn start(&self) -> Instant {
        self.start
    }

    /// The lines so far.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.entries.clone()
    }
}

impl std::fmt::Debug for Timeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timeline").finish_non_exhaustive()
    }
}

/// Milliseconds, the last one begun not counted; a run of half a billion years saturates.
#[must_use]
pub(crate) fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn line(entry: &Entry) -> String {
    let (seconds, millis) = (entry.at_ms / 1000, entry.at_ms % 1000);
    let mut what = entry.what.lines();
    let mut text = format!(
        "{seconds:>5}.{millis:03}  {:<12} {}\n",
        entry.who,
        what.next().unwrap_or_default()
    );
    for more in what {
        text.push_str(&format!("{:24}{more}\n", ""));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_tells_when_who_and_what() {
        let entry = Entry {
            at_ms: 12_345,
            who: "broker a".to_owned(),
            what: "killed\nwith its agent".to_owned(),
        };
        assert_eq!(
            line(&entry),
            "   12.345  broker a     killed\n                        with its agent\n"
        );
    }

    #[test]
    fn lines_are_shown_at_once_and_kept() {
        let screen = Screen::default();
        let timeline = Timeline::new(Box::new(screen.clone()));
        timeline.clone().say("demo", "one");
        timeline.say("demo", "two");
        let shown = String::from_utf8(screen.0.lock().unwrap().clone()).unwrap();
        assert_eq!(shown.lines().count(), 2);
        let entries = timeline.entries();
        assert_eq!(entries[1].what, "two");
        assert!(entries[0].at_ms <= entries[1].at_ms);
    }

    #[test]
    fn a_closed_reader_does_not_end_the_run() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let timeline = Timeline::new(Box::new(Closed));
        timeline.say("demo", "one");
        assert_eq!(timeline.entries().len(), 1);
    }
}
