//! Directives that do something to requests besides spreading them: who is let in, what is changed, what is spoken.
//!
//! They are found by name in the whole tree, blocks in effect or not, so that one directive may be both a rule of the
//! spread and an aside. The headers that nearly every file sets for the backends are noted once for the whole file.

use std::collections::BTreeMap;

use evenkeel_model::canonical::path_segment;

use crate::AsideKind::{self, Access, Protocol, Rewrite};
use crate::book::Book;
use crate::nginx::scope::PROTOCOLS;
use crate::nginx::site;
use crate::nginx::tree::Directive;

/// Directives by name.
const NAMES: &[(&str, AsideKind)] = &[
    ("add_after_body", Rewrite),
    ("add_before_body", Rewrite),
    ("add_header", Rewrite),
    ("add_trailer", Rewrite),
    ("allow", Access),
    ("auth_basic", Access),
    ("auth_jwt", Access),
    ("auth_request", Access),
    ("brotli", Rewrite),
    ("deny", Access),
    ("error_page", Rewrite),
    ("expires", Rewrite),
    ("gunzip", Rewrite),
    ("gzip", Rewrite),
    ("http2", Protocol),
    ("http3", Protocol),
    ("image_filter", Rewrite),
    ("internal", Access),
    ("limit_conn", Access),
    ("limit_except", Access),
    ("limit_rate", Access),
    ("limit_req", Access),
    ("more_clear_headers", Rewrite),
    ("more_clear_input_headers", Rewrite),
    ("more_set_headers", Rewrite),
    ("more_set_input_headers", Rewrite),
    ("proxy_protocol", Protocol),
    ("return", Rewrite),
    ("rewrite", Rewrite),
    ("satisfy", Access),
    ("secure_link", Access),
    ("ssi", Rewrite),
    ("ssl_verify_client", Access),
    ("sub_filter", Rewrite),
    ("try_files", Rewrite),
    ("valid_referers", Access),
];

/// What follows the protocol, such as `proxy` or `fastcgi`.
const OF_A_PROTOCOL: &[(&str, AsideKind)] = &[
    ("cache", Rewrite),
    ("cookie_domain", Rewrite),
    ("cookie_flags", Rewrite),
    ("cookie_path", Rewrite),
    ("hide_header", Rewrite),
    ("ignore_headers", Rewrite),
    ("method", Rewrite),
    ("redirect", Rewrite),
    ("set_body", Rewrite),
    ("set_header", Rewrite),
    ("store", Rewrite),
];

/// Headers by which nearly every file tells the backends who asked.
const USUAL_HEADERS: &[&str] = &[
    "connection",
    "host",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Most characters that are quoted.
const CHARS_MAX: usize = 100;

/// Where the walk is.
#[derive(Clone, Default)]
struct Around {
    /// Configuration path.
    path: String,
    /// Path of the server.
    server: String,
    /// Whether below `stream`.
    is_stream: bool,
    /// The prefix of the location.
    prefix: Option<String>,
}

/// What the walk remembers.
#[derive(Default)]
struct Seen {
    /// Whether the usual headers are noted.
    usual: bool,
    /// How often each location of a server occurred.
    taken: BTreeMap<String, usize>,
}

/// Notes what the directives of `tree` do besides.
pub(super) fn note(book: &mut Book<'_>, tree: &[Directive]) {
    block(book, tree, &Around::default(), &mut Seen::default());
}

/// Notes that a pool is spoken to in another protocol than HTTP/1 or plain TCP.
pub(super) fn spoken(book: &mut Book<'_>, pool: &str, protocol: &str, name: &str, to: &str) {
    let what = short(&format!("{name} {to}"));
    if protocol != "proxy" && book.takes_asides() && !book.has_aside(pool, &what) {
        book.aside(pool, &what, Protocol);
    }
}

/// Calls itself as deep as blocks nest, which the frame bounds.
fn block(book: &mut Book<'_>, tree: &[Directive], around: &Around, seen: &mut Seen) {
    let mut servers = 0;
    for directive in tree {
        if !book.takes_asides() {
            return;
        }
        one(book, directive, around, seen);
        if directive.block.is_none() {
            continue;
        }
        let mut inner = around.clone();
        let pattern = directive.args().last().map_or("", |word| &word.text);
        match directive.name() {
            "stream" => inner.is_stream = true,
            "server" => {
                let kind = if around.is_stream { "stream." } else { "" };
                inner.path = format!("{kind}server.{servers}");
                inner.server.clone_from(&inner.path);
                seen.taken.clear();
                servers += 1;
            }
            "location" => {
                if let Some(path) = site::path_of(directive, &around.server, &mut seen.taken) {
                    inner.path = path;
                }
                let is_prefix = pattern.starts_with('/') && !directive.arg(0).starts_with('~');
                inner.prefix = is_prefix.then(|| pattern.to_owned());
            }
            _ => {}
        }
        if !matches!(directive.name(), "map" | "geo" | "types" | "upstream") {
            block(book, directive.inner(), &inner, seen);
        }
    }
}

fn one(book: &mut Book<'_>, directive: &Directive, around: &Around, seen: &mut Seen) {
    let name = directive.name();
    let first = directive.arg(0);
    let find = |table: &[(&str, AsideKind)], name: &str| {
        let found = table.iter().find(|(known, _)| *known == name);
        found.map(|(_, kind)| *kind)
    };
    let protocol = name
        .split_once('_')
        .filter(|(protocol, _)| PROTOCOLS.contains(protocol));
    let kind = match name {
        "listen" => {
            listen(book, directive, around);
            return;
        }
        "proxy_pass" => changes_path(directive, around).then_some(Rewrite),
        "proxy_set_header" if first.eq_ignore_ascii_case("upgrade") => Some(Protocol),
        "proxy_set_header" if USUAL_HEADERS.contains(&first.to_ascii_lowercase().as_str()) => {
            if !std::mem::replace(&mut seen.usual, true) {
                let what = "proxy_set_header of Host, Connection or X-Forwarded-..";
                at(book, directive, around, what, Rewrite);
            }
            return;
        }
        // What nginx does without it.
        "proxy_redirect" if first == "default" => None,
        _ if first == "off" => None,
        _ => find(NAMES, name).or_else(|| protocol.and_then(|(_, rest)| find(OF_A_PROTOCOL, rest))),
    };
    if let Some(kind) = kind {
        at(book, directive, around, &directive.brief(), kind);
    }
}

/// Parameters of `listen` that change what clients speak.
fn listen(book: &mut Book<'_>, directive: &Directive, around: &Around) {
    for word in directive.args() {
        if matches!(word.text.as_str(), "http2" | "quic" | "proxy_protocol") {
            let what = format!("listen {} .. {}", directive.arg(0), word.text);
            at(book, directive, around, &what, Protocol);
        }
    }
}

/// Whether a `proxy_pass` puts another path in place of the prefix of its location.
fn changes_path(directive: &Directive, around: &Around) -> bool {
    let target = directive.arg(0);
    let Some((_, rest)) = target.split_once("://") else {
        return false;
    };
    let rest = match rest.strip_prefix("unix:") {
        Some(socket) => socket.split_once(':').map_or("", |(_, uri)| uri),
        None => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or(""),
    };
    // With a variable the path is what the variables make of it.
    !rest.is_empty() && !around.is_stream && around.prefix.as_deref() != Some(rest)
}

fn at(book: &mut Book<'_>, directive: &Directive, around: &Around, what: &str, kind: AsideKind) {
    let (source, range) = directive.place();
    let line = book.line(source, range.start);
    let under = if around.path.is_empty() {
        String::new()
    } else {
        format!("{}.", around.path)
    };
    // A block may hold the directive several times, so its line tells which.
    let path = format!("{under}{}.line.{line}", path_segment(directive.name()));
    book.place(&path, source, range);
    book.aside(&path, &short(what), kind);
}

/// A word may be long and hold line ends, which would write lines of their own into a report.
fn short(what: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    what.chars().take(CHARS_MAX).map(clean).collect()
}
