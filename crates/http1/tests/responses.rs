//! Response heads from backends against the cases on which hyper, nginx and HAProxy differ.

#![expect(
    clippy::panic,
    reason = "tables of cases; helpers of tests report by panicking"
)]

use evenkeel_http1::{BodyLength, Limits, Method, ResponseError, ResponseHead, parse_response};

use BodyLength::{Chunked, Fixed, None as NoBody, UntilClose};
use ResponseError as E;

/// Framing, and whether the upstream connection lives on.
type Verdict = Result<(BodyLength, bool), ResponseError>;

fn verdict(method: Method, bytes: &[u8]) -> Verdict {
    let mut head = ResponseHead::default();
    match parse_response(bytes, method, &Limits::default(), &mut head) {
        Ok(Some(_)) => Ok((head.body, head.keep_alive)),
        Ok(None) => panic!("incomplete: {}", bytes.escape_ascii()),
        Err(error) => Err(error),
    }
}

fn check(method: Method, rows: &[(&str, String, Verdict)]) {
    let wrong: Vec<String> = rows
        .iter()
        .filter(|(_, text, expected)| verdict(method, text.as_bytes()) != *expected)
        .map(|(case, text, expected)| {
            format!(
                "{case}: expected {expected:?}, got {:?}",
                verdict(method, text.as_bytes())
            )
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {} rows:\n{}",
        wrong.len(),
        rows.len(),
        wrong.join("\n")
    );
}

fn ok(lines: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n")
}

fn status(line: &str) -> String {
    format!("{line}\r\nContent-Length: 0\r\n\r\n")
}

#[test]
fn lets_the_coding_win_and_refuses_codings_it_cannot_read() {
    let te = "Transfer-Encoding: chunked\r\n";
    check(
        Method::Get,
        &[
            ("chunked", ok(te), Ok((Chunked, true))),
            (
                "CL + TE",
                ok(&format!("Content-Length: 5\r\n{te}")),
                Ok((Chunked, false)),
            ),
            (
                "CL: abc + TE",
                ok(&format!("Content-Length: abc\r\n{te}")),
                Err(E::LengthSyntax),
            ),
            ("TE chunked twice", ok(&te.repeat(2)), Err(E::Coding)),
            (
                "chunked, chunked",
                ok("Transfer-Encoding: chunked, chunked\r\n"),
                Err(E::Coding),
            ),
            ("TE gzip", ok("Transfer-Encoding: gzip\r\n"), Err(E::Coding)),
            (
                "chunked, identity",
                ok("Transfer-Encoding: chunked, identity\r\n"),
                Err(E::Coding),
            ),
            (
                "TE xchunked + CL",
                ok("Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n"),
                Err(E::Coding),
            ),
            (
                "HTTP/1.0 + TE",
                format!("HTTP/1.0 200 OK\r\n{te}\r\n"),
                Err(E::CodingVersion),
            ),
        ],
    );
}

#[test]
fn refuses_lengths_that_can_be_read_in_two_ways() {
    let mut rows = vec![
        ("CL", ok("Content-Length: 5\r\n"), Ok((Fixed(5), true))),
        (
            "CL twice equal",
            ok("Content-Length: 5\r\nContent-Length: 5\r\n"),
            Err(E::LengthTwice),
        ),
        (
            "CL different",
            ok("Content-Length: 5\r\nContent-Length: 6\r\n"),
            Err(E::LengthTwice),
        ),
    ];
    for bad in ["5, 5", "+5", "-5", "", "18446744073709551616", "5 5", "0x5"] {
        rows.push((
            bad,
            ok(&format!("Content-Length: {bad}\r\n")),
            Err(E::LengthSyntax),
        ));
    }
    check(Method::Get, &rows);
}

#[test]
fn judges_status_lines() {
    check(
        Method::Get,
        &[
            ("status 2000", status("HTTP/1.1 2000 OK"), Err(E::Status)),
            ("status 20", status("HTTP/1.1 20 OK"), Err(E::Status)),
            ("status 099", status("HTTP/1.1 099 OK"), Err(E::Status)),
            ("status FOO", status("HTTP/1.1 FOO OK"), Err(E::Status)),
            ("HTTP/2.0", status("HTTP/2.0 200 OK"), Err(E::Version)),
            ("http/", status("http/1.1 200 OK"), Err(E::Version)),
            ("two SP", status("HTTP/1.1  200 OK"), Err(E::Status)),
            (
                "CTL in reason",
                status("HTTP/1.1 200 O\x01K"),
                Err(E::Status),
            ),
            ("0.9", "<html></html>\r\n\r\n".into(), Err(E::Version)),
            ("999", status("HTTP/1.1 999 Strange"), Ok((Fixed(0), true))),
            ("no reason", status("HTTP/1.1 200"), Ok((Fixed(0), true))),
            (
                "empty reason",
                status("HTTP/1.1 200 "),
                Ok((Fixed(0), true)),
            ),
            (
                "obs-text reason",
                status("HTTP/1.1 200 Tr\u{e8}s"),
                Ok((Fixed(0), true)),
            ),
            (
                "leading CRLF",
                status("\r\nHTTP/1.1 200 OK"),
                Err(E::Syntax),
            ),
            (
                "101 nobody asked for",
                status("HTTP/1.1 101 Switching Protocols"),
                Err(E::Switched),
            ),
        ],
    );
}

#[test]
fn refuses_malformed_lines_and_large_heads() {
    let rows = [
        (
            "bare LF head",
            "HTTP/1.1 200 OK\nContent-Length: 0\n\n".to_owned(),
            Err(E::BareLineEnd),
        ),
        (
            "bare LF after status line",
            "HTTP/1.1 200 OK\nX: y\r\n\r\n".into(),
            Err(E::BareLineEnd),
        ),
        (
            "bare LF after bare status",
            "HTTP/1.1 200\nX: y\r\n\r\n".into(),
            Err(E::BareLineEnd),
        ),
        (
            "bare LF after a field",
            ok("X: y\nContent-Length: 0\r\n"),
            Err(E::BareLineEnd),
        ),
        ("obs-fold", ok("X: a\r\n b\r\n"), Err(E::FieldSyntax)),
        ("NUL", ok("X: a\0b\r\n"), Err(E::FieldSyntax)),
        ("SP before colon", ok("X : a\r\n"), Err(E::FieldSyntax)),
        ("bare CR", ok("X: a\rb\r\n"), Err(E::FieldSyntax)),
        ("no colon", ok("X\r\n"), Err(E::FieldSyntax)),
        ("empty name", ok(": a\r\n"), Err(E::FieldSyntax)),
        (
            "101 headers",
            ok(&"X: y\r\n".repeat(101)),
            Err(E::TooManyFields),
        ),
        (
            "64K header",
            ok(&format!("X: {}\r\n", "y".repeat(65_536))),
            Err(E::HeadTooLarge),
        ),
    ];
    check(Method::Get, &rows);
}

#[test]
fn knows_which_responses_have_no_body() {
    let cl = "Content-Length: 5\r\n\r\n";
    let te = "Transfer-Encoding: chunked\r\n\r\n";
    let rows = [
        (
            "204 with CL",
            format!("HTTP/1.1 204 No Content\r\n{cl}"),
            Ok((NoBody, true)),
        ),
        (
            "204 with TE",
            format!("HTTP/1.1 204 No Content\r\n{te}"),
            Ok((NoBody, true)),
        ),
        (
            "304 with CL",
            format!("HTTP/1.1 304 Not Modified\r\n{cl}"),
            Ok((NoBody, true)),
        ),
        (
            "205 body",
            format!("HTTP/1.1 205 Reset Content\r\n{cl}"),
            Ok((Fixed(5), true)),
        ),
        (
            "100",
            "HTTP/1.1 100 Continue\r\n\r\n".into(),
            Ok((NoBody, true)),
        ),
        (
            "103",
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".into(),
            Ok((NoBody, true)),
        ),
    ];
    check(Method::Get, &rows);
    let head = [
        (
            "HEAD with CL",
            ok("Content-Length: 5\r\n"),
            Ok((NoBody, true)),
        ),
        ("HEAD without", ok(""), Ok((NoBody, true))),
    ];
    check(Method::Head, &head);
}

#[test]
fn reuses_a_connection_only_when_both_ends_mean_it() {
    let rows = [
        ("close-delimited", ok("X: y\r\n"), Ok((UntilClose, false))),
        (
            "close",
            ok("Connection: close\r\nContent-Length: 1\r\n"),
            Ok((Fixed(1), false)),
        ),
        (
            "close among others",
            ok("Connection: X, Close\r\nContent-Length: 1\r\n"),
            Ok((Fixed(1), false)),
        ),
        (
            "HTTP/1.0",
            "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n".into(),
            Ok((Fixed(1), false)),
        ),
        (
            "HTTP/1.0 keep-alive",
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n".into(),
            Ok((Fixed(1), true)),
        ),
        (
            "HTTP/1.0 until close",
            "HTTP/1.0 200 OK\r\n\r\n".into(),
            Ok((UntilClose, false)),
        ),
    ];
    check(Method::Get, &rows);
}

#[test]
fn marks_informational_responses() {
    let mut head = ResponseHead::default();
    let bytes = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let first = parse_response(bytes, Method::Get, &Limits::default(), &mut head)
        .unwrap()
        .unwrap();
    assert!(head.informational && bytes[first..].starts_with(b"HTTP/1.1 200"));
    parse_response(&bytes[first..], Method::Get, &Limits::default(), &mut head)
        .unwrap()
        .unwrap();
    assert_eq!((head.informational, head.body), (false, Fixed(2)));
}
