//! What kind of outcome an input had: its text without digits and quotations.

use std::fmt::{self, Display, Write};

/// And whether a quotation goes on.
struct Digest(u64, bool);

impl Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Long texts quote the input.
        for byte in text.bytes().take(160).filter(|b| !b.is_ascii_digit()) {
            self.1 ^= matches!(byte, b'`' | b'"');
            if !self.1 {
                self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
            }
        }
        Ok(())
    }
}

/// A number for an outcome.
pub(crate) fn of(kind: &str, what: &dyn Display) -> u64 {
    let mut digest = Digest(0xCBF2_9CE4_8422_2325, false);
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

/// The name of a variant, without what it holds.
pub(crate) fn word(what: &impl fmt::Debug) -> String {
    let text = format!("{what:?}");
    let end = text.find(|c: char| !c.is_alphanumeric());
    text.get(..end.unwrap_or(text.len()))
        .unwrap_or_default()
        .to_owned()
}
