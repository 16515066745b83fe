//! Quantities as people read them.

use std::fmt::{self, Display};

/// Seconds.
#[derive(Clone, Copy, Debug)]
pub struct Span(pub u64);

impl Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds @ 0..120 => write!(f, "{seconds} s"),
            seconds @ 120..7200 => write!(f, "{} min", seconds / 60),
            seconds @ 7200..172_800 => write!(f, "{} h", seconds / 3600),
            seconds => write!(f, "{} d", seconds / 86_400),
        }
    }
}

/// Bytes.
#[derive(Clone, Copy, Debug)]
pub struct Bytes(pub u64);

impl Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        // Tenths, so that no float is needed.
        let (mut tenths, mut unit) = (u128::from(self.0) * 10 / 1024, 0);
        while tenths >= 10_240 && unit + 1 < units.len() {
            (tenths, unit) = (tenths / 1024, unit + 1);
        }
        let unit = units.get(unit).copied().unwrap_or_default();
        write!(f, "{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

/// A time of the wall clock, to the second.
#[derive(Clone, Copy, Debug)]
pub struct Time(pub jiff::Timestamp);

impl Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.strftime("%Y-%m-%d %H:%M:%S UTC"))
    }
}

/// `1 fault`, `2 faults`.
#[derive(Clone, Copy, Debug)]
pub struct Count(pub usize, pub &'static str);

impl Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} {}{plural}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let shown = [0, 119, 120, 7200, 172_800].map(|s| Span(s).to_string());
        assert_eq!(shown, ["0 s", "119 s", "2 min", "2 h", "2 d"]);
    }

    #[test]
    fn sizes_have_the_unit_that_fits() {
        let sizes = [0, 1023, 1024, 1536, 1024 * 1024 - 1, 300 << 20, u64::MAX];
        let shown = sizes.map(|bytes| Bytes(bytes).to_string());
        let wanted = [
            "0 B",
            "1023 B",
            "1.0 KiB",
            "1.5 KiB",
            "1023.9 KiB",
            "300.0 MiB",
            "15.9 EiB",
        ];
        assert_eq!(shown, wanted);
        assert_eq!(Count(1, "fault").to_string(), "1 fault");
        assert_eq!(Count(0, "fault").to_string(), "0 faults");
    }
}
