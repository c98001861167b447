//! The documents hold: examples run, keys and links exist, tables name every key.
//!
//! A block under `<!-- example -->` is a whole configuration, under `<!-- example: fragment -->` one that completes the
//! smallest whole one. A block under `<!-- test -->` runs in the directory of its document; `running` gives it an
//! instance with backends and traffic, `exit N` is the code its last command must end with. Nothing here sleeps:
//! readiness is read from what a process prints, and every script has a deadline.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

#[path = "docs/blocks.rs"]
mod blocks;
#[path = "docs/instance.rs"]
mod instance;
#[path = "docs/json.rs"]
mod json;

use std::collections::BTreeSet;

use blocks::{Block, blocks, documents, read, root};
use evenkeel_model::finding::Severity;
use evenkeel_model::parse::parse;
use instance::Place;

/// Completes a fragment of the guide.
const SMALLEST: &str = "[listener.web]\naddress = \"127.0.0.1:8080\"\n[[route]]\nlistener = \"web\"\npool = \"site\"\n\
    [pool.site.backend.web-1]\naddress = \"127.0.0.1:8081\"\n";

fn assert_sound(text: &str, place: &str) {
    let facts = evenkeel_forecast::Facts::default();
    let judged = evenkeel_control::judge::judge(text, None, None, &facts, evenkeel_control::wall());
    let errors: Vec<_> = judged
        .findings
        .iter()
        .filter(|f| f.severity == Severity::Error)
        .collect();
    assert!(
        judged.config.is_some() && errors.is_empty(),
        "{place}: {errors:#?}"
    );
}

#[test]
fn every_configuration_in_the_documents_is_accepted_by_parser_and_audit() {
    let mut seen = 0;
    for document in documents() {
        for block in blocks(&document) {
            let text = match block.mark.as_str() {
                "example" => block.text.clone(),
                "example: fragment" => format!("{}\n{SMALLEST}", block.text),
                _ => continue,
            };
            assert_sound(&text, &block.place);
            seen += 1;
        }
    }
    assert!(seen >= 7, "only {seen} examples found");
}

#[test]
fn the_configuration_of_the_readme_is_accepted_without_a_finding() {
    let readme = read(&root().join("README.md"));
    let start = readme
        .find("```toml\n")
        .expect("README has a configuration")
        + 8;
    let text: &str = readme[start..].split("```").next().expect("it ends");
    let judged = evenkeel_control::judge::judge(
        text,
        Some("README.md"),
        None,
        &evenkeel_forecast::Facts::default(),
        evenkeel_control::wall(),
    );
    assert!(judged.config.is_some());
    assert_eq!(judged.findings, []);
}

/// The keys that the parser takes in a table: what it proposes in place of one that nobody could have meant.
fn known_keys(text: &str) -> BTreeSet<String> {
    let parsed = parse(text, None);
    let unknown = parsed
        .findings
        .iter()
        .find(|f| f.id == "CFG-02" && f.message.contains("qqqqqqqqqqqq"))
        .unwrap_or_else(|| panic!("no finding for {text}: {:#?}", parsed.findings));
    let keys = unknown
        .fix
        .rsplit_once(" takes ")
        .expect("the fix lists the keys")
        .1;
    keys.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_configuration_chapter_names_exactly_the_keys_that_the_parser_knows() {
    let chapter = read(&root().join("docs/guide/configuration.md"));
    let sections = [
        ("## Top level", ""),
        ("## `[admin]`", "[admin]"),
        ("### `[admin.token.NAME]`", "[admin.token.x]"),
        ("## `[audit]`", "[audit]"),
        ("### `[[audit.waiver]]`", "[[audit.waiver]]"),
        ("## `[drills]`", "[drills]"),
        ("## `[listener.NAME]`", "[listener.x]"),
        ("## `[[route]]`", "[[route]]"),
        ("## `[[expect]]`", "[[expect]]"),
        ("## `[pool.NAME]`", "[pool.x]"),
        ("### `[pool.NAME.hash]`", "[pool.x.hash]"),
        ("### `[pool.NAME.sticky]`", "[pool.x.sticky]"),
        ("### `[pool.NAME.objective]`", "[pool.x.objective]"),
        ("### `[pool.NAME.session]`", "[pool.x.session]"),
        ("### `[pool.NAME.retry]`", "[pool.x.retry]"),
        ("### `[pool.NAME.health]`", "[pool.x.health]"),
        ("### `[pool.NAME.tls]`", "[pool.x.tls]"),
        ("### `[pool.NAME.members]`", "[pool.x.members]"),
        ("### `[pool.NAME.audit]`", "[pool.x.audit]"),
        ("### `[pool.NAME.backend.NAME]`", "[pool.x.backend.y]"),
        ("## `[notify.NAME]`", "[notify.x]"),
        ("## `[webhook.NAME]`", "[webhook.x]"),
        ("## `[[escalation]]`", "[[escalation]]"),
    ];
    for (heading, table) in sections {
        let known = known_keys(&format!("{table}\nqqqqqqqqqqqq = 1\n"));
        let named = blocks::table_keys(&chapter, heading);
        assert_eq!(named, known, "{heading}");
    }
}

#[test]
fn every_link_between_documents_leads_to_a_file_and_a_heading() {
    let mut broken = Vec::new();
    for document in documents() {
        let text = read(&document);
        for target in links(&text) {
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let path = if file.is_empty() {
                document.clone()
            } else {
                document.parent().expect("a folder").join(file)
            };
            let fits =
                path.exists() && (anchor.is_empty() || anchors(&read(&path)).contains(anchor));
            if !fits {
                broken.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert_eq!(broken, [""; 0]);
}

fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for piece in text.split("](").skip(1) {
        let target = piece.split(')').next().unwrap_or_default();
        if !target.contains("://") && !target.contains(' ') && !target.is_empty() {
            found.push(target.to_owned());
        }
    }
    found
}

/// Headings as GitHub names them, and explicit anchors.
fn anchors(text: &str) -> BTreeSet<String> {
    let heading = |line: &str| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept = words
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    let named = text.split("<a id=\"").skip(1);
    let named = named.filter_map(|rest| rest.split('"').next().map(str::to_owned));
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(heading)
        .chain(named)
        .collect()
}

#[test]
fn paths_of_the_repository_that_documents_name_exist() {
    let roots = ["docs/", "crates/", "examples/", "packaging/", "fuzz/"];
    let mut missing = Vec::new();
    for document in documents() {
        for word in read(&document).split('`').skip(1).step_by(2) {
            let is_path = roots.iter().any(|r| word.starts_with(r)) && !word.contains(' ');
            if is_path && !root().join(word).exists() {
                missing.push(format!("{}: {word}", document.display()));
            }
        }
    }
    assert_eq!(missing, [""; 0]);
}

/// Runs the marked blocks of the documents in order, each document in a directory of its own.
fn run_blocks(running: bool) -> usize {
    let mut seen = 0;
    for document in documents() {
        let is_output = |b: &Block| b.mark == "output";
        let marked: Vec<Block> = blocks(&document)
            .into_iter()
            .filter(|b| b.mark == "test" || b.mark.starts_with("test:") || is_output(b))
            .filter(|b| b.mark.contains("running") == running)
            .collect();
        if marked.is_empty() {
            continue;
        }
        let place = if running {
            Place::running()
        } else {
            Place::empty()
        };
        let mut printed = String::new();
        for block in marked {
            if is_output(&block) {
                assert_eq!(printed.trim_end(), block.text.trim_end(), "{}", block.place);
                continue;
            }
            let wanted: i32 = block
                .mark
                .split_once("exit ")
                .map_or(0, |(_, code)| code.trim().parse().expect("a number"));
            let (code, output) = place.sh(&block.text);
            assert_eq!(code, Some(wanted), "{}\n{output}", block.place);
            printed = output;
            seen += 1;
        }
    }
    seen
}

#[test]
fn commands_of_the_documents_do_what_they_say() {
    assert!(run_blocks(false) >= 3);
}

#[test]
fn commands_of_the_documents_that_need_an_instance_do_what_they_say() {
    assert!(run_blocks(true) >= 7);
}

#[test]
fn the_json_chapter_names_exactly_the_keys_of_the_views() {
    let chapter = read(&root().join("docs/guide/json.md"));
    for (heading, keys) in json::views() {
        let named = blocks::table_keys(&chapter, &format!("## {heading}"));
        assert_eq!(named, keys, "{heading}");
    }
}

#[test]
fn the_runbook_names_every_finding_and_every_cause() {
    let runbook = read(&root().join("docs/runbook.md"));
    let findings = evenkeel_audit::topics().filter(|t| t.severity.is_some());
    let causes = evenkeel_model::blame::Cause::ALL.iter().map(|c| c.as_str());
    for word in findings.map(|t| t.id).chain(causes) {
        assert!(runbook.contains(word), "the runbook does not name {word}");
    }
}

#[test]
fn the_http_chapter_names_every_code_of_a_refused_message() {
    let chapter = read(&root().join("docs/guide/http.md"));
    let requests = evenkeel_http1::Refusal::ALL.iter().map(|r| r.code());
    let responses = evenkeel_http1::ResponseError::ALL.iter().map(|r| r.code());
    for code in requests.chain(responses) {
        assert!(chapter.contains(&format!("`{code}`")), "{code}");
    }
}

/// The marker of a document that is not part of the guide would never run: none may be misspelt.
#[test]
fn every_marker_is_one_that_is_known() {
    let known = |mark: &str| {
        matches!(
            mark,
            "" | "test" | "output" | "example" | "example: fragment"
        ) || mark.starts_with("test: running")
            || mark.starts_with("test: exit ")
            || mark.starts_with("example: examples/")
    };
    for document in documents() {
        for block in blocks(&document) {
            assert!(known(&block.mark), "{}: `{}`", block.place, block.mark);
        }
    }
}

#[test]
fn every_test_that_the_page_on_uneven_load_names_exists() {
    let text = read(&root().join("docs/uneven-load.md"));
    let mut seen = 0;
    for line in text.lines().filter(|line| line.starts_with("- `")) {
        let (name, place) = line
            .trim_start_matches("- `")
            .trim_end_matches(')')
            .split_once("` (")
            .expect("a test and its file");
        assert_is_test(name, place);
        seen += 1;
    }
    assert!(seen >= 30, "only {seen} tests named");
}

fn assert_is_test(name: &str, place: &str) {
    let code = read(&root().join(place));
    let is_there = code.lines().any(|line| {
        let line = line.trim_start();
        line.starts_with(&format!("fn {name}("))
    });
    assert!(is_there, "{place} has no test `{name}`");
}

/// Each line of the table names tests, and after them the file that they stand in.
#[test]
fn every_test_that_the_page_on_faults_names_exists() {
    let text = read(&root().join("docs/faults.md"));
    let mut seen = 0;
    for line in text.lines().filter(|line| line.ends_with("`) |")) {
        let tests = line.rsplit(" | ").next().expect("a last cell");
        let mut names = Vec::new();
        for word in tests.split('`').skip(1).step_by(2) {
            if word.contains('/') {
                assert!(!names.is_empty(), "{word}: no test");
                names.drain(..).for_each(|name| assert_is_test(name, word));
            } else {
                names.push(word);
                seen += 1;
            }
        }
        assert!(names.is_empty(), "in which file: {names:?}");
    }
    assert!(seen >= 20, "only {seen} tests named");
}
