//! Pieces of markup: text that stays text, and tables that phones can read.

use std::fmt::{self, Display, Write as _};

/// Text that cannot be taken for markup.
pub(super) struct Text<'a>(pub(super) &'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // Names from outside may turn the direction of what follows, or hide.
                '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => {
                    f.write_char('\u{fffd}')?;
                }
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// A thing, or a dash.
pub(super) struct Or<T>(pub(super) Option<T>);

impl<T: Display> Display for Or<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(thing) => thing.fmt(f),
            None => f.write_str("–"),
        }
    }
}

/// What a word says beside its meaning: a sign and a colour, so that nobody depends on one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Soft,
    Good,
    Warn,
    Bad,
}

impl Tone {
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Soft => "soft",
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }

    pub(super) const fn sign(self) -> &'static str {
        match self {
            Self::Plain | Self::Soft => "",
            Self::Good => "✔ ",
            Self::Warn => "▲ ",
            Self::Bad => "✖ ",
        }
    }
}

/// How a column is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    /// Words on one line.
    Words,
    /// Numbers, to the right.
    Number,
    /// Long text that may break anywhere.
    Long,
}

impl Set {
    const fn class(self) -> &'static str {
        match self {
            Self::Words => "",
            Self::Number => "n",
            Self::Long => "long",
        }
    }
}

/// A table under way. On a phone each row is a block, and each cell says the name of its column.
pub(super) struct Table<'a> {
    page: &'a mut String,
    columns: &'a [(&'static str, Set)],
    next: usize,
}

impl<'a> Table<'a> {
    /// Tables of one kind have their columns one below the other, where the style sheet knows the kind.
    pub(super) fn begin(
        page: &'a mut String,
        kind: &'static str,
        columns: &'a [(&'static str, Set)],
    ) -> Self {
        // Writing into a String cannot fail.
        let _ = write!(page, "<div class=scroll><table class={kind}><thead><tr>");
        for (name, set) in columns {
            let _ = write!(page, "<th class=\"{}\">{name}", set.class());
        }
        page.push_str("</thead><tbody>");
        Self {
            page,
            columns,
            next: 0,
        }
    }

    /// The next cell; `what` is markup already, so what comes from outside is wrapped in [`Text`].
    pub(super) fn cell(&mut self, tone: Tone, what: impl Display) -> fmt::Result {
        if self.next == 0 {
            self.page.push_str("<tr>");
        }
        let (name, set) = self
            .columns
            .get(self.next)
            .copied()
            .unwrap_or(("", Set::Words));
        self.next = (self.next + 1) % self.columns.len().max(1);
        let (set, class, sign) = (set.class(), tone.class(), tone.sign());
        write!(
            self.page,
            "<td data-name=\"{name}\" class=\"{set} {class}\"><span>{sign}{what}</span>"
        )
    }

    pub(super) fn end(self) {
        self.page.push_str("</tbody></table></div>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_text_and_never_markup() {
        assert_eq!(
            Text("<b a='\"'>&\u{202e}").to_string(),
            "&lt;b a=&#39;&quot;&#39;&gt;&amp;\u{fffd}"
        );
    }

    #[test]
    fn a_row_begins_after_the_last_column() {
        let mut page = String::new();
        let mut table = Table::begin(&mut page, "x", &[("A", Set::Words), ("B", Set::Number)]);
        for (tone, what) in [(Tone::Plain, 1), (Tone::Bad, 2), (Tone::Soft, 3)] {
            table.cell(tone, what).unwrap();
        }
        table.end();
        assert_eq!(page.matches("<tr>").count(), 3);
        assert!(page.contains("<td data-name=\"B\" class=\"n bad\"><span>✖ 2</span>"));
    }
}
