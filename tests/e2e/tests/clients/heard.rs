//! What the clients told, line by line.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A message was acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    /// Milliseconds since the epoch, as all times here.
    pub(crate) at: u64,
    pub(crate) kind: String,
    pub(crate) message: String,
    /// The broker's address, `-` where the client does not tell it.
    pub(crate) member: String,
}

/// A message was not, or a consumer met an error.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    pub(crate) at: u64,
    pub(crate) kind: String,
    pub(crate) why: String,
}

/// Where a message is in its topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// `brokerName:queueId`.
    pub(crate) queue: String,
    pub(crate) offset: u64,
}

/// A consumer got a message.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) at: u64,
    pub(crate) kind: String,
    pub(crate) message: String,
    pub(crate) place: Place,
    /// The address of the broker that stored it.
    pub(crate) member: String,
}

/// Something that can be read at the end.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) message: String,
    pub(crate) place: Place,
}

/// A broker asked what became of a transaction.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    pub(crate) message: String,
    pub(crate) state: String,
}

/// All of it so far.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The time of the newest line.
    pub(crate) now: u64,
    pub(crate) started: usize,
    pub(crate) ended: usize,
    pub(crate) sent: Vec<Sent>,
    pub(crate) failed: Vec<Failed>,
    pub(crate) got: Vec<Got>,
    pub(crate) checked: Vec<Checked>,
    /// What the newest audit read.
    pub(crate) stored: Vec<Stored>,
    /// Audits that ended, and why the newest one failed, if it did.
    pub(crate) audits: usize,
    pub(crate) unaudited: Option<String>,
}

impl Heard {
    fn take(&mut self, line: &str) -> Result<()> {
        let words: Vec<&str> = line.split(' ').collect();
        let Some((at, words)) = words.split_first() else {
            return Ok(());
        };
        // Anything else is the JVM's own.
        let Ok(at) = at.parse() else { return Ok(()) };
        self.now = self.now.max(at);
        let own = |word: &&str| (*word).to_owned();
        let place = |queue: &str, offset: &str| -> Result<Place> {
            let offset = offset.parse().context("read an offset")?;
            Ok(Place {
                queue: queue.to_owned(),
                offset,
            })
        };
        match words {
            ["started", ..] => self.started += 1,
            ["ended", ..] => self.ended += 1,
            ["sent", kind, message, _, member] => self.sent.push(Sent {
                at,
                kind: own(kind),
                message: own(message),
                member: own(member),
            }),
            ["failed", kind, rest @ ..] => self.failed.push(Failed {
                at,
                kind: own(kind),
                why: rest.last().map(own).unwrap_or_default(),
            }),
            ["checked", _, message, state] => self.checked.push(Checked {
                message: own(message),
                state: own(state),
            }),
            ["got", kind, message, queue, offset, member] => self.got.push(Got {
                at,
                kind: own(kind),
                message: own(message),
                place: place(queue, offset)?,
                member: own(member),
            }),
            ["stored", number, message, queue, offset, _] => {
                // The first of an audit: what an earlier one read is old.
                if number.parse::<usize>().ok() == Some(self.audits) && self.unaudited.is_none() {
                    self.stored.push(Stored {
                        message: own(message),
                        place: place(queue, offset)?,
                    });
                }
            }
            ["audited", ..] => self.audits += 1,
            ["unaudited", _, why @ ..] => {
                self.audits += 1;
                self.unaudited = Some(why.join(" "));
            }
            _ => bail!("read a client's line: {line}"),
        }
        Ok(())
    }
}

/// Reads on where it stopped.
#[derive(Debug)]
pub(crate) struct Reader {
    path: PathBuf,
    position: u64,
}

impl Reader {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            position: 0,
        }
    }

    /// Adds what was told since the last time. The last line may be half written: it waits.
    pub(crate) fn read(&mut self, heard: &mut Heard) -> Result<()> {
        let path = &self.path;
        let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        file.seek(SeekFrom::Start(self.position))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .with_context(|| format!("read {}", path.display()))?;
        let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(());
        };
        let whole = bytes.get(..=end).unwrap_or_default();
        for line in String::from_utf8_lossy(whole).lines() {
            heard.take(line)?;
        }
        self.position += u64::try_from(whole.len())?;
        Ok(())
    }
}
