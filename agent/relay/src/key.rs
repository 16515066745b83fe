//! The key that all members of a group share, and what is signed with it.

use ring::hmac;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A shorter key is refused: it could be guessed offline from one recorded handshake.
const MIN_KEY_BYTES: usize = 16;
/// A longer file is not a key.
const MAX_KEY_BYTES: usize = 4096;

/// The shared secret of a group. Signs the relay's handshake and the agents' calls to each other (HMAC-SHA256).
#[derive(Clone)]
pub struct GroupKey {
    key: hmac::Key,
}

/// An HMAC-SHA256 over a purpose and some parts. Compared in constant time, by [`GroupKey::verify`] only.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tag([u8; 32]);

/// Why a file holds no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file could not be read.
    #[error("read the group key from {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The trimmed content has the wrong length.
    #[error(
        "take a group key of {length} bytes: it needs {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes of random text, for example 32 from `openssl rand -hex 32`"
    )]
    Length {
        /// How many bytes were left after trimming.
        length: usize,
    },
}

impl GroupKey {
    /// Reads the key: the file's bytes without surrounding white space.
    ///
    /// # Errors
    /// [`KeyError::Read`], or [`KeyError::Length`] for fewer than 16 or more than 4096 bytes.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            // One byte more than allowed tells "too long" from "just fits" without reading the rest.
            let limit = u64::try_from(2 * MAX_KEY_BYTES).unwrap_or(u64::MAX);
            File::open(path)?.take(limit).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|source| KeyError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::from_bytes(&bytes)
    }

    /// Takes the key from memory, trimmed the same way.
    ///
    /// # Errors
    /// [`KeyError::Length`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let trimmed = bytes.trim_ascii();
        if !(MIN_KEY_BYTES..=MAX_KEY_BYTES).contains(&trimmed.len()) {
            return Err(KeyError::Length {
                length: trimmed.len(),
            });
        }
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, trimmed),
        })
    }

    /// Signs `parts` for one `purpose`. Purpose and parts are length-prefixed, so no two different lists sign alike.
    #[must_use]
    pub fn sign(&self, purpose: &str, parts: &[&[u8]]) -> Tag {
        let tag = hmac::sign(&self.key, &flatten(purpose, parts));
        let mut bytes = [0; 32];
        bytes.copy_from_slice(tag.as_ref());
        Tag(bytes)
    }

    /// Whether `tag` was made by [`GroupKey::sign`] with this key, purpose and parts. Constant time.
    #[must_use]
    pub fn verify(&self, purpose: &str, parts: &[&[u8]], tag: &Tag) -> bool {
        hmac::verify(&self.key, &flatten(purpose, parts), &tag.0).is_ok()
    }
}

/// Never shows the key.
impl fmt::Debug for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupKey(…)")
    }
}

impl Tag {
    /// How many bytes a tag has.
    pub const BYTES: usize = 32;

    /// A tag as it came over a wire.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes to send.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

fn flatten(purpose: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in std::iter::once(purpose.as_bytes()).chain(parts.iter().copied()) {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> GroupKey {
        GroupKey::from_bytes(b"0123456789abcdef").unwrap()
    }

    #[test]
    fn a_tag_is_bound_to_key_purpose_and_parts() {
        let tag = key().sign("call", &[b"ab", b"c"]);
        assert!(key().verify("call", &[b"ab", b"c"], &tag));
        assert!(!key().verify("call", &[b"a", b"bc"], &tag));
        assert!(!key().verify("other", &[b"ab", b"c"], &tag));
        let other = GroupKey::from_bytes(b"0123456789abcdeX").unwrap();
        assert!(!other.verify("call", &[b"ab", b"c"], &tag));
    }

    #[test]
    fn a_key_file_is_trimmed_and_measured() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, b" 0123456789abcdef\n").unwrap();
        let read = GroupKey::from_file(&path).unwrap();
        assert!(key().verify("p", &[], &read.sign("p", &[])));

        std::fs::write(&path, b"0123456789abcde \n").unwrap();
        assert!(matches!(
            GroupKey::from_file(&path),
            Err(KeyError::Length { length: 15 })
        ));
        std::fs::write(&path, vec![b'x'; 3 * MAX_KEY_BYTES]).unwrap();
        assert!(matches!(
            GroupKey::from_file(&path),
            Err(KeyError::Length { .. })
        ));
        assert!(matches!(
            GroupKey::from_file(&folder.path().join("none")),
            Err(KeyError::Read { .. })
        ));
    }

    #[test]
    fn debug_hides_the_key() {
        assert_eq!(format!("{:?}", key()), "GroupKey(…)");
    }
}
