//! The last good lists on disk, by option: a restart while all sources are away then goes on with them, and one during an
//! overlap keeps to it.
//!
//! A file is the list's line, and a comment for each address on its way out: `# leaves 10.0.0.1:9876 2026-01-02T03:04:05Z`,
//! with `held` behind it if it was lost together with too many others.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent_core::Tick;
use jiff::Timestamp;
use tokio::sync::watch;
use tracing::warn;

use crate::change::{Exit, Exits, Memory};
use crate::clock::Clock;
use crate::list::List;
use crate::list_name::ListName;
use crate::name_server::{HostNames, NameServer, parse_servers};

/// What a comment about an address on its way out begins with.
const LEAVES: &str = "# leaves ";
/// The longest file that is read, bytes.
const MAX_FILE: u64 = 64 * 1024;

/// A folder with one file per list.
#[derive(Clone, Debug)]
pub struct Kept {
    folder: PathBuf,
    names: HostNames,
    clock: Clock,
    wanted: Arc<watch::Sender<BTreeMap<ListName, Memory>>>,
}

impl Kept {
    /// The lists in `folder`.
    pub fn new(folder: PathBuf, names: HostNames, clock: Clock) -> Self {
        Self {
            folder,
            names,
            clock,
            wanted: Arc::new(watch::Sender::new(BTreeMap::new())),
        }
    }

    /// What was kept of a list; none if there is nothing that makes sense.
    pub fn read(&self, name: &ListName) -> Option<Memory> {
        let path = self.path(name);
        let text = match read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(path = %path.display(), %error, "a kept list cannot be read; it is ignored");
                return None;
            }
        };
        match parse_servers(&text, self.names) {
            Ok(servers) => Some(Memory {
                list: List::new(servers)?,
                exits: self.exits(&path, &text),
            }),
            Err(error) => {
                warn!(path = %path.display(), %error, "a kept list makes no sense; it is ignored");
                None
            }
        }
    }

    fn exits(&self, path: &Path, text: &str) -> Exits {
        let (tick, wall) = (self.clock.tick(), self.clock.wall());
        let lines = text.lines().filter_map(|line| line.strip_prefix(LEAVES));
        let exits = lines.filter_map(|line| {
            let exit = exit(line, self.names, tick, wall);
            if exit.is_none() {
                warn!(path = %path.display(), line, "a kept overlap makes no sense; it is ignored");
            }
            exit
        });
        exits.collect()
    }

    /// Has the list written soon.
    pub fn write(&self, name: &ListName, list: &List, exits: &Exits) {
        self.wanted.send_if_modified(|wanted| {
            let same = wanted
                .get(name)
                .is_some_and(|known| known.list == *list && known.exits == *exits);
            if !same {
                let memory = Memory {
                    list: list.clone(),
                    exits: exits.clone(),
                };
                wanted.insert(name.clone(), memory);
            }
            !same
        });
    }

    fn text(&self, memory: &Memory) -> String {
        let (tick, wall) = (self.clock.tick(), self.clock.wall());
        let mut text = memory.list.line().to_owned();
        for (server, exit) in &memory.exits {
            // A time that is too far away to be told is no overlap of ours.
            let Ok(until) = wall.checked_add(exit.until.since(tick)) else {
                continue;
            };
            let held = if exit.held { " held" } else { "" };
            text += &format!("{LEAVES}{server} {until}{held}\n");
        }
        text
    }

    /// Writes what is to be written; for ever.
    pub async fn run(self) {
        let mut wanted = self.wanted.subscribe();
        let mut written: BTreeMap<ListName, Memory> = BTreeMap::new();
        loop {
            let memories = wanted.borrow_and_update().clone();
            for (name, memory) in memories {
                if written.get(&name) == Some(&memory) {
                    continue;
                }
                let (path, text) = (self.path(&name), self.text(&memory));
                let done = tokio::task::spawn_blocking(move || replace(&path, &text)).await;
                match done {
                    Ok(Ok(())) => {
                        written.insert(name, memory);
                    }
                    Ok(Err(error)) => {
                        warn!(folder = %self.folder.display(), %error, "a list cannot be kept on disk: is --keep-dir writable?");
                    }
                    Err(_) => return,
                }
            }
            if wanted.changed().await.is_err() {
                return;
            }
        }
    }

    fn path(&self, name: &ListName) -> PathBuf {
        self.folder.join(format!("{name}.list"))
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?
        .take(MAX_FILE + 1)
        .read_to_string(&mut text)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > MAX_FILE {
        let why = format!("it has more than {MAX_FILE} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(text)
}

/// `server time [held]`; the wall clock may have been set since, so whoever uses it bounds it.
fn exit(line: &str, names: HostNames, tick: Tick, wall: Timestamp) -> Option<(NameServer, Exit)> {
    let mut words = line.split_whitespace();
    let server = NameServer::parse(words.next()?, names).ok()?;
    let until: Timestamp = words.next()?.parse().ok()?;
    let held = match (words.next(), words.next()) {
        (None, None) => false,
        (Some("held"), None) => true,
        _ => return None,
    };
    // One that is over stays known as such: it was not wanted when it was written.
    let left = Duration::try_from(until.duration_since(wall)).unwrap_or_default();
    let until = tick.plus(left);
    Some((server, Exit { until, held }))
}

/// Whole or not at all, also when the power fails.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{Change, Rules, Seen, Word};
    use crate::name_server::ServerSet;
    use tokio::time::{sleep, timeout};

    fn servers(text: &str) -> ServerSet {
        parse_servers(text, HostNames::Refused).unwrap()
    }

    fn list(text: &str) -> List {
        List::new(servers(text)).unwrap()
    }

    fn ground() -> (tempfile::TempDir, Kept, ListName) {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::new(folder.path().to_owned(), HostNames::Refused, Clock::start());
        (folder, kept, "nsaddr".parse().unwrap())
    }

    #[tokio::test]
    async fn a_list_survives_on_disk_and_nonsense_is_ignored() {
        let (_folder, kept, name) = ground();
        assert_eq!(kept.read(&name), None);
        let list = list("10.0.0.1:9876");
        let task = tokio::spawn(kept.clone().run());
        kept.write(&name, &list, &Exits::new());
        let wait = async {
            while kept.read(&name).is_none_or(|memory| memory.list != list) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(Duration::from_secs(5), wait).await.unwrap();
        task.abort();
        let long = "10.0.0.1:9876\n".repeat(10_000);
        for nonsense in ["", "<html>", &long] {
            fs::write(kept.path(&name), nonsense).unwrap();
            assert_eq!(kept.read(&name), None);
        }
    }

    #[test]
    fn an_overlap_ends_after_a_restart_when_it_would_have_ended_without() {
        let (_folder, kept, name) = ground();
        let now = kept.clock.tick();
        let exit = |seconds, held| Exit {
            until: now.plus(Duration::from_secs(seconds)),
            held,
        };
        let [one, two] = ["10.0.0.1:9876", "10.0.0.2:9876"]
            .map(|text| NameServer::parse(text, HostNames::Refused).unwrap());
        let memory = Memory {
            list: list("10.0.0.1:9876;10.0.0.2:9876;10.0.0.3:9876"),
            exits: Exits::from([
                (one.clone(), exit(100, false)),
                (two.clone(), exit(90, true)),
            ]),
        };
        fs::write(kept.path(&name), kept.text(&memory)).unwrap();
        let read = kept.read(&name).unwrap();
        assert_eq!(read.list, memory.list);
        for (server, held, seconds) in [(&one, false, 100), (&two, true, 90)] {
            let exit = read.exits[server];
            let left = exit.until.since(now).as_secs();
            assert!(exit.held == held && left.abs_diff(seconds) <= 2, "{exit:?}");
        }
    }

    #[test]
    fn a_damaged_line_is_ignored_and_no_clock_makes_an_overlap_longer() {
        let (_folder, kept, name) = ground();
        let text = "10.0.0.1:9876;10.0.0.2:9876;10.0.0.3:9876;10.0.0.4:9876\n\
            # leaves 10.0.0.1:9876 2999-01-01T00:00:00Z\n\
            # leaves 10.0.0.2:9876 1999-01-01T00:00:00Z\n\
            # leaves 10.0.0.3:9876 yesterday\n# leaves\n# leaves <b> 2999-01-01T00:00:00Z held\n\
            # leaves 10.0.0.3:9876 2999-01-01T00:00:00Z held back\n";
        fs::write(kept.path(&name), text).unwrap();
        let memory = kept.read(&name).unwrap();
        assert_eq!(memory.exits.len(), 2, "{memory:?}");
        let rules = Rules {
            overlap: Duration::from_secs(150),
            hold: Duration::from_secs(600),
            first_wait: Duration::ZERO,
        };
        let now = Tick::from_millis(5_000);
        let mut change = Change::new(rules, Some(memory), now);
        let seen = Seen {
            words: vec![Word {
                servers: Some(servers("10.0.0.3:9876;10.0.0.4:9876")),
                fault: None,
            }],
            ..Seen::default()
        };
        // The second one's time was over: it is gone. The first one's is bounded.
        let outcome = change.step(&seen, now);
        assert_eq!(
            outcome.list,
            Some(list("10.0.0.1:9876;10.0.0.3:9876;10.0.0.4:9876"))
        );
        let later = now.plus(Duration::from_secs(150));
        let outcome = change.step(&seen, later);
        assert_eq!(outcome.list, Some(list("10.0.0.3:9876;10.0.0.4:9876")));
    }
}
