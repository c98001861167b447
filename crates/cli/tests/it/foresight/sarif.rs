//! SARIF 2.1.0: the properties that its schema requires, and fingerprints that survive lines that move.

use serde_json::Value;

use super::{HAPROXY, home};

fn log(home: &crate::support::Home, file: &str) -> Value {
    home.offline(&["check", file, "--output", "sarif"]).json()
}

fn results(log: &Value) -> &Vec<Value> {
    log["runs"][0]["results"].as_array().unwrap()
}

/// What sarif-schema-2.1.0.json requires of the objects that are used here.
fn assert_valid(log: &Value) {
    assert_eq!(log["version"], "2.1.0");
    assert!(log["$schema"].as_str().unwrap().contains("sarif-2.1.0"));
    let run = &log["runs"].as_array().unwrap()[0];
    let driver = &run["tool"]["driver"];
    assert!(driver["name"].is_string() && run["columnKind"] == "unicodeCodePoints");
    let rules = driver["rules"].as_array().unwrap();
    for rule in rules {
        assert!(rule["id"].is_string() && rule["shortDescription"]["text"].is_string());
    }
    for result in run["results"].as_array().unwrap() {
        let message = result["message"]["text"].as_str().unwrap();
        assert!(!message.is_empty());
        let level = result["level"].as_str().unwrap();
        assert!(["none", "note", "warning", "error"].contains(&level));
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        for location in result["locations"].as_array().unwrap() {
            let place = &location["physicalLocation"];
            let uri = place["artifactLocation"]["uri"].as_str().unwrap();
            assert!(!uri.starts_with('/') && !uri.contains(' '), "{uri}");
            if let Some(region) = place.get("region") {
                assert!(region["startLine"].as_u64().unwrap() >= 1);
                assert!(region["startColumn"].as_u64().unwrap() >= 1);
            }
        }
        let prints = result["partialFingerprints"].as_object().unwrap();
        assert!(prints.values().all(Value::is_string) && !prints.is_empty());
    }
}

#[test]
fn the_log_has_what_the_schema_requires_and_help_for_its_rules() {
    let home = home();
    for file in ["haproxy.cfg", "nginx.conf", "envoy.yaml", "evenkeel.toml"] {
        let log = log(&home, file);
        assert_valid(&log);
        assert!(!results(&log).is_empty(), "{file}");
    }
    let log = log(&home, "haproxy.cfg");
    let rules = log["runs"][0]["tool"]["driver"]["rules"]
        .as_array()
        .unwrap()
        .clone();
    let typo = rules
        .iter()
        .find(|r| r["id"].as_str().unwrap().starts_with("TRF-"))
        .unwrap();
    assert!(
        typo["help"]["text"].as_str().unwrap().len() > 50,
        "{typo:#}"
    );
}

#[test]
fn a_result_keeps_its_fingerprint_when_lines_move_and_others_have_others() {
    let home = home();
    let before = log(&home, "haproxy.cfg");
    home.write("haproxy.cfg", &format!("# a comment\n\n{HAPROXY}"));
    let after = log(&home, "haproxy.cfg");
    let of = |log: &Value| -> Vec<(String, u64)> {
        results(log)
            .iter()
            .map(|result| {
                let print = result["partialFingerprints"]["evenkeelPath/v1"]
                    .as_str()
                    .unwrap();
                let region = &result["locations"][0]["physicalLocation"]["region"];
                (print.to_owned(), region["startLine"].as_u64().unwrap_or(0))
            })
            .collect()
    };
    let (before, after) = (of(&before), of(&after));
    assert_eq!(before.len(), after.len());
    for ((old, from), (new, to)) in before.iter().zip(&after) {
        assert_eq!(old, new);
        assert!(*from == 0 || *to == from + 2, "{from} {to}");
    }
    let mut prints: Vec<&String> = before.iter().map(|(print, _)| print).collect();
    prints.sort();
    prints.dedup();
    assert_eq!(prints.len(), before.len());
}
