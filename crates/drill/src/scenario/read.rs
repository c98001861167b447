//! Scenario text -> [`Scenario`], with every unknown key and wrong type at its place.
//!
//! The shape is checked against the very JSON Schema that is shipped, so that schema and reader cannot disagree and
//! a person sees all shape problems at once; serde then builds the value, and `check` judges what it means. Limits:
//! texts up to [`TEXT_MAX`], at most [`PROBLEMS_MAX`] problems; what serde finds beyond the shape (a malformed
//! duration) comes one at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use evenkeel_model::finding::Source;
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Scenario, check};

/// Longest scenario, bytes.
pub(super) const TEXT_MAX: usize = 4 << 20;
/// Most problems that are reported of one text.
pub(super) const PROBLEMS_MAX: usize = 100;

/// One thing that is wrong with a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, lower case, no full stop.
    pub message: String,
    /// How to put it right.
    pub fix: String,
    /// Path of the key, such as `step.0.apply`.
    pub path: String,
    /// The file, as it was named.
    pub file: String,
    /// Line from 1.
    pub line: u32,
    /// Column from 1.
    pub column: u32,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            message,
            fix,
            file,
            line,
            column,
            ..
        } = self;
        write!(f, "{file}:{line}:{column}: {message}; {fix}")
    }
}

/// Reads and checks a scenario. `file` is its name, for messages and for the files that it names.
pub fn parse(text: &str, file: &str) -> Result<Scenario, Vec<Problem>> {
    let mut reader = Reader::new(text, file);
    if text.len() > TEXT_MAX {
        let message = format!(
            "a scenario has at most {TEXT_MAX} bytes, got {}",
            text.len()
        );
        reader.at_span(0..0, "", message, "make it smaller".to_owned());
        return Err(reader.problems);
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        let message = format!("not valid TOML: {}", error.message().replace('\n', " "));
        reader.at_span(
            span,
            "",
            message,
            "put the text at this place right".to_owned(),
        );
    }
    if !reader.problems.is_empty() {
        return Err(reader.problems);
    }
    let schema = crate::schema_value();
    reader.table("", document.get_ref(), document.span(), &schema, &schema);
    if !reader.problems.is_empty() {
        return Err(reader.problems);
    }
    let mut scenario: Scenario = match toml::from_str(text) {
        Ok(scenario) => scenario,
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            let message = error.message().replace('\n', " ");
            reader.at_span(span, "", message, "see docs/guide/drills.md".to_owned());
            return Err(reader.problems);
        }
    };
    reader.include(&mut scenario);
    reader.hand_down(&mut scenario);
    if reader.problems.is_empty() {
        check::check(&scenario, &mut reader);
    }
    if reader.problems.is_empty() {
        Ok(scenario)
    } else {
        Err(reader.problems)
    }
}

/// Places and problems of one text.
pub(super) struct Reader<'t> {
    source: Source,
    spans: BTreeMap<String, Range<usize>>,
    file: &'t str,
    problems: Vec<Problem>,
}

impl<'t> Reader<'t> {
    fn new(text: &str, file: &'t str) -> Self {
        Self {
            source: Source::new(Some(file), text),
            spans: BTreeMap::new(),
            file,
            problems: Vec::new(),
        }
    }

    /// The span of `path`, or of its nearest ancestor in the file.
    fn nearest(&self, path: &str) -> Range<usize> {
        let mut path = path;
        loop {
            if let Some(span) = self.spans.get(path) {
                return span.clone();
            }
            let Some((parent, _)) = path.rsplit_once('.') else {
                return 0..0;
            };
            path = parent;
        }
    }

    /// A problem at a path (or at its nearest ancestor in the file).
    pub(super) fn at(&mut self, path: &str, message: String, fix: impl Into<String>) {
        let span = self.nearest(path);
        self.at_span(span, path, message, fix.into());
    }

    /// A problem of a configuration inside the scenario: `text` is the value at `path`, `span` a place in it.
    pub(super) fn inside(
        &mut self,
        path: &str,
        text: &str,
        span: Range<usize>,
        message: String,
        fix: String,
    ) {
        let outer = self.nearest(path);
        // A string without escapes stands in the file as it is, so a place in it is a place in the file.
        let start = self
            .source
            .text
            .get(outer.clone())
            .and_then(|raw| raw.find(text))
            .map(|start| outer.start + start);
        let span = start.map_or(outer, |start| start + span.start..start + span.end);
        self.at_span(span, path, message, fix);
    }

    fn at_span(&mut self, span: Range<usize>, path: &str, message: String, fix: String) {
        if self.problems.len() >= PROBLEMS_MAX {
            return;
        }
        let place = self.source.location(span);
        self.problems.push(Problem {
            message,
            fix,
            path: path.to_owned(),
            file: self.file.to_owned(),
            line: place.line,
            column: place.column,
        });
    }

    /// `expect.refused_by` is about the first change that says nothing of its own.
    fn hand_down(&mut self, scenario: &mut Scenario) {
        if scenario.expect.refused_by.is_empty() {
            return;
        }
        let applies = scenario
            .step
            .iter_mut()
            .filter_map(|step| step.apply.as_mut());
        let mut open = applies.filter(|apply| !apply.force && apply.refused_by.is_empty());
        match open.next() {
            Some(apply) => apply.refused_by.clone_from(&scenario.expect.refused_by),
            None => self.at(
                "expect.refused_by",
                "there is no `apply` step that it could be about".to_owned(),
                "add one without `force`, or write `refused_by` into the step",
            ),
        }
    }

    /// Puts the text of each file that the scenario names in its place.
    fn include(&mut self, scenario: &mut Scenario) {
        let mut wanted: Vec<(String, &mut Option<String>, String)> = Vec::new();
        if let Some(file) = scenario.config.file.clone() {
            let text = &mut scenario.config.text;
            wanted.push(("config.file".to_owned(), text, file));
        }
        for (index, step) in scenario.step.iter_mut().enumerate() {
            if let Some(apply) = &mut step.apply
                && let Some(file) = apply.file.clone()
            {
                wanted.push((format!("step.{index}.apply.file"), &mut apply.text, file));
            }
        }
        for (path, slot, file) in wanted {
            if slot.is_some() {
                self.at(
                    &path,
                    "`text` and `file` exclude each other".to_owned(),
                    "keep one of them",
                );
                continue;
            }
            let place = Path::new(self.file)
                .parent()
                .unwrap_or(Path::new("."))
                .join(&file);
            match std::fs::read_to_string(&place) {
                Ok(text) => *slot = Some(text),
                Err(error) => {
                    let message = format!("`{}` cannot be read: {error}", place.display());
                    self.at(&path, message, "name a file relative to the scenario");
                }
            }
        }
    }

    fn table(
        &mut self,
        path: &str,
        table: &DeTable<'_>,
        span: Range<usize>,
        schema: &Value,
        root: &Value,
    ) {
        self.spans.insert(path.to_owned(), span.clone());
        let known = schema.get("properties").and_then(Value::as_object);
        let more = schema.get("additionalProperties");
        for (key, value) in table {
            let name: &str = key.get_ref();
            let below = join(path, name);
            if let Some(schema) = known.and_then(|known| known.get(name)) {
                self.value(&below, value, schema, root);
            } else if let Some(schema) = more.filter(|more| more.as_bool() != Some(false)) {
                self.value(&below, value, schema, root);
            } else {
                let names = known
                    .into_iter()
                    .flat_map(|known| known.keys().map(String::as_str));
                let place = if path.is_empty() {
                    "the scenario".to_owned()
                } else {
                    format!("`{path}`")
                };
                let message = format!("unknown key `{name}` in {place}");
                self.at_span(
                    key.span(),
                    &below,
                    message,
                    offer(name, names, "the keys are"),
                );
            }
        }
        let required = schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if !table.iter().any(|(key, _)| *key.get_ref() == name) {
                let place = if path.is_empty() {
                    "the scenario".to_owned()
                } else {
                    format!("`{path}`")
                };
                let about = known
                    .and_then(|known| known.get(name))
                    .and_then(|schema| schema.get("description"))
                    .and_then(Value::as_str)
                    .unwrap_or("it is required");
                let about = about.replace('\n', " ");
                self.at_span(
                    span.clone(),
                    path,
                    format!("`{name}` is missing in {place}"),
                    format!("add it: {about}"),
                );
            }
        }
    }

    fn value(&mut self, path: &str, value: &Spanned<DeValue<'_>>, schema: &Value, root: &Value) {
        self.spans.insert(path.to_owned(), value.span());
        let Some(schema) = resolve(schema, root) else {
            return;
        };
        let words = words(schema);
        match value.get_ref() {
            DeValue::Table(table) if accepts(schema, "object") => {
                self.table(path, table, value.span(), schema, root);
            }
            DeValue::Array(list) if accepts(schema, "array") => {
                let items = schema.get("items").unwrap_or(&Value::Bool(true));
                for (index, item) in list.iter().enumerate() {
                    self.value(&format!("{path}.{index}"), item, items, root);
                }
            }
            DeValue::String(text) if !words.is_empty() => {
                if !words.contains(&text.as_ref()) {
                    let message = format!("`{path}` cannot be `{text}`");
                    let fix = offer(text, words.iter().copied(), "it is one of");
                    self.at_span(value.span(), path, message, fix);
                }
            }
            other => {
                let (kind, shown) = describe(other);
                let fits =
                    accepts(schema, kind) || (kind == "integer" && accepts(schema, "number"));
                if !fits {
                    let message =
                        format!("`{path}` must be {}, got {shown}", expected(schema, &words));
                    let fix =
                        example(schema).unwrap_or_else(|| "see docs/guide/drills.md".to_owned());
                    self.at_span(value.span(), path, message, fix);
                }
            }
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// The schema itself: past `$ref`, and past the null of an optional value.
fn resolve<'s>(schema: &'s Value, root: &'s Value) -> Option<&'s Value> {
    let mut schema = schema;
    for _ in 0..8 {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            schema = root.pointer(reference.strip_prefix('#')?)?;
        } else if let Some(options) = schema.get("anyOf").and_then(Value::as_array) {
            let is_null =
                |option: &&Value| option.get("type").and_then(Value::as_str) == Some("null");
            schema = options.iter().find(|option| !is_null(option))?;
        } else {
            return Some(schema);
        }
    }
    None
}

/// The words that an enumeration allows.
fn words(schema: &Value) -> Vec<&str> {
    let plain = schema
        .get("enum")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let described = schema
        .get("oneOf")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let described = described.flat_map(|option| {
        let list = option
            .get("enum")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        option.get("const").into_iter().chain(list)
    });
    plain.chain(described).filter_map(Value::as_str).collect()
}

fn accepts(schema: &Value, kind: &str) -> bool {
    match schema.get("type") {
        None => schema.get("oneOf").is_none() && schema.get("enum").is_none(),
        Some(Value::Array(kinds)) => kinds.iter().any(|k| k.as_str() == Some(kind)),
        Some(one) => one.as_str() == Some(kind),
    }
}

fn expected(schema: &Value, words: &[&str]) -> String {
    if !words.is_empty() {
        return "a word".to_owned();
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds
            .iter()
            .filter_map(Value::as_str)
            .find(|k| *k != "null"),
        Some(kind) => kind.as_str(),
        None => None,
    };
    match kind {
        Some("string") => "a text in quotes",
        Some("integer") => "a whole number",
        Some("number") => "a number",
        Some("boolean") => "`true` or `false`",
        Some("array") => "a list",
        _ => "a table",
    }
    .to_owned()
}

fn example(schema: &Value) -> Option<String> {
    let examples = schema.get("examples").and_then(Value::as_array)?;
    let examples: Vec<String> = examples.iter().map(|e| format!("`{e}`")).collect();
    Some(format!("write it as {}", examples.join(" or ")))
}

fn describe(value: &DeValue<'_>) -> (&'static str, String) {
    match value {
        DeValue::String(text) => {
            let clipped: String = text.chars().take(60).collect();
            ("string", format!("`\"{clipped}\"`"))
        }
        DeValue::Integer(number) => ("integer", format!("`{}`", number.as_str())),
        DeValue::Float(number) => ("number", format!("`{}`", number.as_str())),
        DeValue::Boolean(value) => ("boolean", format!("`{value}`")),
        DeValue::Datetime(value) => ("datetime", format!("`{value}`")),
        DeValue::Array(_) => ("array", "a list".to_owned()),
        DeValue::Table(_) => ("object", "a table".to_owned()),
    }
}

/// "Did you mean", else the list.
pub(super) fn offer<'c>(word: &str, known: impl Iterator<Item = &'c str>, list: &str) -> String {
    let known: Vec<&str> = known.collect();
    let near = known
        .iter()
        .map(|candidate| (strsim::osa_distance(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(word.len()).div_ceil(3))
        .min();
    match near {
        Some((_, near)) => format!("did you mean `{near}`?"),
        None => format!("{list} {}", known.join(", ")),
    }
}
