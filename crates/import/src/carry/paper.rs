//! The text that is being written: tables, keys, comments.

use std::fmt::Write as _;

/// Lines of an evenkeel.toml.
#[derive(Debug, Default)]
pub(crate) struct Paper {
    text: String,
}

impl Paper {
    /// An empty line, and a table's header.
    pub(crate) fn table(&mut self, header: &str) {
        self.blank();
        self.line(header);
    }

    pub(crate) fn blank(&mut self) {
        self.text.push('\n');
    }

    /// A key with its value as TOML.
    pub(crate) fn key(&mut self, key: &str, value: &str) {
        writeln!(self.text, "{key} = {value}").unwrap_or_default();
    }

    /// A comment; line ends in it cannot end it.
    pub(crate) fn remark(&mut self, words: &str) {
        let tame: String = words
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        writeln!(self.text, "# {tame}").unwrap_or_default();
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    pub(crate) fn text(self) -> String {
        self.text
    }
}

/// A basic TOML string. What comes here was checked to hold no control characters.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
