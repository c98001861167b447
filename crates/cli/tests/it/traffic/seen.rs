//! What can be seen of an instance: metrics in the text format, the page, the access log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{Home, Instance, PATIENCE, stubs, until};
use crate::wire::{Answer, Honest, Origin, addresses, config, exchange, get};

fn admin(instance: &Instance, path: &str) -> Answer {
    let admin = instance.admin;
    let head = format!("GET {path} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
    exchange(admin, head.as_bytes())
}

/// The body without its chunk lines, if it has any.
fn whole(answer: &Answer) -> String {
    if answer.field("transfer-encoding").is_none() {
        return answer.body().to_owned();
    }
    let (mut rest, mut out) = (answer.body(), String::new());
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        out += &tail[..size];
        rest = &tail[size + 2..];
    }
    out
}

/// One sample of the text format: name, labels, value.
pub(super) type Sample = (String, BTreeMap<String, String>, f64);

/// A small reader of the text exposition format. Panics on anything that is not in it.
fn samples(text: &str) -> Vec<Sample> {
    let (mut out, mut typed, mut closed) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
    let mut family = String::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (keyword, name) = (words.next().unwrap(), words.next().unwrap_or(""));
            if keyword == "EOF" {
                continue;
            }
            assert!(["HELP", "TYPE", "UNIT"].contains(&keyword), "{line}");
            if family != name {
                assert!(closed.insert(name.to_owned()), "`{name}` comes twice");
                name.clone_into(&mut family);
            }
            if keyword == "TYPE" {
                let kind = words.next().unwrap();
                assert!(
                    ["counter", "gauge", "histogram", "info", "unknown"].contains(&kind),
                    "{line}"
                );
                assert!(
                    typed.insert(name.to_owned(), kind.to_owned()).is_none(),
                    "{line}"
                );
            }
            continue;
        }
        let sample = sample(line);
        assert!(
            sample.0.starts_with(&family) && typed.contains_key(&family),
            "{line}"
        );
        out.push(sample);
    }
    let mut seen = BTreeSet::new();
    for (name, labels, _) in &out {
        assert!(
            seen.insert((name.clone(), labels.clone())),
            "{name}{labels:?} comes twice"
        );
    }
    out
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        other => other.parse().unwrap_or_else(|_| panic!("{line}")),
    };
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    assert!(!name.is_empty() && name.chars().all(legal), "{line}");
    let mut out = BTreeMap::new();
    let mut rest = labels.trim_end_matches('}');
    while let Some((key, tail)) = rest.split_once("=\"") {
        let end = tail
            .char_indices()
            .scan(false, |escaped, (at, c)| {
                let is_end = c == '"' && !*escaped;
                *escaped = c == '\\' && !*escaped;
                Some((at, is_end))
            })
            .find_map(|(at, is_end)| is_end.then_some(at))
            .unwrap_or_else(|| panic!("{line}"));
        let fresh = out.insert(key.to_owned(), tail[..end].to_owned()).is_none();
        assert!(fresh, "{line}");
        rest = tail[end + 1..].trim_start_matches(',');
    }
    assert!(rest.is_empty(), "{line}");
    (name.to_owned(), out, value)
}

/// What `/metrics` says now.
pub(super) fn scraped(instance: &Instance) -> Vec<Sample> {
    samples(&whole(&admin(instance, "/metrics")))
}

#[test]
fn metrics_are_in_the_text_format_and_count_what_was_served() {
    let stubs = stubs();
    let home = Home::new(&config(&addresses(&stubs), "", ""));
    let instance = home.start(&[]);
    for _request in 0..30 {
        assert_eq!(get(instance.front(), "/").status(), 200);
    }
    let sum = |all: &[Sample], wanted: &str| -> f64 {
        all.iter()
            .filter(|(name, labels, _)| {
                name == wanted && labels.get("pool").is_some_and(|p| p == "shop")
            })
            .map(|(_, _, value)| value)
            .sum()
    };
    until("all picks are in the metrics", PATIENCE, || {
        let answer = admin(&instance, "/metrics");
        assert_eq!(answer.status(), 200);
        let kind = answer.field("content-type").unwrap();
        assert!(
            kind.starts_with("text/plain") || kind.starts_with("application/openmetrics-text"),
            "{kind}"
        );
        let all = samples(&whole(&answer));
        assert!(all.len() > 20, "{}", all.len());
        let by_route = sum(&all, "evenkeel_route_requests_total");
        // What has no pool among its labels is of the one route here.
        let passed = |name: &str, label: (&str, &str)| -> f64 {
            all.iter()
                .filter(|(of, labels, _)| {
                    of == name && labels.get(label.0).is_some_and(|l| l == label.1)
                })
                .map(|(_, _, value)| value)
                .sum()
        };
        let well = passed("evenkeel_route_responses_total", ("class", "2xx"));
        let timed = passed("evenkeel_route_seconds_count", ("listener", "web"));
        let out = passed("evenkeel_backend_bytes_total", ("direction", "out"));
        let connects = sum(&all, "evenkeel_connect_seconds_count");
        let all_there = well >= 30.0 && timed >= 30.0 && out >= 30.0 && connects >= 1.0;
        (sum(&all, "evenkeel_picks_total") >= 30.0 && by_route >= 30.0 && all_there).then_some(())
    });
}

#[test]
fn the_page_answers_with_html_that_loads_nothing_from_elsewhere() {
    let stubs = stubs();
    let home = Home::new(&config(&addresses(&stubs), "", ""));
    let instance = home.start(&[]);
    let answer = admin(&instance, "/");
    assert_eq!(answer.status(), 200);
    assert!(
        answer
            .field("content-type")
            .unwrap()
            .starts_with("text/html")
    );
    assert!(
        answer.field("content-security-policy").is_some(),
        "{answer:?}"
    );
    let page = whole(&answer);
    assert!(page.contains("shop"), "{page}");
    for elsewhere in ["src=\"http", "href=\"http", "url(http", "@import"] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
}

const FIELDS: [&str; 20] = [
    "time",
    "request_id",
    "client",
    "listener",
    "method",
    "path",
    "host",
    "status",
    "route",
    "pool",
    "backend",
    "epoch",
    "revision",
    "attempts",
    "duration_ms",
    "upstream_ms",
    "queued_ms",
    "hedge",
    "bytes_in",
    "bytes_out",
];

fn check_lines(text: &str) -> Vec<Value> {
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    for line in &lines {
        for key in FIELDS {
            assert!(line.get(key).is_some(), "`{key}` is missing: {line}");
        }
        assert!(line.get("error").is_some(), "{line}");
        assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");
    }
    lines
}

#[test]
fn the_access_log_has_a_line_of_json_per_request_in_a_file() {
    let stubs = stubs();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let text =
        format!("access_log = \"{}\"\n", path.display()) + &config(&addresses(&stubs), "", "");
    let home = Home::new(&text);
    let instance = home.start(&[]);
    let honest = Honest::start(instance.front(), 50.0);
    let odd = b"GET /a#b HTTP/1.1\r\nhost: x\r\n\r\n";
    assert_eq!(exchange(instance.front(), odd).status(), 400);
    let quoted = b"GET /a\",\"status\":1,\"x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let quoted = exchange(instance.front(), quoted).status();
    let id = b"GET /q?secret=1 HTTP/1.1\r\nhost: x\r\nx-request-id: my-id-1\r\nconnection: close\r\n\r\n";
    assert_eq!(exchange(instance.front(), id).status(), 200);
    let served = honest.unharmed();
    assert_eq!(instance.stop().code(), Some(0));
    let lines = check_lines(&std::fs::read_to_string(&path).unwrap());
    assert_eq!(lines.len() as u64, served + 3);
    assert!(
        lines
            .iter()
            .any(|l| l["path"] == "/a\",\"status\":1,\"x" && l["status"] == quoted)
    );
    let refused = lines.iter().find(|l| l["status"] == 400).unwrap();
    assert_eq!(refused["error"], "target_fragment", "{refused}");
    assert_eq!(refused["backend"], Value::Null, "{refused}");
    let mine = lines.iter().find(|l| l["request_id"] == "my-id-1").unwrap();
    assert_eq!(mine["path"], "/q", "the query may hold secrets: {mine}");
    assert_eq!(mine["client"], "127.0.0.1");
    assert_eq!(mine["pool"], "shop");
    assert_eq!(mine["revision"], "r1");
}

#[test]
fn after_sigusr1_the_access_log_is_written_into_a_new_file_and_no_line_is_lost() {
    let stubs = stubs();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let old = dir.path().join("access.log.1");
    let text =
        format!("access_log = \"{}\"\n", path.display()) + &config(&addresses(&stubs), "", "");
    let home = Home::new(&text);
    let instance = home.start(&[]);
    let honest = Honest::start(instance.front(), 200.0);
    let has_lines = |path: &Path| std::fs::metadata(path).is_ok_and(|meta| meta.len() > 0);
    until("lines", PATIENCE, || has_lines(&path).then_some(()));
    std::fs::rename(&path, &old).unwrap();
    instance.signal("USR1");
    until("lines in the new file", PATIENCE, || {
        has_lines(&path).then_some(())
    });
    let before = std::fs::metadata(&old).unwrap().len();
    let served = honest.unharmed();
    assert_eq!(std::fs::metadata(&old).unwrap().len(), before);
    assert_eq!(instance.stop().code(), Some(0));
    let lines: usize = [&old, &path]
        .map(|path| check_lines(&std::fs::read_to_string(path).unwrap()).len())
        .iter()
        .sum();
    assert_eq!(lines as u64, served);

    // Without an access log the signal changes nothing.
    let home = Home::new(&config(&addresses(&stubs), "", ""));
    let instance = home.start(&[]);
    instance.signal("USR1");
    assert_eq!(get(instance.front(), "/").status(), 200);
    assert_eq!(instance.stop().code(), Some(0));
}

#[test]
fn the_access_log_goes_to_standard_output_for_a_dash() {
    let origin = Origin::echoing();
    let home = Home::new(&("access_log = \"-\"\n".to_owned() + &config(&[origin.text()], "", "")));
    let out = home.dir().join("out.log");
    // The instance's own standard output goes to a file; `exec` keeps the process.
    let mut command = Command::new("sh");
    command
        .current_dir(home.dir())
        .args([
            "-c",
            "exec \"$0\" \"$@\" > out.log",
            env!("CARGO_BIN_EXE_evenkeel"),
        ])
        .args(["run", "evenkeel.toml", "--data", "data", "--drain", "5s"]);
    let instance = Instance::start(&mut command, &home);
    for _request in 0..5 {
        assert_eq!(get(instance.front(), "/").status(), 200);
    }
    until("lines come while it runs", PATIENCE, || {
        (std::fs::read_to_string(&out).unwrap().lines().count() == 5).then_some(())
    });
    assert_eq!(instance.stop().code(), Some(0));
    assert_eq!(
        check_lines(&std::fs::read_to_string(&out).unwrap()).len(),
        5
    );
}
