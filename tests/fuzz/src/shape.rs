//! What kind of outcome an input had: its text without the digits.

use std::fmt::{self, Display, Write};

struct Digest(u64);

impl Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Long texts quote the input.
        for byte in text.bytes().take(160).filter(|b| !b.is_ascii_digit()) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        Ok(())
    }
}

/// A number for an outcome.
pub(crate) fn of(kind: &str, what: &dyn Display) -> u64 {
    let mut digest = Digest(0xCBF2_9CE4_8422_2325);
    let _infallible = write!(digest, "{kind}{what}");
    digest.0
}

/// How large a number is, roughly.
pub(crate) fn size(n: usize) -> u32 {
    n.checked_ilog2().unwrap_or_default()
}

/// A few letters that stand for a size: digits do not count.
pub(crate) fn letters(n: usize) -> char {
    char::from(b'a' + u8::try_from(size(n).min(25)).unwrap_or_default())
}
