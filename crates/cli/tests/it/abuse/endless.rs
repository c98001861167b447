//! Messages that never end in one of their parts: each is cut at a bound and costs little memory.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{Home, Instance, PATIENCE, heavy, pause, stubs};
use crate::wire::{Honest, Origin, addresses, config, connect, get, to_the_end};

/// Resident memory of the instance in KiB.
pub(crate) fn rss_kib(instance: &Instance) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", instance.pid())).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Writes `block` until the other end stops taking it: how much it took.
fn pour(stream: &mut TcpStream, block: &[u8], most: usize) -> usize {
    stream
        .set_write_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let mut taken = 0;
    while taken < most {
        match stream.write(block) {
            Ok(n) => taken += n,
            Err(_full_or_closed) => break,
        }
    }
    taken
}

#[test]
fn requests_without_end_are_refused_at_a_bound() {
    let stubs = stubs();
    let home = Home::new(&config(&addresses(&stubs), "", ""));
    let instance = home.start(&[]);
    let honest = Honest::start(instance.front(), 50.0);
    let chunked = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    for (what, start, block) in [
        (
            "head",
            "GET / HTTP/1.1\r\nhost: x\r\n".to_owned(),
            "a: b\r\n",
        ),
        ("target", "GET /".to_owned(), "aaaaaaaa"),
        ("method", String::new(), "AAAAAAAA"),
        ("blank lines", String::new(), "\r\n"),
        ("chunk extension", format!("{chunked}5;"), "aaaaaaaa"),
        ("chunk size", chunked.to_owned(), "00000000"),
        ("trailers", format!("{chunked}0\r\n"), "a: b\r\n"),
    ] {
        let mut stream = connect(instance.front());
        stream.write_all(start.as_bytes()).unwrap();
        pour(&mut stream, block.repeat(1_000).as_bytes(), 64 << 20);
        let answer = to_the_end(&mut stream);
        // What was unread at the close may have reset the answer away, but never without a bound.
        if !answer.text.is_empty() {
            assert!((400..600).contains(&answer.status()), "{what}: {answer:?}");
        }
    }
    assert!(
        rss_kib(&instance) < 128 * 1024,
        "{} KiB",
        rss_kib(&instance)
    );
    honest.unharmed();
}

#[test]
fn a_client_that_pipelines_without_reading_is_held_back_not_stored() {
    let _alone = heavy();
    let stubs = stubs();
    let home = Home::new(&config(&addresses(&stubs), "write_timeout = \"2s\"", ""));
    let instance = home.start(&[]);
    let honest = Honest::start(instance.front(), 50.0);
    pause(Duration::from_secs(1));
    let before = rss_kib(&instance);
    let block = "GET / HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1_000);
    let mut flood: Vec<TcpStream> = (0..10).map(|_| connect(instance.front())).collect();
    for stream in &mut flood {
        pour(stream, block.as_bytes(), 256 << 20);
    }
    let grown = rss_kib(&instance).saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB");
    honest.unharmed();
}

#[test]
fn responses_without_end_are_cut_at_a_bound() {
    for (what, start, block) in [
        ("head", "HTTP/1.1 200 OK\r\n", "a: b\r\n"),
        ("status line", "HTTP/1.1 200 ", "aaaaaaaa"),
        ("interim responses", "", "HTTP/1.1 103 Early Hints\r\n\r\n"),
        ("blank lines", "", "\r\n"),
    ] {
        let origin = Origin::start(move |conn| {
            conn.request();
            conn.send(start.as_bytes());
            while conn.send(block.repeat(100).as_bytes()) {}
        });
        let pool = "request_timeout = \"3s\"\nretry = { attempts = 0 }";
        let home = Home::new(&config(&[origin.text()], "", pool));
        let instance = home.start(&[]);
        let answer = get(instance.front(), "/");
        let last = answer.text.rfind("HTTP/1.1 5");
        assert!(
            last.is_some(),
            "{what}: {}",
            &answer.text[..answer.text.len().min(300)]
        );
        assert!(
            answer.took < Duration::from_secs(10),
            "{what}: {:?}",
            answer.took
        );
        assert!(
            rss_kib(&instance) < 128 * 1024,
            "{what}: {} KiB",
            rss_kib(&instance)
        );
    }
}

#[test]
fn chunk_extensions_and_trailers_of_a_response_have_a_bound() {
    for (what, start, block) in [
        ("extension", "5;", "aaaaaaaa"),
        ("size", "", "00000000"),
        ("trailers", "0\r\n", "a: b\r\n"),
    ] {
        let origin = Origin::start(move |conn| {
            conn.request();
            conn.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            conn.send(start.as_bytes());
            while conn.send(block.repeat(100).as_bytes()) {}
        });
        let home = Home::new(&config(&[origin.text()], "", "retry = { attempts = 0 }"));
        let instance = home.start(&[]);
        let answer = get(instance.front(), "/");
        assert!(
            !answer.text.ends_with("0\r\n\r\n"),
            "{what}: it looks complete"
        );
        assert!(answer.text.len() < 200_000, "{what}: {}", answer.text.len());
        assert!(
            answer.took < Duration::from_secs(10),
            "{what}: {:?}",
            answer.took
        );
    }
}

#[test]
fn a_head_that_comes_byte_by_byte_ends_with_the_time_of_the_request() {
    let origin = Origin::start(|conn| {
        conn.request();
        conn.send(b"HTTP/1.1 200 OK\r\na: ");
        while conn.send(b"a") {
            pause(Duration::from_millis(100));
        }
    });
    let pool = "request_timeout = \"2s\"\nretry = { attempts = 0 }";
    let home = Home::new(&config(&[origin.text()], "", pool));
    let instance = home.start(&[]);
    let started = Instant::now();
    let answer = get(instance.front(), "/");
    assert_eq!(answer.status(), 504, "{answer:?}");
    assert!(started.elapsed() < PATIENCE / 3, "{:?}", started.elapsed());
}
