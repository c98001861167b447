//! The shipped schemas are current, take what the reader takes and refuse what it refuses.
//!
//! The validator here knows the few words of JSON Schema that the printer uses and stops at any other.

use std::path::PathBuf;

use evenkeel_model::finding::Severity;
use evenkeel_model::parse::{keys, parse, side};
use serde_json::{Value, json};

use super::schema;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What is wrong with `value` by `schema`; `None`: nothing.
fn fault(schema: &Value, value: &Value, at: &str) -> Option<String> {
    let words = schema.as_object().unwrap().iter();
    let mut faults = words.filter_map(|(word, rule)| fault_of(word, rule, value, at));
    faults.next().or_else(|| fault_below(schema, value, at))
}

/// What one word of a schema finds wrong with `value` itself.
fn fault_of(word: &str, rule: &Value, value: &Value, at: &str) -> Option<String> {
    let items = || value.as_array().into_iter().flatten();
    let number = |is_wrong: fn(f64, f64) -> bool| {
        value
            .as_f64()
            .is_some_and(|v| is_wrong(v, rule.as_f64().unwrap()))
    };
    let is_wrong = match word {
        "type" => !is_of(rule.as_str().unwrap(), value),
        "enum" => !rule.as_array().unwrap().contains(value),
        "minimum" => number(|value, limit| value < limit),
        "maximum" => number(|value, limit| value > limit),
        "minLength" => value.as_str().is_some_and(str::is_empty),
        "minItems" => value.as_array().is_some_and(Vec::is_empty),
        "pattern" => {
            let pattern = regex_lite::Regex::new(rule.as_str().unwrap()).unwrap();
            value.as_str().is_some_and(|v| !pattern.is_match(v))
        }
        "anyOf" => rule
            .as_array()
            .unwrap()
            .iter()
            .all(|one| fault(one, value, at).is_some()),
        "items" => return items().find_map(|value| fault(rule, value, at)),
        "required" => {
            let mut keys = rule.as_array().unwrap().iter();
            keys.any(|key| value.get(key.as_str().unwrap()).is_none())
        }
        "propertyNames" => {
            let mut names = value.as_object().into_iter().flatten();
            names.any(|(name, _)| fault(rule, &json!(name), at).is_some())
        }
        // The first ones only tell; the last two are looked at together.
        "$schema"
        | "title"
        | "description"
        | "default"
        | "examples"
        | "properties"
        | "additionalProperties" => false,
        other => panic!("the validator does not know `{other}`"),
    };
    is_wrong.then(|| format!("{at}: {word}"))
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("type {other}"),
    }
}

/// What is wrong below `value`, key by key.
fn fault_below(schema: &Value, value: &Value, at: &str) -> Option<String> {
    let (known, others) = (schema.get("properties"), schema.get("additionalProperties"));
    let mut values = value.as_object().into_iter().flatten();
    values.find_map(|(name, inner)| {
        let at = format!("{at}.{name}");
        match (known.and_then(|known| known.get(name)), others) {
            (Some(property), _) => fault(property, inner, &at),
            (None, Some(Value::Bool(false))) => Some(format!("{at}: unknown")),
            (None, Some(others @ Value::Object(_))) => fault(others, inner, &at),
            _ => None,
        }
    })
}

/// TOML as an editor hands it to a schema: dates are texts.
fn as_json(value: &toml::Value) -> Value {
    match value {
        toml::Value::Datetime(moment) => json!(moment.to_string()),
        toml::Value::Array(values) => values.iter().map(as_json).collect(),
        toml::Value::Table(table) => table.iter().map(|(k, v)| (k.clone(), as_json(v))).collect(),
        other => serde_json::to_value(other).unwrap(),
    }
}

fn judged(table: &keys::Table, text: &str) -> Option<String> {
    let schema: Value = serde_json::from_str(&schema(table)).unwrap();
    let value: toml::Value = toml::from_str(text).unwrap();
    fault(&schema, &as_json(&value), "")
}

#[test]
fn the_shipped_schemas_are_what_the_command_prints() {
    for (name, table) in [
        ("evenkeel.schema.json", &keys::FILE),
        ("facts.schema.json", &keys::SIDE),
    ] {
        let (path, wanted) = (root().join("docs").join(name), schema(table));
        if std::env::var_os("EVENKEEL_UPDATE").is_some() {
            std::fs::write(&path, &wanted).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == wanted,
            "{name} is out of date; run this test with EVENKEEL_UPDATE=1"
        );
    }
}

#[test]
fn every_example_fits_the_schema() {
    let mut seen = 0;
    for entry in std::fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let text = std::fs::read_to_string(&path).unwrap();
            if parse(&text, None).config.is_some() {
                assert_eq!(judged(&keys::FILE, &text), None, "{}", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen >= 5, "{seen}");
}

const WHOLE: &str = r#"
workers = 2
[admin]
address = "127.0.0.1:7700"
[audit]
every = "24h"
[[audit.waiver]]
rule = "TRF-02"
pool = "shop"
reason = "a canary"
until = 2027-01-31
[listener.web]
address = "127.0.0.1:8080"
head_max = "32KiB"
[[route]]
listener = "web"
pool = "shop"
[pool.shop]
peak_rps = 900.5
headroom = "20%"
objective = { error_rate = "0.5%", p99 = "500ms" }
[pool.shop.audit]
severity = { TRF-01 = "error" }
limit = { TRF-02 = 2 }
[pool.shop.health]
path = "/healthz"
expect_status = "200-399"
[pool.shop.backend."web.1"]
address = "127.0.0.1:8081"
weight = 1
"#;

/// Edits that both the reader and the schema refuse.
const BROKEN: &[(&str, &str)] = &[
    ("workers = 2", "wrokers = 2"),
    ("workers = 2", "workers = 0"),
    ("workers = 2", "workers = \"2\""),
    ("every = \"24h\"", "every = \"24\""),
    ("every = \"24h\"", "every = 24"),
    ("rule = \"TRF-02\"", "rule = \"TRF02\""),
    ("reason = \"a canary\"\n", ""),
    ("reason = \"a canary\"", "reason = \"\""),
    ("2027-01-31", "\"31.1.2027\""),
    ("2027-01-31", "2027-01-31T10:00:00Z"),
    ("\"32KiB\"", "\"32k\""),
    ("[listener.web]", "[listener.\"web 1\"]"),
    ("listener = \"web\"\n", ""),
    ("900.5", "\"900\""),
    ("900.5", "-1"),
    ("\"20%\"", "0.2"),
    ("\"20%\"", "\"20\""),
    ("p99 = \"500ms\"", "p95 = \"500ms\""),
    ("TRF-01 = \"error\"", "TRF-01 = \"fatal\""),
    ("TRF-01 = \"error\"", "TRF-1 = \"error\""),
    ("TRF-02 = 2", "TRF-01 = 2"),
    ("TRF-02 = 2", "TRF-02 = \"2\""),
    ("\"200-399\"", "\"ok\""),
    ("\"200-399\"", "99"),
    ("weight = 1", "weight = 65536"),
    ("weight = 1", "wieght = 1"),
];

#[test]
fn what_the_reader_refuses_for_its_form_the_schema_refuses_too() {
    assert_eq!(parse(WHOLE, None).findings, []);
    assert_eq!(judged(&keys::FILE, WHOLE), None);
    for (from, to) in BROKEN {
        assert!(WHOLE.contains(from), "{from}");
        let text = WHOLE.replacen(from, to, 1);
        assert!(parse(&text, None).config.is_none(), "the reader takes {to}");
        assert!(
            judged(&keys::FILE, &text).is_some(),
            "the schema takes {to}"
        );
    }
}

#[test]
fn the_schema_of_the_side_file_takes_names_of_any_kind() {
    let text = "[pool.\"out|80|\"]\nkeys = 500\n[pool.\"out|80|\".each]\ncapacity_rps = 600\n";
    assert!(
        side(text, None)
            .findings
            .iter()
            .all(|f| f.severity < Severity::Error)
    );
    assert_eq!(judged(&keys::SIDE, text), None);
    assert!(judged(&keys::SIDE, &text.replace("keys", "key")).is_some());
}
