//! A typed reader over a spanned TOML document that collects findings instead of stopping at the first.
//!
//! serde reports one error and gives up; a person who fixes a file wants the whole list. So a [`Section`] hands out
//! values one by one: a value that is absent is `None`, a value that is wrong is `None` with a finding,
//! and the caller goes on with its default. A file with an error is never used, so the default never runs.
//!
//! Limits: at most [`FINDINGS_MAX`] findings are kept, values are clipped in messages, and tables with
//! unknown keys are not entered, so that a hostile text cannot make the answer larger than the question.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::foreign::hint;
use super::keys::Table;
use super::suggest::suggestion;
use crate::canonical::path_segment;
use crate::finding::{Finding, Location, Severity};
use crate::ids::Name;

/// Findings that are kept of one text; the rest is counted in one more.
pub(super) const FINDINGS_MAX: usize = 1_000;

/// Characters of a value that a message shows.
const SHOWN_MAX: usize = 60;

/// What one finding says; the reader adds severity, path and place.
pub(super) struct Report {
    pub(super) id: &'static str,
    pub(super) message: String,
    pub(super) effect: String,
    pub(super) fix: String,
}

/// Findings and places of one text while it is read.
#[derive(Default)]
pub(super) struct Reader {
    /// Place of each value and table header by path.
    pub(super) spans: BTreeMap<String, Range<usize>>,
    findings: Vec<(Range<usize>, Finding)>,
    dropped: usize,
}

/// One table of the document with its path.
pub(super) struct Section<'d> {
    pub(super) path: String,
    pub(super) span: Range<usize>,
    table: &'d DeTable<'d>,
}

/// One value of a table with its path and place.
pub(super) struct Found<'d> {
    pub(super) path: String,
    pub(super) span: Range<usize>,
    pub(super) value: &'d DeValue<'d>,
}

/// A table that a person named: `[pool.shop]`.
pub(super) struct Named<'d> {
    /// `None`: not a valid name; a finding says so.
    pub(super) name: Option<Name>,
    pub(super) path: String,
    pub(super) value: &'d Spanned<DeValue<'d>>,
}

/// A table that a person named after a thing of another balancer: name, its place, path, value.
pub(super) type Free<'d> = (&'d str, Range<usize>, String, &'d Spanned<DeValue<'d>>);

impl Reader {
    /// Whether any finding so far is an error.
    pub(super) fn has_errors(&self) -> bool {
        self.dropped > 0
            || self
                .findings
                .iter()
                .any(|(_, f)| f.severity == Severity::Error)
    }

    /// Whether findings are still kept; costly suggestions are skipped afterwards.
    pub(super) fn has_room(&self) -> bool {
        self.findings.len() < FINDINGS_MAX
    }

    /// Records an error.
    pub(super) fn error(&mut self, path: &str, span: Range<usize>, report: Report) {
        self.push(Severity::Error, path, span, report);
    }

    /// Records a warning.
    pub(super) fn warning(&mut self, path: &str, span: Range<usize>, report: Report) {
        self.push(Severity::Warning, path, span, report);
    }

    fn push(&mut self, severity: Severity, path: &str, span: Range<usize>, report: Report) {
        if !self.has_room() {
            self.dropped += 1;
            return;
        }
        let finding = Finding {
            id: report.id,
            severity,
            message: report.message,
            effect: report.effect,
            fix: report.fix,
            path: path.to_owned(),
            magnitude_ppm: 0,
            file: None,
            location: None,
            waived: None,
            effect_of: None,
        };
        self.findings.push((span, finding));
    }

    /// A value of the wrong type, unit or form.
    pub(super) fn wrong(&mut self, found: &Found<'_>, expected: impl fmt::Display, fix: String) {
        let message = format!(
            "`{}` must be {expected}, got {}",
            found.path,
            show(found.value)
        );
        let report = Report {
            id: "CFG-03",
            message,
            effect: "the value cannot be understood, so the file is not used".to_owned(),
            fix,
        };
        self.error(&found.path, found.span.clone(), report);
    }

    /// The table `value` at `path`; unknown keys in it are reported. `None`: not a table.
    pub(super) fn section<'d>(
        &mut self,
        path: String,
        value: &'d Spanned<DeValue<'d>>,
        known: &Table,
    ) -> Option<Section<'d>> {
        let section = self.open(path, value)?;
        self.unknown(&section, known);
        Some(section)
    }

    /// The table `value` at `path`, whatever keys it has. `None`: not a table.
    pub(super) fn open<'d>(
        &mut self,
        path: String,
        value: &'d Spanned<DeValue<'d>>,
    ) -> Option<Section<'d>> {
        let span = value.span();
        let section = match value.get_ref() {
            DeValue::Table(table) => Section { path, span, table },
            other => {
                let fix = format!("write a table: `[{path}]`");
                self.wrong(
                    &Found {
                        path,
                        span,
                        value: other,
                    },
                    "a table",
                    fix,
                );
                return None;
            }
        };
        self.spans
            .insert(section.path.clone(), section.span.clone());
        Some(section)
    }

    /// The document itself as a section without a path.
    pub(super) fn root<'d>(&mut self, table: &'d DeTable<'d>, known: &Table) -> Section<'d> {
        let section = Section {
            path: String::new(),
            span: 0..0,
            table,
        };
        self.unknown(&section, known);
        section
    }

    fn unknown(&mut self, section: &Section<'_>, known: &Table) {
        for key in section.table.keys() {
            let name = key.get_ref().as_ref();
            if known.knows(name) {
                continue;
            }
            let place = section.place_name();
            let typo = || suggestion(name, known.names()).map(|k| format!("did you mean `{k}`?"));
            let told = || typo().or_else(|| hint(name, known));
            let told = if self.has_room() { told() } else { None };
            let fix = told.unwrap_or_else(|| {
                let takes = list(&known.names().collect::<Vec<_>>());
                format!("remove it; {place} takes {takes}")
            });
            let report = Report {
                id: "CFG-02",
                message: format!("unknown key `{}` in {place}", clip(name)),
                effect: "the setting would be ignored and a default used in its place, so the file is not used"
                    .to_owned(),
                fix,
            };
            let path = section.child_path(&path_segment(&clip(name)));
            self.error(&path, key.span(), report);
        }
    }

    /// Findings in the order of the text, with line and column.
    pub(super) fn into_findings(
        self,
        text: &str,
        file: Option<&str>,
    ) -> (Vec<Finding>, BTreeMap<String, Range<usize>>) {
        let mut placed = self.findings;
        if self.dropped > 0 {
            placed.push((text.len()..text.len(), too_many(self.dropped)));
        }
        placed.sort_by(|(a, x), (b, y)| (a.start, x.id, &x.path).cmp(&(b.start, y.id, &y.path)));
        let (mut at, mut line, mut column) = (0, 1u32, 1u32);
        let mut findings = Vec::with_capacity(placed.len());
        for (span, mut finding) in placed {
            // One pass over the text for all findings: counting from the start for each would be quadratic.
            for c in text.get(at..span.start).unwrap_or("").chars() {
                (line, column) = if c == '\n' {
                    (line.saturating_add(1), 1)
                } else {
                    (line, column.saturating_add(1))
                };
            }
            at = at.max(span.start);
            finding.location = Some(Location { span, line, column });
            finding.file = file.map(str::to_owned);
            findings.push(finding);
        }
        (findings, self.spans)
    }
}

impl<'d> Section<'d> {
    /// The value of `key`, its place recorded.
    pub(super) fn get(&self, reader: &mut Reader, key: &str) -> Option<Found<'d>> {
        let value = self.table.get(key)?;
        let path = self.child_path(key);
        reader.spans.insert(path.clone(), value.span());
        Some(Found {
            path,
            span: value.span(),
            value: value.get_ref(),
        })
    }

    /// The value of `key` with its own span, for a table or a list.
    pub(super) fn raw(&self, key: &str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.table.get(key)
    }

    /// Whether `key` stands in the table, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Reports each of `keys` that is absent. `example` shows how one is written.
    pub(super) fn require(&self, reader: &mut Reader, key: &str, effect: &str, example: &str) {
        if self.has(key) {
            return;
        }
        let report = Report {
            id: "CFG-04",
            message: format!("{} has no `{key}`", self.place_name()),
            effect: effect.to_owned(),
            fix: format!("add `{example}`"),
        };
        reader.error(&self.child_path(key), self.span.clone(), report);
    }

    /// The tables that a person named under `key`, in file order: `[pool.NAME]`.
    pub(super) fn named(&self, reader: &mut Reader, key: &str) -> Vec<Named<'d>> {
        let mut named = Vec::new();
        for (text, span, path, value) in self.named_freely(reader, key) {
            let name = match Name::new(text) {
                Ok(name) => Some(name),
                Err(error) => {
                    reader.error(&path, span, bad_name(text, &error.to_string()));
                    None
                }
            };
            named.push(Named { name, path, value });
        }
        named
    }

    /// The same for things of another balancer, whose names may be anything: name, its place, path, value.
    pub(super) fn named_freely(&self, reader: &mut Reader, key: &str) -> Vec<Free<'d>> {
        let Some(value) = self.raw(key) else {
            return Vec::new();
        };
        let path = self.child_path(key);
        reader.spans.insert(path.clone(), value.span());
        let DeValue::Table(table) = value.get_ref() else {
            let fix = format!("write `[{path}.NAME]`");
            reader.wrong(
                &Found {
                    path,
                    span: value.span(),
                    value: value.get_ref(),
                },
                "a table",
                fix,
            );
            return Vec::new();
        };
        let mut tables: Vec<_> = table.iter().collect();
        tables.sort_by_key(|(key, _)| key.span().start);
        let free = |(key, value): (&'d Spanned<DeString<'d>>, &'d Spanned<DeValue<'d>>)| {
            let text = key.get_ref().as_ref();
            let path = format!("{path}.{}", path_segment(&clip(text)));
            (text, key.span(), path, value)
        };
        tables.into_iter().map(free).collect()
    }

    /// Every key with its place, in file order.
    pub(super) fn keys(&self) -> Vec<(&'d str, Range<usize>)> {
        let mut keys: Vec<_> = self
            .table
            .keys()
            .map(|key| (key.get_ref().as_ref(), key.span()))
            .collect();
        keys.sort_by_key(|(_, span)| span.start);
        keys
    }

    /// The elements of the list `key`, in file order: `[[route]]`.
    pub(super) fn elements(
        &self,
        reader: &mut Reader,
        key: &str,
    ) -> Vec<(String, &'d Spanned<DeValue<'d>>)> {
        let Some(found) = self.get(reader, key) else {
            return Vec::new();
        };
        let DeValue::Array(array) = found.value else {
            reader.wrong(&found, "a list of tables", format!("write `[[{key}]]`"));
            return Vec::new();
        };
        array
            .iter()
            .enumerate()
            .map(|(i, value)| (format!("{}.{i}", found.path), value))
            .collect()
    }

    /// Path of `key` in this table.
    pub(super) fn child_path(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn place_name(&self) -> String {
        if self.path.is_empty() {
            "the file".to_owned()
        } else {
            format!("`{}`", self.path)
        }
    }
}

/// The report for a text that is not a [`Name`].
pub(super) fn bad_name(text: &str, why: &str) -> Report {
    Report {
        id: "CFG-03",
        message: format!("`{}` is not a name: {why}", clip(text)),
        effect: "the thing could not be addressed, so the file is not used".to_owned(),
        fix: "use letters, digits, `_`, `.` and `-`, at most 63".to_owned(),
    }
}

/// A value as a message shows it: its text and, where that is not plain, its type.
pub(super) fn show(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{}\"", clip(text)),
        DeValue::Integer(integer) => format!("`{}` (a whole number)", clip(integer.as_str())),
        DeValue::Float(float) => format!("`{}` (a number)", clip(float.as_str())),
        DeValue::Boolean(value) => format!("`{value}`"),
        DeValue::Datetime(value) => format!("`{value}` (a date or time)"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// `text` without control characters and at most [`SHOWN_MAX`] characters long.
pub(super) fn clip(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SHOWN_MAX)
        .map(|c| if c.is_control() { '\u{FFFD}' } else { c })
        .collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// `a`, `b` and `c`.
pub(super) fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

fn too_many(dropped: usize) -> Finding {
    Finding {
        id: "CFG-06",
        severity: Severity::Error,
        message: format!("{dropped} more findings are not shown; {FINDINGS_MAX} is the limit"),
        effect: "the file is not used".to_owned(),
        fix: "put the findings above right first".to_owned(),
        path: String::new(),
        magnitude_ppm: 0,
        file: None,
        location: None,
        waived: None,
        effect_of: None,
    }
}
