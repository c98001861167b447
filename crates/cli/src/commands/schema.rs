//! `schema`: the JSON Schema of a file, printed from the very tables that its reader goes by.
//!
//! Editors (Taplo, Even Better TOML) complete, explain and check by it. It is weaker than the reader on purpose: what
//! a schema cannot say (references, ranges of values with units, clashes) is left to `check`.

use evenkeel_model::parse::keys::{Key, Kind, Table};
use evenkeel_model::policy::RULES;
use evenkeel_model::units::format_duration;
use serde_json::{Map, Value, json};

const DURATION: &str = r"^\s*([0-9]+(\.[0-9]{1,3})?\s*(us|ms|s|m|h|d)|0)\s*$";
const RATIO: &str = r"^\s*[0-9]+(\.[0-9]{1,4})?\s*%$";
const SIZE: &str = r"^\s*([0-9]+\s*(B|KiB|MiB|GiB)|0)\s*$";
const PROTOCOL: &str = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,63}(/[!#$%&'*+.^_`|~0-9A-Za-z-]{1,63})?$";
const NAME: &str = r"^[A-Za-z0-9_.-]{1,63}$";
const DAY: &str = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$";
const STATUSES: &str = r"^[1-5][0-9]{2}(-[1-5][0-9]{2})?$";
/// Largest limit of a rule that the reader takes.
const RULE_LIMIT_MAX: f64 = 1e9;

/// The schema of the file that `root` describes, as JSON text.
pub(crate) fn schema(root: &Table) -> String {
    let mut schema = Map::new();
    schema.insert(
        "$schema".into(),
        json!("http://json-schema.org/draft-07/schema#"),
    );
    schema.insert("title".into(), json!(root.about));
    if let Value::Object(table) = table(root) {
        schema.extend(table);
    }
    let mut text = format!("{:#}", Value::Object(schema));
    text.push('\n');
    text
}

fn table(table: &Table) -> Value {
    let properties: Map<String, Value> = table
        .keys
        .iter()
        .map(|key| (key.name.to_owned(), property(key)))
        .collect();
    let required: Vec<&str> = table
        .keys
        .iter()
        .filter(|key| key.is_required)
        .map(|key| key.name)
        .collect();
    let mut value = json!({
        "type": "object",
        "description": table.about,
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        value["required"] = json!(required);
    }
    value
}

fn property(key: &Key) -> Value {
    let mut value = shape(&key.kind);
    let about = match range(&key.kind) {
        Some(range) => format!("{} {range}.", key.about),
        None => key.about.to_owned(),
    };
    value["description"] = json!(about);
    if let Some(default) = key.default.and_then(literal) {
        value["default"] = default;
    }
    value
}

fn shape(kind: &Kind) -> Value {
    let text = |pattern: &str| json!({"type": "string", "pattern": pattern});
    let named = |inner: &Table| json!({"type": "object", "additionalProperties": table(inner)});
    match kind {
        Kind::Boolean => json!({"type": "boolean"}),
        Kind::Whole(min, max) => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Number(min, max) => json!({"type": "number", "minimum": min, "maximum": max}),
        Kind::Duration(..) => text(DURATION),
        Kind::Ratio(..) => text(RATIO),
        Kind::Size(..) => text(SIZE),
        Kind::WholeOr(min, max, words) => json!({"anyOf": [
            {"type": "integer", "minimum": min, "maximum": max},
            {"type": "string", "enum": words},
        ]}),
        Kind::Choice(words) => json!({"type": "string", "enum": words}),
        Kind::Choices(words) => json!({
            "type": "array",
            "items": {"type": "string", "enum": words},
            "uniqueItems": true,
        }),
        Kind::Text(example) => json!({"type": "string", "minLength": 1, "examples": [example]}),
        Kind::AnyText(example) => json!({"type": "string", "examples": [example]}),
        Kind::Texts(example) => json!({
            "type": "array",
            "items": {"type": "string", "minLength": 1, "examples": [example]},
            "minItems": 1,
            "uniqueItems": true,
        }),
        Kind::TextsOr(example, inner) => json!({
            "type": "array",
            "items": {"anyOf": [
                {"type": "string", "minLength": 1, "examples": [example]},
                table(inner),
            ]},
            "minItems": 1,
            "uniqueItems": true,
        }),
        Kind::Headers => json!({"type": "object", "additionalProperties": {"type": "string"}}),
        Kind::Values(inner) => json!({
            "type": "object",
            "additionalProperties": {"anyOf": [{"type": "string", "minLength": 1}, table(inner)]},
        }),
        Kind::Name => text(NAME),
        Kind::Names => json!({"type": "array", "items": text(NAME), "minItems": 1}),
        Kind::Protocols => json!({"type": "array", "items": text(PROTOCOL)}),
        Kind::Statuses => json!({"anyOf": [
            {"type": "integer", "minimum": 100, "maximum": 599},
            text(STATUSES),
        ]}),
        Kind::Day => text(DAY),
        Kind::Rule => json!({"type": "string", "enum": rules()}),
        Kind::Severities => {
            by_rule(|_| Some(json!({"type": "string", "enum": ["info", "warning", "error"]})))
        }
        Kind::Limits => by_rule(|limit| {
            let about = limit?;
            Some(
                json!({"type": "number", "minimum": 0, "maximum": RULE_LIMIT_MAX, "description": about}),
            )
        }),
        Kind::Table(inner) => table(inner),
        Kind::Named(inner) => {
            let mut value = named(inner);
            value["propertyNames"] = json!({"pattern": NAME});
            value
        }
        Kind::NamedFreely(inner) => named(inner),
        Kind::List(inner) => json!({"type": "array", "items": table(inner)}),
    }
}

fn rules() -> Vec<&'static str> {
    RULES.iter().map(|rule| rule.id).collect()
}

/// A table with the rules that `shape` has something for as its keys.
fn by_rule(shape: impl Fn(Option<&'static str>) -> Option<Value>) -> Value {
    let rules = RULES
        .iter()
        .filter_map(|rule| Some((rule.id.to_owned(), shape(rule.limit)?)));
    json!({
        "type": "object",
        "properties": rules.collect::<Map<_, _>>(),
        "additionalProperties": false,
    })
}

/// The range of a value with a unit, which a schema cannot check, in words.
fn range(kind: &Kind) -> Option<String> {
    match kind {
        Kind::Duration(min, max) => Some(format!(
            "From {} to {}",
            format_duration(*min),
            format_duration(*max)
        )),
        Kind::Ratio(min, max) => Some(format!("From {min} to {max}")),
        Kind::Size(min, max) => Some(format!("From {min} to {max}")),
        _ => None,
    }
}

/// A default as JSON: it is written as TOML in the tables, and both write these the same.
fn literal(default: &str) -> Option<Value> {
    serde_json::from_str(default).ok()
}

#[cfg(test)]
mod tests;
