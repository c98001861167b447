//! Routes with a rate limit: how much is let through, who shares a rate, what survives a reload.

use evenkeel_model::config::{Config, HashKey, RateLimit};

use crate::support::{Bench, Origin, simple};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// So slow that nothing is let through beyond the burst while a test runs.
fn limited(origin: &Origin, burst: u32, by: Option<HashKey>) -> Config {
    let mut config = simple(&[origin.address]);
    config.routes[0].rate_limit = Some(RateLimit {
        rps: 0.01,
        burst,
        by,
    });
    config
}

#[test]
fn what_is_beyond_the_burst_is_429_with_a_time_to_wait_and_no_harm() {
    let origin = Origin::answering(OK);
    let bench = Bench::start_with(limited(&origin, 3, None), 2);
    for _ in 0..3 {
        assert_eq!(bench.client().get("/").status, 200);
    }
    for _ in 0..2 {
        let refused = bench.client().get("/");
        assert_eq!(refused.said(), (429, "rate_limited"));
        let wait: u32 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((90..=100).contains(&wait), "{wait}");
    }
    assert_eq!(bench.proxy.rate_limited()[0].1, 2);
    let cells = &bench.finish()[0].1;
    assert_eq!((cells[0].outcomes.total(), cells[0].harmed), (3, 0));
}

#[test]
fn each_key_has_a_rate_of_its_own_and_requests_without_one_share_theirs() {
    let origin = Origin::answering(OK);
    let by = HashKey::Header("x-api-key".to_owned());
    let bench = Bench::start(limited(&origin, 2, Some(by)));
    let mut client = bench.client();
    let mut ask = |header: &str| {
        client.send(&format!("GET / HTTP/1.1\r\nHost: a\r\n{header}\r\n"));
        client.response().status
    };
    for header in ["X-Api-Key: a\r\n", "X-Api-Key: b\r\n", ""] {
        let said = [ask(header), ask(header), ask(header)];
        assert_eq!(said, [200, 200, 429], "{header}");
    }
}

#[test]
fn a_reload_gives_nobody_a_fresh_burst() {
    let origin = Origin::answering(OK);
    let config = limited(&origin, 2, Some(HashKey::ClientAddress));
    let mut bench = Bench::start(config.clone());
    let mut client = bench.client();
    assert_eq!([client.get("/").status, client.get("/").status], [200; 2]);
    let mut changed = config;
    changed.pools[0].max_in_flight = Some(7);
    bench.swap(changed);
    assert_eq!(client.get("/").status, 429);
}
