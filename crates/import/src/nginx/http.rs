//! `http`: listeners, which server answers for which host, and the routes in the order in which they are tried.
//!
//! A listener is an address and port with all servers on it. nginx takes the server with the exact name, else the
//! longest wildcard at the start, the longest at the end, the first expression, and else the default server. Listeners
//! for IPv4 and IPv6 of one port with the same servers are one.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_model::canonical::path_segment;
use evenkeel_model::setup::{Listener, Route, Touches, Wait};

use crate::nginx::address::Address;
use crate::nginx::content::join;
use crate::nginx::keys::Surroundings;
use crate::nginx::lex::Word;
use crate::nginx::notes::Reader;
use crate::nginx::passing::time;
use crate::nginx::scope::Scope;
use crate::nginx::site::{self, Site};
use crate::nginx::tree::Directive;
use crate::nginx::vars::{self, Variables};
use crate::nginx::{ROUTES_MAX, limits, names, upstream};

/// What a socket listens to, and for whom.
#[derive(Default)]
struct Socket<'t> {
    sites: Vec<usize>,
    default: Option<usize>,
    is_tls: bool,
    at: Option<&'t Word>,
}

/// Reads the directives of `http`.
pub(super) fn read(reader: &mut Reader<'_, '_>, block: &[Directive]) {
    // A group may stand before the variable that its key is made of.
    for directive in block.iter().filter(|d| vars::DEFINERS.contains(&d.name())) {
        if !Variables::define(reader, directive) {
            reader.gap("", directive, Touches::Routing);
        }
    }
    let mut surroundings = Surroundings::default();
    surroundings.look(block);
    reader.surroundings = surroundings;
    limits::note(reader, block);
    for directive in block {
        match directive.name() {
            name if vars::DEFINERS.contains(&name) => {}
            "upstream" => upstream::read(reader, directive, true),
            "server" | "match" => {}
            name if names::is_harmless(name) => {}
            _ => reader.gap("", directive, Touches::Routing),
        }
    }
    let scope = Scope::default().with(reader, block);
    let mut sites = Vec::new();
    for directive in block.iter().filter(|d| d.name() == "server") {
        if directive.block.is_none() || !directive.args().is_empty() {
            let message = "`server` of `http` takes a block and nothing else".to_owned();
            reader.refuse_at(directive, message, "write `server { .. }`");
            continue;
        }
        let number = sites.len();
        sites.push(site::read(reader, directive, &scope, number));
    }
    let sockets = sockets(reader, &sites);
    for (key, socket) in &sockets {
        listener(reader, &sites, key, socket);
    }
}

/// The sockets by address, in file order.
fn sockets<'t>(reader: &mut Reader<'_, '_>, sites: &[Site<'t>]) -> Vec<(String, Socket<'t>)> {
    let mut sockets: Vec<(String, Socket<'t>)> = Vec::new();
    let mut index: BTreeMap<String, usize> = BTreeMap::new();
    for (number, site) in sites.iter().enumerate() {
        let mut own: BTreeSet<String> = BTreeSet::new();
        let listens: Vec<Option<&Directive>> = if site.listens.is_empty() {
            vec![None]
        } else {
            site.listens.iter().copied().map(Some).collect()
        };
        for listen in listens {
            let Some(key) = key(reader, listen) else {
                continue;
            };
            let flag = |name: &str| {
                let words = listen.map_or(&[][..], Directive::args);
                words.iter().skip(1).any(|word| word.text == name)
            };
            let is_own = own.insert(key.clone());
            if let Some(listen) = listen.filter(|_| !is_own && !flag("quic")) {
                let message = format!("`{}` stands twice in one server", listen.brief());
                reader.refuse_at(listen, message, "leave one out");
                continue;
            }
            let at = *index.entry(key.clone()).or_insert(sockets.len());
            if at == sockets.len() {
                sockets.push((key.clone(), Socket::default()));
            }
            let Some((_, socket)) = sockets.get_mut(at) else {
                continue;
            };
            socket.is_tls |= flag("ssl") || flag("quic");
            socket.at = socket
                .at
                .or(listen.and_then(|listen| listen.args().first()));
            if is_own {
                socket.sites.push(number);
            }
            if flag("default_server") || flag("default") {
                let earlier = socket.default.replace(number);
                if let Some(listen) = listen.filter(|_| earlier.is_some_and(|n| n != number)) {
                    let message = format!("a second default server for `{key}`");
                    reader.refuse_at(listen, message, "leave `default_server` out of one");
                }
            }
        }
    }
    let same = |one: &Socket<'_>, two: &Socket<'_>| {
        one.sites == two.sites && one.default == two.default && one.is_tls == two.is_tls
    };
    let twins: Vec<bool> = sockets
        .iter()
        .map(|(key, socket)| {
            let twin = key.strip_prefix("[::]:").map(|port| format!("*:{port}"));
            let twin = twin
                .and_then(|twin| index.get(&twin))
                .and_then(|at| sockets.get(*at));
            twin.is_some_and(|(_, twin)| same(twin, socket))
        })
        .collect();
    let kept = sockets
        .into_iter()
        .zip(twins)
        .filter(|(_, is_twin)| !is_twin);
    kept.map(|(socket, _)| socket).collect()
}

/// The address that a `listen` is for, in one form; `None`: it is wrong, which is said.
pub(super) fn key(reader: &mut Reader<'_, '_>, listen: Option<&Directive>) -> Option<String> {
    let Some(listen) = listen else {
        return Some("*:80".to_owned());
    };
    let Some(word) = listen.args().first() else {
        reader.refuse_at(listen, "`listen` names no address".to_owned(), "name one");
        return None;
    };
    let text = word.text.as_str();
    let text = if text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'-')
    {
        format!("*:{text}")
    } else {
        text.to_owned()
    };
    if let Some((_, range)) = text
        .rsplit_once(':')
        .filter(|(_, range)| range.contains('-'))
    {
        let message = format!("`{range}` is no port");
        reader.refuse(word, message, "write one `listen` for each port");
        return None;
    }
    match Address::parse(&text, 80) {
        Ok(address) => {
            let full = address.full();
            let wild = full
                .strip_prefix("0.0.0.0:")
                .map(|port| format!("*:{port}"));
            Some(wild.unwrap_or(full))
        }
        Err(reason) => {
            reader.refuse(word, reason, "write `listen ADDRESS:PORT`");
            None
        }
    }
}

fn listener(reader: &mut Reader<'_, '_>, sites: &[Site<'_>], key: &str, socket: &Socket<'_>) {
    let path = format!("listener.{}", path_segment(key));
    if let Some(word) = socket.at {
        reader.place(&path, word);
    }
    let default = socket.default.or_else(|| socket.sites.first().copied());
    let Some((default, site)) = default.and_then(|at| Some((at, sites.get(at)?))) else {
        return;
    };
    let mut wait = |name: &str, usual_s: u64, what: &str| {
        let placed = time(reader, &site.scope, name);
        if let Some(word) = &placed.at {
            reader.place(&format!("{path}.timeout.{what}"), word);
        }
        let usual = std::time::Duration::from_secs(usual_s);
        Wait::For(placed.value.unwrap_or(usual))
    };
    let listener = Listener {
        is_tls: socket.is_tls,
        head_timeout: wait("client_header_timeout", 60, "head"),
        client_timeout: wait("client_body_timeout", 60, "client"),
        idle_timeout: wait("keepalive_timeout", 75, "idle"),
        ..Listener::blank(key, &path, key)
    };
    reader.listeners.push(listener);
    for (host, condition, number) in hosts(reader, sites, socket, default, key) {
        let Some(site) = sites.get(number) else {
            continue;
        };
        if reader.routes.len() + site.routes.len() > ROUTES_MAX {
            reader.too_many_routes(&site.path);
            return;
        }
        let routes = site.routes.iter().map(|route| Route {
            listener: key.to_owned(),
            host: host.clone(),
            condition: join(condition.as_deref(), route.condition.as_deref()),
            ..route.clone()
        });
        reader.routes.extend(routes);
    }
}

/// Which server answers for which host, in the order in which nginx looks: host, further condition, server.
fn hosts(
    reader: &mut Reader<'_, '_>,
    sites: &[Site<'_>],
    socket: &Socket<'_>,
    default: usize,
    key: &str,
) -> Vec<(Option<String>, Option<String>, usize)> {
    let mut by_class: [Vec<(String, usize)>; 4] = Default::default();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    if socket.sites.len() > 1 {
        for number in &socket.sites {
            let Some(site) = sites.get(*number) else {
                continue;
            };
            for word in &site.names {
                reader.hosts += 1;
                if reader.hosts > ROUTES_MAX {
                    reader.too_many_routes(&site.path);
                    return Vec::new();
                }
                let name = word.text.to_ascii_lowercase();
                if !name.starts_with('~') && !taken.insert(name.clone()) {
                    let path = format!("{}.server_name", site.path);
                    reader.place(&path, word);
                    let message = format!("a second server for `{name}` on `{key}`");
                    let effect = "nginx ignores this name and takes the first server";
                    reader.warn(&path, message, effect, "rename or remove one of them");
                    continue;
                }
                for (class, name) in classes(&name, &word.text) {
                    if let Some(class) = by_class.get_mut(class) {
                        class.push((name, *number));
                    }
                }
            }
        }
    }
    let longest = |name: &(String, usize)| std::cmp::Reverse(name.0.len());
    let [exact, mut leading, mut trailing, regex] = by_class;
    leading.sort_by_key(longest);
    trailing.sort_by_key(longest);
    let named = exact.into_iter().chain(leading);
    let named = named.map(|(host, number)| (Some(host), None, number));
    let judged = trailing.into_iter().chain(regex);
    let judged = judged.map(|(host, number)| (None, Some(format!("host is {host}")), number));
    let last = std::iter::once((None, None, default));
    named.chain(judged).chain(last).collect()
}

/// Class (exact, wildcard at the start, at the end, expression) and form of a server name.
fn classes(lower: &str, written: &str) -> Vec<(usize, String)> {
    if lower.starts_with('~') {
        vec![(3, written.to_owned())]
    } else if let Some(rest) = lower.strip_prefix('.') {
        vec![(0, rest.to_owned()), (1, format!("*.{rest}"))]
    } else if lower.starts_with("*.") {
        vec![(1, lower.to_owned())]
    } else if lower.ends_with(".*") {
        vec![(2, lower.to_owned())]
    } else if lower.is_empty() || lower == "_" {
        Vec::new()
    } else {
        vec![(0, lower.to_owned())]
    }
}
