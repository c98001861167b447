//! Every file of the corpus, imported: what comes out is a configuration that Evenkeel accepts, and the audit has nothing
//! to say of it that it did not say of the original.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::head::Head;
use crate::run::run;
use crate::{corpus, files};

/// Fewest files of which something can be served.
const CARRIED_MIN: usize = 40;

/// One fault that has another name where failed requests can take a backend out: nobody is ever taken out.
const SAME: (&str, &str) = ("HC-01", "HC-08");

/// What the audit says of a file: severity and id.
fn said(view: &Value) -> BTreeSet<(String, String)> {
    let findings = view["findings"].as_array().unwrap().iter();
    let word = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    findings
        .map(|finding| (word(finding, "severity"), word(finding, "id")))
        .collect()
}

/// What the audit says of the file that is carried over, and not of the original; `None`: nothing of it can be served.
fn caused(dir: &Path, name: &str, to: &Path) -> Option<Vec<String>> {
    let flags = Head::read(&dir.join(name)).flags;
    let target = to.to_str().unwrap();
    let mut line = vec!["import".to_owned(), name.to_owned()];
    line.extend(flags.iter().cloned());
    line.extend(["--to", target, "--overwrite", "--json"].map(str::to_owned));
    let ran = run(dir, &line);
    assert!([0, 1, 78].contains(&ran.code), "{name}: {ran:?}");
    if ran.code != 0 {
        return None;
    }
    let of = |words: &[&str], flags: &[String]| {
        let mut line: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        line.extend(flags.iter().cloned());
        run(dir, &line).json()
    };
    let before = said(&of(&["check", name, "--json"], &flags));
    let after = of(&["check", target, "--json"], &[]);
    assert_eq!(after["valid"], true, "{name}: {after:#}");
    let known = |id: &String| {
        let same = |known: &str| known == id || (id.as_str(), known) == SAME;
        before.iter().any(|(_, known)| same(known))
    };
    let findings = after["findings"].as_array().unwrap().iter();
    let new = findings.filter(|finding| {
        finding["severity"] != "info" && !known(&finding["id"].as_str().unwrap().to_owned())
    });
    Some(
        new.map(|finding| format!("{} {}", finding["id"], finding["message"]))
            .collect(),
    )
}

#[test]
fn what_is_imported_gets_no_finding_that_the_original_does_not_get() {
    let home = tempfile::tempdir().unwrap();
    let mut carried = 0;
    let mut wrong = Vec::new();
    for format in ["haproxy", "nginx", "envoy"] {
        let dir = corpus(format);
        for name in files(format) {
            let to = home.path().join(format!("{format}-{name}.toml"));
            let Some(new) = caused(&dir, &name, &to) else {
                continue;
            };
            carried += 1;
            wrong.extend(new.iter().map(|new| format!("{format}/{name}: {new}")));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(carried >= CARRIED_MIN, "{carried}");
}
