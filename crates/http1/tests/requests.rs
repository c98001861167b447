//! Request heads against the cases on which hyper, nginx and HAProxy were compared. Every row is
//! one way in which two implementations were seen to disagree; the text says which.

#![expect(
    clippy::panic,
    clippy::too_many_lines,
    reason = "tables of cases; helpers of tests report by panicking"
)]

use evenkeel_http1::{BodyLength, Limits, Refusal, RequestHead, parse_request};

type Verdict = Result<BodyLength, Refusal>;
use BodyLength::{Chunked, Fixed, None as NoBody};
use Refusal as R;

fn verdict(bytes: &[u8]) -> Verdict {
    let mut head = RequestHead::default();
    match parse_request(bytes, &Limits::default(), &mut head) {
        Ok(Some(_)) => Ok(head.body),
        Ok(None) => panic!("incomplete: {}", bytes.escape_ascii()),
        Err(refusal) => Err(refusal),
    }
}

/// Checks all rows and reports every wrong one, not only the first.
fn check(rows: &[(&str, Vec<u8>, Verdict)]) {
    let wrong: Vec<String> = rows
        .iter()
        .filter(|(_, bytes, expected)| verdict(bytes) != *expected)
        .map(|(case, bytes, expected)| {
            format!("{case}: expected {expected:?}, got {:?}", verdict(bytes))
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

fn raw(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

/// A POST with these field lines, each without its line end.
fn post(lines: &[&str]) -> Vec<u8> {
    let mut text = String::from("POST /x HTTP/1.1\r\nHost: a\r\n");
    for line in lines {
        text.push_str(line);
        text.push_str("\r\n");
    }
    raw(&(text + "\r\n"))
}

/// A POST with one field line of raw bytes.
fn line(bytes: &[u8]) -> Vec<u8> {
    [b"POST /x HTTP/1.1\r\nHost: a\r\n", bytes, b"\r\n\r\n"].concat()
}

fn get(target: &str) -> Vec<u8> {
    raw(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
}

fn host(value: &str) -> Vec<u8> {
    raw(&format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n"))
}

#[test]
fn refuses_ambiguous_transfer_codings() {
    check(&[
        (
            "CL then TE",
            post(&["Content-Length: 6", "Transfer-Encoding: chunked"]),
            Err(R::LengthAndCoding),
        ),
        (
            "TE then CL",
            post(&["Transfer-Encoding: chunked", "Content-Length: 6"]),
            Err(R::LengthAndCoding),
        ),
        (
            "TE + CL +6",
            post(&["Transfer-Encoding: chunked", "Content-Length: +6"]),
            Err(R::LengthSyntax),
        ),
        (
            "TE chunked in two lines",
            post(&["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"]),
            Err(R::CodingSyntax),
        ),
        (
            "chunked, chunked",
            post(&["Transfer-Encoding: chunked, chunked"]),
            Err(R::CodingSyntax),
        ),
        (
            "TE identity",
            post(&["Transfer-Encoding: identity"]),
            Err(R::CodingUnknown),
        ),
        (
            "TE gzip",
            post(&["Transfer-Encoding: gzip"]),
            Err(R::CodingUnknown),
        ),
        (
            "TE xchunked",
            post(&["Transfer-Encoding: xchunked"]),
            Err(R::CodingUnknown),
        ),
        (
            "chunked, identity",
            post(&["Transfer-Encoding: chunked, identity"]),
            Err(R::CodingUnknown),
        ),
        (
            "chunked quoted",
            post(&["Transfer-Encoding: \"chunked\""]),
            Err(R::CodingUnknown),
        ),
        (
            "chunked with parameter",
            post(&["Transfer-Encoding: chunked;q=1"]),
            Err(R::CodingUnknown),
        ),
        (
            "TE empty",
            post(&["Transfer-Encoding:"]),
            Err(R::CodingSyntax),
        ),
        (
            "TE NBSP chunked",
            line(b"Transfer-Encoding: \xa0chunked"),
            Err(R::CodingUnknown),
        ),
        (
            "TE VT chunked",
            line(b"Transfer-Encoding: \x0bchunked"),
            Err(R::FieldSyntax),
        ),
        (
            "identity, chunked",
            post(&["Transfer-Encoding: identity, chunked"]),
            Err(R::CodingUnknown),
        ),
        (
            "gzip, chunked",
            post(&["Transfer-Encoding: gzip, chunked"]),
            Err(R::CodingUnknown),
        ),
        (
            "identity line + chunked line",
            post(&["Transfer-Encoding: identity", "Transfer-Encoding: chunked"]),
            Err(R::CodingSyntax),
        ),
        (
            ",chunked",
            post(&["Transfer-Encoding: ,chunked"]),
            Err(R::CodingSyntax),
        ),
        (
            "empty line + chunked",
            post(&["Transfer-Encoding:", "Transfer-Encoding: chunked"]),
            Err(R::CodingSyntax),
        ),
        (
            "chunked,",
            post(&["Transfer-Encoding: chunked,"]),
            Err(R::CodingSyntax),
        ),
        (
            "TAB before value",
            post(&["Transfer-Encoding:\tchunked"]),
            Ok(Chunked),
        ),
        (
            "CHUNKED",
            post(&["Transfer-Encoding: CHUNKED"]),
            Ok(Chunked),
        ),
        (
            "TE SP before colon",
            post(&["Transfer-Encoding : chunked"]),
            Err(R::FieldSyntax),
        ),
        (
            "TE TAB before colon",
            post(&["Transfer-Encoding\t: chunked"]),
            Err(R::FieldSyntax),
        ),
        (
            "TE folded over two lines",
            post(&["Transfer-Encoding:", " chunked"]),
            Err(R::FieldSyntax),
        ),
        (
            "TE chunked on GET",
            raw("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Ok(Chunked),
        ),
        (
            "HTTP/1.0 + TE chunked",
            raw("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Err(R::CodingVersion),
        ),
    ]);
}

#[test]
fn refuses_ambiguous_lengths() {
    let long = format!("Content-Length: {}5", "0".repeat(18));
    let mut rows = vec![
        (
            "CL equal twice",
            post(&["Content-Length: 5", "Content-Length: 5"]),
            Err(R::LengthTwice),
        ),
        (
            "CL 5 + 05",
            post(&["Content-Length: 5", "Content-Length: 05"]),
            Err(R::LengthTwice),
        ),
        (
            "CL different twice",
            post(&["Content-Length: 5", "Content-Length: 6"]),
            Err(R::LengthTwice),
        ),
        ("CL 00005", post(&["Content-Length: 00005"]), Ok(Fixed(5))),
        (
            "CL trailing blanks",
            post(&["Content-Length: 5  "]),
            Ok(Fixed(5)),
        ),
        ("CL TAB 5", post(&["Content-Length:\t5"]), Ok(Fixed(5))),
        (
            "CL of 19 digits",
            post(&[long.as_str()]),
            Err(R::LengthSyntax),
        ),
        (
            "CL NBSP5",
            line(b"Content-Length: \xa05"),
            Err(R::LengthSyntax),
        ),
        (
            "CL SP before colon",
            post(&["Content-Length : 5"]),
            Err(R::FieldSyntax),
        ),
        (
            "CL on GET",
            raw("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"),
            Ok(Fixed(5)),
        ),
        ("CL 0", post(&["Content-Length: 0"]), Ok(Fixed(0))),
        ("POST without length", post(&[]), Ok(NoBody)),
    ];
    let bad = [
        "5, 5",
        "+5",
        "-5",
        "0x5",
        "5 5",
        "5.0",
        "5e0",
        "5;",
        "",
        "18446744073709551616",
        "18446744073709551615",
        "18446744073709551613",
    ];
    let lines: Vec<String> = bad.iter().map(|v| format!("Content-Length: {v}")).collect();
    for (value, text) in bad.iter().zip(&lines) {
        rows.push((value, post(&[text.as_str()]), Err(R::LengthSyntax)));
    }
    check(&rows);
}

#[test]
fn refuses_every_bare_line_end() {
    check(&[
        (
            "bare LF after request line",
            raw("GET / HTTP/1.1\nHost: a\r\n\r\n"),
            Err(R::BareLineEnd),
        ),
        (
            "bare LF after header",
            raw("GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
            Err(R::BareLineEnd),
        ),
        (
            "bare LF at end of head",
            raw("GET / HTTP/1.1\r\nHost: a\r\n\n"),
            Err(R::BareLineEnd),
        ),
        (
            "bare LF in all lines",
            raw("GET / HTTP/1.1\nHost: a\n\n"),
            Err(R::BareLineEnd),
        ),
        (
            "bare LF before TE line",
            raw("POST / HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n"),
            Err(R::BareLineEnd),
        ),
        (
            "bare LF after an empty value",
            raw("GET / HTTP/1.1\r\nHost: a\r\nX:\nY: z\r\n\r\n"),
            Err(R::BareLineEnd),
        ),
        (
            "bare LF after a trailing blank",
            raw("GET / HTTP/1.1\r\nHost: a\r\nX: y \nY: z\r\n\r\n"),
            Err(R::BareLineEnd),
        ),
        (
            "bare LF, no fields",
            raw("GET / HTTP/1.0\r\n\n"),
            Err(R::BareLineEnd),
        ),
        (
            "two pipelined requests split by bare LFs",
            raw("GET / HTTP/1.1\nHost: a\n\nGET /2 HTTP/1.1\nHost: a\n\n"),
            Err(R::BareLineEnd),
        ),
        (
            "bare CR in request line",
            raw("GET / HTTP/1.1\rHost: a\r\n\r\n"),
            Err(R::LineSyntax),
        ),
        (
            "bare CR before target",
            raw("GET \r/ HTTP/1.1\r\nHost: a\r\n\r\n"),
            Err(R::LineSyntax),
        ),
        (
            "bare CR in value",
            raw("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n"),
            Err(R::FieldSyntax),
        ),
        (
            "CR CR LF",
            raw("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\r\n\r\n"),
            Err(R::FieldSyntax),
        ),
        (
            "leading CRLF",
            raw("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            Ok(NoBody),
        ),
        (
            "leading CRLF x3",
            raw("\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            Err(R::BlankLines),
        ),
        (
            "leading LF",
            raw("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            Err(R::BareLineEnd),
        ),
        (
            "leading CRLF LF",
            raw("\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            Err(R::BlankLines),
        ),
        (
            "leading CR",
            raw("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            Err(R::BareLineEnd),
        ),
    ]);
}

#[test]
fn refuses_malformed_fields_and_keeps_legal_ones() {
    let mut rows = vec![
        ("obs-fold", post(&["X: a", " b"]), Err(R::FieldSyntax)),
        (
            "obs-fold with TAB",
            post(&["X: a", "\tb"]),
            Err(R::FieldSyntax),
        ),
        (
            "leading SP",
            raw(" GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            Err(R::MethodSyntax),
        ),
        (
            "SP line before first header",
            raw("GET / HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n"),
            Err(R::FieldSyntax),
        ),
        ("any SP before colon", post(&["X : y"]), Err(R::FieldSyntax)),
        ("obs-text in value", line(b"X: a\xc3\xa9\xff"), Ok(NoBody)),
        ("empty name", post(&[": y"]), Err(R::FieldSyntax)),
        ("0xE9 in name", line(b"X\xe9: y"), Err(R::FieldSyntax)),
        ("line without colon", post(&["X"]), Err(R::FieldSyntax)),
        ("_ in name", post(&["X_Y: z"]), Ok(NoBody)),
        ("empty value", post(&["X:"]), Ok(NoBody)),
        ("blanks as value", post(&["X: \t "]), Ok(NoBody)),
        (
            "Connection with too many members",
            post(&[&format!("Connection: {}", "x,".repeat(80))]),
            Err(R::FieldSyntax),
        ),
    ];
    for byte in [0, 1, 0x0b, 0x1b, 0x7f] {
        rows.push((
            "control byte in value",
            line(&[b'X', b':', b' ', b'a', byte, b'b']),
            Err(R::FieldSyntax),
        ));
    }
    for byte in *b"\0\x01 \t\x7f(/" {
        rows.push((
            "byte in name",
            line(&[b'X', byte, b'Y', b':', b'z']),
            Err(R::FieldSyntax),
        ));
    }
    check(&rows);
}

#[test]
fn judges_methods() {
    check(&[
        (
            "method G@T",
            raw("G@T / HTTP/1.1\r\nHost: a\r\n\r\n"),
            Err(R::LineSyntax),
        ),
        (
            "method empty",
            raw(" / HTTP/1.1\r\nHost: a\r\n\r\n"),
            Err(R::MethodSyntax),
        ),
        (
            "method with NUL",
            raw("G\0T / HTTP/1.1\r\nHost: a\r\n\r\n"),
            Err(R::LineSyntax),
        ),
        (
            "method get",
            raw("get / HTTP/1.1\r\nHost: a\r\n\r\n"),
            Err(R::MethodSyntax),
        ),
        (
            "method G|T",
            raw("G|T / HTTP/1.1\r\nHost: a\r\n\r\n"),
            Err(R::MethodSyntax),
        ),
        (
            "method of 5,000 letters",
            raw(&format!(
                "{} / HTTP/1.1\r\nHost: a\r\n\r\n",
                "G".repeat(5000)
            )),
            Err(R::MethodTooLong),
        ),
        (
            "method M-SEARCH",
            raw("M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n"),
            Ok(NoBody),
        ),
        (
            "CONNECT host:port",
            raw("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
            Err(R::MethodConnect),
        ),
        (
            "CONNECT /x",
            raw("CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n"),
            Err(R::MethodConnect),
        ),
        (
            "CONNECT with CL",
            raw("CONNECT a:443 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"),
            Err(R::MethodConnect),
        ),
        (
            "TRACE",
            raw("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"),
            Err(R::MethodTrace),
        ),
        (
            "TRACE with body",
            raw("TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"),
            Err(R::MethodTrace),
        ),
    ]);
}

#[test]
fn refuses_bad_hosts() {
    let mut rows = vec![
        (
            "no Host (1.1)",
            raw("GET / HTTP/1.1\r\n\r\n"),
            Err(R::HostMissing),
        ),
        ("no Host (1.0)", raw("GET / HTTP/1.0\r\n\r\n"), Ok(NoBody)),
        (
            "two Hosts equal",
            raw("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
            Err(R::HostTwice),
        ),
        (
            "two Hosts different",
            raw("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
            Err(R::HostTwice),
        ),
        (
            "0xE9",
            [b"GET / HTTP/1.1\r\nHost: a\xe9\r\n\r\n" as &[u8]].concat(),
            Err(R::HostSyntax),
        ),
    ];
    for bad in [
        "", "a b", "a/b", "a\tb", "u@a", "a,b", "[::1", "a#b", "a?b", "a\\b", "a:99999", "a:65536",
        "a:99999x", "<a>", "a:b", "a:+1", ":80", "[::1]x", "[a]", "[]", "a%00", "a:80:80",
        "a:000080",
    ] {
        rows.push((bad, host(bad), Err(R::HostSyntax)));
    }
    for good in [
        "a",
        "a.b-c_d~e",
        "a:80",
        "a:",
        "127.0.0.1:8080",
        "[::1]",
        "[::1]:443",
        "a:65535",
        "A.EXAMPLE",
    ] {
        rows.push((good, host(good), Ok(NoBody)));
    }
    check(&rows);
}

#[test]
fn judges_targets() {
    let no_host = |target: &str| raw(&format!("GET {target} HTTP/1.1\r\n\r\n"));
    let options = |target: &str| raw(&format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
    let mut rows = vec![
        ("absolute, Host differs", get("http://evil/x"), Ok(NoBody)),
        ("absolute http equal", get("http://a/x"), Ok(NoBody)),
        ("absolute https equal", get("HTTPS://a/x"), Ok(NoBody)),
        (
            "absolute without Host",
            no_host("http://a/x"),
            Err(R::HostMissing),
        ),
        ("absolute ftp", get("ftp://a/x"), Err(R::TargetScheme)),
        (
            "absolute userinfo",
            get("http://u:p@a/x"),
            Err(R::TargetUserinfo),
        ),
        ("absolute no path", get("http://a"), Ok(NoBody)),
        ("absolute empty host", get("http:///x"), Err(R::HostSyntax)),
        ("absolute bad host", get("http://a,b/x"), Err(R::HostSyntax)),
        ("absolute bad port", get("http://a:x/"), Err(R::HostSyntax)),
        (
            "absolute fragment",
            get("http://a#f"),
            Err(R::TargetFragment),
        ),
        (
            "absolute, bad Host beside it",
            raw("GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n"),
            Err(R::HostSyntax),
        ),
        ("OPTIONS *", options("*"), Ok(NoBody)),
        ("OPTIONS *x", options("*x"), Err(R::TargetForm)),
        ("GET *", get("*"), Err(R::TargetForm)),
        ("GET a:80", get("a:80"), Err(R::TargetForm)),
        ("GET foo", get("foo"), Err(R::TargetForm)),
        ("fragment in path", get("/x#y"), Err(R::TargetFragment)),
        ("fragment in query", get("/x?a#y"), Err(R::TargetFragment)),
        ("SP in target", get("/x y"), Err(R::VersionSyntax)),
        ("TAB in target", get("/x\ty"), Err(R::LineSyntax)),
        ("NUL in target", get("/x\0y"), Err(R::LineSyntax)),
        ("SOH in target", get("/x\x01y"), Err(R::LineSyntax)),
        ("DEL in target", get("/x\x7fy"), Err(R::LineSyntax)),
        (
            "lone 0xE9 in target",
            b"GET /\xe9 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            Err(R::LineSyntax),
        ),
        ("UTF-8 in path", get("/é"), Err(R::TargetSyntax)),
        ("UTF-8 in query", get("/?é"), Err(R::TargetSyntax)),
        ("%00", get("/a%00"), Err(R::TargetEscape)),
        ("%00 in query", get("/?a=%00"), Err(R::TargetEscape)),
        ("%zz", get("/%zz"), Err(R::TargetEscape)),
        ("cut escape", get("/%4"), Err(R::TargetEscape)),
        ("//x", get("//x"), Ok(NoBody)),
        ("/../", get("/../"), Ok(NoBody)),
        (
            "brackets, braces and quotes in path",
            get("/\"{}|^[]"),
            Ok(NoBody),
        ),
        (
            "braces and back-tick in query",
            get("/?{}|^[]`\\"),
            Ok(NoBody),
        ),
    ];
    for byte in ["<", ">", "`", "\\"] {
        rows.push((
            "byte in path",
            get(&format!("/{byte}")),
            Err(R::TargetSyntax),
        ));
    }
    for byte in ["\"", "<", ">"] {
        rows.push((
            "byte in query",
            get(&format!("/?{byte}")),
            Err(R::TargetSyntax),
        ));
    }
    check(&rows);
}

#[test]
fn judges_request_lines_and_versions() {
    let version = |v: &str| raw(&format!("GET / {v}\r\nHost: a\r\n\r\n"));
    check(&[
        (
            "two SP before target",
            raw("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
            Err(R::LineSyntax),
        ),
        (
            "two SP before version",
            raw("GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
            Err(R::VersionSyntax),
        ),
        (
            "TAB delimiters",
            raw("GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n"),
            Err(R::LineSyntax),
        ),
        ("HTTP/1.0 GET", version("HTTP/1.0"), Ok(NoBody)),
        ("HTTP/0.9", raw("GET /\r\n\r\n"), Err(R::LineSyntax)),
        ("HTTP/2.0", version("HTTP/2.0"), Err(R::VersionMajor)),
        ("HTTP/0.9 named", version("HTTP/0.9"), Err(R::VersionMajor)),
        ("HTTP/1.2", version("HTTP/1.2"), Ok(NoBody)),
        ("HTTP/1.9", version("HTTP/1.9"), Ok(NoBody)),
        ("HTTP/1.10", version("HTTP/1.10"), Err(R::LineSyntax)),
        ("HTTP/1.20", version("HTTP/1.20"), Err(R::VersionSyntax)),
        ("http/1.1", version("http/1.1"), Err(R::VersionSyntax)),
        ("trailing SP", version("HTTP/1.1 "), Err(R::LineSyntax)),
        ("no version", version(""), Err(R::VersionSyntax)),
        (
            "h2 preface",
            raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            Err(R::VersionMajor),
        ),
        (
            "HTTP/1.5 with a bare LF",
            raw("GET / HTTP/1.5\r\nHost: a\n\n"),
            Err(R::BareLineEnd),
        ),
        (
            "HTTP/1.5 with two targets",
            raw("GET / /x HTTP/1.5\r\nHost: a\r\n\r\n"),
            Err(R::VersionSyntax),
        ),
    ]);
}

#[test]
fn judges_expectations_and_hops() {
    check(&[
        (
            "Expect: 100-continue with body",
            post(&["Expect: 100-Continue", "Content-Length: 5"]),
            Ok(Fixed(5)),
        ),
        (
            "Expect on GET",
            raw("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n"),
            Ok(NoBody),
        ),
        ("Expect foo", post(&["Expect: foo"]), Err(R::ExpectUnknown)),
        (
            "100-continue, foo",
            post(&["Expect: 100-continue, foo"]),
            Err(R::ExpectUnknown),
        ),
        (
            "OPTIONS with Max-Forwards x",
            raw("OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: x\r\n\r\n"),
            Err(R::MaxForwards),
        ),
        (
            "GET with Max-Forwards x",
            raw("GET / HTTP/1.1\r\nHost: a\r\nMax-Forwards: x\r\n\r\n"),
            Ok(NoBody),
        ),
    ]);
}

#[test]
fn holds_heads_against_their_limits() {
    let fields = |n: usize| {
        raw(&format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "X: y\r\n".repeat(n - 1)
        ))
    };
    let big = |n: usize| {
        raw(&format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "y".repeat(n)
        ))
    };
    let target = |n: usize| get(&format!("/{}", "x".repeat(n - 1)));
    check(&[
        ("100 headers", fields(100), Ok(NoBody)),
        ("101 headers", fields(101), Err(R::TooManyFields)),
        ("1,000 headers", fields(1000), Err(R::TooManyFields)),
        ("header of 15K", big(15 * 1024), Ok(NoBody)),
        ("header of 16K", big(16 * 1024), Err(R::HeadTooLarge)),
        ("header of 64K", big(64 * 1024), Err(R::HeadTooLarge)),
        ("header of 500K", big(500 * 1024), Err(R::HeadTooLarge)),
        ("target of 8K", target(8 * 1024), Ok(NoBody)),
        (
            "target of 8K and one",
            target(8 * 1024 + 1),
            Err(R::TargetTooLong),
        ),
        ("target of 60K", target(60 * 1024), Err(R::TargetTooLong)),
        ("target of 1M", target(1024 * 1024), Err(R::TargetTooLong)),
    ]);
}

#[test]
fn answers_each_refusal_with_its_own_status_and_code() {
    let mut codes: Vec<&str> = R::ALL.iter().map(|r| r.code()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), R::ALL.len());
    assert!(
        R::ALL
            .iter()
            .all(|r| matches!(r.status(), 400 | 405 | 414 | 417 | 431 | 501 | 505))
    );
}
