//! How results look: on a terminal, in a comment, for a code host. One file for each thing that is shown.
//!
//! The same text without colour is what logs and tests see. Tables for people are bounded; `--json` has everything.

pub(crate) mod changes;
pub(crate) mod findings;
pub(crate) mod forecast;
pub(crate) mod markdown;
pub(crate) mod sarif;
pub(crate) mod summary;

use std::fmt::{self, Write as _};
use std::path::Path;

/// Writes formatted text to the end of a `String`, which cannot fail.
pub(crate) trait Text {
    fn text(&mut self, text: fmt::Arguments<'_>);

    fn line(&mut self, text: fmt::Arguments<'_>);
}

impl Text for String {
    fn text(&mut self, text: fmt::Arguments<'_>) {
        self.write_fmt(text).unwrap_or_default();
    }

    fn line(&mut self, text: fmt::Arguments<'_>) {
        self.text(text);
        self.push('\n');
    }
}

/// The name of a file in a line of text, which it must not end: control characters are escaped.
pub(crate) fn name(path: &Path) -> String {
    named(&path.to_string_lossy())
}

/// The same for a name that is text.
pub(crate) fn named(name: &str) -> String {
    let escape = |c: char| c.escape_default().collect::<String>();
    let part = |c: char| {
        if c.is_control() {
            escape(c)
        } else {
            c.to_string()
        }
    };
    name.chars().map(part).collect()
}

/// A fraction as a percentage with one decimal; `-` when unknown.
pub(crate) fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| format!("{:.1} %", v * 100.0))
}

/// `1 error`, `2 errors`.
pub(crate) fn counted(n: usize, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}

/// Rows in columns of text, left-aligned; the first row is the head.
pub(crate) fn list(out: &mut String, rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(|column| width(rows, column)).collect();
    for row in rows {
        let mut line = String::from("  ");
        for (cell, width) in row.iter().zip(&widths) {
            line.text(format_args!("{cell:<width$}  "));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

fn width(rows: &[Vec<String>], column: usize) -> usize {
    let cells = rows.iter().filter_map(|row| row.get(column));
    cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
}

/// Rows in columns; the first row is the head, the first column is text, the others are right-aligned.
pub(crate) fn table(out: &mut String, rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(|column| width(rows, column)).collect();
    for row in rows {
        let mut line = String::from("  ");
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if column == 0 {
                line.text(format_args!("{cell:<width$}"));
            } else {
                line.text(format_args!("  {cell:>width$}"));
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}
