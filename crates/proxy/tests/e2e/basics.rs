//! Passing requests and responses on.

use evenkeel_model::units::ByteSize;

use crate::support::{Bench, Client, Origin, simple};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn a_request_reaches_the_backend_and_its_response_the_client() {
    let origin = Origin::answering(OK);
    let bench = Bench::start(simple(&[origin.address]));
    let response = bench.client().get("/");
    assert_eq!((response.status, response.text()), (200, "hello"));
}

#[test]
fn connections_are_kept_alive_on_both_sides() {
    let origin = Origin::answering(OK);
    let bench = Bench::start(simple(&[origin.address]));
    let mut client = bench.client();
    for _ in 0..50 {
        assert_eq!(client.get("/").text(), "hello");
    }
    let mut other = Client::connect(bench.address());
    assert_eq!(other.get("/").text(), "hello");
    assert_eq!(origin.connections(), 1);
    let tallies = bench.finish();
    let cell = &tallies[0].1[0];
    assert_eq!(
        (cell.picks_free, cell.outcomes.ok, cell.latency.count()),
        (51, 51, 51)
    );
    assert_eq!(cell.harmed, 0);
}

#[test]
fn requests_sent_ahead_of_the_end_of_the_client_side_are_all_answered() {
    let origin = Origin::answering(OK);
    let bench = Bench::start(simple(&[origin.address]));
    let mut client = bench.client();
    client.send(&"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3));
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    for _ in 0..3 {
        assert_eq!(client.response().text(), "hello");
    }
    assert!(client.closed());
}

#[test]
fn heads_larger_than_a_block_pass_up_to_the_limit() {
    let origin = Origin::start(|mut conn| {
        while let Some(request) = conn.request() {
            let echo = crate::support::header(&request, "x-0").unwrap().to_owned();
            let fields: String = (0..6).map(|n| format!("X-{n}: {echo}\r\n")).collect();
            conn.send(&format!(
                "HTTP/1.1 200 OK\r\n{fields}Content-Length: 5\r\n\r\nhello"
            ));
        }
    });
    let mut config = simple(&[origin.address]);
    config.listeners[0].head_max = ByteSize(64 * 1024);
    let bench = Bench::start(config);
    let mut client = bench.client();
    let value = "v".repeat(8_000);
    let fields: String = (0..6).map(|n| format!("X-{n}: {value}\r\n")).collect();
    for _ in 0..2 {
        client.send(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        let response = client.response();
        assert_eq!(response.text(), "hello");
        assert_eq!(response.header("x-5"), Some(value.as_str()));
    }
    let fields: String = (0..9).map(|n| format!("X-{n}: {value}\r\n")).collect();
    client.send(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    assert_eq!(client.response().said(), (431, "head_too_large"));
}
