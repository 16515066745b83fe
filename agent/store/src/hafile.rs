//! Small JSON files under `<root>/ha/`: lineage, session, identity, a frozen end, a cut's intent.
//!
//! A write is crash-safe (temp, fsync, rename, fsync of the folder); a read is bounded. The types live with their users.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::durable;

/// Largest file read or written, in bytes. A lineage entry takes about 100 bytes and every term is kept down to the
/// log's start (safety H36): room for some ten thousand terms.
pub const MAX_BYTES: u64 = 4 << 20;

/// The folder `<root>/ha`, beside the store and never inside `commitlog/`, where a foreign file stops the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HaDir {
    path: PathBuf,
}

/// Why a file under `ha/` could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum HaFileError {
    /// The operating system refused.
    #[error("{action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Larger than anything we write.
    #[error(
        "read {}: longer than {limit_bytes} bytes, so not written by this program; move it away",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound.
        limit_bytes: u64,
    },
    /// Not what the reader expects.
    #[error(
        "read {}: its content is not understood; move it away to start without it, or run the version that wrote it",
        path.display()
    )]
    Content {
        /// The file.
        path: PathBuf,
        /// Line, column and cause.
        source: serde_json::Error,
    },
    /// A value that has no JSON form, or one above the bound.
    #[error("write {}: {reason}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Not a plain file name.
    #[error("name a file under ha/: {name:?} is not a plain file name")]
    Name {
        /// The name given.
        name: String,
    },
}

impl HaDir {
    /// The folder of the store at `root`. It is created by the first write.
    #[must_use]
    pub fn of(root: &Path) -> Self {
        Self {
            path: root.join("ha"),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file `name`; `None` when there is none.
    ///
    /// # Errors
    /// The file cannot be read, is longer than [`MAX_BYTES`], or holds something else than a `T`.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, HaFileError> {
        let path = self.file(name)?;
        let io = |source| HaFileError::Io {
            action: "read",
            path: path.clone(),
            source,
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(io)?;
        if u64::try_from(bytes.len()).is_ok_and(|len| len > MAX_BYTES) {
            return Err(HaFileError::TooLarge {
                path,
                limit_bytes: MAX_BYTES,
            });
        }
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Some(value)),
            Err(source) => Err(HaFileError::Content { path, source }),
        }
    }

    /// Writes the file `name`; on return it is on the disk.
    ///
    /// # Errors
    /// The value has no JSON form or is longer than [`MAX_BYTES`], or the system refused; the old content then stays.
    pub fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), HaFileError> {
        let path = self.file(name)?;
        let refuse = |reason: String| HaFileError::Value {
            path: path.clone(),
            reason,
        };
        let mut bytes =
            serde_json::to_vec_pretty(value).map_err(|error| refuse(error.to_string()))?;
        bytes.push(b'\n');
        if !u64::try_from(bytes.len()).is_ok_and(|len| len <= MAX_BYTES) {
            return Err(refuse(format!(
                "{} bytes are above the bound of {MAX_BYTES}",
                bytes.len()
            )));
        }
        let temp = self.path.join(format!(".{name}.tmp"));
        durable::create_dirs(&self.path)
            .and_then(|()| durable::replace(&path, &temp, &bytes))
            .map_err(|source| HaFileError::Io {
                action: "write",
                path: path.clone(),
                source,
            })
    }

    /// Removes the file `name`; absence is success.
    ///
    /// # Errors
    /// The system refused.
    pub fn remove(&self, name: &str) -> Result<(), HaFileError> {
        let path = self.file(name)?;
        durable::remove(&path).map_err(|source| HaFileError::Io {
            action: "remove",
            path,
            source,
        })
    }

    fn file(&self, name: &str) -> Result<PathBuf, HaFileError> {
        let plain = !name.is_empty()
            && !name.starts_with('.')
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        if !plain {
            return Err(HaFileError::Name {
                name: name.to_owned(),
            });
        }
        Ok(self.path.join(name))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Note {
        epoch: u64,
    }

    #[test]
    fn what_is_written_is_read_back_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let ha = HaDir::of(dir.path());
        assert_eq!(ha.read::<Note>("note.json").unwrap(), None);
        for epoch in [7, 8] {
            ha.write("note.json", &Note { epoch }).unwrap();
            assert_eq!(ha.read::<Note>("note.json").unwrap(), Some(Note { epoch }));
        }
        ha.remove("note.json").unwrap();
        ha.remove("note.json").unwrap();
        assert_eq!(fs::read_dir(ha.path()).unwrap().count(), 0);
    }

    #[test]
    fn bad_content_names_path_reason_and_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let ha = HaDir::of(dir.path());
        ha.write("note.json", &"text").unwrap();
        let error = ha.read::<Note>("note.json").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("ha/note.json"), "{text}");
        assert!(text.contains("move it away"), "{text}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("line 1"), "{cause}");
    }

    #[test]
    fn a_huge_file_is_refused_without_being_read() {
        let dir = tempfile::tempdir().unwrap();
        let ha = HaDir::of(dir.path());
        fs::create_dir(ha.path()).unwrap();
        let file = File::create(ha.path().join("note.json")).unwrap();
        file.set_len(MAX_BYTES + 1).unwrap();
        assert!(matches!(
            ha.read::<Note>("note.json"),
            Err(HaFileError::TooLarge { .. })
        ));
        let long = "x".repeat(usize::try_from(MAX_BYTES).unwrap());
        assert!(matches!(
            ha.write("long.json", &long),
            Err(HaFileError::Value { .. })
        ));
    }

    #[test]
    fn names_cannot_leave_the_folder() {
        let ha = HaDir::of(Path::new("nowhere"));
        for name in ["", "../x", "a/b", ".hidden", "a b"] {
            assert!(matches!(
                ha.read::<Note>(name),
                Err(HaFileError::Name { .. })
            ));
        }
    }

    #[test]
    fn a_crash_before_the_rename_leaves_the_old_content() {
        let dir = tempfile::tempdir().unwrap();
        let ha = HaDir::of(dir.path());
        ha.write("note.json", &Note { epoch: 1 }).unwrap();
        fs::write(ha.path().join(".note.json.tmp"), b"{\"epo").unwrap();
        assert_eq!(
            ha.read::<Note>("note.json").unwrap(),
            Some(Note { epoch: 1 })
        );
        ha.write("note.json", &Note { epoch: 2 }).unwrap();
        assert_eq!(
            ha.read::<Note>("note.json").unwrap(),
            Some(Note { epoch: 2 })
        );
    }
}
