//! Columns for people.

use std::io::{self, Write};

/// Writes rows with their columns aligned, each line behind `indent`. The first row is the heading.
pub(super) fn table<const N: usize>(
    out: &mut dyn Write,
    indent: &str,
    rows: &[[String; N]],
) -> io::Result<()> {
    let mut widths = [0_usize; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in rows {
        let mut line = String::from(indent);
        for (width, cell) in widths.iter().zip(row) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A value, or a dash.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// An age in one unit.
pub(super) fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        172_800.. => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_end_without_blanks() {
        let rows = [["A", "LONG"], ["wider", ""], ["é", "x"]].map(|row| row.map(str::to_owned));
        let mut out = Vec::new();
        table(&mut out, "  ", &rows).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "  A      LONG\n  wider\n  é      x\n"
        );
    }

    #[test]
    fn ages_have_one_unit() {
        let shown = [0, 119, 120, 7_199, 7_200, 200_000].map(age);
        assert_eq!(shown, ["0s", "119s", "2m", "119m", "2h", "2d"]);
    }
}
