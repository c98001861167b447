//! Requests that are malformed, oversized or meant to be understood differently by two parties.

use std::io::{Read as _, Write as _};

use crate::support::{Home, stubs};
use crate::wire::{Honest, Origin, addresses, config, connect, exchange, exchange_half_closed};

/// Requests that must be refused with a status and a closed connection, whatever stands behind them.
#[expect(clippy::too_many_lines, reason = "a table")]
fn refused() -> Vec<(&'static str, String, u16)> {
    let long = "a".repeat(20_000);
    let many: String = (0..2_000).map(|n| format!("a{n}: b\r\n")).collect();
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    let post = |fields: &str, body: &str| {
        format!("POST / HTTP/1.1\r\nhost: x\r\n{fields}\r\n{body}{smuggled}")
    };
    let get = |fields: &str| format!("GET / HTTP/1.1\r\nhost: x\r\n{fields}\r\n{smuggled}");
    vec![
        ("oversized field", get(&format!("big: {long}\r\n")), 431),
        ("too many fields", get(&many), 431),
        (
            "oversized target",
            format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n"),
            414,
        ),
        (
            "CL+TE",
            post(
                "content-length: 5\r\ntransfer-encoding: chunked\r\n",
                "0\r\n\r\n",
            ),
            400,
        ),
        (
            "TE+CL",
            post(
                "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
                "0\r\n\r\n",
            ),
            400,
        ),
        (
            "two CL",
            post("content-length: 5\r\ncontent-length: 6\r\n", "hello"),
            400,
        ),
        (
            "equal CL",
            post("content-length: 5\r\ncontent-length: 5\r\n", "hello"),
            400,
        ),
        ("CL list", post("content-length: 5, 5\r\n", "hello"), 400),
        ("CL sign", post("content-length: +5\r\n", "hello"), 400),
        ("CL minus", post("content-length: -5\r\n", "hello"), 400),
        ("CL hex", post("content-length: 0x5\r\n", "hello"), 400),
        (
            "CL huge",
            post("content-length: 99999999999999999999\r\n", ""),
            400,
        ),
        ("CL space", post("content-length : 5\r\n", "hello"), 400),
        ("CL empty", post("content-length:\r\n", "hello"), 400),
        (
            "TE list",
            post("transfer-encoding: gzip, chunked\r\n", "0\r\n\r\n"),
            501,
        ),
        (
            "TE twice",
            post(
                "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
                "0\r\n\r\n",
            ),
            400,
        ),
        (
            "TE unknown",
            post("transfer-encoding: xchunked\r\n", "0\r\n\r\n"),
            501,
        ),
        (
            "TE tab",
            post("transfer-encoding:\u{b}chunked\r\n", "0\r\n\r\n"),
            400,
        ),
        (
            "TE 1.0",
            "POST / HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            400,
        ),
        ("obs-fold", get("a: b\r\n c\r\n"), 400),
        (
            "folded TE",
            post("transfer-encoding:\r\n chunked\r\n", "0\r\n\r\n"),
            400,
        ),
        (
            "bare LF",
            format!("GET / HTTP/1.1\nhost: x\n\n{smuggled}"),
            400,
        ),
        (
            "one bare LF",
            format!("GET / HTTP/1.1\r\nhost: x\r\na: b\n\r\n{smuggled}"),
            400,
        ),
        ("bare CR", get("a: b\rc: d\r\n"), 400),
        ("NUL", get("a: b\0c\r\n"), 400),
        ("no colon", get("broken\r\n"), 400),
        ("empty name", get(": b\r\n"), 400),
        ("space in name", get("a b: c\r\n"), 400),
        ("no host", "GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("two hosts", get("host: y\r\n"), 400),
        (
            "host junk",
            "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n".into(),
            400,
        ),
        ("version 2", "GET / HTTP/2.0\r\nhost: x\r\n\r\n".into(), 505),
        (
            "version junk",
            "GET / HTTX/1.1\r\nhost: x\r\n\r\n".into(),
            400,
        ),
        (
            "HTTP/2 preface",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
            505,
        ),
        ("HTTP/0.9", "GET /\r\n\r\n".into(), 400),
        ("TLS", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\r\n\r\n".into(), 400),
        (
            "two spaces",
            "GET  / HTTP/1.1\r\nhost: x\r\n\r\n".into(),
            400,
        ),
        (
            "lower method",
            "get / HTTP/1.1\r\nhost: x\r\n\r\n".into(),
            400,
        ),
        (
            "CONNECT",
            "CONNECT x:443 HTTP/1.1\r\nhost: x:443\r\n\r\n".into(),
            501,
        ),
        ("TRACE", "TRACE / HTTP/1.1\r\nhost: x\r\n\r\n".into(), 405),
        (
            "fragment",
            "GET /a#b HTTP/1.1\r\nhost: x\r\n\r\n".into(),
            400,
        ),
        (
            "NUL escape",
            "GET /%00 HTTP/1.1\r\nhost: x\r\n\r\n".into(),
            400,
        ),
        (
            "scheme",
            "GET ftp://x/ HTTP/1.1\r\nhost: x\r\n\r\n".into(),
            400,
        ),
        (
            "userinfo",
            "GET http://a@x/ HTTP/1.1\r\nhost: x\r\n\r\n".into(),
            400,
        ),
        ("expectation", get("expect: 200-maybe\r\n"), 417),
    ]
}

#[test]
fn requests_two_parties_could_read_differently_are_refused_and_the_connection_ends() {
    let origin = Origin::echoing();
    let honest_stubs = stubs();
    let mut text = config(&addresses(&honest_stubs), "", "");
    let more = format!(
        "[listener.hostile]\naddress = \"127.0.0.1:0\"\n[[route]]\nlistener = \"hostile\"\npath_prefix = \"/\"\n\
         pool = \"watched\"\n[pool.watched.backend.one]\naddress = \"{}\"\n",
        origin.text()
    );
    text += &more;
    let home = Home::new(&text);
    let instance = home.start(&[]);
    let honest = Honest::start(instance.front(), 100.0);
    let hostile = instance.listeners[1].1.parse().unwrap();
    for (what, request, status) in refused() {
        let answer = exchange(hostile, request.as_bytes());
        assert_eq!(answer.status(), status, "{what}: {answer:?}");
        assert_eq!(answer.field("connection"), Some("close"), "{what}");
        let code = answer.field("x-evenkeel-error");
        assert!(
            code.is_some_and(|code| !code.is_empty()),
            "{what}: {answer:?}"
        );
        let answers = answer.text.matches("HTTP/1.1 ").count();
        assert_eq!(answers, 1, "{what}: {answer:?}");
        assert!(answer.took.as_secs() < 5, "{what}: {:?}", answer.took);
    }
    assert_eq!(
        origin.heads(),
        Vec::<String>::new(),
        "nothing of it reached the origin"
    );
    honest.unharmed();
}

#[test]
fn bodies_that_are_malformed_or_cut_never_look_complete_to_the_origin() {
    let origin = Origin::start(|conn| {
        // A strict origin: it answers a chunked body only when its end came.
        while let Some(head) = conn.request() {
            if head.contains("chunked") {
                conn.hang();
                return;
            }
            conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let home = Home::new(&config(&[origin.text()], "", ""));
    let instance = home.start(&[]);
    let front = instance.front();
    let chunked = |body: &str| {
        format!("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{body}")
    };
    for (what, body) in [
        ("size junk", "zz\r\nhello\r\n0\r\n\r\n"),
        ("size sign", "-5\r\nhello\r\n0\r\n\r\n"),
        ("size 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("size overflow", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        ("bare LF", "5\nhello\n0\n\n"),
        ("no CRLF after data", "5\r\nhelloX\r\n0\r\n\r\n"),
        ("chunk shorter", "5\r\nhel\r\n0\r\n\r\n"),
    ] {
        let answer = exchange(front, chunked(body).as_bytes());
        assert_eq!(answer.status(), 400, "{what}: {answer:?}");
        assert_eq!(
            answer.text.matches("HTTP/1.1 ").count(),
            1,
            "{what}: {answer:?}"
        );
    }
    // Cut in the middle: there is nobody to answer, but the connection must end soon.
    for cut in [
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhello".to_owned(),
        chunked("5\r\nhel"),
    ] {
        let answer = exchange_half_closed(front, cut.as_bytes());
        assert!(!answer.text.contains(" 200 "), "{answer:?}");
        assert!(answer.took.as_secs() < 10, "{:?}", answer.took);
    }
    let next = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert_eq!(exchange(front, next).body(), "ok");
}

#[test]
fn a_body_over_the_limit_is_413_whether_it_is_told_or_chunked() {
    let origin = Origin::echoing();
    let home = Home::new(&config(&[origin.text()], "body_max = \"10KiB\"", ""));
    let instance = home.start(&[]);
    let told = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 20000\r\n\r\n";
    assert_eq!(exchange(instance.front(), told.as_bytes()).status(), 413);
    assert_eq!(
        origin.heads().len(),
        0,
        "it is refused before the origin hears of it"
    );
    let chunk = format!("3000\r\n{}\r\n", "x".repeat(0x3000));
    let chunked = format!(
        "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n"
    );
    assert_eq!(exchange(instance.front(), chunked.as_bytes()).status(), 413);
}

#[test]
fn pipelined_requests_are_answered_in_order_even_one_byte_at_a_time() {
    let origin = Origin::echoing();
    let home = Home::new(&config(&[origin.text()], "", ""));
    let instance = home.start(&[]);
    let mut requests = String::new();
    for n in 0..50 {
        let more = format!("POST /{n} HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc");
        requests += &more;
    }
    requests += "GET /last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    for step in [requests.len(), 1] {
        let mut stream = connect(instance.front());
        stream.set_nodelay(true).unwrap();
        for part in requests.as_bytes().chunks(step) {
            stream.write_all(part).unwrap();
        }
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let order: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("POST /")?.split(' ').next())
            .collect();
        let wanted: Vec<String> = (0..50).map(|n| n.to_string()).collect();
        assert_eq!(order, wanted, "in steps of {step}");
        assert!(text.contains("GET /last "), "in steps of {step}");
    }
}
