//! The schema file and the reference in the guide are what the types say. With EVENKEEL_UPDATE set they are written.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic; a failed test is the report"
)]

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::Value;

const BEGIN: &str = "<!-- reference: made from the schema, do not edit -->\n";
const END: &str = "<!-- end of the reference -->\n";

fn document(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(name)
}

fn is_current(path: &PathBuf, wanted: &str) {
    if std::env::var_os("EVENKEEL_UPDATE").is_some() {
        std::fs::write(path, wanted).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == wanted,
        "{} is out of date; run this test with EVENKEEL_UPDATE=1",
        path.display()
    );
}

#[test]
fn the_shipped_schema_is_that_of_the_types() {
    is_current(&document("drill.schema.json"), &evenkeel_drill::schema());
}

#[test]
fn the_guide_explains_every_key_of_the_schema() {
    let path = document("guide/drills.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once(BEGIN).expect("the guide has a reference");
    let (_, tail) = rest.split_once(END).expect("the reference has an end");
    let schema: Value = serde_json::from_str(&evenkeel_drill::schema()).unwrap();
    is_current(
        &path,
        &format!("{head}{BEGIN}{}{END}{tail}", reference(&schema)),
    );
}

/// Markdown tables of every type, the scenario first.
fn reference(schema: &Value) -> String {
    let mut out = String::from("\n### The scenario\n");
    table(schema, &mut out);
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        let about = definition["description"]
            .as_str()
            .unwrap_or("")
            .replace('\n', " ");
        write!(out, "\n### {name}\n\n{about}\n").unwrap();
        if definition["properties"].is_object() {
            table(definition, &mut out);
        } else {
            words(definition, &mut out);
        }
    }
    out.push('\n');
    out
}

fn table(schema: &Value, out: &mut String) {
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    if properties.is_empty() {
        return;
    }
    let required: Vec<&str> = schema["required"]
        .as_array()
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    out.push_str("\n| key | type | default | meaning |\n|---|---|---|---|\n");
    for (key, property) in properties {
        let default = match &property["default"] {
            _ if required.contains(&key.as_str()) => "required".to_owned(),
            Value::Null | Value::Object(_) => String::new(),
            other => format!("`{other}`"),
        };
        let about = property["description"]
            .as_str()
            .unwrap_or("")
            .replace('\n', " ");
        writeln!(
            out,
            "| `{key}` | {} | {default} | {about} |",
            kind(property)
        )
        .unwrap();
    }
}

fn words(definition: &Value, out: &mut String) {
    if let Some(options) = definition["oneOf"].as_array() {
        out.push('\n');
        for option in options {
            if let Some(word) = option["const"].as_str() {
                let about = option["description"]
                    .as_str()
                    .unwrap_or("")
                    .replace('\n', " ");
                writeln!(out, "- `{word}`: {about}").unwrap();
            }
            for word in option["enum"].as_array().into_iter().flatten() {
                writeln!(out, "- {}", format!("`{word}`").replace('"', "")).unwrap();
            }
        }
    } else if let Some(list) = definition["enum"].as_array() {
        let list: Vec<String> = list
            .iter()
            .map(|w| format!("`{w}`").replace('"', ""))
            .collect();
        writeln!(out, "\nOne of {}.", list.join(", ")).unwrap();
    }
}

fn kind(property: &Value) -> String {
    if let Some(reference) = property["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(options) = property["anyOf"].as_array() {
        return kind(&options[0]);
    }
    let word = match &property["type"] {
        Value::Array(list) => list[0].as_str().unwrap_or(""),
        one => one.as_str().unwrap_or(""),
    };
    match word {
        "array" => format!("list of {}", kind(&property["items"])),
        "object" if property["additionalProperties"]["$ref"].is_string() => {
            format!("table of {}", kind(&property["additionalProperties"]))
        }
        "object" => "table of any value".to_owned(),
        "string" => "text".to_owned(),
        "integer" => "whole number".to_owned(),
        "boolean" => "true or false".to_owned(),
        other => other.to_owned(),
    }
}
