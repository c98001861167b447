//! Choosing by load and speed over real sockets.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use evenkeel_model::config::{Algorithm, Choices, Config, RetryCause};
use evenkeel_model::units::Ratio;

use crate::support::{Bench, Origin, refused, simple};

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const FAILED: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

fn by_load() -> Vec<(Algorithm, Choices)> {
    let all = Algorithm::ALL.iter().filter(|a| a.follows_load());
    let mut list: Vec<_> = all.map(|a| (*a, Choices::DEFAULT)).collect();
    list.push((Algorithm::LeastRequest, Choices::All));
    list
}

fn config(algorithm: Algorithm, choices: Choices, backends: &[SocketAddr]) -> Config {
    let mut config = simple(backends);
    config.pools[0].algorithm = algorithm;
    config.pools[0].choices = choices;
    config
}

/// An origin that works 10 ms on each request.
fn at_work() -> SocketAddr {
    let origin = Origin::start(|mut conn| {
        let (_silent, nothing) = mpsc::channel::<()>();
        while conn.request().is_some() {
            let worked = nothing.recv_timeout(Duration::from_millis(10));
            if worked.is_ok() || !conn.send(GOOD) {
                break;
            }
        }
    });
    origin.address
}

#[test]
fn a_backend_that_answers_503_at_once_gains_nothing() {
    let backends = [Origin::answering(FAILED).address, at_work()];
    for (algorithm, choices) in by_load() {
        let bench = Bench::start_with(config(algorithm, choices, &backends), 2);
        let mut client = bench.client();
        let failed = (0..60).filter(|_| client.get("/").status == 503).count();
        assert!(failed <= 24, "{algorithm:?} {choices}: {failed} of 60");
    }
}

#[test]
fn a_backend_that_refuses_gains_nothing_and_its_requests_are_saved() {
    let backends = [refused(), at_work()];
    for (algorithm, choices) in by_load() {
        let mut config = config(algorithm, choices, &backends);
        config.pools[0].retry.attempts = 1;
        let bench = Bench::start_with(config, 1);
        let mut client = bench.client();
        let saved = (0..30).filter(|_| client.get("/").status == 200).count();
        drop(client);
        let tallies = bench.finish();
        let (_, backends) = tallies.last().unwrap();
        let tried = backends[0].picks_free;
        assert!(tried <= 12, "{algorithm:?} {choices}: {tried} of 30");
        assert!(saved >= 28, "{algorithm:?} {choices}: {saved} of 30");
    }
}

#[test]
fn a_backend_whose_503_are_tried_again_elsewhere_gains_nothing() {
    let backends = [Origin::answering(FAILED).address, at_work()];
    for (algorithm, choices) in by_load() {
        let mut config = config(algorithm, choices, &backends);
        let retry = &mut config.pools[0].retry;
        retry.attempts = 1;
        retry.budget = Ratio::from_percent(100);
        retry.on = retry.on.with(RetryCause::Unavailable);
        let bench = Bench::start_with(config, 1);
        let mut client = bench.client();
        let saved = (0..60).filter(|_| client.get("/").status == 200).count();
        drop(client);
        let tallies = bench.finish();
        let (_, backends) = tallies.last().unwrap();
        let tried = backends[0].picks_free;
        assert!(tried <= 24, "{algorithm:?} {choices}: {tried} of 60");
        assert_eq!(saved, 60, "{algorithm:?} {choices}");
    }
}

#[test]
fn a_backend_that_breaks_in_the_body_gains_nothing() {
    let breaks = Origin::start(|mut conn| {
        if conn.request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun");
            conn.reset();
        }
    });
    let backends = [breaks.address, at_work()];
    for (algorithm, choices) in by_load() {
        let bench = Bench::start_with(config(algorithm, choices, &backends), 1);
        for _ in 0..60 {
            let mut client = bench.client();
            client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            // With a length the client sees a short body, so an orderly end is enough.
            assert!(client.rest().len() < 300);
        }
        let tallies = bench.finish();
        let (_, backends) = tallies.last().unwrap();
        let tried = backends[0].picks_free;
        assert!(tried <= 24, "{algorithm:?} {choices}: {tried} of 60");
    }
}
