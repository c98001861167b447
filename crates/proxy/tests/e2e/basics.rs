//! Passing requests and responses on.

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
