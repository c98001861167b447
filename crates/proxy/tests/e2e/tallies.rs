//! Counts, the access log, and who was harmed.

use std::time::Duration;

use evenkeel_model::config::{LogField, Queue, Session};

use crate::support::{Bench, Origin, PATIENCE, eventually, simple};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Answers with the status in the path.
fn by_path() -> Origin {
    Origin::start(|mut conn| {
        while let Some(request) = conn.request() {
            let path = request.split(' ').nth(1).unwrap();
            let status = path.trim_start_matches('/').to_owned();
            conn.send(&format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
        }
    })
}

#[test]
fn outcomes_fall_into_their_classes_and_only_failures_harm() {
    let origin = by_path();
    let bench = Bench::start(simple(&[origin.address]));
    let mut client = bench.client();
    for path in ["/200", "/302", "/404", "/429", "/500", "/503"] {
        client.get(path);
    }
    let tallies = bench.finish();
    let cell = &tallies[0].1[0];
    let o = cell.outcomes;
    assert_eq!((o.ok, o.client_error, o.server_error), (2, 2, 2));
    assert_eq!((cell.harmed, cell.slow, cell.latency.count()), (2, 0, 6));
}

#[test]
fn a_response_slower_than_the_objective_is_harm() {
    let origin = by_path();
    let mut config = simple(&[origin.address]);
    config.pools[0].objective.p99 = Duration::from_nanos(1);
    let bench = Bench::start(config);
    let mut client = bench.client();
    for path in ["/200", "/404", "/500"] {
        client.get(path);
    }
    let tallies = bench.finish();
    let cell = &tallies[0].1[0];
    assert_eq!((cell.harmed, cell.slow), (2, 2), "4xx is left out");
}

#[test]
fn clients_are_told_apart_by_session_cookie_without_showing_it() {
    let origin = by_path();
    let mut config = simple(&[origin.address]);
    config.pools[0].session = Session::Cookie("sid".to_owned());
    let mut bench = Bench::start(config);
    let mut client = bench.client();
    for user in 0..7 {
        for path in ["200", "500"] {
            if user % 2 == 0 || path == "200" {
                client.send(&format!(
                    "GET /{path} HTTP/1.1\r\nHost: a\r\nCookie: a=b; sid=user{user}\r\n\r\n"
                ));
                client.response();
            }
        }
    }
    drop(client);
    bench.proxy.drain(PATIENCE);
    bench.proxy.join();
    let (mut seen, mut harmed, mut requests) = (0.0, 0.0, 0);
    while let Ok(tally) = bench.tallies.try_recv() {
        let clients = &tally.pools[0].clients;
        seen += clients.seen.estimate();
        harmed += clients.harmed.estimate();
        requests += clients.harmed_requests;
    }
    // Windows may split a user in two, never lose one.
    assert!(
        (7.0..=14.0).contains(&seen) && (4.0..=8.0).contains(&harmed),
        "{seen} {harmed}"
    );
    assert_eq!(requests, 4);
}

#[test]
fn requests_nobody_could_take_are_counted() {
    let mut config = simple(&[crate::support::refused()]);
    config.pools[0].backends[0].weight = 0;
    let mut bench = Bench::start(config);
    let mut client = bench.client();
    client.get("/");
    client.get("/");
    drop(client);
    bench.proxy.drain(PATIENCE);
    bench.proxy.join();
    let mut unpicked = 0;
    while let Ok(tally) = bench.tallies.try_recv() {
        unpicked = tally.pools[0].unpicked;
    }
    assert_eq!(unpicked, 2);
}

#[test]
fn every_request_leaves_one_line_in_the_access_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let origin = Origin::answering(OK);
    let mut config = simple(&[origin.address]);
    config.access_log = Some(path.clone());
    config.routes[0].matcher = evenkeel_model::config::Matcher::prefix("/shop");
    let bench = Bench::start(config);
    let mut client = bench.client();
    client.send("POST /shop/x?token=secret HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 3\r\nX-Request-Id: id-1\r\n\r\nabc");
    client.response();
    client.get("/nowhere");
    client.send("BAD\r\n\r\n");
    client.response();
    bench.finish();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), 3, "{text}");
    let first = &lines[0];
    for (key, value) in [
        ("request_id", "id-1"),
        ("client", "127.0.0.1"),
        ("listener", "web"),
        ("method", "POST"),
        ("path", "/shop/x"),
        ("host", "shop.example"),
        ("pool", "shop"),
        ("backend", "b0"),
        ("revision", "r1"),
    ] {
        assert_eq!(first[key], value, "{text}");
    }
    for (key, value) in [
        ("status", 200),
        ("attempts", 1),
        ("epoch", 1),
        ("route", 0),
        ("bytes_in", 3),
    ] {
        assert_eq!(first[key], value, "{text}");
    }
    assert!(first["upstream_ms"].as_f64().unwrap() <= first["duration_ms"].as_f64().unwrap());
    assert!(first["error"].is_null());
    assert_eq!(lines[1]["error"], "no_route");
    assert_eq!(lines[2]["status"], 400);
    assert!(lines[2]["path"].is_null());
    assert!(!text.contains("secret"), "queries hold secrets");
}

#[test]
fn a_line_of_the_access_log_has_the_fields_that_were_chosen_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Cache: hit\r\nX-Cache: stale\r\n\r\nok",
    );
    let mut config = simple(&[origin.address]);
    config.access_log = Some(path.clone());
    let chosen = |names: &[&str]| {
        names
            .iter()
            .map(|name| LogField::of(name).unwrap())
            .collect()
    };
    config.access_log_fields = chosen(&[
        "status",
        "query",
        "request_header.user-agent",
        "response_header.x-cache",
        "path",
    ]);
    let mut bench = Bench::start(config.clone());
    let mut client = bench.client();
    client.send("GET /a?b=c HTTP/1.1\r\nHost: a\r\nUser-Agent: one\"two\r\n\r\n");
    client.response();
    client.get("/b");
    // A choice takes effect with the next request, without a restart.
    config.access_log_fields = chosen(&["path"]);
    bench.swap(config);
    client.get("/c");
    client.send("BAD\r\n\r\n");
    client.response();
    bench.finish();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            r#"{"status":200,"query":"b=c","request_header.user-agent":"one\"two","response_header.x-cache":"hit, stale","path":"/a"}"#,
            r#"{"status":200,"query":null,"request_header.user-agent":null,"response_header.x-cache":"hit, stale","path":"/b"}"#,
            r#"{"path":"/c"}"#,
            r#"{"path":null}"#,
        ]
    );
}

/// Answers each request by its path: `/no` with 404, `/left` not at all.
fn mixed() -> Origin {
    Origin::start(|mut conn| {
        while let Some(head) = conn.head() {
            crate::support::body_of(&mut conn, &head);
            match head.split(' ').nth(1) {
                Some("/no") => conn.send("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"),
                Some("/left") => conn.closed(),
                _ => conn.send(OK),
            };
        }
    })
}

#[test]
fn what_passed_is_counted_by_route_and_backend_over_all_workers_and_reloads() {
    let origin = mixed();
    let config = simple(&[origin.address]);
    let mut bench = Bench::start_with(config.clone(), 2);
    for _connection in 0..4 {
        let mut client = bench.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n");
        client.send(&"x".repeat(100));
        assert_eq!(client.response().status, 200);
        assert_eq!(client.get("/no").status, 404);
    }
    let mut leaves = bench.client();
    leaves.send("GET /left HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the request", || {
        bench.proxy.vitals()[0].1[0].1.in_flight == 1
    });
    drop(leaves);
    bench.swap(config);
    eventually("all that passed", || {
        let traffic = bench.proxy.traffic();
        let Some((route, passed)) = traffic.routes.first() else {
            return false;
        };
        let (_, backend, at) = &traffic.backends[0];
        assert_eq!((route.listener.as_str(), backend.as_str()), ("web", "b0"));
        if passed.classes.iter().sum::<u64>() < 9 {
            return false;
        }
        assert_eq!(passed.classes, [0, 4, 0, 4, 0, 1]);
        assert_eq!(passed.took.count(), 9);
        assert_eq!((passed.bytes_in, at.bytes_in), (400, 400));
        assert_eq!(passed.bytes_out, at.bytes_out);
        assert!(passed.bytes_out > 4 * OK.len() as u64);
        // At most one connection per try, and at least one.
        assert!((1..=9).contains(&at.connects.count()));
        assert_eq!(traffic.queues.len(), 0);
        true
    });
}

#[test]
fn the_time_in_the_queue_is_counted_of_who_was_served_and_who_was_not() {
    let origin = Origin::start(|mut conn| {
        while conn.request().is_some() {
            std::thread::park_timeout(Duration::from_millis(60));
            conn.send(OK);
        }
    });
    let mut config = simple(&[origin.address]);
    config.pools[0].max_in_flight = Some(1);
    config.pools[0].queue = Some(Queue {
        length: 1,
        timeout: PATIENCE,
    });
    let bench = Bench::start(config);
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let mut client = bench.client();
            std::thread::spawn(move || client.get("/").status)
        })
        .collect();
    let mut statuses: Vec<u16> = clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 503]);
    let traffic = bench.proxy.traffic();
    // The third was refused at once: it did not wait.
    assert_eq!(traffic.queues[0].1.count(), 1);
}
