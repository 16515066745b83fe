//! The keys that some broker knows, and what it takes as their values.

use std::collections::BTreeMap;

/// What the broker's setter of a key takes. Anything else is silently ignored by the broker, and the default stays
/// (`MixAll#properties2Object`, facts §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Any text.
    Text,
    /// `true` or `false` in any case. Java takes every other text for `false`.
    Boolean,
    /// What `Integer.parseInt` takes: no blanks, 32 bits.
    Int,
    /// What `Long.parseLong` takes: no blanks, 64 bits.
    Long,
    /// A floating-point number.
    Double,
}

impl Kind {
    /// Whether the broker understands the value as it was meant.
    pub(super) fn takes(self, value: &str) -> bool {
        match self {
            Self::Text => true,
            Self::Boolean => {
                value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false")
            }
            Self::Int => value.parse::<i32>().is_ok(),
            Self::Long => value.parse::<i64>().is_ok(),
            Self::Double => value.parse::<f64>().is_ok_and(f64::is_finite),
        }
    }

    /// What to write instead of a value that is not taken.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Boolean => "true or false",
            Self::Int => "a whole number of at most 32 bits, digits only",
            Self::Long => "a whole number of at most 64 bits, digits only",
            Self::Double => "a number",
        }
    }
}

/// Every key of the brokers 4.9.7 to 5.5.0 (`keys.txt`).
pub(super) struct Keys(BTreeMap<&'static str, Kind>);

impl Keys {
    /// Reads the built-in table.
    pub(super) fn known() -> Self {
        let lines = include_str!("keys.txt")
            .lines()
            .filter(|line| !line.starts_with('#'));
        Self(
            lines
                .filter_map(|line| line.split_once(' '))
                .map(|(key, kind)| (key, kind_of(kind)))
                .collect(),
        )
    }

    /// What the key takes; none if no broker knows it.
    pub(super) fn kind(&self, key: &str) -> Option<Kind> {
        self.0.get(key).copied()
    }
}

fn kind_of(name: &str) -> Kind {
    match name {
        "boolean" => Kind::Boolean,
        "int" => Kind::Int,
        "long" => Kind::Long,
        "double" => Kind::Double,
        _ => Kind::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_understood() {
        let lines: Vec<_> = include_str!("keys.txt")
            .lines()
            .filter(|line| !line.starts_with('#'))
            .collect();
        for line in &lines {
            let (key, kind) = line.split_once(' ').unwrap();
            assert!(
                !key.is_empty() && ["text", "boolean", "int", "long", "double"].contains(&kind),
                "{line}"
            );
        }
        assert_eq!(Keys::known().0.len(), lines.len(), "a key stands twice");
    }

    #[test]
    fn takes_what_java_takes() {
        for (kind, value) in [
            (Kind::Int, "+3"),
            (Kind::Int, "007"),
            (Kind::Boolean, "TRUE"),
            (Kind::Double, "0.75"),
        ] {
            assert!(kind.takes(value), "{value}");
        }
        for (kind, value) in [
            (Kind::Int, "10911 "),
            (Kind::Int, ""),
            (Kind::Int, "0x10"),
            (Kind::Int, "2147483648"),
            (Kind::Boolean, "yes"),
            (Kind::Boolean, "true "),
            (Kind::Double, "NaN"),
        ] {
            assert!(!kind.takes(value), "{value:?}");
        }
    }
}
