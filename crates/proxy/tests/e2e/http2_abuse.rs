//! What clients that speak HTTP/2 may not do, frame by frame, and what becomes of it.

use std::time::Duration;

use evenkeel_proxy::Http2Counts;

use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, GET, GOAWAY, HEADERS, PING, PRIORITY, RESET, Raw, SETTINGS,
    WHOLE, WINDOW, block, frame,
};
use crate::http2::speaking;
use crate::support::{Bench, Origin, eventually};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// ENHANCE_YOUR_CALM.
const CALM: u32 = 11;

fn bench() -> (Bench, Origin) {
    let origin = Origin::answering(OK);
    (Bench::start(speaking(&[origin.address])), origin)
}

fn counts(bench: &Bench) -> Http2Counts {
    bench.proxy.http2().unwrap()
}

/// The fields of a GET, with some of them changed or left out, and others behind.
fn get<'a>(
    change: &[(&'a str, Option<&'a str>)],
    more: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let mut fields = Vec::new();
    for (name, value) in GET {
        match change.iter().find(|(changed, _)| *changed == name) {
            Some((name, Some(value))) => fields.push((*name, *value)),
            Some((_, None)) => {}
            None => fields.push((name, value)),
        }
    }
    fields.extend(more);
    fields
}

type Fields<'a> = Vec<(&'a str, &'a str)>;

/// Sends each as a request of its own: what becomes of it, and that nothing else is lost by it.
fn judged(cases: &[(&str, Fields<'_>, &str)]) {
    let (bench, origin) = bench();
    for (what, fields, verdict) in cases {
        let before = origin.connections();
        let mut raw = Raw::connect(bench.address());
        raw.headers(1, WHOLE, fields);
        assert_eq!(raw.verdict(), *verdict, "{what}");
        if *verdict != "200" {
            assert_eq!(origin.connections(), before, "{what}");
        }
        raw.headers(3, WHOLE, &GET);
        assert_eq!(raw.until(&[HEADERS]).unwrap().stream, 3, "{what}");
    }
}

fn with<'a>(name: &'a str, value: &'a str) -> Fields<'a> {
    get(&[(name, Some(value))], &[])
}

fn and<'a>(name: &'a str, value: &'a str) -> Fields<'a> {
    get(&[], &[(name, value)])
}

fn without(name: &str) -> Fields<'_> {
    get(&[(name, None)], &[])
}

#[test]
fn malformed_pseudo_header_fields_never_reach_a_backend() {
    let no_place = get(&[(":path", None), (":authority", None)], &[]);
    let no_path = get(
        &[(":path", None), (":authority", None)],
        &[("host", "test")],
    );
    let asterisk = get(&[(":method", Some("OPTIONS")), (":path", Some("*"))], &[]);
    let behind = get(&[(":path", None)], &[("a", "b"), (":path", "/")]);
    judged(&[
        ("a good one", GET.to_vec(), "200"),
        ("no method", without(":method"), "reset 1"),
        ("no scheme", without(":scheme"), "reset 1"),
        ("no path", without(":path"), "reset 1"),
        ("no path nor authority", no_place, "reset 1"),
        ("no path and a host", no_path, "reset 1"),
        ("an empty path", with(":path", ""), "reset 1"),
        ("a path without its slash", with(":path", "cart"), "reset 1"),
        (
            "a second authority",
            with(":path", "http://evil/"),
            "reset 1",
        ),
        ("a query only", with(":path", "?a"), "reset 1"),
        ("an asterisk for GET", with(":path", "*"), "reset 1"),
        ("an asterisk for OPTIONS", asterisk, "200"),
        ("a repeated one", and(":path", "/b"), "reset 1"),
        ("one behind a field", behind, "reset 1"),
        ("one of responses", and(":status", "200"), "reset 1"),
    ]);
}

#[test]
fn fields_that_are_none_of_http_2_never_reach_a_backend() {
    let long = "x".repeat(200);
    judged(&[
        ("connection", and("connection", "close"), "reset 1"),
        ("keep-alive", and("keep-alive", "1"), "reset 1"),
        ("proxy-connection", and("proxy-connection", "a"), "reset 1"),
        ("a coding", and("transfer-encoding", "chunked"), "reset 1"),
        ("upgrade", and("upgrade", "websocket"), "reset 1"),
        ("another te", and("te", "gzip"), "reset 1"),
        ("te: trailers", and("te", "trailers"), "200"),
        ("a blank before a value", and("a", " b"), "reset 1"),
        ("a tab behind a value", and("a", "b\t"), "reset 1"),
        ("a value of blanks", and("a", " "), "reset 1"),
        ("an empty value", and("a", ""), "200"),
        ("another host", and("host", "evil"), "reset 1"),
        ("the same host", and("host", "TEST"), "200"),
        (
            "a length that does not come",
            and("content-length", "5"),
            "reset 1",
        ),
        ("a long value", and("a", &long), "200"),
    ]);
}

#[test]
fn what_http_1_is_refused_for_gets_the_same_answer() {
    let host = get(&[(":authority", None)], &[("host", "test")]);
    let hosts = get(
        &[(":authority", None)],
        &[("host", "test"), ("host", "test")],
    );
    let lengths = get(&[], &[("content-length", "0"), ("content-length", "0")]);
    let connect = get(
        &[
            (":method", Some("CONNECT")),
            (":scheme", None),
            (":path", None),
        ],
        &[],
    );
    judged(&[
        ("a host only", host, "200"),
        ("two hosts", hosts, "400"),
        ("no host at all", without(":authority"), "400"),
        ("a user", with(":authority", "a@test"), "400"),
        ("two lengths", lengths, "400"),
        ("a broken length", and("content-length", "+0"), "reset 1"),
        ("CONNECT", connect, "501"),
        ("TRACE", with(":method", "TRACE"), "405"),
        ("a broken escape", with(":path", "/%zz"), "400"),
        ("another scheme", with(":scheme", "ftp"), "reset 1"),
        ("a scheme in front", with(":scheme", "https"), "200"),
    ]);
}

#[test]
fn what_breaks_the_compression_or_the_order_of_frames_ends_the_connection() {
    let (bench, _origin) = bench();
    let whole = block(&GET);
    let upper = block(&get(&[], &[("Upper", "b")]));
    let feed = block(&get(&[], &[("a", "b\r\nc: d")]));
    let nul = block(&get(&[], &[("a", "b\0")]));
    for (what, frames) in [
        ("a name in capitals", frame(HEADERS, WHOLE, 1, &upper)),
        ("a line end in a value", frame(HEADERS, WHOLE, 1, &feed)),
        ("a zero byte in a value", frame(HEADERS, WHOLE, 1, &nul)),
        (
            "an index beyond the table",
            frame(HEADERS, WHOLE, 1, &[0xff, 0x7f]),
        ),
        ("a stream of the server's", frame(HEADERS, WHOLE, 2, &whole)),
        ("data for no stream", frame(DATA, 0, 1, b"x")),
        ("data on the connection", frame(DATA, 0, 0, b"x")),
        ("settings of five bytes", frame(SETTINGS, 0, 0, &[0; 5])),
        ("settings of a stream", frame(SETTINGS, 0, 1, &[])),
        ("a ping of seven bytes", frame(PING, 0, 0, &[0; 7])),
        ("a window that does not grow", frame(WINDOW, 0, 0, &[0; 4])),
        (
            "a continuation of nothing",
            frame(CONTINUATION, END_HEADERS, 1, &whole),
        ),
        ("a promise", frame(5, END_HEADERS, 1, &[0, 0, 0, 2, 0x82])),
        (
            "another frame within a header block",
            [frame(HEADERS, 1, 1, &whole), frame(PING, 0, 0, &[0; 8])].concat(),
        ),
    ] {
        let before = counts(&bench).protocol;
        let mut raw = Raw::connect(bench.address());
        raw.flood(&frames);
        let goaway = raw.until(&[GOAWAY, HEADERS]).expect(what);
        assert_eq!(goaway.kind, GOAWAY, "{what}");
        assert_ne!(goaway.code(), 0, "{what}");
        eventually(what, || counts(&bench).protocol == before + 1);
    }
    let mut raw = Raw::silent(bench.address());
    raw.flood(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    assert!(raw.until(&[HEADERS]).is_none());
}

#[test]
fn data_that_does_not_fit_its_length_is_no_request() {
    let (bench, _origin) = bench();
    for (sent, last) in [("abcd", true), ("abcdef", false), ("abcdef", true)] {
        let mut raw = Raw::connect(bench.address());
        let fields = get(&[(":method", Some("POST"))], &[("content-length", "5")]);
        raw.headers(1, END_HEADERS, &fields);
        raw.send(DATA, u8::from(last), 1, sent.as_bytes());
        assert_eq!(raw.verdict(), "reset 1", "{sent}");
    }
}

#[test]
fn what_asks_for_work_and_carries_nothing_ends_the_connection_when_there_is_too_much() {
    let (bench, _origin) = bench();
    let mut resets = Vec::new();
    for stream in (1..2_001).step_by(2) {
        resets.extend(frame(HEADERS, WHOLE, stream, &block(&GET)));
        resets.extend(frame(RESET, 0, stream, &8u32.to_be_bytes()));
    }
    let mut malformed = Vec::new();
    let padded = block(&get(&[], &[("a", " b")]));
    for stream in (1..2_001).step_by(2) {
        malformed.extend(frame(HEADERS, WHOLE, stream, &padded));
    }
    let mut open = frame(HEADERS, 1, 1, &block(&GET));
    open.extend(frame(CONTINUATION, 0, 1, &[]).repeat(2_000));
    let mut empty = frame(
        HEADERS,
        END_HEADERS,
        1,
        &block(&get(&[(":method", Some("POST"))], &[])),
    );
    empty.extend(frame(DATA, 0, 1, &[]).repeat(20_000));
    for (what, bytes) in [
        ("requests taken back", resets),
        ("requests that are malformed", malformed),
        ("settings", frame(SETTINGS, 0, 0, &[]).repeat(2_000)),
        ("pings", frame(PING, 0, 0, &[0; 8]).repeat(20_000)),
        (
            "priorities",
            frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1]).repeat(20_000),
        ),
        ("empty data", empty),
        ("continuations", open),
        (
            "frames of no known kind",
            frame(0x42, 0, 0, &[]).repeat(20_000),
        ),
    ] {
        let before = counts(&bench).flood;
        let mut raw = Raw::connect(bench.address());
        let mut reader = Raw {
            stream: raw.stream.try_clone().unwrap(),
        };
        let writing = std::thread::spawn(move || raw.flood(&bytes));
        let goaway = reader.until(&[GOAWAY]).expect(what);
        assert_eq!(goaway.code(), CALM, "{what}");
        drop(reader);
        writing.join().unwrap();
        eventually(what, || counts(&bench).flood == before + 1);
    }
    eventually("the end of all", || counts(&bench).open == 0);
}

#[test]
fn a_header_list_is_counted_with_32_bytes_for_each_field() {
    let (bench, origin) = bench();
    let mut raw = Raw::connect(bench.address());
    let crumbs = [("cookie", "a=1"); 400];
    // 3.6 KiB of text, 16.4 KB as RFC 9113 counts it.
    raw.headers(1, WHOLE, &get(&[], &crumbs));
    assert_eq!(raw.verdict(), "431");
    assert_eq!(origin.connections(), 0);
    raw.headers(3, WHOLE, &get(&[], &crumbs[..200]));
    assert_eq!(raw.verdict(), "200");
    let mut raw = Raw::connect(bench.address());
    let many: Vec<(String, String)> = (0..120).map(|n| (format!("x-{n}"), "1".into())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (&**n, &**v)).collect();
    raw.headers(1, WHOLE, &get(&[], &many));
    assert_eq!(raw.verdict(), "431");
}

#[test]
fn a_header_list_far_beyond_the_limit_ends_the_connection() {
    let (bench, _origin) = bench();
    let mut raw = Raw::connect(bench.address());
    // One field in the table, then one byte for each copy of it.
    let mut bomb = block(&GET);
    bomb.extend([0x40, 1, b'a', 100]);
    bomb.extend([b'x'; 100]);
    bomb.extend([0xbe; 8_000]);
    raw.send(HEADERS, WHOLE, 1, &bomb);
    let goaway = raw.until(&[GOAWAY]).unwrap();
    assert_eq!(goaway.code(), CALM);
    eventually("a count", || counts(&bench).flood == 1);
}

#[test]
fn requests_beyond_those_that_may_be_open_are_refused_untouched() {
    let origin = Origin::start(|mut conn| {
        conn.head();
        conn.closed();
    });
    let mut config = speaking(&[origin.address]);
    config.listeners[0].protocols.streams_max = 3;
    let bench = Bench::start(config);
    let mut raw = Raw::connect(bench.address());
    // Once the settings are known, that is from the acknowledgement on.
    raw.send(SETTINGS, 1, 0, &[]);
    for stream in [1, 3, 5, 7] {
        raw.headers(stream, WHOLE, &GET);
    }
    let reset = raw.until(&[RESET]).unwrap();
    // REFUSED_STREAM: safe to repeat.
    assert_eq!((reset.stream, reset.code()), (7, 7));
    eventually("three", || counts(&bench).open == 3);
}

#[test]
fn a_client_that_grants_no_window_is_cut_off_whatever_else_it_sends() {
    let origin = Origin::answering(OK);
    let mut config = speaking(&[origin.address]);
    config.listeners[0].write_timeout = Duration::from_millis(300);
    let bench = Bench::start(config);
    let mut raw = Raw::connect(bench.address());
    // SETTINGS_INITIAL_WINDOW_SIZE 0.
    raw.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    for stream in [1, 3] {
        raw.headers(stream, WHOLE, &GET);
        assert_eq!(raw.verdict(), "200");
    }
    raw.send(WINDOW, 0, 3, &2u32.to_be_bytes());
    assert_eq!(raw.until(&[DATA]).unwrap().stream, 3);
    let mut pings = 0;
    let reset = loop {
        raw.send(PING, 0, 0, &[0; 8]);
        let frame = raw.until(&[PING, RESET]).unwrap();
        if frame.kind == RESET {
            break frame;
        }
        pings += 1;
        std::thread::park_timeout(Duration::from_millis(20));
    };
    assert!(pings > 1);
    assert_eq!(reset.stream, 1);
    eventually("its end", || counts(&bench).open == 0);
    raw.send(WINDOW, 0, 0, &100u32.to_be_bytes());
    raw.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 9]);
    raw.headers(5, WHOLE, &GET);
    assert_eq!(raw.until(&[DATA]).unwrap().stream, 5);
}

#[test]
fn what_does_not_come_in_time_ends_the_connection() {
    let origin = Origin::answering(OK);
    let mut config = speaking(&[origin.address]);
    config.listeners[0].head_timeout = Duration::from_millis(300);
    let bench = Bench::start(config);
    let mut raw = Raw::silent(bench.address());
    raw.flood(b"PRI * HTTP/2.0\r\n\r\nSM");
    while raw.next().is_some() {}
    assert_eq!(counts(&bench).timeout, 1);
    let mut raw = Raw::connect(bench.address());
    raw.send(HEADERS, 1, 1, &block(&GET));
    assert_eq!(raw.until(&[GOAWAY]).unwrap().code(), CALM);
    eventually("a count", || counts(&bench).timeout == 2);
    let mut raw = Raw::connect(bench.address());
    let whole = frame(HEADERS, WHOLE, 1, &block(&GET));
    raw.flood(&whole[..whole.len() - 1]);
    assert_eq!(raw.until(&[GOAWAY]).unwrap().code(), CALM);
    eventually("a count", || counts(&bench).timeout == 3);
}

#[test]
fn a_body_that_stops_coming_is_answered_and_reset() {
    let origin = Origin::start(|mut conn| {
        conn.head();
        while conn.some().is_some() {}
    });
    let mut config = speaking(&[origin.address]);
    config.listeners[0].body_timeout = Duration::from_millis(200);
    let bench = Bench::start(config);
    let mut raw = Raw::connect(bench.address());
    raw.headers(1, END_HEADERS, &get(&[(":method", Some("POST"))], &[]));
    raw.send(DATA, 0, 1, b"some");
    assert_eq!(raw.verdict(), "408");
    assert_eq!(raw.until(&[RESET]).unwrap().code(), 0);
}

#[test]
fn a_client_that_reads_nothing_at_all_is_closed() {
    let origin = Origin::start(|mut conn| {
        while conn.request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n");
            while conn.send(&"x".repeat(1 << 16)) {}
        }
    });
    let mut config = speaking(&[origin.address]);
    config.listeners[0].write_timeout = Duration::from_millis(300);
    let bench = Bench::start(config);
    let mut raw = Raw::connect(bench.address());
    // All the window that there can be: only the socket is left to say stop.
    raw.send(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
    raw.send(WINDOW, 0, 0, &0x7f00_0000u32.to_be_bytes());
    raw.headers(1, WHOLE, &GET);
    eventually("an end", || {
        let counts = counts(&bench);
        counts.open == 0 && counts.timeout == 1
    });
}
