//! Offsets, unsigned inside. Java's are signed longs with −1 for "none"; they are converted here and nowhere else.

use std::fmt;

/// A byte offset in a broker's commit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogOffset(u64);

/// A message's place in one queue, counted in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct QueueOffset(u64);

impl LogOffset {
    /// The offset of `bytes`.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// In bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// From Java's signed long: a negative number, −1 by convention, is none.
    pub fn from_java(value: i64) -> Option<Self> {
        u64::try_from(value).ok().map(Self)
    }
}

impl QueueOffset {
    /// The offset of `messages`.
    pub const fn new(messages: u64) -> Self {
        Self(messages)
    }

    /// In messages.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// From Java's signed long: a negative number, −1 by convention, is none.
    pub fn from_java(value: i64) -> Option<Self> {
        u64::try_from(value).ok().map(Self)
    }
}

impl fmt::Display for LogOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for QueueOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
