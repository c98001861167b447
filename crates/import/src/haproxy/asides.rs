//! Lines of haproxy.cfg that do something to requests besides spreading them: who is let in, what is changed, what is
//! spoken.
//!
//! They are found by name before the line is read for what it means to the spread, so that one line may be both a rule
//! and an aside. What decides how the servers of a section are spoken to is noted once, at the section.

use crate::AsideKind::{self, Access, Protocol, Rewrite};
use crate::haproxy::balance::call;
use crate::haproxy::desk::{Desk, quote};
use crate::haproxy::lexer::Word;

/// Actions of `http-request`, `http-response`, `http-after-response`, `tcp-request` and `tcp-response`; those that begin
/// with `track-sc` or `sc-` besides.
const ACTIONS: [(&str, AsideKind); 38] = [
    ("add-header", Rewrite),
    ("add-headers-bin", Rewrite),
    ("allow", Access),
    ("auth", Access),
    ("cache-store", Rewrite),
    ("cache-use", Rewrite),
    ("capture", Rewrite),
    ("del-header", Rewrite),
    ("del-headers-bin", Rewrite),
    ("deny", Access),
    ("early-hint", Rewrite),
    ("expect-netscaler-cip", Protocol),
    ("expect-proxy", Protocol),
    ("normalize-uri", Rewrite),
    ("redirect", Rewrite),
    ("reject", Access),
    ("replace-header", Rewrite),
    ("replace-path", Rewrite),
    ("replace-pathq", Rewrite),
    ("replace-uri", Rewrite),
    ("replace-value", Rewrite),
    ("return", Rewrite),
    ("send-spoe-group", Access),
    ("set-bandwidth-limit", Access),
    ("set-header", Rewrite),
    ("set-headers-bin", Rewrite),
    ("set-method", Rewrite),
    ("set-path", Rewrite),
    ("set-pathq", Rewrite),
    ("set-query", Rewrite),
    ("set-src", Rewrite),
    ("set-src-port", Rewrite),
    ("set-status", Rewrite),
    ("set-uri", Rewrite),
    ("silent-drop", Access),
    ("switch-mode", Protocol),
    ("tarpit", Access),
    ("wait-for-handshake", Protocol),
];

/// First words of lines.
const LINES: [(&str, AsideKind); 11] = [
    ("compression", Rewrite),
    ("errorfile", Rewrite),
    ("errorfiles", Rewrite),
    ("errorloc", Rewrite),
    ("errorloc302", Rewrite),
    ("errorloc303", Rewrite),
    ("http-error", Rewrite),
    ("rate-limit", Access),
    ("redirect", Rewrite),
    ("use-fcgi-app", Protocol),
    ("userlist", Access),
];

/// What follows `option` or `filter`.
const OPTIONS: [(&str, AsideKind); 11] = [
    ("bwlim-in", Access),
    ("bwlim-out", Access),
    ("cache", Rewrite),
    ("compression", Rewrite),
    ("fcgi-app", Protocol),
    ("forwardfor", Rewrite),
    ("forwarded", Rewrite),
    ("http-tunnel", Protocol),
    ("http_proxy", Protocol),
    ("originalto", Rewrite),
    ("spoe", Access),
];

/// Notes what the line `words` does besides.
pub(super) fn note(desk: &mut Desk<'_, '_>, words: &[Word]) {
    let Some(first) = words.first() else {
        return;
    };
    let second = words.get(1).map_or("", |word| call(&word.text).0);
    let found = match first.text.as_str() {
        "bind" => {
            front(desk, words);
            None
        }
        "server" | "server-template" | "default-server" => {
            back(desk, words);
            None
        }
        "http-request" | "http-response" | "http-after-response" => action(second),
        "tcp-request" | "tcp-response" => words.get(2).and_then(|word| action(call(&word.text).0)),
        "option" | "filter" => find(&OPTIONS, second),
        name => find(&LINES, name),
    };
    if let Some(kind) = found.or_else(|| asks_for_upgrade(words).then_some(Protocol)) {
        if first.text == "use-fcgi-app" {
            at_section(desk, words, &quote(words));
        } else {
            at_line(desk, words, &quote(words), kind);
        }
    }
}

fn action(name: &str) -> Option<AsideKind> {
    let is_counted = name.starts_with("track-sc") || name.starts_with("sc-");
    find(&ACTIONS, name).or_else(|| is_counted.then_some(Access))
}

fn find(table: &[(&str, AsideKind)], name: &str) -> Option<AsideKind> {
    let found = table.iter().find(|(known, _)| *known == name);
    found.map(|(_, kind)| *kind)
}

/// Whether a condition looks for the header of WebSocket.
fn asks_for_upgrade(words: &[Word]) -> bool {
    words.iter().any(|word| {
        let text = word.text.to_ascii_lowercase();
        text.contains("hdr(") && text.contains("(upgrade)")
    })
}

/// Settings of `bind`: PROXY and other protocols, and client certificates.
fn front(desk: &mut Desk<'_, '_>, words: &[Word]) {
    for (index, word) in words.iter().enumerate().skip(2) {
        let value = words.get(index + 1).map_or("", |word| word.text.as_str());
        let (kind, count) = match word.text.as_str() {
            "accept-proxy" => (Protocol, 1),
            "accept-netscaler-cip" | "proto" => (Protocol, 2),
            "alpn" if beyond_http1(value) => (Protocol, 2),
            "verify" if matches!(value, "required" | "optional") => (Access, 2),
            _ => continue,
        };
        let setting = words.get(index..index + count).unwrap_or_default();
        let what = format!("{} .. {}", quote(&words[..2]), quote(setting));
        at_line(desk, words, &what, kind);
    }
}

/// Settings of a server by which it is spoken to otherwise than in HTTP/1 or plain TCP.
fn back(desk: &mut Desk<'_, '_>, words: &[Word]) {
    for (index, word) in words.iter().enumerate().skip(1) {
        let value = words.get(index + 1).map_or("", |word| word.text.as_str());
        let count = match word.text.as_str() {
            "send-proxy" | "send-proxy-v2" | "send-proxy-v2-ssl" | "send-proxy-v2-ssl-cn" => 1,
            "proto" | "socks4" => 2,
            "alpn" if beyond_http1(value) => 2,
            _ => continue,
        };
        let setting = words.get(index..index + count).unwrap_or_default();
        at_section(desk, words, &format!("server .. {}", quote(setting)));
    }
}

fn beyond_http1(alpn: &str) -> bool {
    alpn.split(',').any(|name| matches!(name, "h2" | "h3"))
}

fn at_line(desk: &mut Desk<'_, '_>, words: &[Word], what: &str, kind: AsideKind) {
    if let (Some((first, last)), true) = (words.first().zip(words.last()), takes(desk)) {
        let path = desk.here(&(first.range.start..last.range.end));
        desk.book.aside(&path, what, kind);
    }
}

/// What holds for all servers of the section. `defaults` may have no name, and then stands for itself.
fn at_section(desk: &mut Desk<'_, '_>, words: &[Word], what: &str) {
    let section = desk.section.clone();
    if section.starts_with("defaults") {
        at_line(desk, words, what, Protocol);
    } else if takes(desk) && !desk.book.has_aside(&section, what) {
        desk.book.aside(&section, what, Protocol);
    }
}

fn takes(desk: &Desk<'_, '_>) -> bool {
    desk.book.takes_asides()
}
