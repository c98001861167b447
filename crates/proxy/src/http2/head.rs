//! The head of a stream as a head of HTTP/1, so that one parser judges both.
//!
//! The library has refused what is malformed by itself: pseudo-header fields that are missing, repeated, unknown or not
//! first, names that are not lower case, fields of the connection, a `te` that is not `trailers`. Here is refused what
//! it lets through. Everything that is wrong for HTTP as such (a host that is none, a target with `#`, too many fields)
//! is left to the parser: the answer is then the same as over HTTP/1.

use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Method, Uri, header};

/// The head as text; `None`: it is malformed, and the stream is to be reset. `is_whole`: no body follows.
pub(super) fn write(out: &mut Vec<u8>, parts: &Parts, is_whole: bool) -> Option<()> {
    let fields = &parts.headers;
    let authority = parts.uri.authority().map(Authority::as_str);
    if !agrees(authority, fields) {
        return None;
    }
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target(&parts.method, &parts.uri)?.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(authority) = authority {
        line(out, "host", authority.as_bytes());
    }
    for (name, value) in fields {
        let value = value.as_bytes();
        if is_padded(value) {
            return None;
        }
        if *name != header::COOKIE && (*name != header::HOST || authority.is_none()) {
            line(out, name.as_str(), value);
        }
    }
    cookie(out, fields);
    if fields.contains_key(header::CONTENT_LENGTH) {
        // The library holds it against the frames.
    } else if !is_whole {
        line(out, "transfer-encoding", b"chunked");
    } else if has_content(&parts.method) {
        // Servers of HTTP/1 ask for a length where one is to be expected.
        line(out, "content-length", b"0");
    }
    out.extend_from_slice(b"\r\n");
    Some(())
}

/// Whether a `host` beside `:authority` says the same (RFC 9113 section 8.3.1).
fn agrees(authority: Option<&str>, fields: &HeaderMap) -> bool {
    let mut hosts = fields.get_all(header::HOST).iter();
    authority.is_none_or(|authority| {
        hosts.all(|host| host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()))
    })
}

/// `:path`, which is never of the form that HTTP/1 gives to proxies: that would name a second authority.
fn target<'a>(method: &Method, uri: &'a Uri) -> Option<&'a str> {
    if *method == Method::CONNECT {
        // Refused by what it is, wherever it leads.
        return Some(uri.authority().map_or("*", Authority::as_str));
    }
    // A terminator of TLS in front says `https`.
    let is_http = uri
        .scheme_str()
        .is_none_or(|scheme| matches!(scheme, "http" | "https"));
    // The library takes a path that is not there for an empty one.
    if !is_http || uri.path().is_empty() {
        return None;
    }
    let path = uri.path_and_query()?.as_str();
    let is_asterisk = path == "*" && *method == Method::OPTIONS;
    (path.starts_with('/') || is_asterisk).then_some(path)
}

/// Blanks around a value are no part of it in HTTP/1: two readers would see two values (section 8.2.1).
fn is_padded(value: &[u8]) -> bool {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    blank(value.first()) || blank(value.last())
}

/// The crumbs of `cookie` as the one field that HTTP/1 knows (section 8.2.3).
fn cookie(out: &mut Vec<u8>, fields: &HeaderMap) {
    let mut crumbs = fields.get_all(header::COOKIE).iter();
    let Some(first) = crumbs.next() else {
        return;
    };
    out.extend_from_slice(b"cookie: ");
    out.extend_from_slice(first.as_bytes());
    for crumb in crumbs {
        out.extend_from_slice(b"; ");
        out.extend_from_slice(crumb.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

fn has_content(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Trailer fields as lines; the parser of bodies drops those that may not stand there.
pub(super) fn trailers(fields: &HeaderMap) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        line(&mut out, name.as_str(), value.as_bytes());
    }
    out
}
