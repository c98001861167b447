//! What a route answers in place of a pool: redirects and fixed texts, that no backend sees and no pick counts.

use evenkeel_model::config::Config;
use evenkeel_model::parse::parse;

use crate::support::{Bench, Client, Origin, PATIENCE, Response, config, listener, local, pool};

/// These routes before one to a pool.
fn answering(routes: &[&str], origin: &Origin) -> Config {
    let mut text = "[listener.web]\naddress = '127.0.0.1:0'\n".to_owned();
    for keys in routes.iter().chain(&["pool = 'p'"]) {
        let more = format!("[[route]]\nlistener = 'web'\n{keys}\n");
        text += &more;
    }
    text += "[pool.p.backend.b]\naddress = '127.0.0.1:1'\n";
    let read = parse(&text, None);
    let routes = read.config.map(|config| config.routes);
    let plain = config(
        vec![listener("web", local())],
        vec![pool("p", &[origin.address])],
    );
    Config {
        routes: routes.unwrap_or_else(|| panic!("{:#?}", read.findings)),
        ..plain
    }
}

fn origin() -> Origin {
    Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npool")
}

fn asked(client: &mut Client, line: &str) -> Response {
    client.send(&format!("{line} HTTP/1.1\r\nHost: Shop.test:81\r\n\r\n"));
    client.response_to(line.split(' ').next().unwrap())
}

const REDIRECTS: [&str; 4] = [
    "path_prefix = '/secure'\nredirect = { scheme = 'https', status = 308 }",
    "path_prefix = '/old'\nredirect = { replace_prefix = '/', query = '' }",
    "path = '/away'\nredirect = { status = 301, scheme = 'https', host = 'a.test', port = 8443, path = '/b' }",
    "path_prefix = '/v1'\nredirect = { replace_prefix = '/v2', status = 307 }",
];

#[test]
fn a_redirect_names_the_place_that_the_route_says() {
    let origin = origin();
    let bench = Bench::start(answering(&REDIRECTS, &origin));
    let mut client = bench.client();
    for (line, status, location) in [
        (
            "GET /secure/a%2Fb?c=%0d%0aX:y",
            308,
            "https://Shop.test/secure/a%2Fb?c=%0d%0aX:y",
        ),
        ("POST /secure", 308, "https://Shop.test/secure"),
        ("GET /old/x?y=1", 302, "/x"),
        ("HEAD /old", 302, "/"),
        ("GET /away?a=b", 301, "https://a.test:8443/b?a=b"),
        ("DELETE /v1/items/7?force", 307, "/v2/items/7?force"),
    ] {
        let response = asked(&mut client, line);
        assert_eq!(response.status, status, "{line}");
        assert_eq!(response.header("location"), Some(location), "{line}");
        assert!(
            response.header("x-request-id").is_some(),
            "{}",
            response.head
        );
        assert_eq!(response.header("x-evenkeel-error"), None);
    }
    // One connection took them all, and the pool is still behind.
    assert_eq!(asked(&mut client, "GET /v10").text(), "pool");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn no_request_writes_a_line_or_a_host_into_a_location() {
    let origin = origin();
    let bench = Bench::start(answering(&REDIRECTS[..2], &origin));
    for line in ["GET /secure/\rX: y", "GET /secure/\nX: y", "GET /secure/\0"] {
        let mut client = bench.client();
        client.send(&format!("{line} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        let response = client.response();
        assert_eq!(
            (response.status, response.header("location")),
            (400, None),
            "{line:?}"
        );
    }
    for host in ["a.test/evil", "a.test\rX:y", "u@a.test", "a.test\"b"] {
        let mut client = bench.client();
        client.send(&format!("GET /secure HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let response = client.response();
        assert_eq!(
            (response.status, response.header("location")),
            (400, None),
            "{host:?}"
        );
    }
    // Left as it is, `//evil.test` would be another host.
    let routes = ["redirect = { query = 'a' }"];
    let bench = Bench::start(answering(&routes, &origin));
    let response = asked(&mut bench.client(), "GET //evil.test/x");
    assert_eq!(response.header("location"), Some("/evil.test/x?a"));
}

#[test]
fn without_a_host_another_scheme_is_refused() {
    let origin = origin();
    let bench = Bench::start(answering(&REDIRECTS, &origin));
    let mut client = bench.client();
    client.send("GET /secure HTTP/1.0\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status, 400);
    assert_eq!(response.header("x-evenkeel-error"), Some("no_host"));
}

const TEXTS: [&str; 3] = [
    "path = '/robots.txt'\nrespond = { status = 200, body = \"User-agent: *\\n\", headers = { Cache-Control = 'max-age=60' } }",
    "path = '/gone'\nrespond = { status = 410, body = '<p>gone', content_type = 'text/html' }",
    "path = '/nothing'\nrespond = { status = 204 }",
];

#[test]
fn a_fixed_answer_has_its_status_body_and_fields() {
    let origin = origin();
    let bench = Bench::start(answering(&TEXTS, &origin));
    let mut client = bench.client();
    let robots = asked(&mut client, "GET /robots.txt?x");
    assert_eq!((robots.status, robots.text()), (200, "User-agent: *\n"));
    assert_eq!(
        robots.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(robots.header("cache-control"), Some("max-age=60"));
    let gone = asked(&mut client, "GET /gone");
    assert_eq!((gone.status, gone.text()), (410, "<p>gone"));
    assert!(
        gone.head.starts_with("HTTP/1.1 410 Gone\r\n"),
        "{}",
        gone.head
    );
    assert_eq!(gone.header("content-type"), Some("text/html"));
    let head = asked(&mut client, "HEAD /gone");
    assert_eq!(head.header("content-length"), Some("7"));
    let nothing = asked(&mut client, "GET /nothing");
    assert_eq!(
        (nothing.status, nothing.header("content-length")),
        (204, None)
    );
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_body_that_nobody_reads_ends_the_connection_after_the_answer() {
    let origin = origin();
    let bench = Bench::start(answering(&TEXTS, &origin));
    let mut client = bench.client();
    client.send("POST /gone HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /");
    let response = client.response();
    assert_eq!((response.status, response.text()), (410, "<p>gone"));
    assert_eq!(response.header("connection"), Some("close"));
    assert!(client.closed());
    // Who waits for a 100 before the body gets the answer in its place.
    let mut client = bench.client();
    client.send(
        "POST /gone HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(client.response().status, 410);
    assert!(client.closed());
}

#[test]
fn answers_are_limited_counted_by_route_and_picked_nowhere() {
    let origin = origin();
    let limited = format!("{}\nrate_limit = {{ rps = 0.001, burst = 2 }}", TEXTS[1]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let mut config = answering(&[&limited, REDIRECTS[0]], &origin);
    config.access_log = Some(path.clone());
    let mut bench = Bench::start(config);
    let mut client = bench.client();
    let statuses: Vec<u16> = (0..3)
        .map(|_| asked(&mut client, "GET /gone").status)
        .collect();
    assert_eq!(statuses, [410, 410, 429]);
    assert_eq!(asked(&mut client, "GET /secure").status, 308);
    drop(client);
    bench.proxy.drain(PATIENCE);
    bench.proxy.join();
    let mut by_path: Vec<(String, u64)> = Vec::new();
    let mut picks = 0;
    while let Ok(tally) = bench.tallies.try_recv() {
        let epochs = tally.pools.iter().flat_map(|pool| &pool.epochs);
        let cells = epochs.flat_map(|epoch| &epoch.backends);
        picks += cells.map(|cell| cell.picks_free + cell.harmed).sum::<u64>();
        for route in tally.routes {
            by_path.retain(|(path, _)| *path != route.route.path_prefix);
            by_path.push((route.route.path_prefix.clone(), route.requests));
        }
    }
    by_path.sort();
    let counted = |path: &str, n| (path.to_owned(), n);
    assert_eq!(by_path, [counted("/gone", 3), counted("/secure", 1)]);
    assert_eq!(picks, 0, "no pool was asked");
    let log = std::fs::read_to_string(path).unwrap();
    let line = log.lines().last().unwrap();
    for part in [
        "\"status\":308,\"route\":1,\"pool\":null,\"backend\":null,\"epoch\":null,\"revision\":\"r",
        "\"attempts\":0",
        "\"error\":null",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
}
