//! Names and numbers that must not be mixed up.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use serde::{Deserialize, Serialize};

// Shared text: a decision copies whole records, names and all, several times.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps the name as it is.
            pub fn new(name: impl Into<String>) -> Self {
                Self(Arc::from(name.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether the name is the empty text.
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self(Arc::from(name))
            }
        }

        impl From<String> for $name {
            fn from(name: String) -> Self {
                Self(Arc::from(name))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                Self::from(name.as_str())
            }
        }
    };
}

name! {
    /// One broker of a group with its volume. An annotation, else the pod's name; it outlives pods.
    Member
}
name! {
    /// One life of a member's launcher: the pod's uid, a dot, the launcher's nonce (H1). The empty text means nobody.
    Instance
}
name! {
    /// One unbroken life of a member's log (H25). Random; renewed where bytes may have been lost or were cut.
    Session
}
name! {
    /// The identity written on a volume when it was first used. A restored or cloned volume keeps it, an empty one has none.
    VolumeId
}
name! {
    /// A failure zone, as the platform names it. Empty when unknown.
    Zone
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Wraps the number.
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            /// The bare number.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl From<u64> for $name {
            fn from(value: u64) -> Self {
                Self(value)
            }
        }
    };
}

number! {
    /// The number of a term, strictly increasing for the life of the group's data (I2). 0 means: before the first term.
    Epoch
}
number! {
    /// A random number that tells two terms with an equal epoch apart (H8).
    Nonce
}
number! {
    /// A commit-log offset in bytes.
    Offset
}
number! {
    /// A Kubernetes `resourceVersion`. Compared only for "newer than the one my write carried" (H3).
    Rv
}

impl Epoch {
    /// The epoch after this one. Saturates at the end of the number space, 2^64 terms away.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The next multiple of 1000 above this one: what follows an absent or rewound Lease, where numbers may have been
    /// used that nobody present remembers (H8).
    pub const fn next_thousand(self) -> Self {
        Self((self.0 / 1000).saturating_add(1).saturating_mul(1000))
    }
}

impl Offset {
    /// The start of every log.
    pub const ZERO: Self = Self(0);

    /// Bytes from `other` up to this offset, 0 when it lies behind.
    pub const fn since(self, other: Self) -> u64 {
        self.0.saturating_sub(other.0)
    }
}
