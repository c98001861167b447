//! Connections spread over workers at low counts, and none pins a worker or a backend for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use evenkeel_model::config::Lifetime;

use crate::support::{Bench, Origin, eventually, simple};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn two_to_eight_connections_spread_evenly_over_two_to_eight_workers() {
    let origin = Origin::answering(OK);
    for workers in [2u16, 3, 8] {
        for connections in [2usize, 4, 8] {
            let mut bench = Bench::start_with(simple(&[origin.address]), workers);
            let mut clients: Vec<_> = (0..connections).map(|_| bench.client()).collect();
            for client in &mut clients {
                assert_eq!(client.get("/").text(), "ok");
            }
            bench.proxy.drain(Duration::from_secs(5));
            drop(clients);
            let mut served = vec![0u64; usize::from(workers)];
            bench.proxy.join();
            while let Ok(tally) = bench.tallies.try_recv() {
                let epochs = tally.pools[0].epochs.iter();
                let picks = epochs.map(|epoch| epoch.backends[0].picks_free).sum();
                served[usize::from(tally.worker.0)] = picks;
            }
            let (most, least) = (served.iter().max().unwrap(), served.iter().min().unwrap());
            let even = connections.div_ceil(usize::from(workers)) as u64;
            assert!(*most <= even + 1, "{connections} on {workers}: {served:?}");
            let idle_allowed = connections < usize::from(workers) * 2;
            assert!(
                idle_allowed || *least > 0,
                "{connections} on {workers}: {served:?}"
            );
        }
    }
}

#[test]
fn a_client_connection_ends_after_its_requests_and_says_so() {
    let origin = Origin::answering(OK);
    let mut config = simple(&[origin.address]);
    config.listeners[0].lifetime.requests_max = Some(20);
    let bench = Bench::start(config);
    let mut ends = Vec::new();
    for _ in 0..8 {
        let mut client = bench.client();
        let count = (1..=20)
            .find(|_| client.get("/").header("connection") == Some("close"))
            .unwrap();
        assert!(client.closed());
        ends.push(count);
    }
    assert!(ends.iter().all(|end| (18..=20).contains(end)), "{ends:?}");
    let same = ends.iter().all(|end| *end == ends[0]);
    assert!(!same, "they end together: {ends:?}");
}

#[test]
fn an_old_client_connection_ends_with_its_next_response_and_not_before() {
    let origin = Origin::answering(OK);
    let mut config = simple(&[origin.address]);
    config.listeners[0].lifetime.age_max = Some(Duration::from_millis(200));
    let bench = Bench::start(config);
    let mut client = bench.client();
    let mut said = None;
    eventually("the end of the connection", || {
        let response = client.get("/");
        assert_eq!(response.status, 200);
        said = response.header("connection").map(str::to_owned);
        said.is_some()
    });
    assert_eq!(said.as_deref(), Some("close"));
    assert!(client.closed());
}

#[test]
fn a_connection_to_a_backend_ends_after_its_requests_and_no_request_is_lost() {
    let seen = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&seen);
    let origin = Origin::start(move |mut conn| {
        count.fetch_add(1, Ordering::SeqCst);
        while conn.request().is_some() && conn.send(OK) {}
    });
    let mut config = simple(&[origin.address]);
    config.pools[0].keep = Lifetime {
        requests_max: Some(5),
        age_max: None,
    };
    let bench = Bench::start(config);
    let mut client = bench.client();
    for _ in 0..50 {
        assert_eq!(client.get("/").text(), "ok");
    }
    assert_eq!(seen.load(Ordering::SeqCst), 10);
    let cells = bench.finish();
    assert_eq!(cells[0].1[0].picks_retry, 0);
}
