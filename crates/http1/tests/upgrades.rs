//! A change of protocol: which requests ask for one, what goes to the backend, and which 101 is believed.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::net::IpAddr;

use evenkeel_http1::{
    BodyLength, ClientFields, Limits, Method, RequestHead, RequestRewrite, ResponseError,
    ResponseHead, ResponseRewrite, Scheme, Trust, Version, parse_request, parse_upgrade_response,
    write_request_head, write_response_head,
};

/// What a request with these lines asks for where `allowed` are let through.
fn asked(text: &str, allowed: &[&str]) -> Option<String> {
    let mut head = RequestHead::default();
    let bytes = text.as_bytes();
    parse_request(bytes, &Limits::default(), &mut head).unwrap();
    let allows = |offer: &str| allowed.iter().any(|name| name.eq_ignore_ascii_case(offer));
    head.upgrade_to(bytes, allows).map(str::to_owned)
}

const WEBSOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
/// Case, request line, lines, what is asked for.
const ASKS: &[(&str, &str, &str, Option<&str>)] = &[
    ("plain", "GET / HTTP/1.1", WEBSOCKET, Some("websocket")),
    (
        "in the client's spelling",
        "GET / HTTP/1.1",
        "connection: keep-alive, UPGRADE\r\nupgrade: WebSocket\r\n",
        Some("WebSocket"),
    ),
    (
        "the first that is allowed",
        "GET / HTTP/1.1",
        "Connection: upgrade\r\nUpgrade: h2c, other/1, websocket\r\nUpgrade: spdy/3.1\r\n",
        Some("websocket"),
    ),
    (
        "one with a version",
        "POST / HTTP/1.1",
        "Connection: upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n",
        Some("SPDY/3.1"),
    ),
    (
        "listed on another line",
        "GET / HTTP/1.1",
        "Connection: close\r\nUpgrade: websocket\r\nConnection: upgrade\r\n",
        Some("websocket"),
    ),
    (
        "not listed in Connection",
        "GET / HTTP/1.1",
        "Upgrade: websocket\r\n",
        None,
    ),
    (
        "listed without a field",
        "GET / HTTP/1.1",
        "Connection: upgrade\r\n",
        None,
    ),
    ("over HTTP/1.0", "GET / HTTP/1.0", WEBSOCKET, None),
    (
        "with a length",
        "POST / HTTP/1.1",
        "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n",
        None,
    ),
    (
        "with a chunked body",
        "POST / HTTP/1.1",
        "Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n",
        None,
    ),
    (
        "h2c, although allowed",
        "GET / HTTP/1.1",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n",
        None,
    ),
    (
        "another HTTP, although allowed",
        "GET / HTTP/1.1",
        "Connection: Upgrade\r\nUpgrade: HTTP/2.0\r\n",
        None,
    ),
    (
        "what is no name",
        "GET / HTTP/1.1",
        "Connection: Upgrade\r\nUpgrade: web socket, a/b/c, \r\n",
        None,
    ),
    (
        "a lookalike",
        "GET / HTTP/1.1",
        "Connection: Up_grade\r\nUp_grade: websocket\r\n",
        None,
    ),
];

#[test]
fn only_a_request_that_means_it_and_can_be_read_one_way_asks_for_an_upgrade() {
    for &(case, line, lines, found) in ASKS {
        let text = format!("{line}\r\nHost: a\r\n{lines}\r\n");
        let allowed = ["websocket", "spdy/3.1", "h2c", "HTTP/2.0", "a/b/c"];
        assert_eq!(asked(&text, &allowed).as_deref(), found, "{case}");
        assert_eq!(asked(&text, &[]), None, "{case}: nothing is allowed");
    }
}

#[test]
fn of_all_that_is_offered_one_protocol_goes_to_the_backend() {
    let text = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, X-Own\r\nUpgrade: h2c, websocket\r\nHTTP2-Settings: AAM\r\nX-Own: 1\r\nSec-WebSocket-Key: k\r\n\r\n";
    let mut head = RequestHead::default();
    parse_request(text.as_bytes(), &Limits::default(), &mut head).unwrap();
    let client = IpAddr::from([192, 0, 2, 1]);
    let client = ClientFields::new(Some(client), Scheme::Http, Trust::Replace, "ek");
    let write = |upgrade| {
        let with = RequestRewrite {
            client: &client,
            request_id: "",
            host: None,
            path: None,
            expect_continue: false,
            upgrade,
            strip: &[],
            extra: &[],
        };
        let mut out = Vec::new();
        write_request_head(&mut out, &head, text.as_bytes(), &with);
        String::from_utf8(out).unwrap()
    };
    let out = write(head.upgrade_to(text.as_bytes(), |_| true));
    assert!(
        out.contains("\r\nSec-WebSocket-Key: k\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"),
        "{out}"
    );
    assert!(!out.contains("h2c") && !out.contains("HTTP2") && !out.contains("X-Own"));
    let out = write(None);
    assert!(!out.contains("pgrade"), "{out}");
}

fn verdict(offered: Option<&str>, text: &str) -> Result<ResponseHead, ResponseError> {
    let mut head = ResponseHead::default();
    let bytes = text.as_bytes();
    let parsed =
        parse_upgrade_response(bytes, Method::Get, offered, &Limits::default(), &mut head)?;
    assert_eq!(parsed, Some(bytes.len()));
    Ok(head)
}

const ASKED: Option<&str> = Some("WebSocket");
const ELSEWHERE: Result<(), ResponseError> = Err(ResponseError::SwitchedElsewhere);
type Switch = (
    &'static str,
    Option<&'static str>,
    &'static str,
    &'static str,
    Result<(), ResponseError>,
);
/// Case, what was asked for, status line, lines, verdict.
const SWITCHES: &[Switch] = &[
    (
        "the same in another case",
        ASKED,
        "HTTP/1.1 101 x",
        "connection: keep-alive, upgrade\r\nupgrade: websocket\r\n",
        Ok(()),
    ),
    (
        "unasked",
        None,
        "HTTP/1.1 101 x",
        "Connection: upgrade\r\nUpgrade: websocket\r\n",
        Err(ResponseError::Switched),
    ),
    (
        "another one",
        ASKED,
        "HTTP/1.1 101 x",
        "Connection: upgrade\r\nUpgrade: h2c\r\n",
        ELSEWHERE,
    ),
    (
        "one more",
        ASKED,
        "HTTP/1.1 101 x",
        "Connection: upgrade\r\nUpgrade: websocket, h2c\r\n",
        ELSEWHERE,
    ),
    (
        "one more on another line",
        ASKED,
        "HTTP/1.1 101 x",
        "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: x\r\n",
        ELSEWHERE,
    ),
    (
        "no name",
        ASKED,
        "HTTP/1.1 101 x",
        "Connection: upgrade\r\n",
        ELSEWHERE,
    ),
    (
        "not listed in Connection",
        ASKED,
        "HTTP/1.1 101 x",
        "Upgrade: websocket\r\n",
        ELSEWHERE,
    ),
    (
        "over HTTP/1.0",
        ASKED,
        "HTTP/1.0 101 x",
        "Connection: upgrade\r\nUpgrade: websocket\r\n",
        ELSEWHERE,
    ),
];

#[test]
fn a_101_counts_only_when_it_names_what_was_asked_for_and_nothing_else() {
    for &(case, offered, line, lines, expected) in SWITCHES {
        let text = format!("{line}\r\n{lines}\r\n");
        let found = verdict(offered, &text).map(|head| {
            assert!(head.switched && !head.informational && !head.keep_alive);
            assert_eq!(head.body, BodyLength::None);
        });
        assert_eq!(found, expected, "{case}");
    }
    let other = verdict(
        ASKED,
        "HTTP/1.1 426 No\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
    );
    let other = other.unwrap();
    assert!(!other.switched && other.keep_alive);
}

#[test]
fn the_client_is_told_the_protocol_as_it_asked_for_it_and_no_length() {
    let text = "HTTP/1.1 101 Fine\r\nUpgrade: websocket\r\nConnection: Upgrade, X-Own\r\nX-Own: 1\r\nContent-Length: 3\r\nSec-WebSocket-Accept: s\r\n\r\n";
    let head = verdict(Some("WebSocket"), text).unwrap();
    let with = ResponseRewrite {
        client_version: Version::Http11,
        keep_alive: false,
        pseudonym: "ek",
        request_id: "r1",
        upgrade: Some("WebSocket"),
        strip: &[],
        extra: &[],
    };
    let mut out = Vec::new();
    let framing = write_response_head(&mut out, &head, text.as_bytes(), &with);
    assert_eq!(framing.body, BodyLength::None);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "HTTP/1.1 101 Fine\r\nSec-WebSocket-Accept: s\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nVia: 1.1 ek\r\nX-Request-Id: r1\r\n\r\n"
    );
}
