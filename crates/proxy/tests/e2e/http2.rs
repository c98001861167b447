//! HTTP/2 from clients, by prior knowledge: the same requests by another way in.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use evenkeel_model::config::{Config, Protocols};
use http::{HeaderMap, HeaderValue, Request};

use crate::frames::{
    Answer, DATA, END_HEADERS, END_STREAM, GET, GOAWAY, HEADERS, Library, RESET, Raw, WHOLE, block,
    frame, whole,
};
use crate::support::{Bench, Origin, PATIENCE, eventually, header, refused, simple};

const BOTH: Protocols = Protocols {
    http1: true,
    http2: true,
    streams_max: 100,
};
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

pub(crate) fn speaking(backends: &[SocketAddr]) -> Config {
    let mut config = simple(backends);
    config.listeners[0].protocols = BOTH;
    config
}

/// Answers with the request as it came.
fn echo() -> Origin {
    Origin::start(|mut conn| {
        while let Some(request) = conn.request() {
            let length = request.len();
            conn.send(&format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{request}"
            ));
        }
    })
}

fn post(path: &str) -> http::request::Builder {
    Request::post(format!("http://test{path}"))
}

#[test]
fn a_request_reaches_the_backend_in_the_form_of_http_1_with_all_that_it_said() {
    let origin = echo();
    let bench = Bench::start(speaking(&[origin.address]));
    let mut client = Library::connect(bench.address());
    let request = Request::get("http://shop.example:8080/cart?id=1")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("te", "trailers")
        .header("x-own", "yes")
        .body(())
        .unwrap();
    let answer = client.ask(request).unwrap();
    let head = answer.text();
    assert!(head.starts_with("GET /cart?id=1 HTTP/1.1\r\n"), "{head}");
    for (name, value) in [
        ("host", "shop.example:8080"),
        ("cookie", "a=1; b=2"),
        ("x-own", "yes"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("via", "2.0 evenkeel"),
    ] {
        assert_eq!(header(head, name), Some(value), "{head}");
    }
    for absent in ["te", "transfer-encoding", "content-length", "connection"] {
        assert_eq!(header(head, absent), None, "{head}");
    }
    assert_eq!(
        (answer.status, answer.field("via")),
        (200, Some("1.1 evenkeel"))
    );
    assert!(answer.field("x-request-id").is_some());
}

#[test]
fn requests_on_one_connection_do_not_wait_for_each_other_and_are_each_picked() {
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let slow = Origin::start(move |mut conn| {
        while let Some(request) = conn.request() {
            if request.starts_with("GET /slow") {
                released.lock().unwrap().recv().unwrap();
            }
            conn.send(OK);
        }
    });
    let bench = Bench::start(speaking(&[slow.address, slow.address]));
    let client = Library::connect(bench.address());
    client.wait(async {
        let ask = |path: &str| {
            let request = Request::get(format!("http://test{path}")).body(()).unwrap();
            whole(client.sender.clone(), request, Vec::new(), None)
        };
        let waiting = tokio::spawn(ask("/slow"));
        for _ in 0..20 {
            assert_eq!(ask("/quick").await.unwrap().status, 200);
        }
        assert!(!waiting.is_finished());
        release.send(()).unwrap();
        assert_eq!(waiting.await.unwrap().unwrap().status, 200);
    });
    assert_eq!(bench.proxy.http2().map(|counts| counts.open), Some(0));
    let cells = &bench.finish()[0].1;
    let picks: u64 = cells.iter().map(|cell| cell.picks_free).sum();
    let ok: u64 = cells.iter().map(|cell| cell.outcomes.ok).sum();
    assert_eq!((picks, ok), (21, 21));
}

#[test]
fn bodies_of_any_length_pass_both_ways_at_the_pace_of_the_reader() {
    let origin = Origin::start(|mut conn| {
        while let Some(head) = conn.head() {
            let body = crate::support::body_of(&mut conn, &head);
            conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for piece in body.chunks(70_001) {
                conn.send(&format!("{:x}\r\n", piece.len()));
                conn.send(std::str::from_utf8(piece).unwrap());
                conn.send("\r\n");
            }
            conn.send("0\r\n\r\n");
        }
    });
    let bench = Bench::start(speaking(&[origin.address]));
    let mut client = Library::connect(bench.address());
    let body: Vec<u8> = (0..3_000_000u32).map(|n| b'a' + (n % 23) as u8).collect();
    for length in [1, 16_383, 65_536, 3_000_000] {
        for declared in [false, true] {
            let mut request = post("/echo");
            if declared {
                request = request.header("content-length", length);
            }
            let sent = &body[..length];
            let answer = client.send(request.body(()).unwrap(), sent, None).unwrap();
            assert_eq!((answer.status, answer.body.len()), (200, length));
            assert!(answer.body == sent);
            assert_eq!(answer.field("transfer-encoding"), None);
        }
    }
}

#[test]
fn trailers_pass_both_ways() {
    let (told, telling) = mpsc::channel();
    let origin = Origin::start(move |mut conn| {
        while let Some(head) = conn.head() {
            assert_eq!(header(&head, "transfer-encoding"), Some("chunked"));
            let mut body = Vec::new();
            while !body.ends_with(b"\r\n\r\n") {
                body.extend(conn.some().unwrap());
            }
            told.send(String::from_utf8(body).unwrap()).unwrap();
            conn.send(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\ngrpc-status: 0\r\nX-Sum: 7\r\n\r\n",
            );
        }
    });
    let bench = Bench::start(speaking(&[origin.address]));
    let mut client = Library::connect(bench.address());
    let mut trailers = HeaderMap::new();
    trailers.insert("x-check", HeaderValue::from_static("9"));
    // What frames or routes a message may not come behind it.
    trailers.insert("host", HeaderValue::from_static("evil"));
    let request = post("/rpc").header("te", "trailers").body(()).unwrap();
    let answer = client.send(request, b"hello", Some(trailers)).unwrap();
    assert_eq!(answer.text(), "abc");
    let trailers = answer.trailers.unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers["x-sum"], "7");
    let body = telling.recv().unwrap();
    assert_eq!(body, "5\r\nhello\r\n0\r\nx-check: 9\r\n\r\n");
}

#[test]
fn answers_without_a_body_end_with_their_head() {
    let origin = Origin::start(|mut conn| {
        while let Some(request) = conn.request() {
            conn.send(match request.split(' ').nth(1).unwrap() {
                "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
                "/0" => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            });
        }
    });
    let bench = Bench::start(speaking(&[origin.address]));
    let mut client = Library::connect(bench.address());
    for (method, path, status, length) in [
        ("GET", "/204", 204, None),
        ("GET", "/304", 304, Some("5")),
        ("GET", "/0", 200, Some("0")),
        ("HEAD", "/", 200, Some("5")),
        // Our own answer to HEAD has none either.
        ("HEAD", "/%zz", 400, Some("67")),
    ] {
        let request = Request::builder().method(method);
        let request = request.uri(format!("http://test{path}")).body(()).unwrap();
        let answer = client.ask(request).unwrap();
        assert_eq!((answer.status, answer.text()), (status, ""), "{path}");
        let said = answer.field("content-length");
        assert!(said == length || path == "/%zz", "{path}: {said:?}");
    }
}

#[test]
fn interim_answers_come_before_the_last_one() {
    let origin = Origin::start(|mut conn| {
        while let Some(head) = conn.head() {
            if header(&head, "expect").is_some() {
                conn.send("HTTP/1.1 100 Continue\r\n\r\n");
                conn.read(5);
            }
            conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
            conn.send(OK);
        }
    });
    let bench = Bench::start(speaking(&[origin.address]));
    let mut raw = Raw::connect(bench.address());
    let mut fields = GET.to_vec();
    fields[0].1 = "POST";
    fields.extend([("expect", "100-continue"), ("content-length", "5")]);
    raw.headers(1, END_HEADERS, &fields);
    assert_eq!(raw.verdict(), "100");
    raw.send(DATA, END_STREAM, 1, b"hello");
    assert_eq!(raw.verdict(), "103");
    assert_eq!(raw.verdict(), "200");
    assert_eq!(raw.until(&[DATA]).unwrap().payload, b"ok");
}

#[test]
fn an_answer_before_the_end_of_the_request_is_whole_and_ends_the_upload() {
    let origin = Origin::start(|mut conn| {
        while conn.head().is_some() {
            conn.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig");
        }
    });
    let bench = Bench::start(speaking(&[origin.address]));
    let mut raw = Raw::connect(bench.address());
    let mut fields = GET.to_vec();
    fields[0].1 = "POST";
    raw.headers(1, END_HEADERS, &fields);
    raw.send(DATA, 0, 1, b"first");
    assert_eq!(raw.verdict(), "413");
    let frame = raw.until(&[DATA]).unwrap();
    assert_eq!(frame.payload, b"big");
    // The rest is not wanted: NO_ERROR.
    let reset = raw.until(&[RESET]).unwrap();
    assert_eq!((reset.stream, reset.code()), (1, 0));
    raw.headers(3, WHOLE, &GET);
    assert_eq!(raw.until(&[HEADERS]).unwrap().stream, 3);
}

#[test]
fn a_client_that_takes_its_request_back_ends_it_at_the_backend() {
    let (told, telling) = mpsc::channel();
    let origin = Origin::start(move |mut conn| {
        conn.head();
        told.send("asked").unwrap();
        assert!(conn.closed());
        told.send("closed").unwrap();
    });
    let bench = Bench::start(speaking(&[origin.address]));
    let mut raw = Raw::connect(bench.address());
    raw.headers(1, WHOLE, &GET);
    assert_eq!(telling.recv().unwrap(), "asked");
    raw.send(RESET, 0, 1, &8u32.to_be_bytes());
    assert_eq!(telling.recv().unwrap(), "closed");
    raw.send(crate::frames::PING, 0, 0, &[7; 8]);
    assert!(raw.until(&[crate::frames::PING]).is_some());
    let cells = &bench.finish()[0].1;
    assert_eq!(cells[0].outcomes.client_abort, 1);
}

#[test]
fn requests_of_a_client_that_is_gone_are_booked_as_left() {
    let (told, telling) = mpsc::channel();
    let origin = Origin::start(move |mut conn| {
        conn.head();
        told.send(()).unwrap();
        conn.closed();
    });
    let bench = Bench::start(speaking(&[origin.address]));
    let mut raw = Raw::connect(bench.address());
    raw.headers(1, WHOLE, &GET);
    raw.headers(3, WHOLE, &GET);
    telling.recv().unwrap();
    telling.recv().unwrap();
    drop(raw);
    eventually("the end of both", || bench.proxy.http2().unwrap().open == 0);
    let cells = &bench.finish()[0].1;
    assert_eq!(cells[0].outcomes.client_abort, 2);
}

#[test]
fn a_response_that_the_backend_cuts_is_cut_and_the_connection_lives() {
    let origin = Origin::start(|mut conn| {
        let request = conn.request().unwrap();
        if request.starts_with("GET /cut") {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        } else {
            conn.send(OK);
        }
    });
    let bench = Bench::start(speaking(&[origin.address]));
    let mut client = Library::connect(bench.address());
    let request = Request::get("http://test/cut").body(()).unwrap();
    let error = client.ask(request).unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR));
    assert_eq!(client.get("/").text(), "ok");
}

#[test]
fn what_fails_at_one_backend_is_tried_at_another() {
    let origin = Origin::answering(OK);
    let bench = Bench::start(speaking(&[refused(), origin.address]));
    let mut client = Library::connect(bench.address());
    for _ in 0..4 {
        assert_eq!(client.get("/").text(), "ok");
    }
    let cells = &bench.finish()[0].1;
    assert!(cells[1].picks_retry > 0 && cells[0].outcomes.connect_failed > 0);
}

#[test]
fn both_protocols_live_on_one_listener_where_both_are_named() {
    let origin = Origin::answering(OK);
    let mut config = speaking(&[origin.address]);
    let mut bench = Bench::start(config.clone());
    assert_eq!(bench.client().get("/").text(), "ok");
    assert_eq!(Library::connect(bench.address()).get("/").text(), "ok");
    config.listeners[0].protocols.http1 = false;
    bench.swap(config.clone());
    assert_eq!(bench.client().get("/").said(), (505, "version_major"));
    assert_eq!(Library::connect(bench.address()).get("/").text(), "ok");
    config.listeners[0].protocols = Protocols::default();
    bench.swap(config);
    assert_eq!(bench.client().get("/").text(), "ok");
    let mut client = bench.client();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(client.response().said(), (505, "version_major"));
}

#[test]
fn a_preface_behind_a_request_is_none() {
    let origin = Origin::answering(OK);
    let bench = Bench::start(speaking(&[origin.address]));
    let mut client = bench.client();
    assert_eq!(client.get("/").text(), "ok");
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(client.response().status, 505);
}

#[test]
fn the_access_log_says_what_was_spoken() {
    let origin = Origin::answering(OK);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let mut config = speaking(&[origin.address]);
    config.access_log = Some(path.clone());
    let bench = Bench::start(config);
    Library::connect(bench.address()).get("/two");
    bench.client().get("/one");
    bench.finish();
    let log = std::fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    let [two, one] = &lines[..] else {
        panic!("{log}");
    };
    assert!(two.contains("\"protocol\":\"HTTP/2.0\",\"method\":\"GET\",\"path\":\"/two\""));
    assert!(one.contains("\"protocol\":\"HTTP/1.1\",\"method\":\"GET\",\"path\":\"/one\""));
}

#[test]
fn a_drain_lets_open_requests_end_and_takes_no_more() {
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let origin = Origin::start(move |mut conn| {
        while conn.request().is_some() {
            released.lock().unwrap().recv().unwrap();
            conn.send(OK);
        }
    });
    let bench = Bench::start(speaking(&[origin.address]));
    let mut raw = Raw::connect(bench.address());
    raw.headers(1, WHOLE, &GET);
    eventually("a request", || origin.connections() == 1);
    bench.proxy.drain(Duration::from_secs(8));
    let goaway = raw.until(&[GOAWAY]).unwrap();
    assert_eq!(goaway.code(), 0);
    release.send(()).unwrap();
    assert_eq!(raw.verdict(), "200");
    while raw.next().is_some() {}
    let ok = bench.finish()[0].1[0].outcomes.ok;
    assert_eq!(ok, 1);
}

#[test]
fn a_connection_without_requests_ends_after_its_time_whatever_else_it_sends() {
    let origin = Origin::answering(OK);
    let mut config = speaking(&[origin.address]);
    config.listeners[0].idle_timeout = Duration::from_millis(300);
    let bench = Bench::start(config);
    let mut raw = Raw::connect(bench.address());
    raw.headers(1, WHOLE, &GET);
    assert_eq!(raw.verdict(), "200");
    let mut pings = 0;
    let goaway = loop {
        raw.flood(&frame(crate::frames::PING, 0, 0, &[1; 8]));
        match raw.until(&[crate::frames::PING, GOAWAY]) {
            Some(frame) if frame.kind == GOAWAY => break frame,
            Some(_) => pings += 1,
            None => panic!("no GOAWAY"),
        }
        std::thread::park_timeout(Duration::from_millis(20));
    };
    assert!(pings > 1);
    assert_eq!(goaway.code(), 0);
}

#[test]
fn a_connection_takes_no_more_requests_than_its_lifetime_allows() {
    let origin = Origin::answering(OK);
    let mut config = speaking(&[origin.address]);
    config.listeners[0].lifetime.requests_max = Some(2);
    let bench = Bench::start(config);
    let mut raw = Raw::connect(bench.address());
    for stream in [1, 3] {
        raw.headers(stream, WHOLE, &GET);
        assert_eq!(raw.until(&[HEADERS]).unwrap().stream, stream);
    }
    assert_eq!(raw.until(&[GOAWAY]).unwrap().code(), 0);
    while raw.next().is_some() {}
}

#[test]
fn a_client_that_asks_on_though_it_was_told_to_leave_is_closed() {
    let origin = Origin::answering(OK);
    let mut config = speaking(&[origin.address]);
    config.listeners[0].lifetime.requests_max = Some(1);
    let bench = Bench::start(config);
    let mut raw = Raw::connect(bench.address());
    let start = Instant::now();
    let mut stream = 1;
    // What is asked for in between is answered: the client may not have heard of it yet.
    while start.elapsed() < PATIENCE {
        raw.flood(&frame(HEADERS, WHOLE, stream, &block(&GET)));
        if raw.until(&[HEADERS]).is_none() {
            break;
        }
        stream += 2;
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert!(stream > 3, "{stream}");
    assert!(start.elapsed() < PATIENCE, "{stream}");
}

#[test]
fn a_reload_that_keeps_the_listener_keeps_its_connections() {
    let (a, b) = (Origin::answering(OK), Origin::answering(OK));
    let mut bench = Bench::start(speaking(&[a.address]));
    let mut client = Library::connect(bench.address());
    let ok = |answer: Answer| assert_eq!(answer.text(), "ok");
    ok(client.get("/"));
    bench.swap(speaking(&[b.address]));
    ok(client.get("/"));
    assert_eq!((a.connections(), b.connections()), (1, 1));
}

#[test]
fn flags_of_the_last_frame_end_the_request() {
    let origin = echo();
    let bench = Bench::start(speaking(&[origin.address]));
    let mut raw = Raw::connect(bench.address());
    let mut fields = GET.to_vec();
    fields[0].1 = "POST";
    raw.headers(1, END_HEADERS, &fields);
    raw.send(DATA, 0, 1, b"ab");
    raw.send(DATA, END_STREAM, 1, &[]);
    assert_eq!(raw.verdict(), "200");
    let text = String::from_utf8(raw.until(&[DATA]).unwrap().payload).unwrap();
    assert!(
        text.contains("chunked") && text.ends_with("\r\n\r\nab"),
        "{text}"
    );
    // A POST without a body says so.
    raw.headers(3, WHOLE, &fields);
    let text = String::from_utf8(raw.until(&[DATA]).unwrap().payload).unwrap();
    assert_eq!(header(&text, "content-length"), Some("0"), "{text}");
}
