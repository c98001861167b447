//! A finding: what is wrong, where, what it does to traffic, and how to put it right.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// How bad a finding is. An apply is refused only for an error that the change introduces or worsens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Should be put right.
    Warning,
    /// Would break traffic or the file cannot be used.
    Error,
}

impl Severity {
    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A place in the source file: byte range, and line and column (from 1) of its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Byte range in [`Origin::text`].
    pub span: Range<usize>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// One finding of the parser (`CFG-..`), of an audit rule (`TRF-01`) or of the change rules (`CHG-02`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Id of the rule.
    pub id: &'static str,
    /// How bad.
    pub severity: Severity,
    /// What is wrong: names the thing, its value and the limit. Lower case, no full stop.
    pub message: String,
    /// What it does to traffic, in numbers where they are known.
    pub effect: String,
    /// How to put it right.
    pub fix: String,
    /// Configuration path the finding is about, such as `pool.shop.backend.web-1.weight`.
    /// With the id it identifies the finding when two revisions are compared.
    pub path: String,
    /// How bad within the rule, for "worsens": larger is worse. Rules without a number use 0.
    pub magnitude_ppm: u64,
    /// The file, where one is known.
    pub file: Option<String>,
    /// The place in it, where one is known.
    pub location: Option<Location>,
}

/// Where each value of a configuration came from: the file's name, its text and the span of each path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// Name of the file as the user gave it.
    pub file: Option<String>,
    /// The whole text.
    pub text: String,
    /// Byte range of the value (or of the table's header) at each path.
    pub spans: BTreeMap<String, Range<usize>>,
}

impl Origin {
    /// Place of `path`, or of its nearest ancestor that stands in the file.
    pub fn locate(&self, path: &str) -> Option<Location> {
        let mut path = path;
        loop {
            if let Some(span) = self.spans.get(path) {
                return Some(self.location(span.clone()));
            }
            path = path.rsplit_once('.')?.0;
        }
    }

    /// Line and column of a byte range.
    pub fn location(&self, span: Range<usize>) -> Location {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        Location {
            span,
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
        }
    }
}
