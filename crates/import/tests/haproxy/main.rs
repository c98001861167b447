//! haproxy.cfg files as people have them, good and bad, each with all that comes out of it as a snapshot; and input that
//! means harm.
//!
//! Every file was given to `haproxy -c` of 2.6.12 by hand: it accepts those under "accepted" and refuses the others.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails here"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "the tests read the files beside them"
)]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use evenkeel_import::{File, Imported, NoFiles, read, recognise};
use evenkeel_model::finding::Severity;
use evenkeel_model::setup::Balancer;
use proptest::prelude::*;

mod asides;
mod known;
mod reach;

#[path = "../support/summary.rs"]
mod summary;

pub(crate) fn import(name: &str, bytes: impl Into<Vec<u8>>) -> Imported {
    let name = name.to_owned();
    let bytes = bytes.into();
    read(Balancer::Haproxy, File { name, bytes }, &NoFiles)
}

fn file(name: &str) -> Imported {
    let path = format!("{}/tests/haproxy/{name}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(path).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert_eq!(
        recognise("unnamed", &text),
        Some(Balancer::Haproxy),
        "{name}"
    );
    import(name, bytes)
}

/// The places of the values, by path.
fn places(imported: &Imported) -> String {
    let mut text = String::new();
    for (path, span) in &imported.origin.spans {
        let source = &imported.origin.sources[span.source];
        let at = source.location(span.range.clone());
        let value = source.text.get(span.range.clone()).unwrap();
        writeln!(text, "{}:{} {path} = {value}", at.line, at.column).unwrap();
    }
    text
}

macro_rules! accepted {
    ($($test:ident => $file:literal),+ $(,)?) => {$(
        #[test]
        fn $test() {
            let imported = file($file);
            assert!(imported.setup.is_some(), "{:#?}", imported.findings);
            insta::assert_snapshot!($file, summary::summary(&imported));
        }
    )+};
}

macro_rules! refused {
    ($($test:ident => $file:literal),+ $(,)?) => {$(
        #[test]
        fn $test() {
            let imported = file($file);
            assert!(imported.setup.is_none());
            insta::assert_snapshot!($file, summary::summary(&imported));
        }
    )+};
}

accepted! {
    the_file_that_debian_ships_is_read => "plain.cfg",
    an_edge_of_a_shop_is_read => "production.cfg",
    a_generated_file_of_many_services_is_read => "services.cfg",
    weights_backups_and_duplicates_are_kept_as_they_are => "weights.cfg",
    hashes_have_their_key_table_and_ids => "hashes.cfg",
    tcp_proxies_have_their_checks_and_fall_back_from_request_hashes => "databases.cfg",
    cookies_and_tables_bind_clients_only_where_they_can => "sticky.cfg",
    limits_retries_and_timeouts_are_inherited_and_overridden => "limits.cfg",
    checks_are_those_of_the_pool_or_their_own => "checks.cfg",
    conditions_and_variables_of_the_file_are_evaluated => "conditions.cfg",
    variables_of_the_environment_are_gaps => "variables.cfg",
    what_only_shows_at_run_time_is_a_gap => "dynamic.cfg",
    server_names_in_tls_are_hosts_of_routes => "sni.cfg",
    quotes_and_escapes_end_where_haproxy_ends_them => "quoting.cfg",
    lines_may_end_as_on_windows => "windows.cfg",
}

refused! {
    names_of_what_is_not_there_are_refused => "missing.cfg",
    values_out_of_range_are_refused => "ranges.cfg",
    all_broken_lines_are_named_at_once => "syntax.cfg",
    a_file_cut_short_is_refused => "truncated.cfg",
}

#[test]
fn every_value_stands_where_its_path_points() {
    insta::assert_snapshot!("limits_places", places(&file("limits.cfg")));
    insta::assert_snapshot!("checks_places", places(&file("checks.cfg")));
}

#[test]
fn a_default_is_not_declared() {
    let origin = file("plain.cfg").origin;
    assert!(origin.declares("backend.app.timeout.connect"));
    assert!(!origin.declares("backend.app.timeout.queue"));
    assert!(!origin.declares("backend.app.health.interval"));
    assert!(!origin.declares("backend.app.server.web1.weight"));
    assert!(!origin.declares("backend.app.retry"));
}

fn refuses(imported: &Imported) -> bool {
    let mut findings = imported.findings.iter();
    imported.setup.is_none() && findings.any(|finding| finding.severity == Severity::Error)
}

/// A bound that no machine misses by itself and every quadratic reader does.
fn in_time(what: impl FnOnce()) {
    let start = Instant::now();
    what();
    assert!(
        start.elapsed() < Duration::from_secs(120),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn an_enormous_file_is_refused_before_it_is_read() {
    in_time(|| assert!(refuses(&import("big.cfg", vec![b'#'; 100 << 20]))));
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    assert!(refuses(&import(
        "bytes.cfg",
        b"global\n maxconn \xff\n".to_vec()
    )));
}

#[test]
fn a_million_servers_are_refused_at_the_bound() {
    let mut text = "backend b\n".to_owned();
    for i in 0..1_000_000 {
        writeln!(text, " server {i} h").unwrap();
    }
    in_time(|| {
        let imported = import("many.cfg", text);
        assert!(refuses(&imported));
        assert!(
            imported
                .findings
                .iter()
                .any(|finding| finding.id == "IMP-05")
        );
    });
    in_time(|| {
        assert!(refuses(&import(
            "slots.cfg",
            "backend b\n server-template s 1-4000000000 h:1\n"
        )));
    });
}

#[test]
fn a_million_sections_and_blocks_end_in_time() {
    in_time(|| {
        assert!(refuses(&import(
            "backends.cfg",
            "backend b\n".repeat(1_000_000)
        )));
    });
    in_time(|| assert!(refuses(&import("blocks.cfg", ".if 1\n".repeat(1_000_000)))));
    in_time(|| drop(import("defaults.cfg", "defaults\n".repeat(300_000))));
}

#[test]
fn alternatives_do_not_multiply_without_a_bound() {
    let values: String = (0..60).fold(String::new(), |text, i| text + &format!(" /p{i}"));
    let hosts: String = (0..60).fold(String::new(), |text, i| text + &format!(" h{i}"));
    let mut text = "frontend f\n bind :80\n".to_owned();
    writeln!(text, " acl p path_beg{values}\n acl h hdr(host){hosts}").unwrap();
    for _ in 0..100_000 {
        text.push_str(" use_backend b if h p\n");
    }
    text.push_str("backend b\n server s h:1\n");
    in_time(|| drop(import("product.cfg", text)));
}

#[test]
fn variables_do_not_grow_without_a_bound() {
    let mut text = "global\n setenv A aaaaaaaaaaaaaaaa\n".to_owned();
    for _ in 0..10_000 {
        text.push_str(" setenv A \"$A$A\"\n");
    }
    in_time(|| drop(import("bomb.cfg", text)));
}

#[test]
fn ten_thousand_servers_are_read_in_time() {
    let mut text =
        "defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n"
            .to_owned();
    text.push_str("frontend f\n bind :80\n default_backend b\nbackend b\n balance leastconn\n");
    for i in 0..10_000 {
        writeln!(
            text,
            " server s{i} 10.0.{}.{}:80 check weight 10",
            i / 250,
            i % 250
        )
        .unwrap();
    }
    in_time(|| {
        let setup = import("large.cfg", text).setup.unwrap();
        assert_eq!(setup.pools[0].backends.len(), 10_000);
    });
}

/// Words of the format, so that arbitrary files get past the first line.
const WORDS: [&str; 60] = [
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "resolvers",
    "server",
    "server-template",
    "default-server",
    "bind",
    "balance",
    "roundrobin",
    "hdr(a)",
    "random(2)",
    "hash",
    "src,x",
    "uri",
    "hash-type",
    "consistent",
    "mode",
    "http",
    "tcp",
    "acl",
    "use_backend",
    "default_backend",
    "if",
    "unless",
    "{",
    "}",
    "or",
    "!",
    "path_beg",
    "hdr(host)",
    "-i",
    "-f",
    "option",
    "httpchk",
    "cookie",
    "stick",
    "on",
    "stick-table",
    "expire",
    "10s",
    "timeout",
    "connect",
    "weight",
    "257",
    "-1",
    "check",
    "track",
    "a/b",
    ".if",
    ".else",
    ".endif",
    "\"$A\"",
    "\"${A-b}\"",
    "setenv",
    "no",
    "from",
    "http-request",
];

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let imported = import("bytes.cfg", bytes);
        let is_refused = imported.findings.iter().any(|f| f.severity == Severity::Error);
        prop_assert_eq!(imported.setup.is_none(), is_refused);
    }

    #[test]
    fn arbitrary_lines_of_the_format_never_panic(
        lines in proptest::collection::vec(proptest::collection::vec(0..WORDS.len() + 4, 1..8), 0..40),
    ) {
        let mut text = String::new();
        for line in lines {
            for word in line {
                text.push_str(WORDS.get(word).copied().unwrap_or("a"));
                text.push(' ');
            }
            text.push('\n');
        }
        let imported = import("words.cfg", text.clone());
        let is_refused = imported.findings.iter().any(|f| f.severity == Severity::Error);
        prop_assert_eq!(imported.setup.is_none(), is_refused);
        for span in imported.origin.spans.values() {
            prop_assert!(text.get(span.range.clone()).is_some());
        }
    }
}
