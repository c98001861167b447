//! What rules and the forecast ask for: paths of values that stand in the file, effective values, gaps.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at what it did not expect"
)]

use evenkeel_model::finding::Severity;
use evenkeel_model::setup::{Backend, Pool, Setup, Touches, Wait};

use crate::read;

fn setup(http: &str) -> Setup {
    let imported = read(&format!("events {{}} http {{ {http} }}"));
    imported
        .setup
        .unwrap_or_else(|| panic!("{:?}", imported.findings))
}

fn pool(http: &str) -> Pool {
    setup(http).pools.into_iter().next().unwrap()
}

fn backend(parameters: &str) -> Backend {
    let pool = pool(&format!(
        "upstream a {{ server b {parameters}; server c; }}"
    ));
    pool.backends.into_iter().next().unwrap()
}

#[test]
fn exactly_what_stands_in_the_file_is_declared() {
    let text = "worker_processes 2;\nevents { }\nhttp {\n  proxy_read_timeout 5s;\n  \
                upstream a {\n    least_conn;\n    server b:1 weight=2 max_conns=3;\n    server c:1;\n  }\n  \
                server { listen 80; location / { proxy_pass http://a; proxy_next_upstream_tries 2; } }\n}\n";
    let imported = read(text);
    let declares = |path: &str| imported.origin.declares(path);
    for path in [
        "workers",
        "listener.\"*:80\"",
        "server.0.location.\"/\"",
        "upstream.a",
        "upstream.a.algorithm",
        "upstream.a.timeout.response",
        "upstream.a.retry.attempts",
        "upstream.a.server.\"b:1\"",
        "upstream.a.server.\"b:1\".weight",
        "upstream.a.server.\"b:1\".in_flight_max",
        "upstream.a.server.\"c:1\"",
    ] {
        assert!(declares(path), "{path}");
    }
    for path in [
        "connections_max",
        "files_max",
        "listener.\"*:80\".timeout.idle",
        "upstream.a.timeout.connect",
        "upstream.a.timeout.keep",
        "upstream.a.retry",
        "upstream.a.sticky",
        "upstream.a.health",
        "upstream.a.server.\"b:1\".max_fails",
        "upstream.a.server.\"c:1\".weight",
    ] {
        assert!(!declares(path), "{path}");
    }
    let at = |path: &str| {
        imported
            .origin
            .locate(path)
            .1
            .map(|place| (place.line, place.column))
    };
    assert_eq!(at("upstream.a.server.\"b:1\".weight"), Some((7, 16)));
    assert_eq!(at("upstream.a.timeout.response"), Some((4, 22)));
    let setup = imported.setup.unwrap();
    let paths = setup.pools[0]
        .backends
        .iter()
        .map(|b| b.weight_path.clone());
    let weight = Some("upstream.a.server.\"b:1\".weight".to_owned());
    assert_eq!(paths.collect::<Vec<_>>(), [weight, None]);
    assert!(setup.routes.iter().all(|route| declares(&route.path)));
}

#[test]
fn a_setting_holds_from_the_innermost_block_that_has_it() {
    let text = "proxy_read_timeout 1s; upstream a { server b; } upstream c { server d; } upstream e { server f; }
        server { proxy_read_timeout 2s;
            location /a { proxy_pass http://a; }
            location /c { proxy_read_timeout 3s; location /c/d { proxy_pass http://c; } } }
        server { listen 81; location / { proxy_pass http://e; } }";
    let seconds = |pool: &Pool| pool.timeouts.response.duration().map(|time| time.as_secs());
    let pools = setup(text).pools;
    assert_eq!(
        pools.iter().map(seconds).collect::<Vec<_>>(),
        [Some(2), Some(3), Some(1)]
    );
}

#[test]
fn the_strictest_place_holds_for_a_pool_and_the_difference_is_a_gap() {
    let text = "upstream a { server 10.0.0.1; server 10.0.0.2; } server {
        location /a { proxy_pass http://a; proxy_read_timeout 30s; proxy_next_upstream_tries 3; }
        location /b { proxy_pass http://a; proxy_read_timeout 5s; } }";
    let setup = setup(text);
    let pool = setup.pool("a").unwrap();
    assert_eq!(
        pool.timeouts.response,
        Wait::For(std::time::Duration::from_secs(5))
    );
    assert_eq!(pool.retry.attempts, Some(2));
    assert_eq!(setup.gaps.len(), 1);
    assert_eq!(setup.gaps[0].touches, Touches::Resilience);
}

#[test]
fn failures_take_a_server_out_unless_it_is_alone_or_they_are_not_counted() {
    let passive = backend("").passive.unwrap();
    assert_eq!((passive.failures, passive.window.as_secs()), (1, 10));
    let failures = |server: &str| backend(server).passive.map(|passive| passive.failures);
    assert_eq!(failures("max_fails=0"), Some(0));
    assert_eq!(failures("fail_timeout=0"), Some(0));
    let alone = pool("upstream a { server b max_fails=5; }");
    assert_eq!(alone.backends[0].passive, None);
    assert_eq!(alone.retry.attempts, Some(0));
}

#[test]
fn limits_hold_per_worker_unless_the_state_is_shared() {
    assert!(backend("max_conns=5").limit_per_worker);
    let shared = pool("upstream a { zone a 64k; server b max_conns=5; }");
    assert!(!shared.backends[0].limit_per_worker);
    assert_eq!(backend("max_conns=0").in_flight_max, None);
}

#[test]
fn retries_follow_the_conditions_and_the_number_of_tries() {
    let retry = |location: &str| {
        let text = format!(
            "upstream a {{ server b; server c; }} server {{ location / {{ proxy_pass http://a; {location} }} }}"
        );
        pool(&text).retry
    };
    assert_eq!(retry("").attempts, None);
    assert!(retry("").after_sent && !retry("").unsafe_methods);
    assert_eq!(retry("proxy_next_upstream off;").attempts, Some(0));
    assert!(!retry("proxy_next_upstream off;").after_sent);
    assert_eq!(retry("proxy_next_upstream_tries 3;").attempts, Some(2));
    assert_eq!(retry("proxy_next_upstream_tries 0;").attempts, None);
    assert!(retry("proxy_next_upstream error non_idempotent;").unsafe_methods);
}

#[test]
fn a_directive_that_is_not_known_is_never_passed_over() {
    let text = "upstream a { server b; frobnicate 1; } frobnicate 2; server { frobnicate 3;
        location / { frobnicate 4; proxy_pass http://a; if ($x) { frobnicate 5; } } }";
    let imported = read(&format!(
        "events {{ frobnicate 6; }} frobnicate 7; http {{ {text} }}"
    ));
    let mut whats: Vec<String> = imported
        .setup
        .unwrap()
        .gaps
        .into_iter()
        .map(|gap| gap.what)
        .collect();
    whats.sort();
    let expected: Vec<String> = (1..=7).map(|n| format!("frobnicate {n}")).collect();
    assert_eq!(whats, expected);
    let gaps = imported
        .findings
        .iter()
        .filter(|finding| finding.id == "IMP-03");
    assert_eq!(gaps.filter(|finding| finding.location.is_some()).count(), 7);
}

#[test]
fn no_route_stands_behind_one_that_takes_everything() {
    let routes = setup("server { location / { return 200; } location /a { return 204; } }").routes;
    let prefixes: Vec<_> = routes
        .iter()
        .map(|route| route.path_prefix.as_deref())
        .collect();
    assert_eq!(prefixes, [Some("/a"), Some("/")]);
}

#[test]
fn servers_outside_http_are_refused_where_there_is_an_http_block() {
    let imported = read("events {} http {} server {}");
    let finding = imported.findings.first().unwrap();
    assert_eq!((finding.id, finding.severity), ("IMP-04", Severity::Error));
    assert!(imported.setup.is_none());
}
