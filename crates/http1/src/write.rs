//! Heads written anew: own version, own framing, hop-by-hop and listed fields gone, forwarding
//! fields added. Order: first line, `Host`, the lines handed on (as they came), then own lines.

use crate::body::BodyLength;
use crate::fields::Field;
use crate::forward::{ClientFields, Trust};
use crate::names::Known;
use crate::request::{RequestHead, Version};
use crate::response::ResponseHead;

/// What a request is written with besides what the client sent.
#[derive(Debug, Clone, Copy)]
pub struct RequestRewrite<'a> {
    /// Who the client is.
    pub client: &'a ClientFields,
    /// `X-Request-Id`; the client's own is always dropped. Empty writes none.
    pub request_id: &'a str,
    /// `Host` instead of the client's.
    pub host: Option<&'a str>,
    /// A path instead of the client's, which the query stays behind; the caller vouches for its syntax. `*` stays.
    pub path: Option<&'a str>,
    /// Whether to ask the backend for a 100 before the body.
    pub expect_continue: bool,
    /// The protocol to ask the backend for, as [`RequestHead::upgrade_to`] gives it.
    pub upgrade: Option<&'a str>,
    /// Names of fields not to hand on.
    pub strip: &'a [&'a str],
    /// Fields to add; the caller vouches for their syntax.
    pub extra: &'a [(&'a str, &'a str)],
}

/// Appends the request head to send upstream. Its body is framed as `head.body` says: `Fixed`
/// bytes follow as they are, `Chunked` ones are to be encoded anew.
pub fn write_request_head(
    out: &mut Vec<u8>,
    head: &RequestHead,
    buf: &[u8],
    with: &RequestRewrite<'_>,
) {
    let line_parts = head.line_parts(buf);
    let authority = line_parts.authority;
    out.extend_from_slice(line_parts.method);
    out.push(b' ');
    out.extend_from_slice(match with.path {
        Some(path) if line_parts.path != b"*" => path.as_bytes(),
        _ => line_parts.path,
    });
    if let Some(query) = line_parts.query {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    out.extend_from_slice(
        with.host
            .map(str::as_bytes)
            .or(authority)
            .unwrap_or_default(),
    );
    out.extend_from_slice(b"\r\n");
    head.fields.write_kept(out, buf, with.strip);
    write_length(out, head.body);
    if with.expect_continue {
        out.extend_from_slice(b"Expect: 100-continue\r\n");
    }
    if let Some(protocol) = with.upgrade {
        write_upgrade(out, protocol);
    }
    if let Some(hops) = head.max_forwards {
        line(
            out,
            "Max-Forwards",
            hops.saturating_sub(1).to_string().as_bytes(),
        );
    }
    let sent = |f: &Field| {
        matches!(
            f.known,
            Known::Forwarded
                | Known::XForwardedFor
                | Known::XForwardedProto
                | Known::XForwardedHost
        )
    };
    if with.client.trust == Trust::Append && head.fields.iter().any(sent) {
        write_appended(out, head, buf, with.client, authority);
    } else {
        out.extend_from_slice(with.client.block.as_bytes());
        if let Some(authority) = authority {
            out.extend_from_slice(b";host=\"");
            out.extend_from_slice(authority);
            out.extend_from_slice(b"\"\r\nX-Forwarded-Host: ");
            out.extend_from_slice(authority);
        }
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(with.client.via(head.version).as_bytes());
    finish(out, with.request_id, with.extra);
}

/// Forwarding fields behind a trusted proxy: its lists with one more member, its single values.
fn write_appended(
    out: &mut Vec<u8>,
    head: &RequestHead,
    buf: &[u8],
    client: &ClientFields,
    authority: Option<&[u8]>,
) {
    write_list(
        out,
        head,
        buf,
        (Known::XForwardedFor, "X-Forwarded-For"),
        client.address.as_bytes(),
    );
    let host = authority.unwrap_or_default();
    let mut element = client.element.clone().into_bytes();
    if !host.is_empty() {
        element.extend_from_slice(b";host=\"");
        element.extend_from_slice(host);
        element.push(b'"');
    }
    write_list(out, head, buf, (Known::Forwarded, "Forwarded"), &element);
    let singles = [
        (
            Known::XForwardedProto,
            "X-Forwarded-Proto",
            client.scheme.text().as_bytes(),
        ),
        (Known::XForwardedHost, "X-Forwarded-Host", host),
    ];
    for (known, name, own) in singles {
        let sent = head
            .fields
            .iter()
            .find(|f| f.known == known)
            .map(|f| f.value.of(buf));
        let value = sent.unwrap_or(own);
        if !value.is_empty() {
            line(out, name, value);
        }
    }
}

fn write_list(out: &mut Vec<u8>, head: &RequestHead, buf: &[u8], name: (Known, &str), own: &[u8]) {
    let sent = head
        .fields
        .iter()
        .filter(|f| f.known == name.0)
        .map(|f| f.value.of(buf));
    let mut lead: &[u8] = b"";
    for value in sent.chain(std::iter::once(own)).filter(|v| !v.is_empty()) {
        if lead.is_empty() {
            out.extend_from_slice(name.1.as_bytes());
            out.extend_from_slice(b": ");
            lead = b", ";
        } else {
            out.extend_from_slice(lead);
        }
        out.extend_from_slice(value);
    }
    if !lead.is_empty() {
        out.extend_from_slice(b"\r\n");
    }
}

/// What a response is written with besides what the backend sent.
#[derive(Debug, Clone, Copy)]
pub struct ResponseRewrite<'a> {
    /// The version the client spoke.
    pub client_version: Version,
    /// Whether the client's connection is meant to live on.
    pub keep_alive: bool,
    /// The name in `Via`, a token; empty writes none.
    pub pseudonym: &'a str,
    /// `X-Request-Id`; the backend's own is always dropped. Empty writes none.
    pub request_id: &'a str,
    /// The protocol that a 101 changes to, as it was asked for; other answers are written without it.
    pub upgrade: Option<&'a str>,
    /// Names of fields not to hand on, such as `endpoint-load-metrics`.
    pub strip: &'a [&'a str],
    /// Fields to add; the caller vouches for their syntax.
    pub extra: &'a [(&'a str, &'a str)],
}

/// How the response goes to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// How to send the body: `Chunked` is to be encoded, `UntilClose` and `Fixed` go as they are.
    pub body: BodyLength,
    /// Whether the client's connection may be used again; `false` is also written in the head.
    pub keep_alive: bool,
}

/// Appends the response head to send to the client and says how its body must follow.
///
/// A 1xx gets its status line and fields only, and nothing at all is written for an HTTP/1.0
/// client, who cannot know what it is (RFC 9110 15.2); `keep_alive` stays as it was.
pub fn write_response_head(
    out: &mut Vec<u8>,
    head: &ResponseHead,
    buf: &[u8],
    with: &ResponseRewrite<'_>,
) -> Framing {
    let old_client = with.client_version == Version::Http10;
    if head.informational && old_client {
        return Framing {
            body: BodyLength::None,
            keep_alive: with.keep_alive,
        };
    }
    write_status_line(out, head, buf);
    head.fields.write_kept(out, buf, with.strip);
    if head.informational {
        finish(out, "", &[]);
        return Framing {
            body: BodyLength::None,
            keep_alive: with.keep_alive,
        };
    }
    let body = match head.body {
        BodyLength::Chunked | BodyLength::UntilClose if old_client => BodyLength::UntilClose,
        BodyLength::UntilClose => BodyLength::Chunked,
        body => body,
    };
    match (body, head.content_length) {
        // No body follows, but the length it would have is still said; not in a 204 (RFC 9110 8.6).
        (BodyLength::None, Some(length)) if !matches!(head.status, 101 | 204) => {
            write_length(out, BodyLength::Fixed(length));
        }
        _ => write_length(out, body),
    }
    let keep_alive = with.keep_alive && body != BodyLength::UntilClose;
    match with.upgrade {
        Some(protocol) if head.switched => write_upgrade(out, protocol),
        _ => write_connection(out, keep_alive, with.client_version),
    }
    if !with.pseudonym.is_empty() {
        out.extend_from_slice(match head.version {
            Version::Http10 => b"Via: 1.0 ",
            Version::Http11 => b"Via: 1.1 ",
        });
        out.extend_from_slice(with.pseudonym.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    finish(out, with.request_id, with.extra);
    Framing { body, keep_alive }
}

/// Own version, the backend's code and reason (which may be missing, but its blank may not).
fn write_status_line(out: &mut Vec<u8>, head: &ResponseHead, buf: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(buf.get(9..12).unwrap_or_default());
    let reason = head.reason.of(buf);
    out.extend_from_slice(if reason.is_empty() { b" " } else { reason });
    out.extend_from_slice(b"\r\n");
}

pub(crate) fn write_length(out: &mut Vec<u8>, body: BodyLength) {
    match body {
        BodyLength::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        BodyLength::Fixed(length) => {
            out.extend_from_slice(b"Content-Length: ");
            write_decimal(out, length);
            out.extend_from_slice(b"\r\n");
        }
        BodyLength::None | BodyLength::UntilClose => {}
    }
}

/// `Connection` only where the version's default is not what is meant.
pub(crate) fn write_connection(out: &mut Vec<u8>, keep_alive: bool, version: Version) {
    match (keep_alive, version) {
        (true, Version::Http11) => {}
        (true, Version::Http10) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        (false, _) => out.extend_from_slice(b"Connection: close\r\n"),
    }
}

fn write_upgrade(out: &mut Vec<u8>, protocol: &str) {
    out.extend_from_slice(b"Connection: Upgrade\r\n");
    line(out, "Upgrade", protocol.as_bytes());
}

fn write_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        used += 1;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(20 - used..).unwrap_or_default());
}

pub(crate) fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn finish(out: &mut Vec<u8>, request_id: &str, extra: &[(&str, &str)]) {
    if !request_id.is_empty() {
        line(out, "X-Request-Id", request_id.as_bytes());
    }
    for (name, value) in extra {
        line(out, name, value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}
