//! What the client is told when something fails, and that it is told in time.

use std::time::Duration;

use evenkeel_model::config::{Config, Matcher};
use evenkeel_model::units::ByteSize;

use crate::support::{Bench, Origin, eventually, refused, simple};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const SHORT: Duration = Duration::from_millis(150);

/// An origin that takes requests and never answers.
fn silent() -> Origin {
    Origin::start(|mut conn| while conn.request().is_some() {})
}

fn with(origin: &Origin, change: impl FnOnce(&mut Config)) -> Bench {
    let mut config = simple(&[origin.address]);
    config.pools[0].retry.attempts = 0;
    change(&mut config);
    Bench::start(config)
}

#[test]
fn a_refused_connection_is_502_and_the_client_connection_lives_on() {
    let bench = Bench::start(simple(&[refused()]));
    let mut client = bench.client();
    for _ in 0..2 {
        let response = client.get("/");
        assert_eq!(response.said(), (502, "connect_refused"));
        assert!(response.text().contains("connect_refused"));
    }
}

#[test]
fn a_backend_that_does_not_answer_is_504() {
    let origin = silent();
    let bench = with(&origin, |c| c.pools[0].response_timeout = SHORT);
    assert_eq!(bench.client().get("/").said(), (504, "response_timeout"));
    let tallies = bench.finish();
    let cell = &tallies[0].1[0];
    assert_eq!((cell.outcomes.timeout, cell.harmed), (1, 1));
}

#[test]
fn all_tries_together_are_bounded() {
    let origin = silent();
    let bench = with(&origin, |c| c.pools[0].request_timeout = SHORT);
    assert_eq!(bench.client().get("/").said(), (504, "request_timeout"));
}

#[test]
fn a_backend_that_closes_or_resets_or_talks_nonsense_is_502() {
    let closing = Origin::start(|mut conn| drop(conn.request()));
    let bench = with(&closing, |_| {});
    assert_eq!(bench.client().get("/").said(), (502, "backend_closed"));
    let resetting = Origin::start(|mut conn| {
        conn.request();
        conn.reset();
    });
    let bench = with(&resetting, |_| {});
    assert_eq!(bench.client().get("/").said(), (502, "backend_reset"));
    let nonsense = Origin::answering("ICY 200 OK\r\n\r\n");
    let bench = with(&nonsense, |_| {});
    let response = bench.client().get("/");
    assert_eq!(response.status, 502);
    assert!(
        response
            .header("x-evenkeel-error")
            .unwrap()
            .starts_with("response_")
    );
    let switched = Origin::answering("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n");
    let bench = with(&switched, |_| {});
    assert_eq!(bench.client().get("/").said(), (502, "response_switched"));
}

#[test]
fn a_path_without_a_route_is_404() {
    let origin = Origin::answering(OK);
    let bench = with(&origin, |c| c.routes[0].matcher = Matcher::prefix("/shop"));
    let mut client = bench.client();
    assert_eq!(client.get("/other").said(), (404, "no_route"));
    assert_eq!(client.get("/shop/x").status, 200);
    assert_eq!(client.get("/shopping").status, 404);
}

#[test]
fn nobody_eligible_and_everybody_at_the_limit_are_503_and_say_which() {
    let origin = silent();
    let bench = with(&origin, |c| c.pools[0].backends[0].weight = 0);
    assert_eq!(bench.client().get("/").said(), (503, "no_backend"));
    let bench = with(&origin, |c| c.pools[0].max_in_flight = Some(1));
    let mut first = bench.client();
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the first request", || {
        bench.proxy.vitals()[0].1[0].1.in_flight == 1
    });
    assert_eq!(bench.client().get("/").said(), (503, "all_at_limit"));
}

#[test]
fn malformed_requests_are_refused_with_a_status_and_a_close() {
    let origin = Origin::answering(OK);
    let bench = with(&origin, |_| {});
    let long = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(20_000)
    );
    let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9_000));
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 501),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417),
        (&long, 431),
        (&target, 414),
    ] {
        let mut client = bench.client();
        client.send(request);
        let response = client.response();
        assert_eq!(
            response.status,
            status,
            "{}",
            request.get(..40).unwrap_or(request)
        );
        assert!(response.header("x-evenkeel-error").is_some());
        assert_eq!(response.header("connection"), Some("close"));
        assert!(client.closed());
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_body_over_the_limit_is_413_whether_declared_or_not() {
    let origin = Origin::answering(OK);
    let bench = with(&origin, |c| c.listeners[0].body_max = ByteSize(10));
    let mut client = bench.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n");
    assert_eq!(client.response().said(), (413, "body_too_large"));
    let mut client = bench.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n",
    );
    assert_eq!(client.response().said(), (413, "body_too_large"));
    let mut client = bench.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789");
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_malformed_chunk_is_400() {
    let origin = Origin::answering(OK);
    let bench = with(&origin, |_| {});
    let mut client = bench.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    assert_eq!(client.response().said(), (400, "chunk_size"));
}

#[test]
fn a_slow_head_is_408_and_an_idle_connection_is_closed_silently() {
    let origin = Origin::answering(OK);
    let bench = with(&origin, |c| {
        c.listeners[0].head_timeout = SHORT;
        c.listeners[0].idle_timeout = 2 * SHORT;
    });
    let mut client = bench.client();
    client.send("GET / HTT");
    assert_eq!(client.response().said(), (408, "head_timeout"));
    let mut client = bench.client();
    assert_eq!(client.get("/").status, 200);
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_body_that_stops_coming_is_408() {
    let origin = silent();
    let bench = with(&origin, |c| c.listeners[0].body_timeout = SHORT);
    let mut client = bench.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n123");
    assert_eq!(client.response().said(), (408, "body_timeout"));
    let tallies = bench.finish();
    let cell = &tallies[0].1[0];
    assert_eq!(
        (cell.outcomes.client_abort, cell.harmed),
        (1, 0),
        "not the backend's fault"
    );
}

#[test]
fn a_response_that_stops_in_the_middle_is_cut_and_counted() {
    let origin = Origin::start(|mut conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345");
        conn.closed();
    });
    let bench = with(&origin, |c| c.pools[0].idle_timeout = SHORT);
    let mut client = bench.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(
        client.head().map(|h| h.starts_with("HTTP/1.1 200")),
        Some(true)
    );
    assert_eq!(client.read(5), b"12345");
    assert!(client.closed());
    let tallies = bench.finish();
    let cell = &tallies[0].1[0];
    assert_eq!(
        (cell.outcomes.timeout, cell.outcomes.ok, cell.harmed),
        (1, 0, 1)
    );
}

#[test]
fn a_chunked_response_cut_by_the_backend_does_not_look_complete() {
    let origin = Origin::start(|mut conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    });
    let bench = with(&origin, |_| {});
    let mut client = bench.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.head().unwrap();
    assert_eq!(client.rest(), b"3\r\nabc\r\n", "no last chunk");
}

#[test]
fn a_client_that_leaves_ends_the_work_for_it_and_harms_nobody() {
    let origin = silent();
    let bench = with(&origin, |_| {});
    let mut client = bench.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let in_flight = || bench.proxy.vitals()[0].1[0].1.in_flight;
    eventually("the request", || in_flight() == 1);
    drop(client);
    eventually("the end of the request", || in_flight() == 0);
    let tallies = bench.finish();
    let cell = &tallies[0].1[0];
    assert_eq!((cell.outcomes.client_abort, cell.harmed), (1, 0));
}

#[test]
fn a_client_that_only_ends_its_side_still_gets_its_answer() {
    let origin = Origin::answering(OK);
    let bench = with(&origin, |_| {});
    let mut client = bench.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.response().text(), "ok");
    assert!(client.closed());
}

#[test]
fn connections_over_the_limit_are_turned_away_with_503() {
    let origin = Origin::answering(OK);
    let bench = with(&origin, |c| c.listeners[0].connections_max = 1);
    let mut first = bench.client();
    assert_eq!(first.get("/").status, 200);
    let mut second = bench.client();
    assert_eq!(second.response().said(), (503, "too_many_connections"));
    drop(first);
    eventually("room for another", || {
        let mut client = bench.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client
            .head()
            .is_some_and(|head| head.starts_with("HTTP/1.1 200"))
    });
}
