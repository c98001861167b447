//! `evenkeel check` on the files of `corpus`: exactly what the head of each file expects, and the whole output in a
//! short form as a snapshot. Two answers to one question: the head is what somebody who knows that balancer expects,
//! the snapshot what the tool says, with places and words.
//!
//! Huge and hostile files are made here, in a directory of their own, and checked under a limit of memory and time.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends at the first surprise"
)]

#[path = "corpus/carried.rs"]
mod carried;
#[path = "corpus/head.rs"]
mod head;
#[path = "corpus/huge.rs"]
mod huge;
#[path = "corpus/run.rs"]
mod run;
#[path = "corpus/view.rs"]
mod view;

use std::path::{Path, PathBuf};

use head::Head;
use run::check;

/// Fewest files over all formats.
const FILES_MIN: usize = 100;

fn corpus(format: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../corpus")
        .join(format)
}

/// The configurations of a directory, by name: side files and directories left out.
fn files(format: &str) -> Vec<String> {
    let entries = std::fs::read_dir(corpus(format)).unwrap();
    let names = entries.map(|entry| {
        let entry = entry.unwrap();
        (entry.file_type().unwrap(), entry.file_name())
    });
    let names = names.filter(|(kind, _)| kind.is_file());
    let mut names: Vec<String> = names
        .map(|(_, name)| name.into_string().unwrap())
        .filter(|name| !name.ends_with(".facts.toml"))
        .collect();
    names.sort();
    names
}

/// Holds every file of a directory against its head and its snapshot; all that differ are named at once.
fn hold(format: &str) {
    let dir = corpus(format);
    let mut wrong = Vec::new();
    let mut shown = String::new();
    for name in files(format) {
        let head = Head::read(&dir.join(&name));
        let ran = check(&dir, &name, &head.flags);
        let view = ran.json();
        if let Err(words) = head.holds(&dir, &ran, &view) {
            wrong.push(format!("{format}/{name}: {words}"));
        }
        let short = view::short(&name, ran.code, &view);
        shown.extend(["== ", &name, "\n", &short, "\n"]);
    }
    insta::assert_snapshot!(format!("{format}"), shown);
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_evenkeel_toml_of_the_corpus_gets_exactly_the_expected_findings() {
    hold("evenkeel");
}

#[test]
fn every_haproxy_cfg_of_the_corpus_gets_exactly_the_expected_findings() {
    hold("haproxy");
}

#[test]
fn every_nginx_conf_of_the_corpus_gets_exactly_the_expected_findings() {
    hold("nginx");
}

#[test]
fn every_envoy_bootstrap_of_the_corpus_gets_exactly_the_expected_findings() {
    hold("envoy");
}

#[test]
fn the_corpus_is_wide_and_holds_sound_and_hostile_files_of_every_format() {
    let mut count = 0;
    for format in ["evenkeel", "haproxy", "nginx", "envoy"] {
        let files = files(format);
        let of = |kind: &str| files.iter().filter(|name| name.starts_with(kind)).count();
        assert!(of("sound-") >= 4 && of("hostile-") >= 3, "{format}");
        count += files.len();
    }
    assert!(count >= FILES_MIN, "{count}");
}

/// Nothing to say about a sound file is what makes a finding worth reading.
#[test]
fn a_file_that_is_called_sound_has_neither_error_nor_warning() {
    for format in ["evenkeel", "haproxy", "nginx", "envoy"] {
        let dir = corpus(format);
        for name in files(format).iter().filter(|n| n.starts_with("sound-")) {
            let view = check(&dir, name, &Head::read(&dir.join(name)).flags).json();
            let severities: Vec<_> = view["findings"].as_array().unwrap().iter().collect();
            let is_info = |finding: &&serde_json::Value| finding["severity"] == "info";
            assert!(
                severities.iter().all(is_info),
                "{format}/{name}: {severities:#?}"
            );
        }
    }
}

#[test]
fn check_is_silent_on_every_shipped_example() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if Path::new(&name).extension().is_none_or(|e| e != "toml") {
            continue;
        }
        seen += 1;
        let ran = check(&dir, &name, &[]);
        let view = ran.json();
        let findings = view["findings"].as_array().unwrap();
        let loud = findings.iter().filter(|f| f["severity"] != "info");
        assert_eq!((ran.code, loud.count()), (0, 0), "{name}: {findings:#?}");
    }
    assert!(seen >= 5, "{seen}");
}

/// What a person sees, for one file of each balancer.
#[test]
fn the_text_form_shows_the_line_the_effect_and_the_shares() {
    for (format, name) in [
        ("haproxy", "weight-typo.cfg"),
        ("haproxy", "overload.cfg"),
        ("nginx", "impatient.conf"),
        ("envoy", "small-breaker.yaml"),
        ("evenkeel", "weight-typo.toml"),
    ] {
        let dir = corpus(format);
        let head = Head::read(&dir.join(name));
        let ran = run::check_text(&dir, name, &head.flags);
        let shown = format!(
            "exit {}\n-- stdout\n{}-- stderr\n{}",
            ran.code, ran.out, ran.err
        );
        let (stem, _) = name.rsplit_once('.').unwrap();
        insta::assert_snapshot!(format!("text_{format}_{stem}"), shown);
    }
}
