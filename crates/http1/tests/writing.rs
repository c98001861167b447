//! What the next hop sees: whole heads, byte for byte, for the cases on hop-by-hop fields,
//! forwarding, versions, 1xx and framing towards old clients.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "tables of cases; helpers of tests report by panicking"
)]

use std::net::IpAddr;

use evenkeel_http1::{
    Answer, BodyLength, ClientFields, Framing, Limits, Method, RequestHead, RequestRewrite,
    ResponseHead, ResponseRewrite, Scheme, Trust, Version, parse_request, parse_response,
    write_answer, write_request_head, write_response_head,
};

const PEER: &str = "192.0.2.7";
/// The lines every request from `PEER` for host `a` ends with.
const OWN: &str = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nForwarded: for=192.0.2.7;proto=http;host=\"a\"\r\nX-Forwarded-Host: a\r\nVia: 1.1 evenkeel\r\n\r\n";

fn peer() -> Option<IpAddr> {
    PEER.parse().ok()
}

fn forward_as(client: &ClientFields, text: &str) -> String {
    let mut head = RequestHead::default();
    let bytes = text.as_bytes();
    parse_request(bytes, &Limits::default(), &mut head)
        .unwrap()
        .unwrap();
    let with = RequestRewrite {
        client,
        request_id: "",
        host: None,
        path: None,
        expect_continue: head.expect_continue,
        upgrade: None,
        strip: &[],
        extra: &[],
    };
    let mut out = Vec::new();
    write_request_head(&mut out, &head, bytes, &with);
    String::from_utf8(out).unwrap()
}

fn forward(text: &str) -> String {
    forward_as(
        &ClientFields::new(peer(), Scheme::Http, Trust::Replace, "evenkeel"),
        text,
    )
}

/// A GET with these lines, forwarded: the lines between `Host` and the own ones.
fn kept(lines: &str) -> String {
    let out = forward(&format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
    let kept = out
        .strip_prefix("GET / HTTP/1.1\r\nHost: a\r\n")
        .and_then(|o| o.strip_suffix(OWN));
    kept.unwrap_or_else(|| panic!("{out}")).to_owned()
}

#[test]
fn another_path_and_host_leave_the_query_the_asterisk_and_who_was_asked() {
    let client = ClientFields::new(peer(), Scheme::Http, Trust::Replace, "evenkeel");
    let first = |line: &str| {
        let text = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut head = RequestHead::default();
        parse_request(text.as_bytes(), &Limits::default(), &mut head).unwrap();
        let with = RequestRewrite {
            client: &client,
            request_id: "",
            host: Some("b"),
            path: Some("/new"),
            expect_continue: false,
            upgrade: None,
            strip: &[],
            extra: &[],
        };
        let mut out = Vec::new();
        write_request_head(&mut out, &head, text.as_bytes(), &with);
        let out = String::from_utf8(out).unwrap();
        assert!(out.ends_with(OWN), "{out}");
        out.strip_suffix(OWN).unwrap().to_owned()
    };
    let is = |line: &str| format!("{line} HTTP/1.1\r\nHost: b\r\n");
    assert_eq!(first("GET /old?a=/b"), is("GET /new?a=/b"));
    assert_eq!(first("GET http://a/old"), is("GET /new"));
    assert_eq!(first("OPTIONS *"), is("OPTIONS *"));
}

#[test]
fn forwards_end_to_end_fields_as_they_came() {
    let lines =
        "Accept: */*\r\nX_Y:  z \r\nCookie: a\r\ncookie: b\r\nTrailer: X-Sum\r\nVia: 1.0 old\r\n";
    assert_eq!(kept(lines), lines);
}

#[test]
fn drops_hop_by_hop_and_listed_fields_but_never_the_vital_ones() {
    for (case, lines, left) in [
        (
            "Connection: X-Foo",
            "Connection: X-Foo\r\nX-Foo: 1\r\nX-Bar: 2\r\n",
            "X-Bar: 2\r\n",
        ),
        (
            "listed after the field",
            "x-foo: 1\r\nConnection: close, X-Foo\r\n",
            "",
        ),
        (
            "two Connection lines",
            "A: 1\r\nB: 2\r\nConnection: A\r\nConnection: B\r\nC: 3\r\n",
            "C: 3\r\n",
        ),
        (
            "Connection lists itself",
            "Connection: Connection\r\nConnection: A\r\nA: 1\r\n",
            "",
        ),
        (
            "Connection: close, X-Forwarded-For",
            "Connection: close, X-Forwarded-For\r\nX-Forwarded-For: 9.9.9.9\r\n",
            "",
        ),
        ("Connection: Host", "Connection: Host\r\n", ""),
        (
            "Connection: Cookie, Authorization",
            "Connection: Cookie, Authorization\r\nCookie: a\r\nAuthorization: b\r\n",
            "Cookie: a\r\nAuthorization: b\r\n",
        ),
        (
            "Keep-Alive",
            "Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n",
            "",
        ),
        ("Proxy-Connection", "Proxy-Connection: keep-alive\r\n", ""),
        (
            "TE: trailers, gzip",
            "TE: trailers, gzip\r\nConnection: TE\r\n",
            "",
        ),
        (
            "Upgrade",
            "Connection: Upgrade\r\nUpgrade: websocket\r\n",
            "",
        ),
        ("Upgrade without Connection", "Upgrade: websocket\r\n", ""),
        (
            "h2c + HTTP2-Settings",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
            "",
        ),
        ("Proxy (httpoxy)", "Proxy: http://evil/\r\n", ""),
        (
            "Proxy-Authorization",
            "Proxy-Authorization: Basic eA==\r\n",
            "",
        ),
        ("Expect without body", "Expect: 100-continue\r\n", ""),
        (
            "lookalike of a forwarding field",
            "X_Forwarded_For: 9.9.9.9\r\n",
            "",
        ),
        ("lookalike of a length", "Content_Length: 9\r\n", ""),
        (
            "client's forwarding fields",
            "X-Forwarded-For: 9.9.9.9\r\nForwarded: for=9.9.9.9\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: https\r\nX-Request-Id: 1\r\n",
            "",
        ),
    ] {
        assert_eq!(kept(lines), left, "{case}");
    }
}

#[test]
fn keeps_the_framing_when_connection_lists_it() {
    for (listed, line) in [
        ("Content-Length", "Content-Length: 5\r\n"),
        ("Transfer-Encoding", "Transfer-Encoding: chunked\r\n"),
    ] {
        let out = forward(&format!(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: {listed}\r\n{line}\r\n"
        ));
        assert_eq!(out, format!("POST / HTTP/1.1\r\nHost: a\r\n{line}{OWN}"));
    }
}

#[test]
fn writes_framing_anew() {
    let out = forward("POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 00005  \r\nA: 1\r\n\r\n");
    assert_eq!(
        out,
        format!("POST / HTTP/1.1\r\nHost: a\r\nA: 1\r\nContent-Length: 5\r\n{OWN}")
    );
    let out = forward("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tCHUNKED\r\n\r\n");
    assert_eq!(
        out,
        format!("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n{OWN}")
    );
    let out =
        forward("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert!(
        out.contains("Content-Length: 5\r\nExpect: 100-continue\r\n"),
        "{out}"
    );
}

#[test]
fn rewrites_targets_to_origin_form_with_the_targets_host() {
    for (line, expected) in [
        (
            "GET http://evil:81/x?y=1 HTTP/1.1",
            "GET /x?y=1 HTTP/1.1\r\nHost: evil:81\r\n",
        ),
        ("GET http://b HTTP/1.1", "GET / HTTP/1.1\r\nHost: b\r\n"),
        ("GET http://b?q HTTP/1.1", "GET /?q HTTP/1.1\r\nHost: b\r\n"),
        ("GET /x? HTTP/1.1", "GET /x? HTTP/1.1\r\nHost: a\r\n"),
        (
            "OPTIONS http://b HTTP/1.1",
            "OPTIONS * HTTP/1.1\r\nHost: b\r\n",
        ),
        ("OPTIONS * HTTP/1.1", "OPTIONS * HTTP/1.1\r\nHost: a\r\n"),
        (
            "OPTIONS http://b/ HTTP/1.1",
            "OPTIONS / HTTP/1.1\r\nHost: b\r\n",
        ),
        (
            "GET /a/../%2e/b HTTP/1.1",
            "GET /a/../%2e/b HTTP/1.1\r\nHost: a\r\n",
        ),
    ] {
        let out = forward(&format!("{line}\r\nHost: a\r\n\r\n"));
        assert!(out.starts_with(expected), "{line}: {out}");
    }
}

#[test]
fn sends_its_own_version_and_names_the_received_one() {
    let out = forward("GET / HTTP/1.0\r\n\r\n");
    assert!(
        out.starts_with("GET / HTTP/1.1\r\nHost: \r\nX-Forwarded-For:"),
        "{out}"
    );
    assert!(
        out.ends_with("proto=http\r\nVia: 1.0 evenkeel\r\n\r\n"),
        "{out}"
    );
    assert!(forward("GET / HTTP/1.7\r\nHost: a\r\n\r\n").starts_with("GET / HTTP/1.1\r\n"));
}

#[test]
fn lowers_max_forwards_of_options_only() {
    let options = forward("OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 7\r\n\r\n");
    assert!(
        options.contains("Max-Forwards: 6\r\n")
            && !options.contains('7'.to_string().repeat(2).as_str())
    );
    assert_eq!(kept("Max-Forwards: 7\r\n"), "Max-Forwards: 7\r\n");
}

#[test]
fn appends_to_forwarding_fields_only_behind_a_trusted_proxy() {
    let trusted = ClientFields::new(peer(), Scheme::Https, Trust::Append, "lb");
    let text = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2, 3.3.3.3\r\nX-Forwarded-Proto: http\r\nForwarded: for=1.1.1.1\r\n\r\n";
    let expected = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3, 192.0.2.7\r\nForwarded: for=1.1.1.1, for=192.0.2.7;proto=https;host=\"a\"\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nVia: 1.1 lb\r\n\r\n";
    assert_eq!(forward_as(&trusted, text), expected);
    let listed = "GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Forwarded-For\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n";
    assert!(!forward_as(&trusted, listed).contains("1.1.1.1"));
}

#[test]
fn names_ipv6_mapped_and_nameless_clients_as_rfc_7239_wants() {
    for (ip, lines) in [
        (
            Some("2001:db8::1"),
            "X-Forwarded-For: 2001:db8::1\r\nX-Forwarded-Proto: http\r\nForwarded: for=\"[2001:db8::1]\";proto=http;",
        ),
        (
            Some("::ffff:192.0.2.7"),
            "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nForwarded: for=192.0.2.7;",
        ),
        (
            None,
            "Host: a\r\nX-Forwarded-Proto: http\r\nForwarded: for=unknown;proto=http;",
        ),
    ] {
        let client = ClientFields::new(
            ip.map(|i| i.parse().unwrap()),
            Scheme::Http,
            Trust::Replace,
            "x",
        );
        let out = forward_as(&client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(out.contains(lines), "{out}");
    }
}

fn respond(method: Method, client: Version, text: &str) -> (String, Framing) {
    let mut head = ResponseHead::default();
    let bytes = text.as_bytes();
    parse_response(bytes, method, &Limits::default(), &mut head)
        .unwrap()
        .unwrap();
    let with = ResponseRewrite {
        client_version: client,
        keep_alive: true,
        pseudonym: "ek",
        request_id: "r1",
        upgrade: None,
        strip: &["endpoint-load-metrics"],
        extra: &[("X-Extra", "1")],
    };
    let mut out = Vec::new();
    let framing = write_response_head(&mut out, &head, bytes, &with);
    (String::from_utf8(out).unwrap(), framing)
}

#[test]
fn frames_responses_for_the_clients_version() {
    use BodyLength::{Chunked, Fixed, None as NoBody, UntilClose};
    let (new, old) = (Version::Http11, Version::Http10);
    let te = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n";
    let open = "HTTP/1.0 200 OK\r\n\r\n";
    let fixed = "HTTP/1.1 200 OK\r\nContent-Length: 05\r\n\r\n";
    let tail = "Via: 1.1 ek\r\nX-Request-Id: r1\r\nX-Extra: 1\r\n\r\n";
    for (client, text, lines, body, keep_alive) in [
        (new, te, "Transfer-Encoding: chunked\r\n", Chunked, true),
        (old, te, "Connection: close\r\n", UntilClose, false),
        (new, open, "Transfer-Encoding: chunked\r\n", Chunked, true),
        (old, open, "Connection: close\r\n", UntilClose, false),
        (new, fixed, "Content-Length: 5\r\n", Fixed(5), true),
        (
            old,
            fixed,
            "Content-Length: 5\r\nConnection: keep-alive\r\n",
            Fixed(5),
            true,
        ),
        (
            new,
            "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n",
            "",
            NoBody,
            true,
        ),
        (
            new,
            "HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n",
            "Content-Length: 5\r\n",
            NoBody,
            true,
        ),
    ] {
        let (out, framing) = respond(Method::Get, client, text);
        assert_eq!(
            framing,
            Framing { body, keep_alive },
            "{text} to {client:?}"
        );
        let out = out
            .split_once("\r\n")
            .unwrap()
            .1
            .replace("Via: 1.0", "Via: 1.1");
        assert_eq!(out, format!("{lines}{tail}"), "{text} to {client:?}");
    }
    let (out, framing) = respond(Method::Head, new, fixed);
    assert_eq!(framing.body, NoBody);
    assert!(out.contains("Content-Length: 5\r\n"));
}

#[test]
fn passes_response_fields_in_order_without_hop_by_hop_ones() {
    let text = "HTTP/1.0 200 Tr\u{e8}s bien\r\nSet-Cookie: a\r\nX: 1\r\nSet-Cookie: b\r\nConnection: close, X-Foo\r\nX-Foo: 1\r\nKeep-Alive: 5\r\nEndpoint-Load-Metrics: TEXT cpu_utilization=0.3\r\nX_Forwarded_For: 1\r\nContent-Length: 1\r\n\r\n";
    let (out, _) = respond(Method::Get, Version::Http11, text);
    let expected = "HTTP/1.1 200 Tr\u{e8}s bien\r\nSet-Cookie: a\r\nX: 1\r\nSet-Cookie: b\r\nX_Forwarded_For: 1\r\nContent-Length: 1\r\nVia: 1.0 ek\r\nX-Request-Id: r1\r\nX-Extra: 1\r\n\r\n";
    assert_eq!(out, expected);
    assert!(
        respond(Method::Get, Version::Http11, "HTTP/1.1 200\r\n\r\n")
            .0
            .starts_with("HTTP/1.1 200 \r\n")
    );
}

#[test]
fn forwards_1xx_except_to_http_1_0() {
    let text = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let (out, framing) = respond(Method::Get, Version::Http11, text);
    assert_eq!(out, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    assert_eq!(
        framing,
        Framing {
            body: BodyLength::None,
            keep_alive: true
        }
    );
    assert_eq!(respond(Method::Get, Version::Http10, text).0, "");
}

#[test]
fn writes_own_answers() {
    let answer = Answer {
        status: 503,
        content_type: "text/plain",
        body: b"no backend\n",
        head_only: false,
        keep_alive: false,
        client_version: Version::Http11,
        request_id: "r1",
        extra: &[("x-evenkeel-error", "no_backend")],
    };
    let text = |answer: &Answer<'_>| {
        let mut out = Vec::new();
        write_answer(&mut out, answer);
        String::from_utf8(out).unwrap()
    };
    let head = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 11\r\nConnection: close\r\nX-Request-Id: r1\r\nx-evenkeel-error: no_backend\r\n\r\n";
    assert_eq!(text(&answer), format!("{head}no backend\n"));
    assert_eq!(
        text(&Answer {
            head_only: true,
            ..answer
        }),
        head
    );
    assert_eq!(
        text(&Answer {
            status: 100,
            extra: &[],
            ..answer
        }),
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
}
