//! A failed try is repeated only where that is safe.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use evenkeel_model::config::{RetryCause, RetryOn};

use crate::support::{Bench, Origin, refused, simple};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An origin that reads a request and closes without an answer; counts requests.
fn failing() -> (Origin, Arc<AtomicU32>) {
    let seen = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&seen);
    let origin = Origin::start(move |mut conn| {
        if conn.request().is_some() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    (origin, seen)
}

#[test]
fn a_refused_connection_is_tried_elsewhere_for_any_method() {
    let origin = Origin::answering(OK);
    let bench = Bench::start(simple(&[refused(), origin.address]));
    let mut client = bench.client();
    for _ in 0..4 {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(client.response().text(), "ok");
    }
    let tallies = bench.finish();
    let cells = &tallies[0].1;
    assert_eq!(cells[0].picks_free + cells[1].picks_free, 4);
    assert_eq!(cells[1].picks_retry, cells[0].picks_free);
    assert_eq!(cells[0].outcomes.connect_failed, cells[0].picks_free);
    assert!(cells[0].picks_free > 0);
    assert_eq!(cells[0].harmed + cells[1].harmed, 0, "nobody noticed");
}

#[test]
fn a_get_whose_backend_breaks_off_is_tried_elsewhere() {
    let (bad, _) = failing();
    let good = Origin::answering(OK);
    let bench = Bench::start(simple(&[bad.address, good.address]));
    let mut client = bench.client();
    for _ in 0..4 {
        assert_eq!(client.get("/").text(), "ok");
    }
    let tallies = bench.finish();
    let cells = &tallies[0].1;
    assert!(cells[0].outcomes.reset > 0);
    assert_eq!(cells[1].outcomes.ok, 4);
}

#[test]
fn a_post_is_never_repeated_once_bytes_were_sent() {
    let (bad, seen_bad) = failing();
    let (worse, seen_worse) = failing();
    let bench = Bench::start(simple(&[bad.address, worse.address]));
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "PATCH / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    ] {
        let mut client = bench.client();
        client.send(request);
        assert_eq!(client.response().status, 502);
    }
    assert_eq!(
        seen_bad.load(Ordering::SeqCst) + seen_worse.load(Ordering::SeqCst),
        3
    );
}

#[test]
fn attempts_are_bounded() {
    let origins: Vec<_> = (0..4).map(|_| failing()).collect();
    let addresses: Vec<_> = origins.iter().map(|o| o.0.address).collect();
    let mut config = simple(&addresses);
    config.pools[0].retry.attempts = 2;
    let bench = Bench::start(config);
    assert_eq!(bench.client().get("/").status, 502);
    let seen: u32 = origins.iter().map(|o| o.1.load(Ordering::SeqCst)).sum();
    assert_eq!(seen, 3);
}

#[test]
fn a_response_is_not_repeated_whatever_its_status() {
    let origin = Origin::answering("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    let bench = Bench::start(simple(&[origin.address, origin.address]));
    let response = bench.client().get("/");
    assert_eq!(response.said(), (503, "-"));
    let tallies = bench.finish();
    let total: u64 = tallies[0].1.iter().map(|c| c.outcomes.total()).sum();
    assert_eq!(total, 1);
}

#[test]
fn a_kept_connection_that_the_backend_closed_costs_no_request() {
    // Answers one request per connection and closes without saying so.
    let origin = Origin::start(|mut conn| {
        if conn.request().is_some() {
            conn.send(OK);
        }
    });
    let mut config = simple(&[origin.address]);
    config.pools[0].retry.attempts = 1;
    let bench = Bench::start(config);
    let mut client = bench.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "ok");
    }
    let tallies = bench.finish();
    let cell = &tallies[0].1[0];
    assert_eq!(
        (cell.picks_free, cell.outcomes.ok, cell.outcomes.failed()),
        (20, 20, 0)
    );
}

#[test]
fn a_request_that_raced_with_the_close_of_a_kept_connection_is_repeated_on_a_fresh_one_if_idempotent()
 {
    // The second request on the first connection is read and then not answered.
    let origin = Origin::start(|mut conn| {
        while conn.request().is_some() {
            if conn.number == 0 && !conn.send(OK) {
                return;
            }
            if conn.number == 0 && conn.request().is_some() {
                return;
            }
            conn.send(OK);
        }
    });
    let bench = Bench::start(simple(&[origin.address]));
    let mut client = bench.client();
    assert_eq!(client.get("/").text(), "ok");
    assert_eq!(client.get("/").text(), "ok");
    assert_eq!(origin.connections(), 2);
    let origin = Origin::start(|mut conn| {
        conn.request();
        conn.send(OK);
        conn.request();
    });
    let bench = Bench::start(simple(&[origin.address]));
    let mut client = bench.client();
    assert_eq!(client.get("/").text(), "ok");
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.response().said(), (502, "backend_closed"));
}

/// An origin that answers every request with 503 and counts them.
fn unavailable() -> (Origin, Arc<AtomicU32>) {
    let seen = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&seen);
    let origin = Origin::start(move |mut conn| {
        while conn.request().is_some() {
            count.fetch_add(1, Ordering::SeqCst);
            if !conn.send("HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbusy") {
                return;
            }
        }
    });
    (origin, seen)
}

#[test]
fn a_503_is_tried_elsewhere_where_the_pool_wants_it() {
    let (bad, _) = unavailable();
    let good = Origin::answering(OK);
    let mut config = simple(&[bad.address, good.address]);
    let on = RetryOn::NOTHING.with(RetryCause::Unavailable);
    config.pools[0].retry.on = on;
    let bench = Bench::start(config);
    let mut client = bench.client();
    for _ in 0..4 {
        assert_eq!(client.get("/").text(), "ok");
    }
    let tallies = bench.finish();
    let cells = &tallies[0].1;
    assert!(cells[0].outcomes.server_error > 0);
    assert_eq!(cells[1].outcomes.ok, 4);
    assert_eq!(cells[0].harmed + cells[1].harmed, 0, "nobody noticed");
}

#[test]
fn a_503_is_passed_on_whole_where_nobody_else_is_left_or_the_method_is_unsafe() {
    let (bad, seen) = unavailable();
    let good = Origin::answering(OK);
    let on = RetryOn::default().with(RetryCause::Unavailable);
    let mut alone = simple(&[bad.address]);
    alone.pools[0].retry.on = on;
    let bench = Bench::start(alone);
    let answer = bench.client().get("/");
    assert_eq!((answer.status, answer.text()), (503, "busy"));
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    let mut config = simple(&[bad.address, good.address]);
    config.pools[0].retry.on = on;
    config.pools[0].backends[1].weight = 1;
    let bench = Bench::start(config.clone());
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    let statuses = |bench: &Bench| {
        let mut client = bench.client();
        let mut ask = |_| {
            client.send(post);
            client.response().status
        };
        let mut statuses: Vec<u16> = (0..4).map(&mut ask).collect();
        statuses.sort_unstable();
        statuses
    };
    assert_eq!(statuses(&bench), [200, 200, 503, 503]);
    config.pools[0].retry.unsafe_methods = true;
    assert_eq!(statuses(&Bench::start(config)), [200; 4]);
}

#[test]
fn what_is_not_in_the_list_is_not_tried_again() {
    let good = Origin::answering(OK);
    let mut config = simple(&[refused(), good.address]);
    config.pools[0].retry.on = RetryOn::NOTHING.with(RetryCause::Timeout);
    let bench = Bench::start(config);
    let mut client = bench.client();
    let mut said: Vec<u16> = (0..4).map(|_| client.get("/").status).collect();
    said.sort_unstable();
    assert_eq!(said, [200, 200, 502, 502]);
}
