//! Bodies flow in both directions at once, without being stored.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use crate::support::{Bench, Origin, PATIENCE, eventually, simple};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const MIB: usize = 1024 * 1024;

/// A body whose every byte depends on its place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

#[test]
fn bodies_of_any_size_and_coding_arrive_unchanged_in_both_directions() {
    let origin = Origin::start(|mut conn| {
        while let Some(head) = conn.head() {
            let path = head.split(' ').nth(1).unwrap().to_owned();
            let (coding, length) = path[1..].split_once('/').unwrap();
            let length: usize = length.parse().unwrap();
            let body = pattern(length);
            let mut out = Vec::new();
            match coding {
                "fixed" => {
                    write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").unwrap();
                }
                _ => write!(out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap(),
            }
            let got = crate::support::body_of(&mut conn, &head);
            assert_eq!(got, body, "{path}");
            if coding == "fixed" {
                out.extend_from_slice(&body);
            } else {
                for piece in body.chunks(5_000) {
                    write!(out, "{:x}\r\n", piece.len()).unwrap();
                    out.extend_from_slice(piece);
                    out.extend_from_slice(b"\r\n");
                }
                out.extend_from_slice(b"0\r\n\r\n");
            }
            conn.stream.write_all(&out).unwrap();
        }
    });
    let bench = Bench::start(simple(&[origin.address]));
    let mut client = bench.client();
    for length in [1, 4_095, 4_096, 4_097, 16_384, 16_385, 100_000, MIB] {
        for coding in ["fixed", "chunked"] {
            let body = pattern(length);
            let mut out = Vec::new();
            if coding == "fixed" {
                write!(
                    out,
                    "PUT /fixed/{length} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
                )
                .unwrap();
                out.extend_from_slice(&body);
            } else {
                write!(out, "PUT /chunked/{length} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
                for piece in body.chunks(7_000) {
                    write!(out, "{:x}\r\n", piece.len()).unwrap();
                    out.extend_from_slice(piece);
                    out.extend_from_slice(b"\r\n");
                }
                out.extend_from_slice(b"0\r\n\r\n");
            }
            let mut writer = client.stream.try_clone().unwrap();
            let sender = std::thread::spawn(move || writer.write_all(&out).unwrap());
            let response = client.response();
            sender.join().unwrap();
            assert_eq!(response.status, 200);
            assert!(response.body == body, "{coding} {length}");
        }
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_response_without_length_is_chunked_to_the_client_and_ends_with_the_connection() {
    let origin = Origin::start(|mut conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\n\r\nuntil close");
    });
    let bench = Bench::start(simple(&[origin.address]));
    let mut client = bench.client();
    for _ in 0..2 {
        let response = client.get("/");
        assert_eq!(response.header("transfer-encoding"), Some("chunked"));
        assert_eq!(response.text(), "until close");
    }
    assert_eq!(origin.connections(), 2);
}

#[test]
fn a_client_that_does_not_read_stops_the_backend_and_is_cut_off() {
    const WHOLE: u64 = 256 * MIB as u64;
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let (ended, end) = mpsc::channel();
    let origin = Origin::start(move |mut conn| {
        conn.request();
        conn.send(&format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {WHOLE}\r\n\r\n"
        ));
        let block = vec![7; 64 * 1024];
        while conn.stream.write_all(&block).is_ok() {
            count.fetch_add(block.len() as u64, Ordering::SeqCst);
        }
        ended.send(()).unwrap();
    });
    let mut config = simple(&[origin.address]);
    config.listeners[0].write_timeout = Duration::from_millis(500);
    let bench = Bench::start(config);
    let mut client = bench.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    end.recv_timeout(PATIENCE).unwrap();
    assert!(
        sent.load(Ordering::SeqCst) < WHOLE / 4,
        "{sent:?}: only socket buffers hold bytes"
    );
    let tallies = bench.finish();
    let cell = &tallies[0].1[0];
    assert_eq!((cell.outcomes.client_abort, cell.harmed), (1, 0));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::start(|mut conn| {
        while let Some(request) = conn.request() {
            let path = request.split(' ').nth(1).unwrap().to_owned();
            conn.send(&format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}",
                path.len()
            ));
        }
    });
    let bench = Bench::start(simple(&[origin.address]));
    let mut client = bench.client();
    let mut all = String::new();
    for n in 0..200 {
        let get = format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n");
        let post = format!("POST /p{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
        all += &(get + &post);
    }
    client.send(&all);
    for n in 0..200 {
        assert_eq!(client.response().text(), format!("/{n}"));
        assert_eq!(client.response().text(), format!("/p{n}"));
    }
}

#[test]
fn an_early_response_is_passed_on_and_the_connection_is_not_used_again() {
    let origin = Origin::start(|mut conn| {
        while conn.head().is_some() {
            if conn.number > 0 {
                conn.send(OK);
                continue;
            }
            conn.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig");
            eventually("the close", || conn.closed());
            return;
        }
    });
    let bench = Bench::start(simple(&[origin.address]));
    let mut client = bench.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nstart");
    let response = client.response();
    assert_eq!((response.status, response.text()), (413, "big"));
    assert_eq!(response.header("connection"), Some("close"));
    assert!(client.closed());
    assert_eq!(bench.client().get("/").text(), "ok");
    assert_eq!(origin.connections(), 2);
}

#[test]
fn both_directions_flow_at_once() {
    // Echoes every block before it takes the next: a proxy that stores or takes turns would stand still.
    let origin = Origin::start(|mut conn| {
        conn.head();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        for _ in 0..100 {
            let block = conn.read(1_000);
            conn.stream.write_all(&block).unwrap();
        }
        conn.head();
    });
    let bench = Bench::start(simple(&[origin.address]));
    let mut client = bench.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    let body = pattern(1_000);
    client.stream.write_all(&body).unwrap();
    assert!(client.head().unwrap().starts_with("HTTP/1.1 200"));
    for n in 0..100 {
        assert_eq!(client.read(1_000), body);
        if n < 99 {
            client.stream.write_all(&body).unwrap();
        }
    }
}
