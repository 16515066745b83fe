//! The java-properties format, exactly as the broker reads its conf: `java.util.Properties.load` of a byte stream.
//!
//! ISO-8859-1 bytes, `#` and `!` comments, `=`, `:` or blanks between key and value, lines continued by a trailing
//! backslash, the escapes `\t \n \r \f \uXXXX`. Blanks at the end of a value belong to the value, which is how
//! `listenPort=10911 ` silently keeps the default port (facts §3.1).
//!
//! [`Properties::parse`] reads, [`write_entry`] writes. What Java refuses, and the one thing that Java takes and Rust
//! cannot hold (half a surrogate pair), is a [`PropertiesError`] with its line.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The longest text that is looked at, in bytes: what fits into a ConfigMap.
pub const MAX_BYTES: usize = 1 << 20;

/// One key and its value, and the line it begins on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key, escapes resolved.
    pub key: String,
    /// The value, escapes resolved, blanks at its end kept.
    pub value: String,
    /// The line of the text on which the key stands, from 1.
    pub line: usize,
}

/// A parsed text: its entries in their order, repeated keys included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    entries: Vec<Entry>,
    /// Where the entry that counts for a key stands: a walk for each key would cost their square.
    last: BTreeMap<String, usize>,
}

/// Why a text is no properties text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PropertiesError {
    /// Longer than [`MAX_BYTES`].
    #[error("the text is {bytes} bytes long, at most {MAX_BYTES} are read; is it the right file?")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// `\u` without four hexadecimal digits; Java stops at it, and so would the broker.
    #[error("line {line}: \\u needs four hexadecimal digits; for a backslash write \\\\")]
    MalformedEscape {
        /// The line on which the entry begins, from 1.
        line: usize,
    },
    /// A `\uD800`–`\uDFFF` that is not part of a pair.
    #[error("line {line}: \\uD800 to \\uDFFF mean something only in pairs; write the whole pair")]
    LoneSurrogate {
        /// The line on which the entry begins, from 1.
        line: usize,
    },
}

impl PropertiesError {
    /// The line it is about, from 1; none if it is about the whole text.
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::TooLong { .. } => None,
            Self::MalformedEscape { line } | Self::LoneSurrogate { line } => Some(*line),
        }
    }
}

impl Properties {
    /// Parses a text of at most [`MAX_BYTES`].
    pub fn parse(text: &[u8]) -> Result<Self, PropertiesError> {
        if text.len() > MAX_BYTES {
            return Err(PropertiesError::TooLong { bytes: text.len() });
        }
        let entries = LogicalLines::of(text)
            .map(|line| parse_entry(&line))
            .collect::<Result<Vec<_>, _>>()?;
        let keys = entries.iter().map(|entry| entry.key.clone());
        let last = keys.enumerate().map(|(n, key)| (key, n)).collect();
        Ok(Self { entries, last })
    }

    /// All entries in the order of the text, repeated keys included.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry that counts for a key: the last one.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(*self.last.get(key)?)
    }
}

/// Appends `key=value` and a line end, escaped so that [`Properties::parse`] and Java read the same two strings back.
pub fn write_entry(out: &mut String, key: &str, value: &str) {
    for c in key.chars() {
        if matches!(c, ' ' | '=' | ':' | '#' | '!') {
            out.push('\\');
        }
        write_char(out, c);
    }
    out.push('=');
    // Blanks before a value are skipped by the reader; one escape keeps the rest too.
    if value.starts_with(' ') {
        out.push('\\');
    }
    value.chars().for_each(|c| write_char(out, c));
    out.push('\n');
}

fn write_char(out: &mut String, c: char) {
    match c {
        '\\' => out.push_str("\\\\"),
        '\t' => out.push_str("\\t"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\x0c' => out.push_str("\\f"),
        ' '..='~' => out.push(c),
        _ => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04X}").expect("writing to a String does not fail");
            }
        }
    }
}

/// One line after joining continued ones, escapes still in it.
struct LogicalLine {
    text: Vec<u8>,
    line: usize,
}

/// Joins natural lines to logical ones, and drops blank lines, comments and indents.
struct LogicalLines<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
}

impl<'a> LogicalLines<'a> {
    fn of(text: &'a [u8]) -> Self {
        Self {
            text,
            at: 0,
            line: 1,
        }
    }

    fn take(&mut self) -> Option<u8> {
        let byte = *self.text.get(self.at)?;
        self.at += 1;
        // `\r\n` is one line end, counted at its `\n`.
        if byte == b'\n' || (byte == b'\r' && self.text.get(self.at) != Some(&b'\n')) {
            self.line += 1;
        }
        Some(byte)
    }

    fn skip_comment(&mut self) {
        while self.take().is_some_and(|byte| !is_line_end(byte)) {}
    }

    fn skip_rest_of_line_end(&mut self, first: u8) {
        if first == b'\r' && self.text.get(self.at) == Some(&b'\n') {
            self.take();
        }
    }
}

impl Iterator for LogicalLines<'_> {
    type Item = LogicalLine;

    /// The states and their oddities are those of Java's `LineReader`: a comment sign counts as one as long as the
    /// logical line is empty, and a lone backslash at the end of the text is an entry with an empty key.
    fn next(&mut self) -> Option<LogicalLine> {
        let mut found = LogicalLine {
            text: Vec::new(),
            line: self.line,
        };
        let (mut indent, mut continued, mut backslash) = (true, false, false);
        loop {
            let line = self.line;
            let Some(byte) = self.take() else {
                if found.text.is_empty() {
                    return None;
                }
                break;
            };
            if indent {
                if is_blank(byte) || (!continued && is_line_end(byte)) {
                    continue;
                }
                (indent, continued) = (false, false);
            }
            if found.text.is_empty() {
                found.line = line;
                if matches!(byte, b'#' | b'!') {
                    self.skip_comment();
                    indent = true;
                    continue;
                }
            }
            if !is_line_end(byte) {
                found.text.push(byte);
                backslash = byte == b'\\' && !backslash;
                continue;
            }
            if found.text.is_empty() {
                indent = true;
                continue;
            }
            if !backslash || self.at >= self.text.len() {
                break;
            }
            found.text.pop();
            self.skip_rest_of_line_end(byte);
            (indent, continued, backslash) = (true, true, false);
        }
        if backslash {
            found.text.pop();
        }
        Some(found)
    }
}

fn parse_entry(line: &LogicalLine) -> Result<Entry, PropertiesError> {
    let text = line.text.as_slice();
    let key_end = end_of_key(text);
    let value_start = start_of_value(text, key_end);
    Ok(Entry {
        key: unescape(&text[..key_end], line.line)?,
        value: unescape(&text[value_start..], line.line)?,
        line: line.line,
    })
}

fn end_of_key(text: &[u8]) -> usize {
    let mut backslash = false;
    for (at, &byte) in text.iter().enumerate() {
        if !backslash && (is_separator(byte) || is_blank(byte)) {
            return at;
        }
        backslash = byte == b'\\' && !backslash;
    }
    text.len()
}

/// Blanks, at most one separator, blanks.
fn start_of_value(text: &[u8], key_end: usize) -> usize {
    let mut separated = false;
    for (at, &byte) in text.iter().enumerate().skip(key_end) {
        if is_separator(byte) && !separated {
            separated = true;
        } else if !is_blank(byte) {
            return at;
        }
    }
    text.len()
}

fn unescape(text: &[u8], line: usize) -> Result<String, PropertiesError> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        if byte != b'\\' {
            units.push(byte.into());
            continue;
        }
        match rest.next() {
            Some(b'u') => {
                let digits = rest
                    .as_slice()
                    .get(..4)
                    .ok_or(PropertiesError::MalformedEscape { line })?;
                units.push(hexadecimal(digits).ok_or(PropertiesError::MalformedEscape { line })?);
                rest = rest.as_slice()[4..].iter();
            }
            Some(b't') => units.push(0x09),
            Some(b'n') => units.push(0x0a),
            Some(b'r') => units.push(0x0d),
            Some(b'f') => units.push(0x0c),
            Some(&other) => units.push(other.into()),
            None => {}
        }
    }
    String::from_utf16(&units).map_err(|_| PropertiesError::LoneSurrogate { line })
}

fn hexadecimal(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0, |number: u16, &digit| {
        let digit = char::from(digit)
            .to_digit(16)
            .and_then(|digit| u16::try_from(digit).ok())?;
        Some(number << 4 | digit)
    })
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0c)
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b'=' | b':')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Vec<(String, String, usize)> {
        let properties = Properties::parse(text.as_bytes()).unwrap();
        properties
            .entries()
            .iter()
            .map(|e| (e.key.clone(), e.value.clone(), e.line))
            .collect()
    }

    fn one(text: &str) -> (String, String) {
        let entries = parsed(text);
        assert_eq!(entries.len(), 1, "{entries:?}");
        (entries[0].0.clone(), entries[0].1.clone())
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn reads_every_separator_and_keeps_blanks_at_the_end() {
        for text in ["a=b ", "a:b ", "a b ", " a = b ", "a\t:\tb ", "a\x0cb "] {
            assert_eq!(one(text), pair("a", "b "), "{text:?}");
        }
        assert_eq!(one("a==b"), pair("a", "=b"));
        assert_eq!(one("a"), pair("a", ""));
        assert_eq!(one("=b"), pair("", "b"));
        assert_eq!(one(r"a\=b\:c\ d=e"), pair("a=b:c d", "e"));
    }

    #[test]
    fn resolves_escapes_and_bytes_as_latin_1() {
        assert_eq!(one(r"a=\t\n\r\f\q\\"), pair("a", "\t\n\r\x0cq\\"));
        assert_eq!(one(r"a=\u0041\uD83D\uDE00"), pair("a", "A😀"));
        let latin = Properties::parse(b"a=\xe9\x80").unwrap();
        assert_eq!(latin.get("a").unwrap().value, "é\u{80}");
    }

    #[test]
    fn joins_continued_lines_and_counts_natural_ones() {
        let text = "# one\r\n\r\n! three\n a = b\\\r\n   c\\\n\td\n\ne=f\rg=h";
        let expected = [("a", "bcd", 4), ("e", "f", 8), ("g", "h", 9)];
        assert_eq!(
            parsed(text),
            expected.map(|(k, v, l)| (k.to_owned(), v.to_owned(), l))
        );
        assert_eq!(one("a=b\\\\\n#c"), pair("a", "b\\"));
        assert_eq!(one("a=b\\\n#c"), pair("a", "b#c"));
    }

    #[test]
    fn copies_what_java_does_at_the_end_of_the_text() {
        assert_eq!(one("a=b\\"), pair("a", "b"));
        assert_eq!(one("a=b\\\n"), pair("a", "b"));
        assert_eq!(one("\\"), pair("", ""));
        assert_eq!(parsed("#\\\n   \n"), []);
    }

    #[test]
    fn refuses_what_java_refuses_with_its_line() {
        for text in [r"a=\u12", r"a=\u12g4", r"\u=b", "a=\\u00\\\n+41"] {
            let text = format!("ok=1\n{text}");
            assert_eq!(
                Properties::parse(text.as_bytes()),
                Err(PropertiesError::MalformedEscape { line: 2 })
            );
        }
        assert_eq!(
            Properties::parse(br"a=\uD83Dx"),
            Err(PropertiesError::LoneSurrogate { line: 1 })
        );
        let long = vec![b'#'; MAX_BYTES + 1];
        assert_eq!(
            Properties::parse(&long),
            Err(PropertiesError::TooLong {
                bytes: MAX_BYTES + 1
            })
        );
    }

    #[test]
    fn the_last_of_repeated_keys_counts() {
        let properties = Properties::parse(b"a=1\nb=2\na=3\n").unwrap();
        assert_eq!(
            properties.get("a").map(|e| (e.value.as_str(), e.line)),
            Some(("3", 3))
        );
        assert_eq!(properties.entries().len(), 3);
    }

    /// The reference crate knows no surrogate pairs.
    const BASIC_PLANE: &str = "[\\x00-\\u{d7ff}\\u{e000}-\\u{ffff}]{0,20}";

    /// Texts made of the pieces where the format has its corners.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => "[a-t]{1,3}".prop_map(String::into_bytes),
            8 => prop::sample::select(vec![" ", "\t", "\x0c", "=", ":", "#", "!", "\\", "\n", "\r", "\r\n"])
                .prop_map(|piece| piece.as_bytes().to_vec()),
            2 => prop::sample::select(vec!["\\u0041", "\\u00e9", "\\n", "\\=", "\\ ", "\\\n"])
                .prop_map(|piece| piece.as_bytes().to_vec()),
            1 => (0xa1_u8..=0xff).prop_map(|byte| vec![byte]),
        ];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    fn has_a_line_of_one_backslash(text: &[u8]) -> bool {
        text.split(|&byte| is_line_end(byte))
            .any(|line| line.iter().filter(|&&byte| !is_blank(byte)).eq(b"\\"))
    }

    proptest! {
        #[test]
        fn never_panics(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Properties::parse(&text);
        }

        #[test]
        fn reads_back_what_it_wrote(key in any::<String>(), value in any::<String>()) {
            let mut text = String::new();
            write_entry(&mut text, &key, &value);
            let read = Properties::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(read.entries(), &[Entry { key, value, line: 1 }]);
        }

        #[test]
        fn agrees_with_the_reference_crate(text in text()) {
            // There, and at an end in the middle of an entry, the crate differs from Java, whose way is ours: 300,000
            // texts were compared with Java 17 itself.
            if has_a_line_of_one_backslash(&text) {
                return Ok(());
            }
            let text = [text, b"\n\nend=1\n".to_vec()].concat();
            let ours = Properties::parse(&text).map(|properties| {
                properties.entries().iter().map(|e| (e.key.clone(), e.value.clone())).collect::<BTreeMap<_, _>>()
            });
            let theirs = java_properties::read(text.as_slice());
            match (ours, theirs) {
                (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs.into_iter().collect::<BTreeMap<_, _>>()),
                (Err(_), Err(_)) => {}
                (ours, theirs) => prop_assert!(false, "ours {ours:?}, theirs {theirs:?}"),
            }
        }

        #[test]
        fn the_reference_crate_reads_what_we_write(key in BASIC_PLANE, value in BASIC_PLANE) {
            let mut text = String::new();
            write_entry(&mut text, &key, &value);
            let read = java_properties::read(text.as_bytes()).unwrap();
            prop_assert_eq!(read.get(&key), Some(&value));
        }
    }

    /// An operator's file has a few dozen keys; a file of nothing but keys must not cost their square.
    #[test]
    fn the_longest_text_of_different_keys_is_looked_up_before_anyone_gives_up() {
        let mut text = String::new();
        let mut keys = Vec::new();
        while text.len() < MAX_BYTES - 16 {
            let key = format!("{:x}", keys.len());
            text.push_str(&key);
            text.push('\n');
            keys.push(key);
        }
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let properties = Properties::parse(text.as_bytes()).unwrap();
            let found = keys.iter().filter(|key| properties.get(key).is_some());
            let _nobody_waits = send.send((found.count(), keys.len()));
        });
        let limit = std::time::Duration::from_secs(30);
        let (found, all) = receive.recv_timeout(limit).unwrap();
        assert_eq!(found, all);
    }
}
