//! Numbered messages: who sent it and the how-manieth it is, in body and key.

use std::fmt;
use std::str::FromStr;

use anyhow::Result;

use crate::run_dir::random_word;

/// A message's number, counted from 0 by its producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Number(u64);

impl Number {
    /// The `count`-th message.
    #[must_use]
    pub fn new(count: u64) -> Self {
        Self(count)
    }

    /// As a count.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for Number {
    fn from(count: u64) -> Self {
        Self(count)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A producer's mark, unique per producer, so that messages of earlier ones are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp(String);

impl Stamp {
    /// A new one.
    ///
    /// # Errors
    /// When the machine gives no random bytes.
    pub fn random() -> Result<Self> {
        random_word().map(Self)
    }

    /// The message's key: `<stamp>-<number>`.
    #[must_use]
    pub fn key(&self, number: Number) -> String {
        format!("{}-{number}", self.0)
    }

    /// The message's body: its key, a blank, and filling up to `size` bytes.
    #[must_use]
    pub fn body(&self, number: Number, size: usize) -> Vec<u8> {
        let mut body = self.key(number).into_bytes();
        body.push(b' ');
        body.resize(body.len().max(size), b'.');
        body
    }

    /// The number in a body, when this producer wrote it.
    #[must_use]
    pub fn number(&self, body: &[u8]) -> Option<Number> {
        let key = body.split(|byte| *byte == b' ').next()?;
        let text = std::str::from_utf8(key).ok()?;
        let digits = text.strip_prefix(&self.0)?.strip_prefix('-')?;
        u64::from_str(digits).ok().map(Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_back_from_a_body_of_any_size() {
        let stamp = Stamp::random().unwrap();
        for size in [0, 5, 20, 1000] {
            let body = stamp.body(Number(42), size);
            assert!(body.len() >= size);
            assert_eq!(stamp.number(&body), Some(Number(42)));
        }
    }

    #[test]
    fn other_peoples_messages_have_no_number() {
        let stamp = Stamp("aa".to_owned());
        for body in [
            "",
            " ",
            "aa-",
            "aa-x ",
            "ab-1 ",
            "aa-99999999999999999999 ",
            "\u{fffd}",
        ] {
            assert_eq!(stamp.number(body.as_bytes()), None, "{body:?}");
        }
        assert_eq!(stamp.number(b"\xff\xfe"), None);
    }
}
