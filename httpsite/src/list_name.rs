//! The name of a list: what stands behind `/rocketmq/` in the URL, such as `nsaddr` or `nsaddr-unit1`.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A name that fits into a URL, a file name and an annotation's key alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListName(String);

/// Why a text is no list's name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no name of a list; use letters, digits, '-', '_' and '.', at most 50, such as nsaddr or nsaddr-unit1"
)]
pub struct ListNameError(String);

impl ListName {
    /// As in the URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ListName {
    type Err = ListNameError;

    fn from_str(text: &str) -> Result<Self, ListNameError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let sound = (1..=50).contains(&text.len())
            && text.chars().all(plain)
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric());
        sound
            .then(|| Self(text.to_owned()))
            .ok_or_else(|| ListNameError(text.chars().take(60).collect()))
    }
}

impl Borrow<str> for ListName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ListName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_safe_wherever_it_is_used() {
        for good in ["nsaddr", "nsaddr-unit1", "DefaultCluster", "a", "a.b_c"] {
            assert!(good.parse::<ListName>().is_ok(), "{good}");
        }
        for bad in ["", "..", "-a", "a-", "a/b", "a b", "ä", &"a".repeat(51)] {
            assert!(bad.parse::<ListName>().is_err(), "{bad}");
        }
    }
}
