//! Input that no person writes: it ends in a clear finding, in bounded time and memory, and never in a panic.

use evenkeel_import::{DEPTH_MAX, File, NoFiles};
use evenkeel_model::finding::Severity;
use evenkeel_model::setup::Balancer;
use proptest::prelude::*;

use crate::{Shelf, file, read};

/// The error messages of a text.
fn errors(text: &str) -> Vec<String> {
    let imported = read(text);
    let errors = imported
        .findings
        .iter()
        .filter(|f| f.severity == Severity::Error);
    let errors: Vec<String> = errors.map(|finding| finding.message.clone()).collect();
    assert_eq!(imported.setup.is_none(), !errors.is_empty(), "{errors:?}");
    errors
}

fn first(text: &str) -> String {
    errors(text).first().cloned().unwrap_or_default()
}

#[test]
fn blocks_that_nest_without_end_are_refused() {
    let text = "a {".repeat(100_000);
    assert!(
        first(&text).contains(&DEPTH_MAX.to_string()),
        "{}",
        first(&text)
    );
}

#[test]
fn a_file_that_includes_itself_is_refused() {
    let shelf = Shelf(vec![
        ("a.conf", "include b.conf;"),
        ("b.conf", "include a.conf;"),
    ]);
    let imported =
        evenkeel_import::read(Balancer::Nginx, file("a.conf", "include b.conf;"), &shelf);
    let message = imported.findings.first().map(|f| f.message.as_str());
    assert_eq!(message, Some("`a.conf` includes itself"));
    assert!(imported.setup.is_none());
}

#[test]
fn a_directive_that_is_no_text_and_files_that_are_too_long_are_refused() {
    for (bytes, words) in [
        (b"http { \xff }".to_vec(), "is not ended by `;`"),
        (vec![b' '; 100 << 20], "104857600 bytes"),
    ] {
        let name = "nginx.conf".to_owned();
        let imported = evenkeel_import::read(Balancer::Nginx, File { name, bytes }, &NoFiles);
        assert!(imported.setup.is_none());
        let message = imported.findings.first().map_or("", |f| f.message.as_str());
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn a_quote_that_is_never_closed_and_endless_words_are_refused() {
    assert!(first("http { add_header a \"b;").contains("never closed"));
    assert!(first(&"a ".repeat(1_000_000)).contains("50000 words"));
    assert!(first(&format!("a {};", "b".repeat(5_000))).contains("at most 4096"));
    assert!(errors(&";".repeat(1_000_000)).len() <= 2_000);
}

#[test]
fn a_million_servers_are_refused_with_the_bound() {
    let text = format!(
        "events {{}} http {{ upstream a {{ {} }} }}",
        "server a;".repeat(1_000_000)
    );
    assert!(
        first(&text).contains("600000 directives"),
        "{}",
        first(&text)
    );
    let text = format!(
        "events {{}} http {{ upstream a {{ {} }} }}",
        "server a;".repeat(200_000)
    );
    assert!(first(&text).contains("100000 servers"), "{}", first(&text));
}

#[test]
fn ten_thousand_servers_are_read() {
    let servers: String = (0..10_000)
        .map(|i| {
            format!(
                "server 10.{}.{}.1:80 weight={};\n",
                i / 256,
                i % 256,
                1 + i % 9
            )
        })
        .collect();
    let text = format!(
        "events {{}} http {{ upstream a {{ {servers} }} server {{ location / {{ proxy_pass http://a; }} }} }}"
    );
    let imported = read(&text);
    let setup = imported.setup.unwrap();
    assert_eq!(setup.pools[0].backends.len(), 10_000);
    assert_eq!(imported.findings, []);
}

/// Texts that repeat each other many times over stay within the bound of work.
#[test]
fn values_that_grow_without_end_are_gaps() {
    let mut maps = String::from("map $host $v0 { default http://a; }\n");
    for level in 1..9 {
        let repeated = format!("$v{}", level - 1).repeat(1_000);
        let map = format!("map $host $v{level} {{ default {repeated}; a {repeated}x; }}\n");
        maps.push_str(&map);
    }
    let text = format!(
        "events {{}} http {{ {maps} server {{ location / {{ proxy_pass http://$v8; }} }} }}"
    );
    let setup = read(&text).setup.unwrap();
    assert_eq!(setup.gaps.len(), 1, "{:?}", setup.gaps);
}

#[test]
fn servers_and_hosts_that_multiply_are_bounded() {
    let hosts: String = (0..2_000).map(|i| format!(" h{i}.test")).collect();
    let listens: String = (1..2_000).map(|port| format!("listen {port};")).collect();
    let server = format!("server {{ {listens} server_name{hosts}; location / {{ return 200; }} }}");
    let other = format!("server {{ {listens} server_name x.test; }}");
    let text = format!("events {{}} http {{ {server} {other} }}");
    assert!(first(&text).contains("200000 routes"), "{}", first(&text));
}

#[test]
fn locations_that_multiply_are_bounded() {
    let regex: String = (0..1_000)
        .map(|i| format!("location ~ ^/r{i} {{}}"))
        .collect();
    let plain: String = (0..1_000)
        .map(|i| format!("location /s/{i} {{}}"))
        .collect();
    let server = format!("server {{ location ^~ /s/ {{}} {regex} {plain} }}");
    let text = format!("events {{}} http {{ {} }}", server.repeat(20));
    assert!(first(&text).contains("200000 routes"), "{}", first(&text));
}

/// Words that mean something to the reader, so that arbitrary mixtures of them get past the tokenizer.
const WORDS: &[&str] = &[
    "http",
    "server",
    "upstream",
    "location",
    "events",
    "stream",
    "map",
    "geo",
    "split_clients",
    "if",
    "set",
    "proxy_pass",
    "listen",
    "server_name",
    "try_files",
    "rewrite",
    "return",
    "hash",
    "random",
    "two",
    "sticky",
    "keepalive",
    "least_conn",
    "backup",
    "weight=3",
    "max_fails=0",
    "a",
    "$a",
    "${b}",
    "http://a",
    "http://$a",
    "https://a:1/",
    "unix:/a",
    "/",
    "/a",
    "=",
    "~",
    "^~",
    "@n",
    "\\.php$",
    "{",
    "}",
    ";",
    "{",
    "}",
    ";",
    "\"",
    "'",
    "#",
    "\n",
    "50%",
    "*",
    "default",
    "80",
    "[::]:80",
    "default_server",
    "(",
    ")",
    "ssl",
    "zone",
    "health_check",
    "proxy_read_timeout",
    "1s",
    "error_page",
    "include",
    "content_by_lua_block",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn arbitrary_bytes_end_in_findings_or_a_setup(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let main = File { name: "nginx.conf".to_owned(), bytes };
        let imported = evenkeel_import::read(Balancer::Nginx, main, &NoFiles);
        let is_refused = imported.findings.iter().any(|f| f.severity == Severity::Error);
        prop_assert_eq!(imported.setup.is_none(), is_refused);
    }

    #[test]
    fn arbitrary_words_end_in_findings_or_a_setup(picks in proptest::collection::vec(0..WORDS.len(), 0..200)) {
        let words: Vec<&str> = picks.iter().map(|pick| WORDS[*pick]).collect();
        let imported = read(&words.join(" "));
        let is_refused = imported.findings.iter().any(|f| f.severity == Severity::Error);
        prop_assert_eq!(imported.setup.is_none(), is_refused);
    }

    /// Every cut of a good file is read to its end, and a setup comes out only where the cut left whole blocks.
    #[test]
    fn truncated_files_end_in_findings_or_a_setup(cut in 0..include_str!("gateway.conf").len()) {
        let imported = read(&include_str!("gateway.conf")[..cut]);
        let is_refused = imported.findings.iter().any(|f| f.severity == Severity::Error);
        prop_assert_eq!(imported.setup.is_none(), is_refused);
    }

    /// Whatever comes out is whole: every target is a pool, names and paths are unique, numbers are in range.
    #[test]
    fn whatever_is_read_is_whole(picks in proptest::collection::vec(0..WORDS.len(), 0..60)) {
        let words: Vec<&str> = picks.iter().map(|pick| WORDS[*pick]).filter(|w| !"{}\"'#".contains(w)).collect();
        let text = format!(
            "http {{ upstream a {{ server a; {}; }} server {{ location / {{ proxy_pass http://a; {}; }} }} }}",
            words.join(" "), words.join(";"),
        );
        if let Some(setup) = read(&text).setup {
            for (pool, part) in setup.routes.iter().flat_map(|route| &route.targets) {
                prop_assert!(setup.pool(pool).is_some() && *part > 0.0);
            }
            let mut names: Vec<&str> = setup.pools.iter().map(|pool| pool.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            prop_assert_eq!(names.len(), setup.pools.len());
        }
    }
}

#[test]
fn a_name_with_a_line_end_cannot_write_lines_into_a_report() {
    let imported = read("events {} http { upstream \"a\nall is sound\" { server 10.0.0.1; } }");
    assert!(imported.setup.is_none());
    assert!(imported.findings.iter().any(|f| f.id == "IMP-04"));
}

#[test]
fn a_file_in_which_nothing_stands_is_not_sound() {
    let imported = read("events {} http {}");
    let first = imported.findings.first().map(|f| (f.id, f.severity));
    assert_eq!(first, Some(("IMP-04", Severity::Warning)));
}
