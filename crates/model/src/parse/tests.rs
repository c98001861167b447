//! What the reader of configurations accepts and refuses.

use std::time::Duration;

use proptest::prelude::*;

mod adaptive;
mod backend_tls;
mod decided;
mod edits;
mod log;
mod matching;
mod networks;
mod place;
mod protocols;
mod standing;
mod target;
mod tls;
mod tracing;
mod upgrade;

use super::{BACKENDS_MAX, Parsed, TEXT_MAX, parse};
use crate::canonical::to_toml;
use crate::config::{Address, Algorithm, Config, HealthCheck, Intent, NPlusOne, Session};
use crate::finding::Severity;
use crate::units::{ByteSize, Ratio};

/// The example of the contract with three backends.
pub(crate) const SHOP: &str = r#"
workers = 2
[admin]
address = "127.0.0.1:7700"
[audit]
every = "24h"

[listener.web]
address = "127.0.0.1:8080"

[[route]]
listener = "web"
path_prefix = "/"
pool = "shop"

[pool.shop]
algorithm = "round_robin"
intent = "capacity"
peak_rps = 900
headroom = "20%"
tolerance = "20%"
min_healthy = 2
objective = { error_rate = "1%", p99 = "500ms" }
session = { cookie = "sid" }
[pool.shop.health]
path = "/healthz"
interval = "1s"
[pool.shop.backend.web-1]
address = "127.0.0.1:8081"
weight = 1
capacity_rps = 600
zone = "a"
version = "v1"
[pool.shop.backend.web-2]
address = "127.0.0.1:8082"
weight = 1
capacity_rps = 600
[pool.shop.backend.web-3]
address = "127.0.0.1:8083"
weight = 1
capacity_rps = 600
"#;

const SMALLEST: &str = r#"
[listener.web]
address = "[::1]:8080"
[[route]]
listener = "web"
pool = "shop"
[pool.shop.backend."web.1"]
address = "unix:/run/web.sock"
"#;

fn good(text: &str) -> Config {
    let parsed = parse(text, Some("test.toml"));
    assert_eq!(parsed.findings, [], "{text}");
    parsed.config.unwrap()
}

/// Ids, places and paths of all findings.
fn found(parsed: &Parsed) -> Vec<(&'static str, u32, u32, &str)> {
    let place =
        |f: &crate::finding::Finding| f.location.clone().map_or((0, 0), |l| (l.line, l.column));
    parsed
        .findings
        .iter()
        .map(|f| (f.id, place(f).0, place(f).1, f.path.as_str()))
        .collect()
}

/// `SHOP` with one text replaced.
fn shop_with(from: &str, to: &str) -> Parsed {
    assert!(SHOP.contains(from), "{from}");
    parse(&SHOP.replacen(from, to, 1), Some("shop.toml"))
}

#[test]
fn the_example_of_the_contract_is_read_as_written() {
    let config = good(SHOP);
    assert_eq!(config.workers.map(std::num::NonZeroU16::get), Some(2));
    let pool = config.pool("shop").unwrap();
    assert_eq!(pool.algorithm, Algorithm::RoundRobin);
    assert_eq!(
        (pool.intent, pool.peak_rps, pool.min_healthy),
        (Intent::Capacity, Some(900.0), 2)
    );
    assert_eq!(pool.objective.p99, Duration::from_millis(500));
    assert_eq!(pool.session, Session::Cookie("sid".to_owned()));
    let health = pool.health.as_ref().unwrap();
    let http = health.http().unwrap();
    assert_eq!(
        (http.path.as_str(), health.rise, health.fall),
        ("/healthz", 2, 3)
    );
    assert_eq!(http.expect_status, (200, 299));
    assert_eq!(health.interval_down, health.interval);
    let (_, first) = pool.backend("web-1").unwrap();
    assert_eq!(
        (first.weight, first.weight_declared, first.capacity_rps),
        (1, true, Some(600.0))
    );
    assert_eq!(first.zone.as_ref().unwrap(), &"a");
}

#[test]
fn what_is_left_out_takes_the_documented_default() {
    let config = good(SMALLEST);
    assert_eq!(
        (config.workers, config.watch, &config.access_log),
        (None, false, &None)
    );
    assert_eq!(config.admin.address.to_string(), "127.0.0.1:7700");
    assert_eq!(config.audit_every, Duration::from_hours(24));
    assert!(!config.drills_allowed && config.receivers.is_empty() && config.escalation.is_empty());
    let listener = config.listener("web").unwrap();
    let timeouts = [
        listener.head_timeout,
        listener.body_timeout,
        listener.idle_timeout,
        listener.write_timeout,
    ];
    assert_eq!(timeouts.map(|t| t.as_secs()), [10, 30, 60, 30]);
    assert_eq!(
        (listener.head_max, listener.body_max),
        (ByteSize(16_384), ByteSize(0))
    );
    assert_eq!(listener.connections_max, 10_000);
    assert_eq!(
        (
            config.routes[0].host.as_deref(),
            config.routes[0].matcher.path.prefix()
        ),
        (None, "/")
    );
    let pool = config.pool("shop").unwrap();
    assert_eq!(
        (pool.algorithm, pool.intent, pool.peak_rps),
        (Algorithm::RoundRobin, Intent::Even, None)
    );
    assert_eq!(
        (pool.headroom, pool.tolerance),
        (Ratio::from_percent(20), Ratio::from_percent(20))
    );
    assert_eq!((pool.min_healthy, pool.n_plus_one), (1, NPlusOne::Warn));
    assert_eq!(
        (pool.objective.error_rate, pool.objective.p99.as_secs()),
        (Ratio::from_percent(1), 1)
    );
    assert_eq!(
        (&pool.session, &pool.health),
        (&Session::ClientAddress, &None)
    );
    let timeouts = [
        pool.connect_timeout,
        pool.response_timeout,
        pool.idle_timeout,
        pool.request_timeout,
    ];
    assert_eq!(timeouts.map(|t| t.as_secs()), [1, 15, 30, 30]);
    assert_eq!(
        (pool.retry.attempts, pool.retry.budget),
        (1, Ratio::from_percent(20))
    );
    assert_eq!((pool.max_in_flight, pool.harmed_clients_min), (None, 20));
    let backend = &pool.backends[0];
    assert_eq!(
        (
            backend.name.as_str(),
            backend.weight,
            backend.weight_declared
        ),
        ("web.1", 1, false)
    );
    assert_eq!(backend.address, Address::Unix("/run/web.sock".into()));
}

#[test]
fn lists_keep_the_order_of_the_file() {
    let text = format!(
        "{SMALLEST}[pool.a.backend.z]\naddress='1.2.3.4:1'\n[pool.a.backend.b]\naddress='1.2.3.4:2'\n"
    );
    let config = good(&text);
    let names: Vec<_> = config.pools.iter().map(|p| p.name.to_string()).collect();
    assert_eq!(names, ["shop", "a"]);
    let names: Vec<_> = config.pools[1]
        .backends
        .iter()
        .map(|b| b.name.to_string())
        .collect();
    assert_eq!(names, ["z", "b"]);
}

#[test]
fn intent_is_capacity_only_when_every_backend_declares_one() {
    let all = good(&SHOP.replace("intent = \"capacity\"\n", ""));
    assert_eq!(all.pools[0].intent, Intent::Capacity);
    let some = good(&SHOP.replace("intent = \"capacity\"\n", "").replacen(
        "capacity_rps = 600\n",
        "",
        1,
    ));
    assert_eq!(some.pools[0].intent, Intent::Even);
    let parsed = shop_with("capacity_rps = 600\n", "");
    assert_eq!(
        found(&parsed),
        [("CFG-04", 28, 1, "pool.shop.backend.web-1.capacity_rps")]
    );
}

#[test]
fn weights_left_out_are_derived_from_capacity_and_only_then() {
    let text =
        SHOP.replace("weight = 1\n", "")
            .replacen("capacity_rps = 600", "capacity_rps = 900", 1);
    let weights = |text: &str| {
        good(text).pools[0]
            .backends
            .iter()
            .map(|b| b.weight)
            .collect::<Vec<_>>()
    };
    assert_eq!(weights(&text), [3, 2, 2]);
    assert_eq!(
        weights(&text.replace("intent = \"capacity\"", "intent = \"even\"")),
        [1, 1, 1]
    );
    let one_declared = text.replacen(
        "address = \"127.0.0.1:8082\"",
        "address = \"127.0.0.1:8082\"\nweight = 10",
        1,
    );
    assert_eq!(weights(&one_declared), [3, 10, 2]);
}

#[test]
fn all_findings_come_at_once_sorted_by_place_and_each_says_effect_and_fix() {
    let text = r#"
wrokers = 2
[listener.web]
address = "localhost:8080"
head_timeout = 10
[[route]]
listener = "web"
pool = "shp"
[pool.shop]
algoritm = "round_robin"
tolerance = 0.2
peak_rps = "900"
idle_timeout = "0s"
[pool.shop.backend.web-1]
address = "web.internal:80"
weight = 65536
[pool.shop.backend.web-2]
weight = -1
"#;
    let parsed = parse(text, Some("bad.toml"));
    assert_eq!(parsed.config, None);
    let ids: Vec<_> = found(&parsed)
        .into_iter()
        .map(|(id, line, _, path)| (id, line, path))
        .collect();
    assert_eq!(
        ids,
        [
            ("CFG-02", 2, "wrokers"),
            ("CFG-03", 4, "listener.web.address"),
            ("CFG-03", 5, "listener.web.head_timeout"),
            ("CFG-05", 8, "route.0.pool"),
            ("CFG-02", 10, "pool.shop.algoritm"),
            ("CFG-03", 11, "pool.shop.tolerance"),
            ("CFG-03", 12, "pool.shop.peak_rps"),
            ("TMO-01", 13, "pool.shop.idle_timeout"),
            ("CFG-03", 15, "pool.shop.backend.web-1.address"),
            ("CFG-06", 16, "pool.shop.backend.web-1.weight"),
            ("CFG-04", 17, "pool.shop.backend.web-2.address"),
            ("CFG-06", 18, "pool.shop.backend.web-2.weight"),
        ]
    );
    for finding in &parsed.findings {
        assert_eq!(finding.severity, Severity::Error);
        assert_eq!(finding.file.as_deref(), Some("bad.toml"));
        assert!(
            !finding.effect.is_empty() && !finding.fix.is_empty(),
            "{finding:?}"
        );
    }
    let fix = |i: usize| parsed.findings[i].fix.as_str();
    assert_eq!(fix(0), "did you mean `workers`?");
    assert_eq!(
        fix(1),
        "write \"127.0.0.1:8080\": names are not resolved here"
    );
    assert_eq!(fix(2), "put the unit into the value, for example \"10s\"");
    assert_eq!(fix(3), "did you mean \"shop\"?");
    assert!(
        fix(8).contains("`[pool.NAME.members]` with `dns = "),
        "{}",
        fix(8)
    );
    assert_eq!(
        parsed.findings[9].message,
        "`pool.shop.backend.web-1.weight` must be at most 65535, got `65536` (a whole number)"
    );
}

#[test]
fn a_finding_points_at_the_value_in_the_text() {
    let parsed = shop_with("weight = 1\n", "weight = 100000\n");
    let location = parsed.findings[0].location.clone().unwrap();
    assert_eq!(
        &parsed.origin.sources[0].text[location.span.clone()],
        "100000"
    );
    assert_eq!((location.line, location.column), (30, 10));
    assert_eq!(
        parsed.origin.sources[0].location(location.span.clone()),
        location
    );
}

#[test]
fn the_origin_knows_the_place_of_every_value_and_table() {
    let parsed = parse(SHOP, None);
    let at = |path: &str| parsed.origin.locate(path).1.map(|l| &SHOP[l.span]);
    assert_eq!(at("pool.shop.backend.web-1.weight"), Some("1"));
    assert_eq!(
        at("pool.shop.backend.web-1"),
        Some("[pool.shop.backend.web-1]")
    );
    assert_eq!(
        at("pool.shop.backend.web-1.address.port"),
        Some("\"127.0.0.1:8081\"")
    );
    assert_eq!(at("pool.shop"), Some("[pool.shop]"));
    assert_eq!(at("pool.shop.objective.p99"), Some("\"500ms\""));
    assert_eq!(at("route.0"), Some("[[route]]"));
    assert_eq!(at("route.0.pool"), Some("\"shop\""));
    assert_eq!(at("listener.web"), Some("[listener.web]"));
    assert_eq!(at("audit.every"), Some("\"24h\""));
    let dotted = parse(SMALLEST, None);
    assert!(
        dotted
            .origin
            .spans
            .contains_key("pool.shop.backend.\"web.1\".address")
    );
}

#[test]
fn syntax_errors_are_reported_with_their_place_and_nothing_else_is_guessed() {
    let parsed = parse("[listener.web\naddress = \n", None);
    assert!(parsed.config.is_none() && !parsed.findings.is_empty());
    assert!(
        parsed
            .findings
            .iter()
            .all(|f| f.id == "CFG-01" && f.location.is_some())
    );
    let twice = shop_with("weight = 1\n", "weight = 1\nweight = 10\nwieght = 1\n");
    assert_eq!(
        found(&twice),
        [
            ("CFG-07", 31, 1, ""),
            ("CFG-02", 32, 1, "pool.shop.backend.web-1.wieght")
        ]
    );
}

#[test]
fn an_empty_file_names_everything_that_is_missing() {
    let parsed = parse("", None);
    let messages: Vec<_> = parsed.findings.iter().map(|f| f.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "the file has no listener",
            "the file has no pool",
            "the file has no route"
        ]
    );
    let parsed = shop_with("[pool.shop]", "[pool.other]\n[pool.shop]");
    assert_eq!(found(&parsed)[0], ("CFG-04", 16, 1, "pool.other.backend"));
}

#[test]
fn listeners_that_clash_with_each_other_or_with_admin_are_refused() {
    for address in [
        "127.0.0.1:7700",
        "0.0.0.0:7700",
        "127.0.0.1:8080",
        "0.0.0.0:8080",
    ] {
        let parsed = shop_with(
            "[[route]]",
            &format!("[listener.x]\naddress = \"{address}\"\n[[route]]"),
        );
        assert_eq!(found(&parsed)[0].0, "CFG-07", "{address}");
    }
    for address in [
        "127.0.0.1:8081",
        "[::1]:8080",
        "127.0.0.2:8080",
        "127.0.0.1:0",
        "unix:/x",
    ] {
        let parsed = shop_with(
            "[[route]]",
            &format!("[listener.x]\naddress = \"{address}\"\n[[route]]"),
        );
        assert!(parsed.config.is_some(), "{address}");
        assert_eq!(
            found(&parsed)[0].0,
            "CFG-04",
            "only the warning that no route names it"
        );
    }
}

#[test]
fn listeners_on_port_0_never_clash() {
    let text = SHOP
        .replace("127.0.0.1:7700", "127.0.0.1:0")
        .replace("127.0.0.1:8080", "127.0.0.1:0");
    assert_eq!(parse(&text, None).findings, []);
}

#[test]
fn zero_timeouts_are_tmo_01_wherever_traffic_waits() {
    for key in [
        "connect_timeout",
        "response_timeout",
        "idle_timeout",
        "request_timeout",
    ] {
        let parsed = shop_with("peak_rps = 900", &format!("peak_rps = 900\n{key} = \"0\""));
        assert_eq!(
            found(&parsed)[0],
            (
                "TMO-01",
                20,
                key.len() as u32 + 4,
                format!("pool.shop.{key}").as_str()
            )
        );
    }
    let parsed = shop_with("interval = \"1s\"", "timeout = \"0ms\"");
    assert_eq!(found(&parsed)[0].0, "TMO-01");
}

/// What is written in place of what, the finding's id and its fix.
const WRONG: &[(&str, &str, &str, &str)] = &[
    (
        "listener = \"web\"",
        "listener = \"wbe\"",
        "CFG-05",
        "did you mean \"web\"?",
    ),
    (
        "\"round_robin\"",
        "\"roundrobin\"",
        "CFG-03",
        "did you mean \"round_robin\"?",
    ),
    (
        "intent = \"capacity\"",
        "intent = \"fair\"",
        "CFG-03",
        "write one of them, such as `intent = \"even\"`",
    ),
    (
        "[audit]",
        "[[escalation]]\nname=\"a\"\nnotify=[\"x\"]\n[audit]",
        "CFG-05",
        "add `[notify.x]` or name one that exists",
    ),
    (
        "[audit]",
        "[[escalation]]\nname=\"a\"\nnotify=[]\n[audit]",
        "CFG-03",
        "name those who are paged",
    ),
    (
        "path_prefix = \"/\"",
        "path_prefix = \"cart\"",
        "CFG-03",
        "write \"/cart\"",
    ),
    (
        "path_prefix = \"/\"",
        "host = \"https://x\"",
        "CFG-03",
        "leave scheme, port and path out",
    ),
    (
        "interval = \"1s\"",
        "expect_status = \"300-200\"",
        "CFG-03",
        "write `200` or \"200-399\"",
    ),
    (
        "127.0.0.1:8081",
        "127.0.0.1:0",
        "CFG-03",
        "write the port that the backend listens on",
    ),
    (
        "127.0.0.1:8081",
        "http://127.0.0.1:8081/",
        "CFG-03",
        "leave the scheme and the path out: \"127.0.0.1:8081\"",
    ),
    (
        "127.0.0.1:8081",
        "127.0.0.1",
        "CFG-03",
        "add the port: \"127.0.0.1:8080\"",
    ),
    (
        "127.0.0.1:8081",
        "::1:18081",
        "CFG-03",
        "put brackets around the IPv6 address: \"[::1]:18081\"",
    ),
];

#[test]
fn references_and_forms_of_values_are_checked() {
    for &(from, to, id, fix) in WRONG {
        let parsed = shop_with(from, to);
        let first = parsed
            .findings
            .first()
            .unwrap_or_else(|| panic!("{to} is accepted"));
        assert_eq!(
            (first.id, first.fix.as_str()),
            (id, fix),
            "{to}: {}",
            first.message
        );
    }
}

#[test]
fn a_check_by_connection_takes_nothing_of_http_and_nobody_down_is_asked_more_often() {
    let health = "[pool.shop.health]\npath = \"/healthz\"\ninterval = \"1s\"";
    assert!(SHOP.contains(health));
    let with = |keys: &str| {
        let keys = format!("[pool.shop.health]\n{keys}");
        let parsed = shop_with(health, &keys);
        let said = parsed.findings.first().map(|f| (f.id, f.message.clone()));
        (parsed.config, said)
    };
    let (config, said) = with("kind = \"tcp\"\ninterval = \"1s\"\ninterval_down = \"10s\"");
    assert_eq!(said, None);
    let health = config.unwrap().pools[0].health.clone().unwrap();
    assert_eq!(health.check, HealthCheck::Tcp);
    assert_eq!(health.interval_down, Duration::from_secs(10));
    for key in ["path = \"/\"", "host = \"a\"", "expect_status = 200"] {
        let (_, said) = with(&format!("kind = \"tcp\"\n{key}"));
        let (id, message) = said.unwrap();
        let word = key.split(' ').next().unwrap();
        let whole =
            format!("`pool.shop.health.{word}` is for a check by HTTP, but the kind is `tcp`");
        assert_eq!((id, message), ("CFG-06", whole));
    }
    let (_, said) = with("path = \"/\"\ninterval_down = \"500ms\"");
    let (id, message) = said.unwrap();
    assert_eq!(
        (id, &*message),
        (
            "CFG-06",
            "`pool.shop.health.interval_down` is 500ms, shorter than the interval of 1s"
        )
    );
    let (_, said) = with("kind = \"http\"");
    assert_eq!(said.unwrap().0, "CFG-04");
}

#[test]
fn other_forms_of_values_are_accepted() {
    for (from, to) in [
        ("interval = \"1s\"", "expect_status = 204"),
        ("interval = \"1s\"", "expect_status = \"200-399\""),
        ("peak_rps = 900", "peak_rps = 900.5"),
        (
            "peak_rps = 900",
            "peak_rps = 0x10\nn_plus_one = \"refuse\"\nretry = { attempts = 0, budget = \"0%\" }",
        ),
        (
            "path_prefix = \"/\"",
            "path_prefix = \"/cart/\"\nhost = \"*.Example.com\"",
        ),
        (
            "[audit]",
            "[notify.chat]\nurl = \"https://x/y\"\nsecret_file = \"/s\"\n[[escalation]]\nname = \"a\"\nnotify = [\"chat\"]\n[admin.token.ci]\nfile = \"/t\"\nrole = \"operate\"\n[webhook.argo]\nsecret_file = \"/w\"\n[drills]\nallowed = true\n[audit]",
        ),
    ] {
        assert_eq!(shop_with(from, to).findings, [], "{to}");
    }
    let config = shop_with(
        "path_prefix = \"/\"",
        "path_prefix = \"/cart/\"\nhost = \"*.Example.com\"",
    )
    .config
    .unwrap();
    assert_eq!(config.routes[0].matcher.path.prefix(), "/cart");
    assert_eq!(config.routes[0].host.as_deref(), Some("*.example.com"));
}

#[test]
fn what_is_doubtful_but_works_is_a_warning() {
    let parsed = shop_with("min_healthy = 2", "min_healthy = 4");
    assert_eq!(
        (found(&parsed)[0].0, parsed.findings[0].severity),
        ("CFG-06", Severity::Warning)
    );
    assert!(parsed.config.is_some());
    let parsed = shop_with(
        "[pool.shop]",
        "[[route]]\nlistener = \"web\"\npool = \"shop\"\n[pool.shop]",
    );
    assert_eq!(
        (found(&parsed)[0].0, parsed.findings[0].severity),
        ("CFG-07", Severity::Warning)
    );
    assert!(parsed.config.is_some());
}

#[test]
fn hostile_texts_are_refused_in_bounds() {
    for text in [
        "[".repeat(100_000),
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{a=".repeat(100_000)),
        format!("{} = 1", "a.".repeat(100_000)),
        format!("{}a = 1", "a.".repeat(100_000)),
        format!("[{}a]", "a.".repeat(100_000)),
        "x".repeat(TEXT_MAX + 1),
        format!("[pool.\"{}\"]\na=1\nb=1\n", "n".repeat(1 << 20)),
        (0..50_000).map(|i| format!("k{i} = 1\n")).collect(),
        (0..20_000).map(|i| format!("[[route]]\nlistener = \"l{i}\"\npool = \"p\"\n")).collect(),
        "weight = 99999999999999999999999999999\n[pool.a]\npeak_rps = 1e999\nmin_healthy = -99999999999999999999\n".to_owned(),
        "\u{FEFF}a\0b".to_owned(),
    ] {
        let parsed = parse(&text, None);
        assert!(parsed.config.is_none());
        assert!(!parsed.findings.is_empty() && parsed.findings.len() <= 1_001);
        assert!(parsed.findings.iter().all(|f| f.message.len() < 600 && f.path.len() < 300));
    }
}

#[test]
fn more_backends_than_the_bound_are_one_finding() {
    let mut text = SMALLEST.to_owned();
    for i in 0..=BACKENDS_MAX {
        let port = i % 60_000 + 1;
        let lines = [
            format!("[pool.shop.backend.b{i}]\n"),
            format!("address = \"10.0.0.1:{port}\"\n"),
        ];
        text.extend(lines);
    }
    let parsed = parse(&text, None);
    assert_eq!(found(&parsed).len(), 1);
    assert!(
        parsed.findings[0]
            .message
            .contains("at most 100000 backends, got 100002")
    );
}

/// Small edits of a valid file: what a person's slip or a bad disk makes of it.
fn mutated() -> impl Strategy<Value = String> {
    let edit = (
        any::<proptest::sample::Index>(),
        any::<proptest::sample::Index>(),
        "[ -~\\n\"=.\\[\\]{}é]{0,4}",
    );
    proptest::collection::vec(edit, 1..4).prop_map(|edits| {
        let mut chars: Vec<char> = SHOP.chars().collect();
        for (at, length, with) in edits {
            let from = at.index(chars.len());
            let to = (from + length.index(12)).min(chars.len());
            chars.splice(from..to, with.chars());
        }
        chars.into_iter().collect()
    })
}

/// What holds for every text whatever it says.
fn check_any(text: &str) {
    let parsed = parse(text, None);
    let errors = parsed
        .findings
        .iter()
        .any(|f| f.severity == Severity::Error);
    assert_eq!(parsed.config.is_none(), errors);
    let starts: Vec<_> = parsed
        .findings
        .iter()
        .map(|f| f.location.clone().unwrap().span.start)
        .collect();
    assert!(starts.is_sorted());
    for finding in &parsed.findings {
        let location = finding.location.clone().unwrap();
        assert_eq!(
            parsed.origin.sources[0].location(location.span.clone()),
            location
        );
    }
    if let Some(config) = parsed.config {
        assert_eq!(parse(&to_toml(&config), None).config, Some(config));
    }
}

proptest! {
    #[test]
    fn the_canonical_text_of_any_configuration_reads_back_equal(config in super::strategies::config()) {
        let text = to_toml(&config);
        let parsed = parse(&text, None);
        prop_assert_eq!(parsed.config.as_ref(), Some(&config), "{}\n{:?}", text, parsed.findings);
    }

    #[test]
    fn arbitrary_texts_never_panic(text in "\\PC*") {
        check_any(&text);
    }

    #[test]
    fn arbitrary_lines_of_known_words_never_panic(
        lines in proptest::collection::vec("(\\[{0,2}(pool|route|listener|admin)(\\.[a-z\"]{1,3}){0,2}\\]{0,2}|(address|weight|pool|health|backend|objective)(\\.[a-z]){0,1} = [0-9a-z\"'%{}=.\\[\\]-]{0,8})", 0..12)
    ) {
        check_any(&lines.join("\n"));
    }

    #[test]
    fn mutated_files_never_panic(text in mutated()) {
        check_any(&text);
    }
}
