//! A finding: what is wrong, where, what it does to traffic, and how to put it right.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use crate::clock::Wall;
use crate::recorded::Word;

/// How bad a finding is. An apply is refused only for an error that the change introduces or worsens.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
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

/// A place in a file: byte range, and line and column (from 1) of its start.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Location {
    /// Byte range in its text.
    pub span: Range<usize>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// One finding of the parser (`CFG-..`), of an audit rule (`TRF-01`) or of the change rules (`CHG-02`).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Finding {
    /// Id of the rule.
    #[serde(deserialize_with = "crate::recorded::word")]
    pub id: Word,
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
    /// That it is accepted for a while; it is then an info. `None`: it counts.
    pub waived: Option<Waived>,
    /// Id of the finding that causes it and tells it as its effect. `None`: it stands for itself.
    #[serde(deserialize_with = "crate::recorded::word_if_any")]
    pub effect_of: Option<Word>,
}

/// By what a finding is accepted.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Waived {
    /// Why it is accepted.
    pub reason: String,
    /// The first moment at which it counts again.
    pub until: Wall,
}

/// Where each value of a configuration came from: the files it was read from and the span of each path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The files in the order in which they were opened: the one that was named first, then what it includes.
    pub sources: Vec<Source>,
    /// Place of the value (or of the table's header) at each path.
    pub spans: BTreeMap<String, Span>,
}

/// One file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// Its name as the user gave it; `None`: handed over as text.
    pub file: Option<String>,
    /// The whole text.
    pub text: String,
    /// Byte offset of each line but the first, so that ten thousand findings do not read the text ten thousand times.
    line_starts: Vec<usize>,
}

impl Source {
    /// A file with its text.
    pub fn new(file: Option<&str>, text: &str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            file: file.map(str::to_owned),
            text: text.to_owned(),
            line_starts: newlines.map(|(at, _)| at + 1).collect(),
        }
    }

    /// Line and column of a byte range.
    pub fn location(&self, span: Range<usize>) -> Location {
        let line = self
            .line_starts
            .partition_point(|start| *start <= span.start);
        let start = line.checked_sub(1).and_then(|i| self.line_starts.get(i));
        let before = self.text.get(start.copied().unwrap_or(0)..span.start);
        let column = before.unwrap_or("").chars().count() + 1;
        Location {
            span,
            line: u32::try_from(line + 1).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
        }
    }
}

/// A byte range in one of the sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Index into [`Origin::sources`].
    pub source: usize,
    /// Byte range in its text.
    pub range: Range<usize>,
}

impl Origin {
    /// The origin of a single text.
    pub fn of(file: Option<&str>, text: &str, spans: BTreeMap<String, Range<usize>>) -> Self {
        let at = |(path, range)| (path, Span { source: 0, range });
        Self {
            sources: vec![Source::new(file, text)],
            spans: spans.into_iter().map(at).collect(),
        }
    }

    /// Whether a value stands in the file at exactly `path`, rather than being a default.
    pub fn declares(&self, path: &str) -> bool {
        self.spans.contains_key(path)
    }

    /// The span of `path`, or of its nearest ancestor that stands in a file.
    pub fn nearest(&self, path: &str) -> Option<&Span> {
        let mut path = path;
        loop {
            if let Some(span) = self.spans.get(path) {
                return Some(span);
            }
            path = path.rsplit_once('.')?.0;
        }
    }

    /// File and place of `path`, or of its nearest ancestor that stands in a file.
    pub fn locate(&self, path: &str) -> (Option<String>, Option<Location>) {
        let Some(span) = self.nearest(path) else {
            let first = self.sources.first();
            return (first.and_then(|source| source.file.clone()), None);
        };
        let source = self.sources.get(span.source);
        let place = source.map(|source| source.location(span.range.clone()));
        (source.and_then(|source| source.file.clone()), place)
    }

    /// The text of the file called `file`.
    pub fn text_of(&self, file: Option<&str>) -> &str {
        let source = self.sources.iter().find(|s| s.file.as_deref() == file);
        source.map_or("", |source| &source.text)
    }
}
