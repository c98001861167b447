//! Request lines, methods, targets, hosts, versions and limits against the cases on which hyper,
//! nginx and HAProxy were compared.

#![expect(
    clippy::panic,
    clippy::too_many_lines,
    reason = "tables of cases; helpers of tests report by panicking"
)]

#[path = "support/heads.rs"]
mod heads;

use evenkeel_http1::BodyLength::None as NoBody;
use evenkeel_http1::Refusal as R;
use heads::{check, raw};

fn get(target: &str) -> Vec<u8> {
    raw(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
}

fn host(value: &str) -> Vec<u8> {
    raw(&format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n"))
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
