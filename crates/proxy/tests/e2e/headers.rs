//! What is written anew on the way: hop-by-hop fields, forwarding fields, ids, reports, versions.

use std::sync::mpsc;

use evenkeel_model::ids::Name;

use crate::support::{Bench, Conn, Origin, PATIENCE, eventually, header, simple};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An origin that hands every request head to the test and answers `response`.
fn spying(response: &'static str) -> (Origin, mpsc::Receiver<String>) {
    let (sender, receiver) = mpsc::channel();
    let origin = Origin::start(move |mut conn: Conn| {
        while let Some(request) = conn.request() {
            if sender.send(request).is_err() || !conn.send(response) {
                break;
            }
        }
    });
    (origin, receiver)
}

#[test]
fn hop_by_hop_fields_stay_on_their_hop() {
    let response = "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-Stays: 1\r\nContent-Length: 2\r\n\r\nok";
    let (origin, requests) = spying(response);
    let bench = Bench::start(simple(&[origin.address]));
    let mut client = bench.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Secret\r\nX-Secret: 1\r\nKeep-Alive: 1\r\nTE: gzip\r\nUpgrade: websocket\r\nX-Stays: 1\r\n\r\n");
    let response = client.response();
    let request = requests.recv_timeout(PATIENCE).unwrap();
    for name in ["connection", "x-secret", "keep-alive", "te", "upgrade"] {
        assert_eq!(header(&request, name), None, "{request}");
    }
    for name in ["connection", "x-hop", "keep-alive"] {
        assert_eq!(response.header(name), None, "{}", response.head);
    }
    assert_eq!(header(&request, "x-stays"), Some("1"));
    assert_eq!(response.header("x-stays"), Some("1"));
}

#[test]
fn the_backend_learns_who_the_client_is_and_cannot_be_told_otherwise_by_it() {
    let (origin, requests) = spying(OK);
    let bench = Bench::start(simple(&[origin.address]));
    let mut client = bench.client();
    client.send("GET /p?q=1 HTTP/1.1\r\nHost: shop.example:81\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n\r\n");
    let response = client.response();
    let request = requests.recv_timeout(PATIENCE).unwrap();
    assert!(request.starts_with("GET /p?q=1 HTTP/1.1\r\n"), "{request}");
    assert_eq!(header(&request, "host"), Some("shop.example:81"));
    assert_eq!(header(&request, "x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(header(&request, "x-forwarded-proto"), Some("http"));
    assert_eq!(
        header(&request, "x-forwarded-host"),
        Some("shop.example:81")
    );
    let forwarded = header(&request, "forwarded").unwrap();
    assert!(
        forwarded.starts_with("for=127.0.0.1;proto=http"),
        "{forwarded}"
    );
    assert!(!request.contains("6.6.6.6"));
    assert_eq!(header(&request, "via"), Some("1.1 evenkeel"));
    assert_eq!(response.header("via"), Some("1.1 evenkeel"));
}

#[test]
fn a_request_id_is_kept_if_sane_and_made_if_not() {
    let (origin, requests) = spying(OK);
    let bench = Bench::start(simple(&[origin.address]));
    let mut client = bench.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: abc-123\r\n\r\n");
    assert_eq!(client.response().header("x-request-id"), Some("abc-123"));
    assert_eq!(
        header(&requests.recv_timeout(PATIENCE).unwrap(), "x-request-id"),
        Some("abc-123")
    );
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: a b\"c\r\n\r\n");
    let response = client.response();
    let sent = response.header("x-request-id").unwrap();
    assert_eq!(sent.len(), 32);
    assert_eq!(
        header(&requests.recv_timeout(PATIENCE).unwrap(), "x-request-id"),
        Some(sent)
    );
}

#[test]
fn a_load_report_is_taken_in_and_not_passed_on() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nEndpoint-Load-Metrics: TEXT cpu_utilization=0.3,mem_utilization=0.8\r\nContent-Length: 2\r\n\r\nok",
    );
    let bench = Bench::start(simple(&[origin.address]));
    let response = bench.client().get("/");
    assert_eq!(response.header("endpoint-load-metrics"), None);
    let vitals = bench.proxy.vitals();
    assert_eq!(vitals[0].0, Name::new("shop").unwrap());
    let (backend, vitals) = &vitals[0].1[0];
    assert_eq!(backend.as_str(), "b0");
    assert_eq!((vitals.cpu, vitals.memory), (Some(0.3), Some(0.8)));
    eventually("the end of the request", || {
        bench.proxy.vitals()[0].1[0].1.in_flight == 0
    });
}

#[test]
fn an_http_1_0_client_gets_no_chunks_and_a_close() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    );
    let bench = Bench::start(simple(&[origin.address]));
    let mut client = bench.client();
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let head = client.head().unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(header(&head, "transfer-encoding"), None);
    assert_eq!(header(&head, "connection"), Some("close"));
    assert_eq!(client.rest(), b"abcde");
}

#[test]
fn an_http_1_0_client_that_asks_for_it_is_kept_alive() {
    let origin = Origin::answering(OK);
    let bench = Bench::start(simple(&[origin.address]));
    let mut client = bench.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let response = client.response();
        assert_eq!(response.header("connection"), Some("keep-alive"));
        assert_eq!(response.text(), "ok");
    }
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().header("connection"), Some("close"));
    assert!(client.closed());
}

#[test]
fn responses_without_a_body_leave_the_connection_in_step() {
    let origin = Origin::start(|mut conn| {
        while let Some(request) = conn.request() {
            let answer = match request.split(' ').nth(1).unwrap() {
                "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n",
                _ if request.starts_with("HEAD") => {
                    "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
                }
                _ => OK,
            };
            conn.send(answer);
        }
    });
    let bench = Bench::start(simple(&[origin.address]));
    let mut client = bench.client();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.response_to("HEAD");
    assert_eq!(head.header("content-length"), Some("1000"));
    assert_eq!(client.get("/204").status, 204);
    assert_eq!(client.get("/304").status, 304);
    assert_eq!(client.get("/").text(), "ok");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn interim_responses_are_passed_on_but_not_to_http_1_0() {
    let origin = Origin::start(|mut conn| {
        while conn.request().is_some() {
            conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
            conn.send(OK);
        }
    });
    let bench = Bench::start(simple(&[origin.address]));
    let mut client = bench.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let hints = client.response();
    assert_eq!(
        (hints.status, hints.header("link")),
        (103, Some("</a.css>"))
    );
    assert_eq!(client.response().text(), "ok");
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().status, 200);
}

#[test]
fn an_interim_response_waits_for_nothing_whether_more_comes_or_not() {
    let (told, tell) = mpsc::channel::<()>();
    let told_by = std::sync::Mutex::new(tell);
    let origin = Origin::start(move |mut conn| {
        conn.request();
        conn.send("HTTP/1.1 103 Early Hints\r\n\r\n");
        told_by.lock().unwrap().recv().unwrap();
        conn.send(&format!("HTTP/1.1 103 Early Hints\r\n\r\n{OK}"));
    });
    // Longer than the client waits: no deadline is to wake anybody.
    let long = 10 * PATIENCE;
    let mut config = simple(&[origin.address]);
    config.listeners[0].write_timeout = long;
    config.pools[0].response_timeout = long;
    config.pools[0].request_timeout = long;
    let bench = Bench::start(config);
    let mut client = bench.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 103);
    told.send(()).unwrap();
    assert_eq!(client.response().status, 103);
    assert_eq!(client.response().text(), "ok");
}

#[test]
fn the_100_of_the_backend_is_passed_on_before_the_body() {
    let origin = Origin::start(|mut conn| {
        let head = conn.head().unwrap();
        assert_eq!(header(&head, "expect"), Some("100-continue"));
        conn.send("HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(conn.read(4), b"body");
        conn.send(OK);
    });
    let bench = Bench::start(simple(&[origin.address]));
    let mut client = bench.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.response().status, 100);
    client.send("body");
    assert_eq!(client.response().text(), "ok");
}

#[test]
fn a_backend_that_ignores_expect_does_not_make_the_client_wait_for_ever() {
    let origin = Origin::start(|mut conn| {
        assert!(conn.request().unwrap().ends_with("body"));
        conn.send(OK);
    });
    let bench = Bench::start(simple(&[origin.address]));
    let mut client = bench.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.response().status, 100);
    client.send("body");
    assert_eq!(client.response().text(), "ok");
}

#[test]
fn options_with_no_hops_left_is_answered_here() {
    let (origin, requests) = spying(OK);
    let bench = Bench::start(simple(&[origin.address]));
    let mut client = bench.client();
    client.send("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status, 204);
    assert!(response.header("allow").unwrap().contains("GET"));
    client.send("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n");
    assert_eq!(client.response().status, 200);
    let request = requests.recv_timeout(PATIENCE).unwrap();
    assert!(request.starts_with("OPTIONS * HTTP/1.1"), "{request}");
    assert_eq!(header(&request, "max-forwards"), Some("2"));
}
